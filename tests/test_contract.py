"""The laws that hold for every method; a new one in METHODS is held to them as well."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
import tiny
from numpy.testing import assert_allclose, assert_array_equal

from ssljax import core, methods, sharding
from ssljax.checkpoint import Checkpoints

every_method = pytest.mark.parametrize("name", methods.METHODS)


@pytest.fixture(autouse=True, scope="module")
def forget():
  """Lets go of some gigabytes of programs afterwards."""
  yield
  tiny.program.cache_clear()
  tiny.traced.cache_clear()
  jax.clear_caches()


# All-gathers of a step on 8 devices: of embeddings, as negatives (the bank's rows are
# asked for by index, and each answer is one) and of labels. A new method gets one.
GATHERS = {
  "metric_learning": 2,
  "cpc_image": 6,  # each step's predictions, forward and again, and their denominators
  "cpc_audio": 2,  # the latents, and the order of the indices
  "cpc_text": 6,  # as cpc_image
  "simclr": 1,
  "supcon": 2,
  "supcon_moco": 2,
  "cmc": 2,  # the embeddings and their numbers, for the banks
  "moco": 1,
  "instdisc": 8,
  "byol": 0,
  "simclr_v2": 2,  # the keys, for the loss and for the queue
  "simsiam": 0,
  "moco_v3": 2,  # the keys of either view
  "barlow": 0,
  "dino": 0,
  "nnclr": 3,  # the predictions of either view, the keys for the queue
  "wmse": 1,
  "vicreg": 0,
  "tico": 0,
  "mae": 0,
  "ibot": 0,
  "simmim": 0,
  "msn": 0,
  "ijepa": 0,
  "densecl": 2,  # the keys, of pictures and of cells
  "ressl": 1,
  "data2vec": 0,
  "simdino": 0,
  "simdinov2": 0,
  "direct_pred": 0,
  "vicregl": 0,
  "dinov2": 4,  # class tokens of either crop, forward and again, for KoLeo
  "dinov3": 4,  # as dinov2
  "lejepa": 0,
}


# Reductions of more numbers than the tests' pictures have: moments of every cell.
LARGE = {"vicregl": 7}


def leaves(tree):
  flat = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in flat}


def assert_equal(actual, expected):
  jax.tree.map(assert_array_equal, actual, expected)


def assert_close(actual, expected, grad_norm):
  """To 1e-5 of a leaf's largest number, and to a few float32 roundings of the sums.

  Those matter where an exact gradient is 0 or nearly, as of whatever stands in front
  of BatchNorm: its rounding scales with what was summed. A mean taken over one device
  instead of all would be wrong by far more.
  """
  expected = leaves(expected)
  for name, x in leaves(actual).items():
    scale = np.abs(np.float64(expected[name])).max()
    tolerance = 1e-5 * scale + 2e-6 * grad_norm
    assert_allclose(x, expected[name], rtol=0, atol=tolerance, err_msg=name)


@every_method
def test_a_step_keeps_the_tree_and_floats_are_float32(name):
  built = tiny.parts(name)
  first = tiny.first_state(built)
  state, metrics = tiny.step(built, first, 8)
  assert jax.tree.map(np.shape, state) == jax.tree.map(np.shape, first)
  assert jax.tree.map(lambda x: x.dtype, state) == jax.tree.map(
    lambda x: x.dtype, first
  )
  assert state.step == first.step + 1
  floats = {"params": state.params, "stats": state.batch_stats, "metrics": metrics}
  assert {x.dtype for x in jax.tree.leaves(floats)} == {np.dtype("float32")}
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))


@every_method
@pytest.mark.parametrize("devices", [1, 8])
def test_the_same_state_gives_bitwise_the_same_next_state(name, devices):
  built = tiny.parts(name)
  first = tiny.first_state(built)
  assert_equal(tiny.step(built, first, devices), tiny.step(built, first, devices))


@every_method
def test_one_device_equals_eight(name):
  built = tiny.parts(name)
  first = tiny.first_state(built)
  try:
    hold_one_device_to_eight(built, first)
  except AssertionError:
    # An activation at the kink of its ReLU is on either side, as this CPU rounds, and
    # moves the gradient. Whatever else is wrong is so at the next state as well.
    hold_one_device_to_eight(built, tiny.step(built, first, 1)[0])


def hold_one_device_to_eight(built, state):
  after, metrics = tiny.step(built, state, 8)
  expected, expected_metrics = tiny.step(built, state, 1)
  assert_allclose(metrics["loss"], expected_metrics["loss"], rtol=1e-5)
  assert_close(after, expected, metrics["grad_norm"])


@every_method
def test_the_order_of_the_batch_does_not_change_the_loss(name):
  built = tiny.with_encoder(tiny.parts(name), bn_group_size=0)
  first = tiny.first_state(tiny.parts(name))
  order = np.random.default_rng(0).permutation(tiny.BATCH)
  permuted = {k: v[order] for k, v in tiny.batch(built.method.input).items()}
  _, metrics = tiny.step(built, first, 1, permuted)
  _, expected = tiny.step(built, first, 1)
  # DenseCL matches each cell with the most alike one: rounding decides between equals.
  rtol = 1e-2 if name == "densecl" else 1e-5
  assert_allclose(metrics["loss"], expected["loss"], rtol=rtol)


@every_method
def test_a_restored_run_goes_on_as_if_it_had_not_stopped(name, tmp_path):
  built = tiny.parts(name)
  _, layout, _ = tiny.program(built, 8)
  saved, _ = tiny.step(built, tiny.first_state(built), 8)
  shapes = tiny.shapes(built)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, jax.device_put(saved, layout), {})
    checkpoints.manager.wait_until_finished()
    restored = checkpoints.restore(shapes, layout)
    one = sharding.state_sharding(
      shapes, sharding.make_mesh(jax.devices()[:1]), built.method.by_row
    )
    on_one = checkpoints.restore(shapes, one)
  assert_equal(tiny.step(built, restored, 8), tiny.step(built, saved, 8))
  assert_equal(jax.device_get(on_one), saved)
  assert_equal(tiny.step(built, on_one, 1), tiny.step(built, saved, 1))


@every_method
def test_the_optimizer_remembers_parameters_and_nothing_of_the_target(name):
  state = tiny.first_state(tiny.parts(name))
  params = leaves(state.params)
  for path, x in leaves(state.opt_state).items():
    owner = [p for p in params if path.endswith(f"/{p}")]
    assert owner, path
    assert x.shape == params[owner[0]].shape


@every_method
def test_a_step_moves_every_part_of_the_target(name):
  built = tiny.parts(name)
  first = tiny.first_state(built)
  state, _ = tiny.step(built, first, 8)
  for part, before in first.target.items():
    after = jax.tree.leaves(state.target[part])
    if not after:  # the statistics of a network without BatchNorm
      continue
    pairs = zip(jax.tree.leaves(before), after, strict=True)
    # A teacher is what another run left; all else follows this one.
    assert all(np.array_equal(x, y) for x, y in pairs) == (part == "teacher"), part


@every_method
def test_twenty_steps_on_one_batch_lower_the_loss_and_keep_the_spread(name):
  """The loss on the views and with the memory of the first of them."""
  built = tiny.parts(name)
  state = tiny.first_state(built)
  # A queue is random at first and the keys' encoder a copy: nothing is left to gain.
  # TiCo's covariance is zero at first, and its contrast free. (CMC's banks are random
  # too, but sixteen pictures, each other's noise, make what follows a matter of luck.)
  filled = len(state.target["queue"]) // tiny.BATCH if "queue" in state.target else 0
  if "covariance" in state.target:
    filled = 20
  for _ in range(filled):
    state, _ = tiny.step(built, state, 1)
  first, reached = state, []
  _, before = tiny.step(built, first, 1)
  for step in range(1, 21):
    state, metrics = tiny.step(built, state, 1)
    if step % 10 == 0:
      _, after = tiny.step(built, first.replace(params=state.params), 1)
      reached.append(after["loss"])
  assert min(reached) < before["loss"]
  assert metrics["embedding_std"] > 0.1  # diagnostics.collapse warns below 0.05


@every_method
def test_collectives_keep_within_their_budget(name):
  moved = tiny.collectives(tiny.program(tiny.parts(name), 8)[0])
  kinds = [kind for kind, _ in moved]
  assert set(kinds) <= {"all-gather", "all-reduce"}
  assert kinds.count("all-gather") <= GATHERS.get(name, 1)
  pictures = tiny.batch()["image"].size
  # MoCo's published permutation is the only move of pictures; "strided" has none.
  permuted = getattr(tiny.parts(name).method, "bn_shuffle", None) == "permute"
  large = sum(size >= pictures for _, size in moved)
  assert large == permuted + LARGE.get(name, 0)


@every_method
def test_embeddings_for_evaluation_are_float32_rows(name):
  built = tiny.parts(name)
  examples = tiny.batch(built.method.input)
  rows = jax.eval_shape(built.embed, tiny.first_state(built), examples)
  assert (rows.dtype, rows.ndim, rows.shape[0]) == (np.float32, 2, tiny.BATCH)


@every_method
def test_a_config_and_a_test_file_exist(name):
  assert name in {c.method.name for c in tiny.configs().values()}
  file = methods.METHODS[name].__module__.rpartition(".")[2]
  assert (tiny.ROOT / "tests" / "methods" / f"test_{file}.py").exists()


class ReadsStateParams(core.Method):
  """The mistake: the state's parameters carry no gradient."""

  def init(self, rng, batch):
    return {"w": np.ones(3, np.float32)}, {}, {}

  def loss_fn(self, params, state, batch, rng):
    return state.params["w"].sum(), None


def test_a_loss_cannot_read_the_state_s_parameters():
  built = tiny.parts("simclr")._replace(method=ReadsStateParams(SimpleNamespace()))
  state = jax.eval_shape(built.init, tiny.batch())
  with pytest.raises(TypeError, match="NoneType"):
    jax.eval_shape(built.step, state, tiny.batch())

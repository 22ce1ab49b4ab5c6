"""A batch encoded in parts: the same step in less memory, or a refusal by name."""

import functools

import jax
import numpy as np
import pytest
import tiny
from numpy.testing import assert_allclose

from ssljax import core, methods, sharding
from ssljax.core import microbatch
from ssljax.fields import ConfigError
from ssljax.train import dispatch

pytestmark = pytest.mark.slow  # several programs of every method

SIZE, GROUP = 64, 8
STRIDED = 4  # of MoCo's keys, whose square must divide a part
every_method = pytest.mark.parametrize("name", methods.METHODS)


@pytest.fixture(autouse=True, scope="module")
def forget():
  """Lets go of some gigabytes of programs afterwards."""
  yield
  program.cache_clear()
  jax.clear_caches()


def parts(name):
  strided = hasattr(methods.METHODS[name], "bn_shuffle")
  return tiny.parts(name, SIZE, STRIDED if strided else GROUP)


@functools.cache
def first_state(name):
  built = parts(name)
  return jax.device_get(jax.jit(built.init)(tiny.batch(built.method.input, SIZE)))


def step(name, state, part, devices):
  """A step of SIZE examples, `part` at a time, as `train` runs it."""
  return jax.device_get(program(name, part, devices)(state))


@functools.cache
def program(name, part, devices):
  built = parts(name)._replace(microbatch=part)
  mesh = sharding.make_mesh(jax.devices()[:devices])
  layout = sharding.state_sharding(first_state(name), mesh, built.method.by_row)
  steps = dispatch.compile_steps(built.step, layout, mesh, 1)
  stacked = jax.tree.map(lambda x: x[None], tiny.batch(built.method.input, SIZE))
  return lambda state: steps(
    jax.device_put(state, layout), *dispatch.put(1, stacked, mesh)
  )


def distance(tree, other):
  """The norm of the difference, over all leaves."""
  pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
  return np.sqrt(sum(np.square(np.float64(x) - np.float64(y)).sum() for x, y in pairs))


def hold_equal(name, state, part, devices):
  """To two hundredths of a percent of the step's move: small groups amplify sums."""
  after, metrics = step(name, state, part, devices)
  expected, expected_metrics = step(name, state, 0, 1)
  assert metrics.keys() == expected_metrics.keys()
  for field in ("params", "batch_stats", "target", "opt_state"):
    a, b, before = (getattr(s, field) for s in (after, expected, state))
    assert distance(a, b) <= 2e-4 * distance(b, before), field
  for metric, value in metrics.items():
    assert_allclose(value, expected_metrics[metric], rtol=2e-4, atol=1e-5)


ALL = [(name, SIZE // 4, 8) for name in methods.METHODS]
EACH = [(name, SIZE // 2, 1) for name in ("simclr", "byol", "moco", "instdisc", "dino")]


@pytest.mark.parametrize(("name", "part", "devices"), [*ALL, *EACH])
def test_a_step_in_parts_equals_the_step_in_one_pass(name, part, devices):
  """Parameters, statistics, the optimizer's and the target's state, metrics.

  Every method; of each kind of target one by other parts too, on one device.
  """
  state = first_state(name)
  try:
    hold_equal(name, state, part, devices)
  except AssertionError:  # a ReLU at its kink, see test_contract.py
    hold_equal(name, step(name, state, 0, 1)[0], part, devices)


@every_method
def test_half_a_batch_encodes_to_half_the_rows(name):
  built = parts(name)
  state, batch = first_state(name), tiny.batch(built.method.input, SIZE)
  half = {k: v[: SIZE // 2] for k, v in batch.items()}
  if getattr(built.method, "bn_shuffle", "") == "strided":  # groups of half a batch
    stride = SIZE // STRIDED
    order = [i for i in range(SIZE) if i % stride < stride // 2]
    half = {k: v[order] for k, v in batch.items()}

  @jax.jit
  def rows(params, batch):
    rng_views, rng = core.step_keys(0, state.step)
    rest = state.replace(params=None)
    return built.method.encode(params, rest, built.views(rng_views, batch), rng).rows

  whole, part = rows(state.params, batch), rows(state.params, half)
  chosen = np.searchsorted(
    batch["index"], half["index"], sorter=np.argsort(batch["index"])
  )
  places = np.argsort(batch["index"])[chosen]
  for row, x in part.items():
    expected = jax.tree.map(lambda y: y[places], whole[row])
    zero = jax.tree.map(np.zeros_like, expected)
    assert distance(x, expected) <= 1e-4 * distance(zero, expected), row


@pytest.mark.parametrize("name", ["simclr", "byol", "mae"])
def test_less_memory_is_taken_the_smaller_the_parts(name):
  """XLA's own count of temporary bytes, forward and backward."""
  built = parts(name)
  batch = tiny.batch(built.method.input, SIZE)

  def temporary(part):
    parts = built._replace(microbatch=part)
    lowered = jax.jit(parts.step).lower(first_state(name), batch)
    return lowered.compile().memory_analysis().temp_size_in_bytes

  whole, half, quarter = temporary(0), temporary(SIZE // 2), temporary(SIZE // 4)
  assert quarter < half < whole
  assert quarter < 0.5 * whole


def test_hands_are_dealt_in_turn_and_gathered_again():
  x = np.arange(12)
  dealt = microbatch.deal(x, parts=2, hand=3)
  assert dealt.tolist() == [[0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11]]
  assert microbatch.gather(dealt, hand=3).tolist() == x.tolist()


def test_parts_that_do_not_lie_whole_on_the_devices_are_said():
  built = parts("byol")._replace(microbatch=16)
  state, batch = first_state("byol"), tiny.batch("image", SIZE)
  assert built.device_note(state, batch, 2) == ""
  assert "microbatch=16 is no multiple of 32" in built.device_note(state, batch, 4)


def trace(name, part, group=GROUP):
  built = tiny.parts(name, SIZE, group)._replace(microbatch=part)
  jax.eval_shape(built.step, first_state(name), tiny.batch(built.method.input, SIZE))


def test_statistics_of_the_whole_batch_are_refused_by_name():
  with pytest.raises(ConfigError, match=r"microbatch=16 .* encoder.bn_group_size"):
    trace("simclr", 16, group=0)


def test_groups_that_a_part_would_cut_are_refused():
  with pytest.raises(ConfigError, match=r"microbatch=16 .* groups of \[64\] whole"):
    trace("byol", 16, group=64)


def test_strided_groups_need_parts_of_their_square():
  with pytest.raises(ConfigError, match=r"microbatch=16 .* square"):
    trace("moco", 16, group=8)


def test_the_published_permutation_is_refused_by_name():
  assert "bn_shuffle='permute'" in tiny.parts("moco").method.undivided
  assert not parts("moco").method.undivided

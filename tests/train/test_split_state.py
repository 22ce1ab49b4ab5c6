"""A state split over the devices: the same numbers, in an eighth of the memory."""

import functools

import jax
import numpy as np
import pytest
import tiny
from numpy.testing import assert_allclose, assert_array_equal

import ssljax
from ssljax import encoder, optim, sharding
from ssljax.checkpoint import Checkpoints
from ssljax.parts import Traced
from ssljax.train import dispatch

LEAST = 64  # numbers: of the smallest networks, most matrices
OPTIMIZERS = {  # one of each whose step asks for more than a number and its gradient
  "dino": {
    **{"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.04},
    **{"clip_per_parameter": 0.3, "freeze_until": {"^prototypes/": 1.0}},
  },
  "mae": {
    **{"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.05},
    **{"clip_norm": 0.1, "layer_decay": 0.75},
  },
  "byol": {"name": "lars", "learning_rate": 0.2, "exclude": ("norm_and_bias",)},
  "swav": {"name": "larc", "learning_rate": 0.3, "weight_decay": 1e-4},
  "moco": {"name": "sgd", "learning_rate": 0.03},  # and a queue
  "instdisc": {"name": "sgd", "learning_rate": 0.03},  # and a bank, by rows as ever
}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


@functools.cache
def parts(name):
  built = tiny.parts(name)
  layers = getattr(built.method.net.encoder, "layers", ())
  tx = optim.build(OPTIMIZERS[name], tiny.PLAN, layers)
  return built._replace(tx=tx, split_state=LEAST)


@functools.cache
def program(name, devices, split):
  built = parts(name)._replace(split_state=split)
  mesh = sharding.make_mesh(jax.devices()[:devices])
  shapes = tiny.shapes(built)
  layout = dispatch.layout(built, shapes, mesh)
  step = dispatch.step(built, Traced(None, tiny.traced(built), shapes, None), mesh)
  batches = jax.tree.map(lambda x: x[None], tiny.batch(built.method.input))
  steps = dispatch.compile_steps(step, layout, mesh, 1)
  compiled = steps.lower(shapes, batches, np.int32(1), {}).compile()
  return compiled, layout, dispatch.put(1, batches, mesh)


def step(name, state, devices, split):
  compiled, layout, examples = program(name, devices, split)
  return compiled(jax.device_put(state, layout), *examples)


def norm(tree):
  return np.sqrt(sum(np.square(np.float64(x)).sum() for x in jax.tree.leaves(tree)))


@every_optimizer
def test_a_split_state_takes_the_step_of_a_whole_one(name):
  first = tiny.first_state(parts(name))
  state, metrics = jax.device_get(step(name, first, 8, LEAST))
  expected, expected_metrics = jax.device_get(step(name, first, 8, 0))
  for metric, value in expected_metrics.items():
    assert_allclose(metrics[metric], value, rtol=1e-5, atol=1e-6, err_msg=metric)
  for field in ("params", "batch_stats", "target", "opt_state"):
    a, b, before = (getattr(s, field) for s in (state, expected, first))
    # Adam's first step is the sign of a gradient, of 0 too, which is a rounding.
    # Each such number in DINO's 576 of a kernel is a thousandth of the whole move.
    bound = 5e-3 * norm(jax.tree.map(np.subtract, b, before)) + 1e-6
    assert norm(jax.tree.map(np.subtract, a, b)) <= bound, field


@every_optimizer
def test_a_device_holds_an_eighth_of_what_is_large(name):
  state, _ = step(name, tiny.first_state(parts(name)), 8, LEAST)
  for x in jax.tree.leaves(state):
    shares = {shard.data.size for shard in x.addressable_shards}
    divides = any(n % 8 == 0 for n in x.shape)
    assert shares == ({x.size // 8} if x.size >= LEAST and divides else {x.size}), x


@every_optimizer
def test_parameters_travel_and_activations_do_not(name):
  """What is gathered is an array of the state; norms are sums of sums."""
  moved = tiny.collectives(program(name, 8, LEAST)[0])
  whole = tiny.collectives(program(name, 8, 0)[0])
  assert {kind for kind, _ in moved} <= {"all-gather", "all-reduce", "reduce-scatter"}
  state = tiny.shapes(parts(name)).replace(opt_state=None)
  sizes = {x.size for x in jax.tree.leaves(state)}
  gathered = {size for kind, size in moved if kind == "all-gather"}
  assert any(size >= LEAST for size in gathered & sizes)
  assert gathered <= sizes | {size for kind, size in whole if kind == "all-gather"}


def test_a_checkpoint_restores_split_and_whole_on_any_devices(tmp_path):
  built = parts("dino")
  shapes = tiny.shapes(built)
  state, _ = step("dino", tiny.first_state(built), 8, LEAST)
  expected = jax.device_get(state)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, state, {})
    checkpoints.wait()
    for devices in (1, 2, 8):
      mesh = sharding.make_mesh(jax.devices()[:devices])
      for least in (0, LEAST):
        layout = sharding.state_sharding(shapes, mesh, least=least)
        restored = checkpoints.restore(shapes, layout)
        assert jax.tree.map(lambda x: x.sharding, restored) == layout
        jax.tree.map(assert_array_equal, jax.device_get(restored), expected)


def test_a_run_goes_on_whole_after_it_was_split(tmp_path):
  config = tiny.configs()["simclr_digits"].copy_and_resolve_references()
  config.evals.update(every_epochs=0, at_end=())
  config.steps, config.split_state = 2, LEAST
  ssljax.train_and_evaluate(config, tmp_path / "broken")
  config.steps, config.evals.at_end = 4, ("knn",)
  scores = ssljax.train_and_evaluate(config, tmp_path / "split")
  config.split_state, config.evals.at_end = 0, ()
  ssljax.train_and_evaluate(config, tmp_path / "broken")
  assert "knn" in scores["trained encoder"]
  mesh = sharding.make_mesh()
  params, expected = (
    encoder.restore(tmp_path / name, mesh).state.params for name in ("broken", "split")
  )
  difference = norm(jax.tree.map(np.subtract, *jax.device_get((params, expected))))
  assert difference <= 1e-2 * norm(expected)

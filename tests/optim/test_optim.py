import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import nets, optim, paths
from ssljax.fields import ConfigError
from ssljax.schedules import Plan

PLAN = Plan(batch_size=512, num_examples=5120, steps_per_epoch=10, total_steps=100)


def run(config, params, grads, plan=PLAN, layers=()):
  """Params after each step on grads [steps, ...] -> (list of params, last state)."""
  tx = optim.build(config, plan, layers)
  state = tx.init(params)
  update = jax.jit(tx.update)
  after = []
  for step in range(len(jax.tree.leaves(grads)[0])):
    grad = jax.tree.map(lambda g, step=step: g[step], grads)
    updates, state = update(grad, state, params, step=jnp.int32(step))
    params = optax.apply_updates(params, updates)
    after.append(params)
  return after, state


def named(arrays, prefix):
  """The arrays "prefix.name" of an oracle file, as jax arrays by name."""
  prefix += "."
  return {
    k.removeprefix(prefix): jnp.asarray(v)
    for k, v in arrays.items()
    if k.startswith(prefix)
  }


OFFICIAL = {
  "01_simclr_lars_tf_0": {
    "name": "lars",
    "classic_momentum": True,
    "exclude": ("norm_and_bias", "head_supervised"),
  },
  "04_mocov3_lars_0": {"name": "lars", "exclude": ("norm_and_bias",)},
  "05_byol_lars_0": {"name": "lars", "exclude": (r"\.b$", "norm")},
  "06_swav_larc_0": {"name": "larc"},
}


@pytest.mark.parametrize("file", OFFICIAL)
def test_lars_and_larc_take_the_official_steps(file, monkeypatch):
  o = oracle(file)
  rates = jnp.asarray(o["hp_lr_per_step"], jnp.float32)
  monkeypatch.setitem(
    optim.schedules.KINDS, "listed", lambda plan, *, base: lambda step: rates[step]
  )
  config = {
    "learning_rate": {"kind": "listed", "base": 1.0},
    "weight_decay": float(o["hp_weight_decay"]),
    "momentum": float(o["hp_momentum"]),
    "trust_coefficient": 0.001,
    **OFFICIAL[file],
  }
  after, _ = run(config, named(o, "in_w"), named(o, "in_grads"))
  for name, expected in named(o, "out_w").items():
    ours = np.stack([p[name] for p in after])
    assert_allclose(ours, expected, atol=1e-6 * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize("classic", [True, False])
def test_lars_with_nesterov_looks_one_momentum_ahead(classic):
  """SimCLR's `use_nesterov` in NumPy; with another rate a step, where the two part."""
  o, rates = oracle("01_simclr_lars_tf_0"), (0.1, 0.4, 0.3)
  listed = {
    "kind": "cosine",
    "base": 0.4,
    "end": 0.2,
    "start": 0.1,
    "warmup_epochs": 0.1,
  }
  config = {"name": "lars", "learning_rate": listed, "weight_decay": 1e-4}
  config |= {"classic_momentum": classic, "nesterov": True}
  plan = PLAN._replace(total_steps=3)
  w, v = np.float64(o["in_w.dense.kernel"]), 0.0
  params = {"w": jnp.asarray(w, jnp.float32)}
  grads = {"w": jnp.asarray(o["in_grads.dense.kernel"])}
  after, _ = run(config, params, grads, plan)
  for step, rate in enumerate(rates):
    g = np.float64(o["in_grads.dense.kernel"][step]) + 1e-4 * w
    g *= 1e-3 * np.linalg.norm(w) / np.linalg.norm(g)
    scaled = rate * g if classic else g
    v = 0.9 * v + scaled
    ahead = 0.9 * v + scaled
    w = w - (ahead if classic else rate * ahead)
    assert_allclose(after[step]["w"], w, atol=1e-6)


@pytest.mark.parametrize("rate", [1e-4, 0.5])
def test_larc_with_clip_steps_by_the_smaller_of_trust_ratio_and_rate(rate):
  o = oracle("06_swav_larc_0")
  w, grads = np.float64(o["in_w.fc"]), o["in_grads.fc"]
  config = {"name": "larc", "learning_rate": rate, "weight_decay": 0.01, "clip": True}
  after, _ = run(config, {"w": jnp.asarray(w, jnp.float32)}, {"w": jnp.asarray(grads)})
  trace = 0.0
  for step, g in enumerate(np.float64(grads)):
    trust = 1e-3 * np.linalg.norm(w) / (np.linalg.norm(g) + 0.01 * np.linalg.norm(w))
    assert (trust < rate) == (rate == 0.5)
    trace = 0.9 * trace + (g + 0.01 * w) * min(trust, rate) / rate
    w = w - rate * trace
    assert_allclose(after[step]["w"], w, atol=1e-6)


PARAMS = {
  "encoder": {"conv": {"kernel": jnp.asarray([[3.0, 4.0]]), "bias": jnp.ones(2)}},
  "prototypes": {"kernel": jnp.full((2, 2), 2.0)},
}


def constant_grads(steps, value=1.0):
  return jax.tree.map(lambda p: jnp.full((steps, *p.shape), value), PARAMS)


def test_sgd_adds_decay_to_the_gradient_of_every_parameter_as_torch_does():
  config = {
    "name": "sgd",
    "learning_rate": 0.1,
    "weight_decay": 0.5,
    "momentum": 0.9,
  }
  after, _ = run(config, PARAMS, constant_grads(2))
  w, trace = np.array(1.0), 0.0
  for params in after:
    trace = 0.9 * trace + 1.0 + 0.5 * w
    w = w - 0.1 * trace
    assert_allclose(params["encoder"]["conv"]["bias"], [w, w], rtol=1e-6)


def test_nesterov_looks_one_momentum_ahead():
  config = {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True}
  after, _ = run(config, PARAMS, constant_grads(1))
  assert_allclose(after[0]["encoder"]["conv"]["bias"], 1 - 0.1 * 1.9, rtol=1e-6)


def test_adamw_is_the_papers_with_a_decay_that_a_schedule_moves():
  cosine = {"kind": "cosine", "base": 0.04, "end": 0.4}
  config = {
    "name": "adamw",
    "learning_rate": 0.1,
    "weight_decay": cosine,
    "exclude": ("norm_and_bias",),
  }
  grads = jax.tree.map(
    lambda p: jnp.asarray(np.random.default_rng(0).normal(size=(3, *p.shape)), p.dtype),
    PARAMS,
  )
  after, _ = run(config, PARAMS, grads)
  for name, decayed in (("kernel", 1.0), ("bias", 0.0)):
    w = np.asarray(PARAMS["encoder"]["conv"][name], np.float64)
    m = v = 0.0
    for t, g in enumerate(np.asarray(grads["encoder"]["conv"][name])):
      decay = decayed * (0.4 - 0.36 * (0.5 + 0.5 * np.cos(np.pi * t / 100)))
      m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
      direction = m / (1 - 0.9 ** (t + 1))
      direction /= np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8
      w = w - 0.1 * (direction + decay * w)
      assert_allclose(after[t]["encoder"]["conv"][name], w, rtol=1e-5)


def test_clip_per_parameter_gives_dinos_official_gradients():
  o = oracle("07_dino_clip_0")
  grads = named(o, "in_grad")
  config = {
    "name": "sgd",
    "learning_rate": 1.0,
    "momentum": 0.0,
    "clip_per_parameter": float(o["hp_clip"]),
  }
  zeros = jax.tree.map(jnp.zeros_like, grads)
  (after,), _ = run(config, zeros, jax.tree.map(lambda g: g[None], grads))
  for name, expected in named(o, "out_grad").items():
    assert_allclose(-after[name], expected, atol=1e-6, err_msg=name)


def test_clip_norm_bounds_all_trained_gradients_together():
  config = {
    "name": "sgd",
    "learning_rate": 1.0,
    "momentum": 0.0,
    "clip_norm": 1.0,
    "frozen": ("prototypes",),
  }
  (after,), _ = run(config, PARAMS, constant_grads(1))
  # Four trained entries of gradient 1: the norm is 2, each becomes 1/2.
  assert_allclose(after["encoder"]["conv"]["bias"], [0.5, 0.5], rtol=1e-6)


def test_frozen_parameters_stay_and_have_no_optimizer_state():
  config = {"name": "adamw", "learning_rate": 0.1, "weight_decay": 0.1}
  frozen = {**config, "frozen": ("^encoder/conv",)}
  after, state = run(frozen, PARAMS, constant_grads(2))
  chex.assert_trees_all_close(after[-1]["encoder"], PARAMS["encoder"])
  assert (after[-1]["prototypes"]["kernel"] < 2).all()
  moments = [x for x in jax.tree.leaves(state) if x.ndim]
  assert [x.shape for x in moments] == [(2, 2)] * 2


def test_a_layer_frozen_for_an_epoch_wakes_with_fresh_moments_and_count():
  config = {
    "name": "adamw",
    "learning_rate": 0.1,
    "weight_decay": 0.1,
    "freeze_until": {"prototypes": 1},
  }
  plan = PLAN._replace(steps_per_epoch=2)
  grads = constant_grads(4)
  after, _ = run(config, PARAMS, grads, plan)
  always, _ = run({**config, "freeze_until": {}}, PARAMS, grads, plan)
  for step, expected in enumerate([PARAMS, PARAMS, always[0], always[1]]):
    chex.assert_trees_all_close(after[step]["prototypes"], expected["prototypes"])
    chex.assert_trees_all_close(after[step]["encoder"], always[step]["encoder"])


def test_partition_hands_paths_to_their_own_optimizers():
  tx = optim.partition({"^prototypes/": optax.sgd(1.0)}, optax.sgd(0.5))
  grads = jax.tree.map(jnp.ones_like, PARAMS)
  updates, _ = tx.update(grads, tx.init(PARAMS), PARAMS, step=0)
  assert_allclose(updates["prototypes"]["kernel"], -1.0)
  assert_allclose(updates["encoder"]["conv"]["bias"], -0.5)


def test_a_group_differs_in_the_fields_it_names_and_in_no_other():
  """SimSiam's predictor keeps its rate; Barlow Twins' biases have their own."""
  config = {
    "name": "sgd",
    "learning_rate": {"kind": "cosine", "base": 0.1},
    "scaling": "linear",
    "weight_decay": 0.5,
    "momentum": 0.0,
    "groups": {
      "^prototypes/": {"learning_rate": 0.1},
      "norm_and_bias": {"learning_rate": 0.01, "weight_decay": 0.0},
    },
  }
  short = PLAN._replace(total_steps=6)
  after, _ = run(config, PARAMS, constant_grads(6), short)
  moved = [x["prototypes"]["kernel"][0, 0] for x in (PARAMS, *after)]
  for before, now in itertools.pairwise(moved):
    assert_allclose(before - now, 0.2 * (1 + 0.5 * before), rtol=1e-5)
  first = after[0]["encoder"]["conv"]
  assert_allclose(first["bias"], 1 - 0.02, rtol=1e-6)
  assert_allclose(first["kernel"], [[3 - 0.2 * 2.5, 4 - 0.2 * 3]], rtol=1e-6)


def test_layer_decay_slows_blocks_towards_the_input_as_mae_counts_them():
  ones = {"kernel": jnp.ones((2, 2))}
  blocks = {"patch": ones, "block0": ones, "block1": ones, "norm": {"scale": ones}}
  params = {"encoder": blocks, "classifier": ones}
  grads = jax.tree.map(lambda x: jnp.ones((1, *x.shape)), params)
  config = {"name": "sgd", "learning_rate": 0.1, "layer_decay": 0.5}
  layers = ("patch",), ("block0",), ("block1",)
  (after,), _ = run(config, params, grads, layers=layers)
  moved = jax.tree.map(lambda x: float(1 - x[0, 0]), after)
  encoder = moved["encoder"]
  for found, expected in (
    (encoder["patch"]["kernel"], 0.1 * 0.5**3),
    (encoder["block0"]["kernel"], 0.1 * 0.5**2),
    (encoder["block1"]["kernel"], 0.1 * 0.5),
    (encoder["norm"]["scale"]["kernel"], 0.1),
    (moved["classifier"]["kernel"], 0.1),
  ):
    assert_allclose(found, expected, rtol=1e-5)


def test_layers_of_a_residual_network_are_its_blocks_in_their_order():
  names = ("conv1", "layer1_0", "layer1_1", "layer2_0", "layer3_0", "bn_last")
  params = {"encoder": {name: {"kernel": jnp.ones(1)} for name in names}}
  layers = nets.build({"name": "resnet18", "stage_sizes": (2, 1, 1)}).layers
  found = paths.depths(params, layers)
  expected = dict(zip(names, (0, 1, 2, 3, 4, 5), strict=True))
  assert found == {f"encoder/{k}/kernel": v for k, v in expected.items()}


def test_layers_are_counted_wherever_the_encoder_stands():
  encoder = {name: {"kernel": jnp.ones(1)} for name in ("registers", "mask", "block0")}
  params = {"view0": {"encoder": encoder}, "projector": {"fc1": jnp.ones(1)}}
  layers = nets.build({"name": "vit_ti", "depth": 2, "registers": 4}).layers
  found = paths.depths(params, layers)
  assert found.pop("projector/fc1") == 3
  assert set(found.values()) == {0, 1}
  assert found["view0/encoder/block0/kernel"] == 1


def test_relative_positions_that_blocks_share_move_as_the_last_of_them():
  """As `get_num_layer` of BEiT's and SimMIM's code: factor 1."""
  table = {"encoder": {"relative": {"table": jnp.ones(1)}}}
  layers = nets.build({"name": "vit_ti", "depth": 2, "position": "relative"}).layers
  assert paths.depths(table, layers) == {"encoder/relative/table": len(layers)}


def test_layer_decay_of_an_encoder_without_depths_is_refused():
  config = {"name": "sgd", "learning_rate": 0.1, "layer_decay": 0.5}
  with pytest.raises(ConfigError, match=r"layer_decay=0\.5: the encoder does not say"):
    optim.build(config, PLAN)


def test_rates_reports_what_a_step_takes():
  config = {
    "name": "lars",
    "learning_rate": {"kind": "cosine", "base": 0.2, "warmup_epochs": 5},
    "scaling": "linear",
    "weight_decay": 1e-6,
  }
  now = optim.rates(config, PLAN)(jnp.int32(25))
  assert_allclose(now["learning_rate"], 0.2 * 512 / 256 * 25 / 50, rtol=1e-6)
  assert_allclose(now["weight_decay"], 1e-6, rtol=1e-6)


BASE = {"name": "sgd", "learning_rate": 0.1}
MISTAKES = {
  "optimizer.name='adam' must be one of sgd, lars, larc, adamw": {
    **BASE,
    "name": "adam",
  },
  "optimizer 'sgd' has no field b1=0.9; it has name, momentum,": {**BASE, "b1": 0.9},
  "optimizer 'sgd' needs the field learning_rate": {"name": "sgd"},
  "optimizer.scaling='log' must be one of none, linear, sqrt": {
    **BASE,
    "scaling": "log",
  },
  r"optimizer.exclude='bias' must be a tuple of texts": {
    **BASE,
    "exclude": "bias",
  },
  "optimizer.frozen holds 'encodr', which is in no parameter's path": {
    **BASE,
    "frozen": ("encodr",),
  },
  r"optimizer.groups\['encoder'\] has no field nesterof=True; it has momentum": {
    **BASE,
    "groups": {"encoder": {"nesterof": True}},
  },
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_a_wrong_config_is_told_what_is_allowed(sentence):
  with pytest.raises(ValueError, match="^" + sentence):
    optim.build(MISTAKES[sentence], PLAN).init(PARAMS)

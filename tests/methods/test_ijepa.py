"""I-JEPA: the official loss and gradients; what fills the arrays changes nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import torch_names
from numpy.testing import assert_allclose, assert_array_equal
from oracle_file import oracle

from ssljax import core, recipe
from ssljax.fields import ConfigError
from ssljax.losses import masked
from ssljax.methods.ijepa import IJEPA
from ssljax.nets import LatentPredictor
from ssljax.nets.decoder import PatchPredictor
from ssljax.nets.vit import ViT


def encoder_parameters(state_dict):
  return torch_names.variables(state_dict, torch_names.vit)["params"]


def predictor_parameters(state_dict):
  plain = {k.removeprefix("predictor_"): v for k, v in state_dict.items()}
  params = torch_names.variables(plain, torch_names.vit)["params"]
  return {**params, "mask": np.float32(state_dict["mask_token"])[None]}


@functools.cache
def official():
  """The oracle, our method of its sizes, parameters, a state, its batch."""
  o = oracle("12_ijepa_full_0")
  ratio = float(o["hp_mlp_ratio"])
  net = LatentPredictor(
    ViT(
      width=int(o["hp_embed_dim"]),
      depth=int(o["hp_depth"]),
      heads=int(o["hp_num_heads"]),
      patch_size=int(o["hp_patch_size"]),
      mlp_ratio=ratio,
      position="sincos_columns",
      class_token=False,
      pool="mean",
    ),
    PatchPredictor(
      width=int(o["hp_pred_dim"]),
      depth=int(o["hp_pred_depth"]),
      heads=int(o["hp_pred_heads"]),
      mlp_ratio=ratio,
    ),
  )
  params = {
    "encoder": encoder_parameters(torch_names.under(o, "in_encoder.")),
    "patch_predictor": predictor_parameters(torch_names.under(o, "in_predictor.")),
  }
  teacher = {"encoder": encoder_parameters(torch_names.under(o, "in_target."))}
  target = {"params": teacher, "batch_stats": {}}
  state = core.TrainState(jnp.int32(0), None, {}, target, None)
  blocks = o["in_masks_pred"].swapaxes(0, 1)
  context = o["in_masks_enc"][0]
  batch = {
    "image": np.float32(o["in_x"].transpose(0, 2, 3, 1)),
    "target": np.int32(blocks),
    "weight": np.ones(blocks.shape, np.float32),
    "context": np.int32(context),
    "seen": np.full(len(context), context.shape[1], np.int32),
  }
  batch = {name: jnp.asarray(x)[:, None] for name, x in batch.items()}
  return o, IJEPA(net, tau=lambda step: 0.5), params, state, batch


@functools.cache
def compiled(method):
  def loss(params, state, batch):
    return method.loss_fn(params, state, batch, None)[0]

  return jax.jit(jax.value_and_grad(loss))


def value_and_grads(method, params, state, batch):
  return compiled(method)(params, state, batch)


def close(actual, expected):
  pairs = zip(
    jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True
  )
  for (path, ours), theirs in pairs:
    # Of a bias of keys the exact gradient is 0.
    scale = max(np.abs(theirs).max(), 1e-3)
    name = jax.tree_util.keystr(path)
    assert_allclose(ours, theirs, atol=2e-5 * scale, err_msg=name)


def test_loss_and_every_gradient_are_the_official_ones():
  o, method, params, state, batch = official()
  loss, grads = value_and_grads(method, params, state, batch)
  assert_allclose(loss, o["out_loss"], rtol=2e-6)
  close(grads["encoder"], encoder_parameters(torch_names.under(o, "out_grad_encoder.")))
  expected = predictor_parameters(torch_names.under(o, "out_grad_predictor."))
  close(grads["patch_predictor"], expected)


def test_predictions_and_targets_are_the_official_ones():
  o, method, params, _, batch = official()
  x = {name: array[:, 0] for name, array in batch.items()}
  outputs = method.net.apply({"params": params}, x, train=False)
  z = o["out_z"].reshape(4, 2, 6, 12).swapaxes(0, 1)  # block by block
  assert_allclose(outputs["prediction"], z, atol=5e-6)
  target = encoder_parameters(torch_names.under(o, "in_target."))
  teacher = method.net.encoder.apply({"params": target}, {"image": x["image"]}, False)
  h = masked.normalised(
    jnp.take_along_axis(
      teacher["patches"], x["target"].reshape(len(x["target"]), -1, 1), axis=1
    )
  )
  h = np.asarray(h).reshape(2, 4, 6, 12).swapaxes(0, 1).reshape(8, 6, 12)
  assert_allclose(h, o["out_h"], atol=5e-6)


def test_what_only_fills_the_arrays_changes_neither_loss_nor_gradient():
  _, method, params, state, batch = official()
  expected = value_and_grads(method, params, state, batch)
  rng = np.random.default_rng(0)

  def filled(x, more, value=None):
    filler = rng.integers(0, 36, (*x.shape[:-1], more)) if value is None else value
    filler = np.broadcast_to(filler, (*x.shape[:-1], more)).astype(x.dtype)
    return jnp.concatenate([x, filler], -1)

  longer = {
    **batch,
    "target": filled(batch["target"], 3),
    "weight": filled(batch["weight"], 3, 0),
    "context": filled(batch["context"], 5),
  }
  actual = value_and_grads(method, params, state, longer)
  assert_allclose(actual[0], expected[0], rtol=1e-6)
  close(actual[1], expected[1])
  fewer = {**longer, "seen": longer["seen"] - 2}
  assert abs(value_and_grads(method, params, state, fewer)[0] - expected[0]) > 1e-4


def test_each_block_is_predicted_by_itself_and_weighs_as_much_as_any_other():
  _, method, params, state, batch = official()
  halved = {**batch, "weight": batch["weight"].at[:, :, 0, 3:].set(0)}
  loss, _ = value_and_grads(method, params, state, halved)
  parts = []
  for block in range(4):
    one = {k: halved[k][:, :, block : block + 1] for k in ("target", "weight")}
    parts.append(value_and_grads(method, params, state, {**halved, **one})[0])
  assert_allclose(loss, np.mean(parts), rtol=1e-5)


def test_smooth_l1_is_a_parabola_up_to_beta_and_a_line_beyond():
  rng = np.random.default_rng(0)
  x, y = (3 * rng.normal(size=(2, 5, 4))).astype(np.float32)
  for beta in (1.0, 2.0):
    d = np.abs(np.float64(x) - y)
    expected = np.where(d < beta, d**2 / (2 * beta), d - beta / 2).mean(-1)
    assert_allclose(masked.smooth_l1(x, y, beta), expected, rtol=1e-6)


def test_the_teacher_is_an_average_and_is_judged():
  built = tiny.parts("ijepa")
  first = tiny.first_state(built)
  assert set(first.target["params"]) == {"encoder"}
  state, _ = tiny.step(built, first, 1)
  tau = float(built.method.tau(0))
  mean = lambda old, new: tau * old + (1 - tau) * new  # noqa: E731
  expected = jax.tree.map(
    mean, first.target["params"]["encoder"], state.params["encoder"]
  )
  jax.tree.map(
    lambda x, y: assert_allclose(x, y, atol=1e-6),
    state.target["params"]["encoder"],
    expected,
  )
  x = tiny.batch()["image"].astype(np.float32)
  rows = built.method.embed(state, x)
  weights = {"params": state.target["params"]["encoder"]}
  alone = built.method.net.encoder.apply(weights, {"image": x}, False)
  assert_array_equal(rows, alone["features"])


def test_views_without_blocks_are_refused():
  config = tiny.configs()["ijepa_cifar10"].copy_and_resolve_references()
  config.augment.targets = 0
  with pytest.raises(ConfigError, match=r"augment.targets=0: method 'ijepa' hides"):
    recipe.build(config, tiny.PLAN)

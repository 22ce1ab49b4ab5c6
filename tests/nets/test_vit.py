"""ViT against DINO's and MoCo v3's own outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_names
from flax import linen as nn
from numpy.testing import assert_allclose, assert_array_equal
from oracle_file import oracle

from ssljax.nets import positions, transformer
from ssljax.nets.vit import ViT
from ssljax.train import flops

SMALL = {"width": 24, "depth": 2, "heads": 3, "patch_size": 4}


def load(name):
  data = oracle(name)
  state_dict = torch_names.under(data, "in_sd.")
  cls, position = state_dict.pop("cls_token"), state_dict.pop("pos_embed")
  params = torch_names.variables(state_dict, torch_names.vit)["params"]
  params |= {"cls": np.float32(cls), "position": np.float32(position)}
  net = ViT(
    width=int(data["hp_embed_dim"]),
    depth=int(data["hp_depth"]),
    heads=int(data["hp_num_heads"]),
    patch_size=int(data["hp_patch_size"]),
    mlp_ratio=int(data["hp_mlp_ratio"]),
    image_size=int(data["hp_img_size"]),
    position="learned",
  )
  return data, net, params


@pytest.mark.parametrize(
  ("name", "size"),
  [
    ("13_dino_vit_narrow", 0),
    ("13_dino_vit_narrow", 1),
    ("13_dino_vit_narrow", 2),
    ("13_dino_vit_narrow_p8", 1),
  ],
)
def test_features_tokens_and_attention_are_dinos(name, size):
  data, net, params = load(name)
  image = data[f"in_x.{size}"].astype(np.float32).transpose(0, 2, 3, 1)

  @jax.jit
  def forward(params, x):
    return net.apply({"params": params}, x, False, mutable=["intermediates"])

  outputs, inside = forward(params, {"image": image})
  inside = inside["intermediates"]
  assert_allclose(outputs["features"], data[f"out_features.{size}"], atol=2e-5)
  assert_array_equal(outputs["cls"], outputs["features"])
  assert_array_equal(outputs["patches"], inside["tokens"][-1]["patches"])
  tokens = np.stack(
    [
      np.concatenate([x["cls"][:, None], x["patches"]], 1)
      for x in inside["tokens"][-2:]
    ]
  )
  assert_allclose(tokens, data[f"out_intermediate2.{size}"], atol=2e-5)
  assert_allclose(inside["attention"][-1], data[f"out_last_attn.{size}"], atol=2e-6)


def test_gradients_are_dinos():
  data, net, params = load("13_dino_vit_narrow")
  image = data["in_x.0"].astype(np.float32).transpose(0, 2, 3, 1)

  @jax.jit
  @jax.grad
  def grad(params):
    outputs = net.apply({"params": params}, {"image": image}, False)
    return (outputs["features"] * data["in_cotangent"]).sum()

  grads = grad(params)
  for ours, theirs in (
    (grads["patch"]["bias"], data["out_grad_patch_bias"]),
    (grads["block0"]["attn"]["qkv"]["kernel"], data["out_grad_qkv0"].T),
    (grads["position"], data["out_grad_pos_embed"]),
  ):
    assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_positions_are_interpolated_as_dino_does():
  data = oracle("13_pos_embed_interp_0")
  table = jnp.asarray(data["in_pos_embed"][0, 1:].reshape(14, 14, 6))
  ours = positions.resize_positions(table, 6, 6).reshape(36, 6)
  assert_allclose(ours, data["out_dino"][0, 1:], atol=1e-5)


def test_sincos_positions_are_those_of_moco_v3():
  theirs = oracle("13_mocov3_sincos_0")["out_pos"][0, 1:]
  assert_allclose(positions.sincos(4, 4, 16), theirs, atol=1e-6)


def test_sincos_positions_with_the_column_first_are_those_of_mae():
  theirs = oracle("12_mae_sincos_0")["out_pos_nocls"]
  assert_allclose(positions.sincos(4, 4, 16, column_first=True), theirs, atol=1e-6)


@pytest.mark.parametrize("column_first", [False, True])
def test_sincos_gives_a_patch_its_own_row_and_column_in_a_grid_that_is_not_square(
  column_first,
):
  table = positions.sincos(2, 3, 8, column_first)
  for n, (row, column) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]):
    first, second = (column, row) if column_first else (row, column)
    waves = [f(x) for x in (first, second) for f in (np.sin, np.cos)]
    assert_allclose(table[n, ::2], waves, atol=1e-6)


def test_moco_v3s_code_gives_a_grid_that_is_not_square_the_transposed_ones_table():
  """Its `meshgrid(arange(w), arange(h))`, rows of w, meets patches in rows of h."""
  first, second = (x.ravel() for x in np.mgrid[:3, :2])  # w = 3, h = 2
  theirs = np.stack([np.sin(first), np.cos(first), np.sin(second), np.cos(second)], 1)
  assert_allclose(positions.sincos(3, 2, 4), theirs, atol=1e-6)
  assert np.abs(positions.sincos(2, 3, 4) - theirs).max() > 0.1


def test_a_frozen_patch_projection_gets_no_gradient():
  net = ViT(**SMALL, stop_grad_patch=True)
  x = {"image": jax.random.normal(jax.random.key(0), (2, 8, 8, 3))}
  params = jax.jit(net.init, static_argnums=2)(jax.random.key(1), x, False)
  params = params["params"]

  @jax.jit
  @jax.grad
  def grad(params):
    return net.apply({"params": params}, x, True)["features"][:, 0].sum()

  grads = grad(params)
  assert not grads["patch"]["kernel"].any()
  assert not grads["patch"]["bias"].any()
  assert grads["block0"]["fc1"]["kernel"].any()


def test_drop_path_leaves_whole_residuals_out_and_keeps_their_mean():
  keys = jax.random.split(jax.random.key(0), 4000)
  y = transformer.drop_path(jnp.ones((4000, 2, 3)), 0.25, keys)
  assert_allclose(y, jnp.broadcast_to(y[:, :1, :1], y.shape))
  assert_allclose(np.unique(y), [0, 4 / 3], rtol=1e-6)
  assert_allclose(y.mean(), 1, atol=0.03)


def test_bfloat16_keeps_parameters_and_features_in_float32():
  net = ViT(**SMALL, pool="mean", dtype=jnp.bfloat16)
  x = {"image": jnp.ones((2, 8, 8, 3))}
  outputs, variables = jax.eval_shape(
    lambda: net.init_with_output(jax.random.key(0), x, False)
  )
  found = jax.tree.leaves((outputs, variables))
  assert {x.dtype for x in found} == {jnp.dtype("float32")}


def test_the_residual_stream_of_bfloat16_is_float32():
  """What blocks take and give, and what they multiply."""
  net = ViT(**SMALL, dtype=jnp.bfloat16)
  x = {"image": jnp.ones((2, 8, 8, 3))}
  streams = []

  def look(call, args, kwargs, context):
    outputs = call(*args, **kwargs)
    is_block = isinstance(context.module, transformer.Block)
    if is_block and context.method_name == "__call__":
      streams.extend([args[0].dtype.name, outputs[0].dtype.name])
    return outputs

  def features(params):
    with nn.intercept_methods(look):
      return net.apply(params, x, True)["features"].sum()

  params = jax.eval_shape(lambda: net.init(jax.random.key(0), x, False))
  counted = flops.count(jax.make_jaxpr(jax.grad(features))(params))
  assert set(streams) == {"float32"}
  assert set(counted) == {"bfloat16"}


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    ({"patch_size": 3}, "encoder.patch_size=3 must divide .* 8 pixels; try .* of 6"),
    ({"heads": 5}, "heads=5 must divide width=24"),
    ({"pool": "max"}, "pool='max' must be one of cls, mean"),
    ({"class_token": False}, "pool='cls' needs encoder.class_token=True"),
    (
      {"position": "rotary"},
      "position='rotary' must be one of sincos, sincos_columns, learned",
    ),
  ],
)
def test_what_does_not_fit_is_named(fields, sentence):
  x = {"image": jnp.zeros((1, 8, 8, 3))}
  with pytest.raises(ValueError, match=sentence):
    ViT(**(SMALL | fields)).init(jax.random.key(0), x, False)


@pytest.mark.parametrize("registers", [0, 2])
@pytest.mark.parametrize("position", ["sincos", "sincos_columns", "learned"])
def test_patches_keep_their_place_when_others_are_hidden(position, registers):
  """All of them in another order give the same tokens in that order."""
  net = ViT(**SMALL, position=position, image_size=8, registers=registers)
  x = {"image": jax.random.normal(jax.random.key(0), (2, 8, 8, 3))}
  params = jax.jit(net.init, static_argnums=2)(jax.random.key(1), x, False)
  keep = jnp.array([[2, 0, 3, 1], [1, 3, 0, 2]])
  straight = net.apply(params, x, False)
  turned = net.apply(params, {**x, "keep": keep}, False)
  expected = jnp.take_along_axis(straight["patches"], keep[..., None], axis=1)
  assert_allclose(turned["patches"], expected, atol=1e-5)
  assert_allclose(turned["cls"], straight["cls"], atol=1e-5)
  few = net.apply(params, {**x, "keep": keep[:, :2]}, False)
  assert few["patches"].shape == (2, 2, 24)

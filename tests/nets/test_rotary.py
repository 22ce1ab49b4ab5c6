"""Rotary positions, keys without bias and pooling by attention, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssljax.fields import ConfigError
from ssljax.nets import positions, transformer
from ssljax.nets.readouts import readouts
from ssljax.nets.vit import ViT

RNG = np.random.default_rng(0)


def test_angles_are_those_of_the_patch_centres():
  """DINOv3: two rows at -1/2 and 1/2, one column at 0, wavelengths 1 and 10."""
  found = positions.rotary(2, 1, 8, base=100.0)
  row = np.pi * np.array([1, 0.1])
  expected = [[*-row, 0, 0, *-row, 0, 0], [*row, 0, 0, *row, 0, 0]]
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_pair_of_numbers_turns_as_a_complex_number_does():
  x = RNG.normal(size=(2, 3, 2, 8)).astype(np.float32)
  angles = RNG.normal(size=(1, 3, 4)).astype(np.float32)
  found = positions.rotate(x, jnp.concatenate([angles, angles], -1))
  turned = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * angles[:, :, None])
  expected = np.concatenate([turned.real, turned.imag], -1)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_what_a_query_sees_of_a_key_depends_on_how_far_apart_they_are():
  q, k = RNG.normal(size=(2, 8))
  angles = positions.rotary(4, 5, 8)[None]
  at_all = lambda x: np.broadcast_to(np.float32(x), (1, 20, 1, 8))  # noqa: E731
  turned = [np.asarray(positions.rotate(at_all(x), angles))[0, :, 0] for x in (q, k)]
  seen = (turned[0] @ turned[1].T).reshape(4, 5, 4, 5)
  np.testing.assert_allclose(seen[0, 0, 1, 2], seen[2, 1, 3, 3], rtol=1e-5)
  assert abs(seen[0, 0, 1, 2] - seen[0, 0, 2, 1]) > 1e-3


def test_a_head_that_cannot_be_quartered_is_named():
  with pytest.raises(ConfigError, match="6 numbers; rotary positions need a multiple"):
    positions.rotary(2, 2, 6)


def vit(**fields):
  net = ViT(width=16, depth=2, heads=2, patch_size=4, **fields)
  x = jnp.asarray(RNG.normal(size=(2, 8, 12, 3)), jnp.float32)
  variables = jax.jit(lambda k: net.init(k, {"image": x}, False))(jax.random.key(0))
  return net, variables, x


def test_patches_left_out_leave_the_others_where_they_are():
  """Of all patches in another order the features are the same."""
  net, variables, x = vit(position="rope", key_bias=False)
  assert "position" not in variables["params"]
  order = jnp.asarray(RNG.permutation(6))[None].repeat(2, 0)
  one = net.apply(variables, {"image": x}, False)
  two = net.apply(variables, {"image": x, "keep": order}, False)
  np.testing.assert_allclose(one["features"], two["features"], atol=1e-5)
  shuffled = np.take_along_axis(np.asarray(one["patches"]), order[..., None], 1)
  np.testing.assert_allclose(two["patches"], shuffled, atol=1e-5)


def test_the_bias_of_keys_counts_for_nothing_and_gets_no_gradient():
  net, variables, x = vit(position="rope", key_bias=False)

  def total(variables):
    return net.apply(variables, {"image": x}, False)["features"].sum()

  grad = jax.jit(jax.grad(total))(variables)["params"]["block0"]["attn"]["qkv"]["bias"]
  q, k, v = np.split(np.asarray(grad), 3)
  assert not k.any()
  assert q.any()
  assert v.any()


def test_without_a_class_token_patches_are_pooled_by_a_learned_query():
  net, variables, x = vit(class_token=False, pool="attention", position="learned")
  params = variables["params"]
  assert "cls" not in params
  outputs = net.apply(variables, {"image": x}, False)
  assert "cls" not in outputs
  tokens, pool = (
    np.asarray(outputs["patches"]),
    jax.tree.map(np.asarray, params["pool"]),
  )
  maps, _ = pool_by_hand(pool, tokens)
  found, attention = transformer.AttentionPool(
    2, 4.0, jax.nn.initializers.zeros, jnp.float32
  ).apply({"params": pool}, tokens)
  np.testing.assert_allclose(attention[:, :, 0], maps, atol=1e-5)
  np.testing.assert_allclose(found, pool_by_hand(pool, tokens)[1], atol=1e-5)
  np.testing.assert_allclose(outputs["features"], found, atol=1e-6)
  np.testing.assert_allclose(readouts([outputs])["cls"], tokens.mean(1), atol=1e-6)


def pool_by_hand(pool, tokens):
  """One query by two heads of 8 numbers -> maps [B,2,N], pooled [B,16]."""
  kernel, bias = pool["qkv"]["kernel"], pool["qkv"]["bias"]
  query = pool["probe"][0, 0] @ kernel[:, :16] + bias[:16]
  keys, values = np.split(tokens @ kernel[:, 16:] + bias[16:], 2, axis=-1)
  maps, outs = [], []
  for head in (slice(0, 8), slice(8, 16)):
    scores = np.exp(keys[..., head] @ query[head] / 8**0.5)
    maps.append(scores / scores.sum(-1, keepdims=True))
    outs.append((maps[-1][..., None] * values[..., head]).sum(1))
  y = np.concatenate(outs, -1) @ pool["proj"]["kernel"] + pool["proj"]["bias"]
  z = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6)
  z = z * pool["norm"]["scale"] + pool["norm"]["bias"]
  z = np.asarray(jax.nn.gelu(z @ pool["fc1"]["kernel"] + pool["fc1"]["bias"], False))
  return np.stack(maps, 1), y + z @ pool["fc2"]["kernel"] + pool["fc2"]["bias"]


def test_a_class_token_that_is_not_there_cannot_be_read():
  with pytest.raises(ConfigError, match=r"pool='cls' needs encoder\.class_token=True"):
    vit(class_token=False)


def test_a_box_moves_each_side_alone_and_is_rescaled_as_one():
  """DINOv3's code: centres plus a shift, times a jitter a side, times one for both."""
  keys = jax.random.split(jax.random.key(0), 500)
  changes = dict(shift=0.5, jitter=2.0, rescale=4.0)
  found = np.asarray(positions.varied_rotary(keys, 2, 3, 4, **changes)) / (2 * np.pi)
  row, column = found[..., 0].reshape(-1, 2, 3), found[..., 1].reshape(-1, 2, 3)
  assert np.array_equal(found[..., :2], found[..., 2:])
  high, wide = row[:, 1, 0] - row[:, 0, 0], column[:, 0, 2] - column[:, 0, 0]
  np.testing.assert_allclose(row, row[:, :, :1].repeat(3, 2))
  both = np.log([high / 1, wide / (4 / 3)])  # of the box as it is
  assert np.abs(both).max() < np.log(8) + 1e-5
  np.testing.assert_allclose(both.mean(1), 0, atol=0.1)
  own = (both[0] - both[1]) / np.log(2)  # two jitters' difference: -2 to 2
  assert 1.5 < np.abs(own).max() <= 2 + 1e-5
  middle = row.mean((1, 2)) / high  # the shift, of a side of 1
  assert 0.45 < np.abs(middle).max() <= 0.5 + 1e-5
  same = positions.varied_rotary(keys[:1], 2, 3, 4)[0]
  np.testing.assert_allclose(same, positions.rotary(2, 3, 4), rtol=1e-6)


def test_an_encoder_s_boxes_vary_with_the_keys_alone():
  net, variables, x = vit(position="rope", rope_rescale=2.0)
  still = net.apply(variables, {"image": x}, True)["features"]
  keys = jax.random.split(jax.random.key(1), 2)
  one, two = (
    net.apply(variables, {"image": x, "keys": k}, True)["features"]
    for k in (keys, keys[::-1])
  )
  assert np.abs(one - still).max() > 1e-4
  assert np.abs(one - two).max() > 1e-4
  again = net.apply(variables, {"image": x, "keys": keys}, True)["features"]
  np.testing.assert_array_equal(one, again)

"""Token dropout: what a vision transformer sees of a picture while it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from ssljax.fields import ConfigError
from ssljax.nets import kept, positions
from ssljax.nets.heads import MLP, Network
from ssljax.nets.vit import ViT
from ssljax.train import flops

B, N = 6, 16
IMAGE = np.random.default_rng(0).normal(size=(B, 16, 16, 3)).astype(np.float32)
KEYS = jax.random.split(jax.random.key(3), B)
SMALL = {"width": 16, "depth": 1, "heads": 2, "patch_size": 4, "image_size": 16}
POSITIONS = ("sincos", "sincos_columns", "learned", "rope", "relative")
every_position = pytest.mark.parametrize("position", POSITIONS)


def start(net, x=None):
  x = x or {"image": IMAGE}
  params = jax.jit(lambda: net.init(jax.random.key(1), x, False))()
  bump = lambda x: x + 0.1 * jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)  # noqa: E731
  return jax.tree.map(bump, params)


def apply(net, params, **x):
  return jax.jit(lambda p, x: net.apply(p, x, True))(params, {"image": IMAGE, **x})


def drawn(share):
  """What a network of one block keeps, by the keys of examples."""
  keys = jax.vmap(jax.random.fold_in, (0, None))(KEYS, SMALL["depth"])
  return np.asarray(kept.draw_kept(keys, N, share))


@pytest.mark.parametrize(("share", "count"), [(0.5, 8), (0.3, 11), (0.99, 1)])
def test_as_many_are_left_as_said_in_order_and_each_is_as_likely(share, count):
  keys = jax.random.split(jax.random.key(0), 4000)
  index = np.asarray(kept.draw_kept(keys, N, share))
  assert index.shape == (4000, count)
  assert (np.diff(index, axis=1) > 0).all()
  seen = np.bincount(index.ravel(), minlength=N) / 4000
  assert_allclose(seen, count / N, atol=0.04)


@every_position
def test_a_share_of_nothing_changes_no_bit(position):
  net = ViT(**SMALL, position=position)
  params = start(net)
  plain = jax.jit(lambda p: net.apply(p, {"image": IMAGE}, False))(params)
  none = apply(net.clone(token_drop=0.0), params, keys=KEYS)
  jax.tree.map(np.testing.assert_array_equal, none, plain)


@every_position
def test_patches_left_keep_the_positions_of_the_whole(position):
  """As if all others were hidden from attention: the same grid, and places in it."""
  net = ViT(**SMALL, position=position, token_drop=0.5)
  params, index = start(net), drawn(0.5)
  ours = apply(net, params, keys=KEYS)
  assert ours["patches"].shape == (B, 8, 16)
  keep = apply(net.clone(token_drop=0.0), params, keep=index)
  jax.tree.map(lambda a, b: assert_allclose(a, b, atol=1e-6), ours, keep)


def test_a_token_is_that_of_one_block_in_numpy():
  """Example 0 by hand: positions of a 4 x 4 grid, added before any is left out."""
  net = ViT(**SMALL, token_drop=0.5)
  params, index = start(net), drawn(0.5)[0]
  ours = apply(net, params, keys=KEYS)
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), params["params"])

  def norm(x, p):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]

  tiles = IMAGE[0].reshape(4, 4, 4, 4, 3).swapaxes(1, 2).reshape(N, -1)
  table = np.asarray(positions.sincos(4, 4, 16))
  patches = tiles @ p["patch"]["kernel"].reshape(-1, 16) + p["patch"]["bias"] + table
  x, block = np.concatenate([p["cls"][0], patches[index]]), p["block0"]
  qkv = norm(x, block["norm1"]) @ block["attn"]["qkv"]["kernel"]
  q, k, v = (
    (qkv + block["attn"]["qkv"]["bias"]).reshape(9, 3, 2, 8).transpose(1, 2, 0, 3)
  )
  scores = np.exp(q @ k.swapaxes(1, 2) / np.sqrt(8))
  y = (scores / scores.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(9, 16)
  x = x + y @ block["attn"]["proj"]["kernel"] + block["attn"]["proj"]["bias"]
  y = norm(x, block["norm2"]) @ block["fc1"]["kernel"] + block["fc1"]["bias"]
  y = np.asarray(jax.nn.gelu(y, approximate=False))
  x = norm(x + y @ block["fc2"]["kernel"] + block["fc2"]["bias"], p["norm"])
  assert_allclose(ours["cls"][0], x[0], atol=1e-4)
  assert_allclose(ours["patches"][0], x[1:], atol=1e-4)


def test_whoever_has_no_keys_and_whoever_is_judged_sees_all():
  net = ViT(**SMALL, token_drop=0.5)
  params = start(net)
  teacher = apply(net, params)
  judged = jax.jit(lambda p: net.apply(p, {"image": IMAGE, "keys": KEYS}, False))(
    params
  )
  jax.tree.map(lambda a, b: assert_allclose(a, b, atol=1e-6), teacher, judged)
  assert teacher["patches"].shape == (B, N, 16)


@pytest.mark.parametrize("entry", ["keep", "mask"])
def test_a_method_that_hides_patches_itself_is_refused(entry):
  net = ViT(**SMALL, token_drop=0.5, mask_token=True)
  x = {"keep": np.zeros((B, 2), np.int32), "mask": np.zeros((B, N), bool)}
  with pytest.raises(
    ConfigError, match=r"^encoder\.token_drop=0\.5: the method itself"
  ):
    apply(net, start(net), **{entry: x[entry]})


def test_a_head_that_reads_all_patches_is_refused():
  net = Network(ViT(**SMALL, token_drop=0.5), dense_projector=MLP(1, 4))
  with pytest.raises(
    ConfigError, match=r"method\.dense_projector reads all; set it to"
  ):
    jax.eval_shape(lambda: net.apply(start(net), {"image": IMAGE, "keys": KEYS}, True))


def test_half_of_the_patches_cost_half_of_the_arithmetic():
  """Of all but the projection of patches, and less of attention."""
  costs = {}
  for share in (0.0, 0.5):
    net = ViT(**{**SMALL, "depth": 4}, token_drop=share)
    params = start(net)
    jaxpr = jax.make_jaxpr(
      lambda p: net.apply(p, {"image": IMAGE, "keys": KEYS}, True)["features"]  # noqa: B023
    )(params)
    costs[share] = flops.total(flops.count(jaxpr))
  assert 0.5 < costs[0.5] / costs[0.0] < 0.6

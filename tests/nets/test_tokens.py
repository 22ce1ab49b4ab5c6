"""A transformer's registers, its mask token, and the paths that it drops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ssljax.fields import ConfigError
from ssljax.nets.transformer import drop_path
from ssljax.nets.vit import ViT

SMALL = {"width": 24, "depth": 2, "heads": 3, "patch_size": 4, "image_size": 8}
B, N = 5, 4
IMAGE = np.random.default_rng(0).normal(size=(B, 8, 8, 3)).astype(np.float32)
RAMP = np.linspace(-1, 1, 24, dtype=np.float32)  # no norm takes it out
POSITIONS = ["sincos", "sincos_columns", "learned"]


@functools.cache
def start(net):
  params = jax.jit(net.init, static_argnums=2)(
    jax.random.key(0), {"image": IMAGE}, False
  )
  return jax.device_get(params["params"])


def run(net, params=None, train=False, image=IMAGE, **inputs):
  x = {"image": image, **inputs}
  apply = jax.jit(net.apply, static_argnums=2)
  return jax.device_get(apply({"params": params or start(net)}, x, train))


def blind(params):
  """The same parameters with an attention that adds nothing: each token alone."""
  params = dict(params)
  for block in ("block0", "block1"):
    proj = jax.tree.map(np.zeros_like, params[block]["attn"]["proj"])
    attn = {**params[block]["attn"], "proj": proj}
    params[block] = {**params[block], "attn": attn}
  return params


@pytest.mark.parametrize("pool", ["cls", "mean", "raw_mean"])
def test_registers_are_named_and_no_part_of_the_features(pool):
  net = ViT(**SMALL, registers=3, pool=pool)
  outputs = run(net)
  shapes = {name: x.shape for name, x in outputs.items()}
  assert shapes == {
    "features": (B, 24),
    "cls": (B, 24),
    "registers": (B, 3, 24),
    "patches": (B, N, 24),
  }
  pooled = outputs["cls"] if pool == "cls" else outputs["patches"].mean(1)
  assert_allclose(outputs["features"], pooled, atol=1e-6)
  assert start(net)["registers"].shape == (1, 3, 24)


@pytest.mark.parametrize("position", POSITIONS)
def test_patches_stand_where_they_stood_without_registers(position):
  """Seen with an attention that adds nothing: then nothing else may change them."""
  with_them = ViT(**SMALL, position=position, registers=3)
  without = ViT(**SMALL, position=position)
  params = start(with_them)
  rest = {k: v for k, v in params.items() if k != "registers"}
  jax.tree.map(lambda x, y: assert_array_equal(x.shape, y.shape), rest, start(without))
  ours, expected = run(with_them, blind(params)), run(without, blind(rest))
  for name in ("cls", "patches", "features"):
    assert_allclose(ours[name], expected[name], atol=1e-6)
  for row in ours["registers"][:, :, None] - ours["registers"][:1, :, None]:
    assert not row.any()  # no picture, no position: what was learned, alone


def test_registers_have_a_say_and_see_the_picture():
  net = ViT(**SMALL, registers=3)
  params = start(net)
  moved = {**params, "registers": params["registers"] + RAMP}
  before, after = run(net), run(net, moved)
  assert np.abs(after["patches"] - before["patches"]).max() > 1e-3
  assert np.abs(after["cls"] - before["cls"]).max() > 1e-3
  assert np.abs(before["registers"][1:] - before["registers"][:1]).max() > 1e-3


def test_all_tokens_attend_patches_last():
  net = ViT(**SMALL, registers=3)
  outputs, inside = net.apply(
    {"params": start(net)}, {"image": IMAGE}, False, mutable=["intermediates"]
  )
  shown = inside["intermediates"]
  assert [x.shape for x in shown["attention"]] == 2 * [(B, 3, 1 + 3 + N, 1 + 3 + N)]
  assert len(shown["tokens"]) == 2
  for name, x in shown["tokens"][-1].items():
    assert_array_equal(x, outputs[name])
  assert shown["tokens"][0].keys() == {"cls", "registers", "patches"}


MASK = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1]])
MASK = MASK.astype(bool)
PIXELS = MASK.reshape(B, 2, 2).repeat(4, 1).repeat(4, 2)[..., None]


@pytest.mark.parametrize("position", POSITIONS)
def test_what_is_under_the_mask_changes_no_output(position):
  net = ViT(**SMALL, position=position, mask_token=True, registers=1)
  other = np.where(PIXELS, 9 - 5 * IMAGE[::-1], IMAGE)
  assert np.abs(run(net, image=other)["patches"] - run(net)["patches"]).max() > 0.1
  jax.tree.map(
    assert_array_equal, run(net, mask=MASK, image=other), run(net, mask=MASK)
  )


def test_what_is_under_the_mask_has_no_gradient_and_all_else_has_one():
  net = ViT(**SMALL, mask_token=True)
  weight = np.random.default_rng(1).normal(size=(B, N, 24)).astype(np.float32)

  @jax.jit
  @functools.partial(jax.grad, argnums=(0, 1))
  def grad(image, params):
    x = {"image": image, "mask": MASK}
    return (net.apply({"params": params}, x, True)["patches"] * weight).sum()

  by_image, by_params = grad(IMAGE, start(net))
  assert_array_equal(np.abs(by_image).max(-1) > 0, ~PIXELS[..., 0])
  assert by_params["mask"].any()


def test_a_hidden_patch_is_the_mask_token_in_its_own_place():
  """Seen with an attention that adds nothing."""
  net = ViT(**SMALL, mask_token=True, position="learned")
  params = blind(start(net))
  hidden, shown = run(net, params, mask=MASK), run(net, params)
  assert_array_equal(hidden["patches"][~MASK], shown["patches"][~MASK])
  whole = hidden["patches"][2]  # of which nothing is seen
  for i in range(B):
    assert_allclose(hidden["patches"][i][MASK[i]], whole[MASK[i]], atol=1e-6)
  apart = np.abs(whole[:, None] - whole[None]).max(-1)
  assert apart[~np.eye(N, dtype=bool)].min() > 1e-3
  moved = {**params, "mask": params["mask"] + RAMP}
  after = run(net, moved, mask=MASK)["patches"]
  assert_array_equal(after[~MASK], hidden["patches"][~MASK])
  assert np.abs(after[MASK] - hidden["patches"][MASK]).max(-1).min() > 1e-3


def test_without_a_mask_the_token_is_not_used():
  with_token, without = ViT(**SMALL, mask_token=True), ViT(**SMALL)
  params = start(with_token)
  rest = {k: v for k, v in params.items() if k != "mask"}
  expected = run(without, rest)
  for given in ({}, {"mask": np.zeros((B, N), bool)}):
    jax.tree.map(assert_array_equal, run(with_token, params, **given), expected)


DROPPING = ViT(**{**SMALL, "depth": 4}, drop_path=0.6)
KEYS = jax.random.split(jax.random.key(3), B)


@functools.cache
def dropped():
  return run(DROPPING, train=True, keys=KEYS)["features"]


def test_an_example_drops_the_same_paths_in_whatever_batch_and_place():
  order = np.array([3, 0, 4, 1, 2])
  turned = run(DROPPING, train=True, image=IMAGE[order], keys=KEYS[order])
  assert_allclose(turned["features"], dropped()[order], atol=1e-5)
  for i in (0, 3):
    alone = run(DROPPING, train=True, image=IMAGE[i : i + 1], keys=KEYS[i : i + 1])
    assert_allclose(alone["features"][0], dropped()[i], atol=1e-5)


def test_another_key_drops_other_paths_and_none_drops_nothing():
  same = np.repeat(IMAGE[:1], 64, 0)
  keys = jax.random.split(jax.random.key(4), 64)
  features = run(DROPPING, train=True, image=same, keys=keys)["features"]
  assert len(np.unique(features.round(3), axis=0)) > 8
  calm = run(DROPPING, train=False)["features"]
  assert_array_equal(run(DROPPING, train=True)["features"], calm)
  assert_array_equal(run(DROPPING, train=False, keys=KEYS)["features"], calm)
  assert np.abs(dropped() - calm).max() > 1e-3


def test_each_block_and_each_of_its_two_residuals_draws_for_itself():
  """A block's outputs tell which of its two residuals it left out for an example."""
  keys, x = jax.random.split(jax.random.key(0), 4000), jnp.ones((4000, 1, 2))
  first, second = (
    np.asarray(drop_path(x, 0.5, keys, number))[:, 0, 0] > 0 for number in (0, 1)
  )
  for kept in (first, second, first == second):
    assert_allclose(kept.mean(), 0.5, atol=0.03)
  own = jax.vmap(jax.random.fold_in, (0, None))  # as blocks are told apart
  later = drop_path(x, 0.5, own(keys, 1), 0)
  assert_allclose((first == (later[:, 0, 0] > 0)).mean(), 0.5, atol=0.03)


@pytest.mark.parametrize("uniform", [False, True])
def test_blocks_drop_from_nothing_to_all_of_drop_path(uniform):
  """The share of examples whose tokens a block left as they were, block by block."""
  count = 400
  net = ViT(**{**SMALL, "depth": 3}, drop_path=0.8, drop_path_uniform=uniform)
  x = {"image": np.repeat(IMAGE[:1], count, 0)}
  x["keys"] = jax.random.split(jax.random.key(5), count)
  _, inside = jax.jit(
    lambda p: net.apply({"params": p}, x, True, mutable=["intermediates"])
  )(start(net))
  tokens = [np.asarray(t["patches"]) for t in inside["intermediates"]["tokens"]]
  assert (np.abs(tokens[0] - tokens[0][:1]).max() < 1e-5) == (not uniform)
  for i, share in ((1, 0.8 if uniform else 0.4), (2, 0.8)):
    still = np.abs(tokens[i] - tokens[i - 1]).max((1, 2)) < 1e-6
    assert_allclose(still.mean(), share**2, atol=0.08)  # both residuals


NO_CLASS = {**SMALL, "class_token": False, "pool": "mean"}


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("registers", [0, 2])
def test_without_a_class_token_there_are_patches_and_registers(position, registers):
  net = ViT(**NO_CLASS, position=position, registers=registers)
  params, outputs = start(net), run(net)
  assert "cls" not in params
  assert "cls" not in outputs
  assert outputs["patches"].shape == (B, N, 24)
  assert ("registers" in outputs) == bool(registers)
  assert_allclose(outputs["features"], outputs["patches"].mean(1), atol=1e-6)
  if position == "learned":
    assert params["position"].shape == (1, N, 24)
    wider = run(net, image=np.repeat(IMAGE, 2, 2))["patches"]
    assert wider.shape == (B, 2 * N, 24)
    moved = {**params, "position": params["position"][:, [1, 0, 2, 3]]}
    assert np.abs(run(net, moved)["patches"] - outputs["patches"]).max() > 1e-3


def test_patches_behind_those_seen_have_no_say_and_no_share_of_the_mean():
  net = ViT(**NO_CLASS)
  keep = np.array([[2, 0, 3]] * B, np.int32)
  seen = np.array([1, 2, 3, 2, 1], np.int32)
  outputs = run(net, keep=keep, seen=seen)
  for i, count in enumerate(seen):
    image, kept = IMAGE[i : i + 1], keep[i : i + 1, :count]
    alone = run(net, image=image, keep=kept)
    assert_allclose(outputs["features"][i], alone["features"][0], atol=1e-5)
    assert_allclose(outputs["patches"][i, :count], alone["patches"][0], atol=1e-5)


def test_a_deviation_replaces_the_start_of_all_kernels():
  params = start(ViT(**{**SMALL, "width": 96}, init_std=0.5))
  for kernel in (params["patch"], params["block0"]["attn"]["qkv"]):
    assert_allclose(np.std(kernel["kernel"]), 0.5, rtol=0.05)


def test_a_mask_without_its_token_is_refused():
  net = ViT(width=8, depth=1, heads=2, patch_size=4)
  x = {"image": jnp.zeros((1, 8, 8, 3)), "mask": jnp.ones((1, 4), bool)}
  with pytest.raises(ConfigError, match=r"encoder\.mask_token must be True"):
    jax.eval_shape(lambda: net.init(jax.random.key(0), x, False))

"""Features of patches: what they are of each network."""

import jax
import numpy as np
import pytest
import tiny

import ssljax


def of_patches(name, block=""):
  """The patches of a smoke run's first state, the network's outputs, and its view."""
  built = tiny.parts(name)
  state, x = tiny.first_state(built), built.seen(tiny.batch())
  patches = jax.jit(built.method.patches, static_argnums=2)(state, x, block)
  return patches, jax.jit(built.method.apply)(state, x)


def test_patches_of_a_transformer_are_its_tokens_in_the_rows_of_their_grid():
  patches, outputs = of_patches("mae")
  tokens = outputs["patches"]
  side = round(tokens.shape[1] ** 0.5)
  assert patches.shape == (tiny.BATCH, side, side, tokens.shape[2])
  np.testing.assert_allclose(patches[:, 1, 0], tokens[:, side], rtol=1e-5, atol=1e-6)


def test_patches_of_a_residual_network_are_what_it_pools():
  patches, outputs = of_patches("simclr")
  np.testing.assert_allclose(patches, outputs["map"], rtol=1e-5, atol=1e-6)
  pooled = patches.mean((1, 2))
  np.testing.assert_allclose(pooled, outputs["features"], rtol=1e-4, atol=1e-5)


def test_a_stage_is_its_last_block():
  built = tiny.with_encoder(tiny.parts("simclr"), stage_sizes=(2, 1))
  state, x = tiny.first_state(built), built.seen(tiny.batch())
  shapes = {
    block: jax.eval_shape(
      lambda state, block=block: built.method.patches(state, x, block), state
    ).shape[1:]
    for block in ("layer1_0", "layer1", "layer2", "")
  }
  width = built.method.net.encoder.width
  side = shapes["layer1"][0]
  assert shapes["layer1"] == shapes["layer1_0"] == (side, side, width)
  assert shapes["layer2"] == shapes[""] == (-(-side // 2), -(-side // 2), 2 * width)
  first, second = (
    jax.jit(built.method.patches, static_argnums=2)(state, x, block)
    for block in ("layer1_0", "layer1")
  )
  assert np.abs(first - second).max() > 1e-3
  with pytest.raises(
    ssljax.ConfigError, match=r"block='layer3' is none .* it has layer1_0, layer1_1, la"
  ):
    built.method.patches(state, x, "layer3")


def test_two_networks_patches_stand_side_by_side_and_a_patch_s_own_has_none():
  patches, outputs = of_patches("cmc")
  first, second = np.split(np.asarray(patches), 2, axis=-1)
  np.testing.assert_allclose(first, outputs["map"][:, 0], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(second, outputs["map"][:, 1], rtol=1e-5, atol=1e-6)
  with pytest.raises(
    ssljax.ConfigError, match="ImageCPC gives no features of patches; ask"
  ):
    of_patches("cpc_image")

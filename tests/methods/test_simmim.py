"""SimMIM: the official formula, and a linear map of what the encoder gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from numpy.testing import assert_allclose, assert_array_equal

from ssljax import core, recipe
from ssljax.losses import masked
from ssljax.methods.simmim import SimMIM
from ssljax.nets import MaskedAutoencoder
from ssljax.nets.decoder import Decoder
from ssljax.nets.vit import ViT

NET = MaskedAutoencoder(
  ViT(width=8, depth=1, heads=2, patch_size=4, mask_token=True), Decoder(depth=0)
)
RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(3, 8, 8, 3)).astype(np.float32)
MASK = np.array([[True, False, True, False]] * 2 + [[False, True, True, False]])


def official(image, painted, mask):
  """The mean over hidden pixels of a batch, by pixels and channels, as its code."""
  pixels = mask.reshape(-1, 2, 2).repeat(4, 1).repeat(4, 2)[..., None]
  return (np.abs(image - painted) * pixels).sum() / (pixels.sum() + 1e-5) / 3


def test_the_mean_over_pictures_is_the_official_loss():
  painted = RNG.normal(size=IMAGE.shape).astype(np.float32)
  patches = [masked.patchify(jnp.asarray(x), 4) for x in (painted, IMAGE)]
  error = masked.absolute_error(*patches, MASK)
  assert_allclose(error.mean(), official(IMAGE, painted, MASK), rtol=1e-5)


def test_the_method_s_loss_is_that_of_what_its_network_paints():
  params = NET.init(jax.random.key(0), {"image": IMAGE}, False)["params"]
  assert set(params["decoder"]) == {"pixels"}
  outputs = NET.apply({"params": params}, {"image": IMAGE, "mask": MASK}, False)
  painted = np.asarray(masked.unpatchify(outputs["pixels"], 4, 8, 8))
  state = core.TrainState(jnp.int32(0), None, {}, {}, None)
  batch = {"image": jnp.asarray(IMAGE)[:, None], "mask": jnp.asarray(MASK)[:, None]}
  loss, _ = SimMIM(NET).loss_fn(params, state, batch, None)
  assert_allclose(loss, official(IMAGE, painted, MASK), rtol=1e-5)


def test_what_is_hidden_cannot_be_seen():
  params = NET.init(jax.random.key(0), {"image": IMAGE}, False)["params"]
  params["encoder"]["mask"] = jnp.ones_like(params["encoder"]["mask"])
  grid = MASK.reshape(-1, 2, 2).repeat(4, 1).repeat(4, 2)[..., None]
  other = np.where(grid, IMAGE + 1, IMAGE)
  ours, others = (
    NET.apply({"params": params}, {"image": x, "mask": MASK}, False)
    for x in (IMAGE, other)
  )
  assert_array_equal(ours["pixels"], others["pixels"])
  assert_array_equal(ours["features"], others["features"])


def test_a_linear_map_paints_nothing_that_was_left_out():
  with pytest.raises(ValueError, match=r"decoder\.depth=0 paints no patch"):
    NET.init(jax.random.key(0), {"image": IMAGE, "keep": np.zeros((3, 2), int)}, False)


def test_views_without_hidden_patches_are_refused():
  config = tiny.configs()["simmim_cifar10"].copy_and_resolve_references()
  config.augment.mask_p = 0.0
  with pytest.raises(ValueError, match="mask_p=0: method 'simmim' hides patches"):
    recipe.build(config, tiny.PLAN)

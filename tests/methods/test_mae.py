import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import torch_names
from numpy.testing import assert_allclose, assert_array_equal
from oracle_file import oracle

from ssljax import core
from ssljax.methods import mae
from ssljax.methods.mae import MAE
from ssljax.nets import MaskedAutoencoder
from ssljax.nets.decoder import Decoder
from ssljax.nets.vit import ViT

PARTS = {"decoder_embed": "embed", "decoder_norm": "norm", "decoder_pred": "pixels"}


def rename(module):
  """MAE's names -> ours."""
  if module in PARTS:
    return f"decoder/{PARTS[module]}"
  if module.startswith("decoder_blocks"):
    return f"decoder/{torch_names.vit(module.removeprefix('decoder_'))}"
  return f"encoder/{torch_names.vit(module)}"


def parameters(state_dict):
  params = torch_names.variables(state_dict, rename)["params"]
  params["encoder"]["cls"] = np.float32(state_dict["cls_token"])
  params["decoder"]["mask"] = np.float32(state_dict["mask_token"])
  return params


def official():
  """The oracle, our method of its sizes, its parameters and its batch."""
  o = oracle("12_mae_full_0")
  ratio = float(o["hp_mlp_ratio"])
  encoder = ViT(
    width=int(o["hp_embed_dim"]),
    depth=int(o["hp_depth"]),
    heads=int(o["hp_num_heads"]),
    patch_size=int(o["hp_patch_size"]),
    mlp_ratio=ratio,
    position="sincos_columns",
  )
  decoder = Decoder(
    width=int(o["hp_decoder_embed_dim"]),
    depth=int(o["hp_decoder_depth"]),
    heads=int(o["hp_decoder_num_heads"]),
    mlp_ratio=ratio,
  )
  net = MaskedAutoencoder(encoder, decoder)
  method = MAE(net, float(o["hp_mask_ratio"]), bool(o["hp_norm_pix_loss"]))
  image = np.float32(o["in_x"].transpose(0, 2, 3, 1))
  batch = {"image": image[:, None], "index": np.arange(len(image), dtype=np.int32)}
  return o, method, parameters(torch_names.under(o, "in_sd.")), batch


def state(params):
  return core.TrainState(jnp.int32(0), params, {}, {}, None)


def test_loss_and_every_gradient_are_the_official_ones(monkeypatch):
  o, method, params, batch = official()
  monkeypatch.setattr(mae, "noise", lambda *_: o["in_noise"])

  @jax.jit
  @jax.value_and_grad
  def grad_fn(params):
    return method.loss_fn(params, state(None), batch, jax.random.key(0))[0]

  loss, grads = grad_fn(params)
  assert_allclose(loss, o["out_loss"], rtol=2e-6)
  expected = parameters(torch_names.under(o, "out_grad."))
  for (path, ours), theirs in zip(
    jax.tree_util.tree_leaves_with_path(grads), jax.tree.leaves(expected), strict=True
  ):
    name = jax.tree_util.keystr(path)
    # Of a bias of keys the exact gradient is 0.
    scale = max(np.abs(theirs).max(), 1e-3)
    assert_allclose(ours, theirs, atol=1e-5 * scale, err_msg=name)


def test_predicted_pixels_are_the_official_ones(monkeypatch):
  o, method, params, batch = official()
  monkeypatch.setattr(mae, "noise", lambda *_: o["in_noise"])
  keep, mask = method.draw(None, None, 16)
  assert_array_equal(mask, o["out_mask"])
  x = {"image": batch["image"][:, 0], "keep": keep}
  outputs = method.net.apply({"params": params}, x, train=False)
  assert_allclose(outputs["pixels"], o["out_pred"], atol=2e-6)


def test_a_quarter_is_seen_whatever_the_order_of_the_batch():
  _, method, *_ = official()
  index = jnp.array([7, 1, 4])
  keep, mask = method.draw(jax.random.key(0), index, 64)
  assert keep.shape == (3, 16)
  for seen, hidden in zip(np.asarray(keep), np.asarray(mask), strict=True):
    assert set(seen) == set(np.flatnonzero(~hidden))
  turned, _ = method.draw(jax.random.key(0), index[::-1], 64)
  assert_array_equal(turned[::-1], keep)
  assert len({tuple(sorted(row)) for row in np.asarray(keep).tolist()}) == 3


def test_every_patch_is_hidden_as_often_as_any_other():
  _, method, *_ = official()
  _, mask = method.draw(jax.random.key(0), jnp.arange(2000), 16)
  assert_allclose(mask.mean(0), 0.75, atol=0.05)


def test_what_is_hidden_cannot_be_seen():
  """Pixels of hidden patches change the target, not the prediction."""
  _, method, params, batch = official()
  image = batch["image"][:, 0]
  keep, mask = method.draw(jax.random.key(0), batch["index"], 16)
  grid = np.asarray(mask).reshape(2, 4, 4).repeat(4, 1).repeat(4, 2)[..., None]
  other = np.where(grid, image[::-1], image)
  assert not np.array_equal(image, other)
  ours, others = (
    method.net.apply({"params": params}, {"image": x, "keep": keep}, train=False)
    for x in (image, other)
  )
  jax.tree.map(assert_array_equal, ours, others)


def test_a_reconstruction_passes_visible_patches_through():
  _, method, params, batch = official()
  image, key = batch["image"][:, 0], jax.random.key(3)
  _, mask = method.draw(key, batch["index"], 16)
  grid = np.asarray(mask).reshape(2, 4, 4).repeat(4, 1).repeat(4, 2)[..., None]
  shown = method.show(state(params), batch, key)
  assert list(shown) == ["picture", "masked", "reconstruction"]
  assert_array_equal(shown["picture"], image)
  assert_array_equal(shown["masked"], np.where(grid, np.float32(0), image))
  assert_array_equal(np.where(grid, 0, shown["reconstruction"] - image), 0)


@pytest.mark.parametrize("norm_pix", [False, True])
def test_a_perfect_prediction_is_shown_as_the_picture_itself(norm_pix):
  """Its gray level and contrast too where those are not what is predicted."""
  image = np.random.default_rng(0).normal(3, 2, (2, 8, 8, 3)).astype(np.float32)

  class Perfect:
    encoder = ViT(width=4, depth=1, heads=1, patch_size=4)

    def apply(self, variables, x, train):
      target = image.reshape(2, 2, 4, 2, 4, 3).swapaxes(2, 3).reshape(2, 4, 48)
      if norm_pix:
        mean, std = target.mean(-1), target.std(-1, ddof=1)
        target = (target - mean[..., None]) / std[..., None]
      return {"pixels": jnp.asarray(target)}

  method = MAE(Perfect(), 0.75, norm_pix)
  batch = {"image": jnp.asarray(image[:, None]), "index": jnp.arange(2)}
  shown = method.show(state({}), batch, jax.random.key(0))
  assert_allclose(shown["reconstruction"], image, atol=1e-5)


def test_bfloat16_is_the_networks_alone():
  _, method, _, batch = official()
  encoder, decoder = (
    part.clone(dtype=jnp.bfloat16) for part in (method.net.encoder, method.net.decoder)
  )
  keep, _ = method.draw(jax.random.key(0), batch["index"], 16)
  x = {"image": batch["image"][:, 0], "keep": keep}
  outputs, variables = jax.eval_shape(
    lambda: MaskedAutoencoder(encoder, decoder).init_with_output(
      jax.random.key(0), x, train=False
    )
  )
  found = jax.tree.leaves((outputs, variables))
  assert {leaf.dtype for leaf in found} == {jnp.dtype("float32")}


def test_nothing_to_be_seen_or_to_be_painted_is_named():
  _, method, *_ = official()
  with pytest.raises(ValueError, match=r"mask_ratio=0\.75 leaves 0 of 3 patches"):
    method.draw(jax.random.key(0), jnp.arange(2), 3)


def test_an_encoder_without_patches_is_named():
  net = MaskedAutoencoder(tiny.Encoder(), Decoder())
  with pytest.raises(ValueError, match="must be a vision transformer"):
    net.init(jax.random.key(0), {"image": jnp.zeros((1, 8, 8, 3))}, False)

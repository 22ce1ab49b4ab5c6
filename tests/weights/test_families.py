"""Every release is recognised by names and shapes, and goes back as it came."""

import re

import jax
import numpy as np
import pytest
import releases

from ssljax import nets
from ssljax.fields import ConfigError
from ssljax.nets import vit
from ssljax.protocols import weights_out
from ssljax.weights import FAMILIES, flatten, recognise, take, unflatten

# The first family whose names they are; where several have the same, see `also`.
OF = {
  "torchvision_resnet18": "torchvision",
  "torchvision_resnet50": "torchvision",
  "timm_resnet34": "torchvision",
  "torchvision_convnext_tiny": "torchvision",
  "torchvision_swin_t": "torchvision",
  "timm_convnext_atto": "timm",
  "timm_convnextv2_tiny": "timm",
  "timm_swin_tiny_patch4_window7_224": "timm",
  "moco_v2_800ep_pretrain": "moco",
  "simsiam_resnet50": "simsiam",
  "swav_resnet50w2": "swav",
  "barlow_checkpoint": "barlow",
  "vicreg_resnet50_fullckpt": "barlow",
  "supcon_resnet50": "supcon",
  "byol_pretrain_res50x1": "byol",
  "simclr_v1_1x": "simclr",
  "simclr_v2_r50_1x_sk1": "simclr",
  "simclr_tf2_r50_1x_sk0": "simclr_tf2",
  "simclr_tf2_r50_1x_sk1": "simclr_tf2",
  "moco_v3_resnet50": "moco_v3",
  "moco_v3_vit_small": "moco_v3",
  "timm_vit_small_patch16_224": "timm",
  "timm_vit_small_patch14_reg4_dinov2": "timm",
  "timm_deit3_small_patch16_224": "timm",
  "dino_deitsmall16_pretrain": "dino",
  "dino_deitsmall16_teacher": "dino",
  "dinov2_vits14_pretrain": "dinov2",
  "dinov2_vits14_reg4_pretrain": "dinov2",
  "dinov2_vitg14_pretrain": "dinov2",
  "dinov3_vits16_pretrain": "dinov3",
  "dinov3_vit7b16_pretrain": "dinov3",
  "hf_dinov3_vits16": "hf_dinov3",
  "mae_pretrain_vit_base": "dino",
  "mae_visualize_vit_base": "mae",
  "mae_finetuned_vit_base": "timm",
  "clip_vit_b_32": "clip",
  "clip_rn50": "clip",
  "clip_rn101": "clip",
  "clip_rn50x4": "clip",
  "open_clip_timm_vit_small_patch16_224": "open_clip",
  "open_clip_vit_b_16_siglip": "open_clip_siglip",
  "hf_vit_base_patch16_224": "hf_vit",
  "hf_dinov2_small": "hf_dinov2",
  "hf_dinov2_with_registers_small": "hf_dinov2",
  "hf_vit_mae_base": "hf_vit_mae",
  "hf_resnet50": "hf_resnet",
  "detectron2_moco_resnet50": "detectron2",
  "hf_clip_vit_base_patch32": "hf_clip",
  "hf_siglip_base_patch16_224": "hf_siglip",
}
SAYS = {"pool": "cls", "layer_scale": 0.0, "depth": 2}


def test_every_release_is_listed_and_every_family_has_one():
  assert set(OF) == set(releases.NAMES)
  shared = {"vicreg"}  # whose names are Barlow Twins'
  assert set(OF.values()) | shared == set(FAMILIES)


@pytest.mark.parametrize("release", releases.NAMES)
def test_a_release_is_recognised_and_goes_back_to_the_bit(release):
  arrays = releases.arrays(release)
  found = recognise(arrays)
  assert found.family == OF[release]
  made = found.form.buffers(found.fields)  # of the numbers that it always has
  arrays |= {k: x for k, x in made.items() if k in arrays}
  ours = take(arrays, found)
  origin = {"format": found.family, "prefix": found.prefix}
  origin["form"] = FAMILIES[found.family].forms.index(found.form)
  says = {**SAYS, **found.fields}
  chosen = weights_out.choose(found.family, ours, says, origin)
  back = weights_out.write_names(ours, says, chosen)
  back |= {name: arrays[name] for name in found.left}
  assert back.keys() == arrays.keys()
  for name, x in arrays.items():
    np.testing.assert_array_equal(back[name], x, err_msg=name)


def test_detectron2_has_every_name_and_shape_of_moco_s_converter():
  """A ResNet-50 of ours; the converter's rules are those of MoCo's `detection/`."""

  def converted(name):
    name = name if name.startswith("layer") else f"stem.{name}"
    name = re.sub(r"layer(\d)", lambda m: f"res{int(m[1]) + 1}", name)
    name = re.sub(r"bn(\d)", r"conv\1.norm", name)
    return re.sub(
      r"downsample\.1", "shortcut.norm", name.replace("downsample.0", "shortcut")
    )

  net = nets.build({"name": "resnet50"})
  image = {"image": np.zeros((1, 64, 64, 3), np.float32)}
  shapes = jax.eval_shape(lambda key: net.init(key, image, False), jax.random.key(0))
  shapes = flatten({k: {"encoder": x} for k, x in shapes.items()})
  ours = {k: np.broadcast_to(np.float32(0), x.shape) for k, x in shapes.items()}
  kernel = np.random.default_rng(0).normal(size=(7, 7, 3, 64))
  ours["encoder/conv1/kernel"] = kernel.astype(np.float32)
  chosen = weights_out.choose("detectron2", ours, dict(vars(net)), {})
  arrays = weights_out.write_names(ours, dict(vars(net)), chosen)
  arrays |= weights_out._counted(arrays)
  theirs = releases.shapes("torchvision_resnet50").items()
  want = {converted(k): shape for k, shape in theirs if not k.startswith("fc.")}
  assert {k: x.shape for k, x in arrays.items()} == want
  first = arrays["stem.conv1.weight"]  # red, green, blue: INPUT.FORMAT is "RGB"
  np.testing.assert_array_equal(
    first, ours["encoder/conv1/kernel"].transpose(3, 2, 0, 1)
  )


@pytest.mark.parametrize("format", ["vicreg", "barlow"])
def test_a_format_says_whose_numbers_are_taken(format):
  found = recognise(releases.arrays("vicreg_resnet50_fullckpt"), format)
  assert found.family == format


@pytest.mark.parametrize(
  ("release", "fields"),
  [
    ("torchvision_resnet50", {"name": "resnet50", "width": 8, "stem": "imagenet"}),
    ("supcon_resnet50", {"name": "resnet50", "stem": "cifar"}),
    ("torchvision_convnext_tiny", {"width": 12, "patch_size": 4, "grn": False}),
    ("timm_convnextv2_tiny", {"grn": True, "layer_scale": 0.0, "width": 12}),
    ("torchvision_swin_t", {"window": 7, "head_width": 4, "patch_size": 4}),
    ("dinov2_vits14_reg4_pretrain", {"registers": 4, "resize": "antialias"}),
    ("dinov2_vitg14_pretrain", {"mlp": "swiglu", "width": 96, "image_size": 518}),
    ("clip_vit_b_32", {"pre_norm": True, "patch_bias": False, "image_size": 224}),
    (
      "clip_rn50",
      {"name": "resnet50", "blurred": True, "pool": "attention", "out": 128},
    ),
    (
      "open_clip_vit_b_16_siglip",
      {"class_token": False, "pool": "attention", "image_size": 224, "patch_size": 16},
    ),
    ("clip_rn50x4", {"stage_sizes": (4, 6, 10, 6), "width": 10, "image_size": 288}),
    ("mae_finetuned_vit_base", {"pool": "mean_norm"}),
    ("hf_vit_base_patch16_224", {"epsilon": 1e-12, "patch_size": 16}),
    ("moco_v3_vit_small", {"heads": 12}),
    ("byol_pretrain_res50x1", {"name": "resnet50", "padding": "same", "width": 4}),
    ("simclr_v1_1x", {"padding": "fixed", "stem": "imagenet", "sk_ratio": 0.0}),
    ("simclr_v2_r50_1x_sk1", {"sk_ratio": 0.0625, "stem": "imagenet", "width": 4}),
    ("dinov3_vit7b16_pretrain", {"mlp": "swiglu", "qkv_bias": False, "registers": 4}),
    ("dinov3_vits16_pretrain", {"position": "rope", "key_bias": False, "depth": 2}),
  ],
)
def test_fields_are_read_off_shapes_or_known_of_the_family(release, fields):
  arrays = {
    k: np.broadcast_to(np.float32(0), x.shape)
    for k, x in releases.arrays(release).items()
  }
  found = recognise(arrays)
  assert {k: found.fields[k] for k in fields} == fields


@pytest.mark.parametrize(
  ("format", "fields"),
  [
    ("timm", {"position": "learned", "image_size": 16, "registers": 2}),
    ("timm", {"position": "sincos_columns"}),
    ("timm", {"position": "learned", "image_size": 16, "pool": "mean_norm"}),
    ("hf", {"position": "learned", "image_size": 16, "registers": 2}),
    ("hf", {"position": "sincos", "mask_token": True}),
    ("clip", {"position": "learned", "image_size": 16, "pre_norm": True, "out": 5}),
  ],
)
def test_an_encoder_of_ours_is_the_same_function_under_their_names(format, fields):
  """Fixed positions become a table, and what positions give a class token its own."""
  bias = {"patch_bias": False} if format == "clip" else {}
  net = vit.ViT(width=16, depth=2, heads=2, patch_size=4, **fields, **bias)
  x = {"image": np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)}
  first = jax.jit(lambda key: net.init(key, x, train=False))(jax.random.key(0))
  first = {"params": {"encoder": first["params"]}}
  ours = {k: np.asarray(v) + np.float32(0.1) for k, v in flatten(first).items()}
  says = dict(vars(net))
  if "encoder/position" not in ours:
    ours["encoder/position"], says["image_size"] = weights_out._table(says, 16), 16
  chosen = weights_out.choose(format, ours, says, {})
  arrays = weights_out.write_names(ours, says, chosen)
  told = {"heads": 2, "epsilon": 1e-6, "activation": "gelu"}
  found = recognise(arrays, chosen.family, told)
  again = nets.build(found.fields)

  @jax.jit
  def both(a, b):
    pairs = (net, a["params"]["encoder"]), (again, b["params"]["encoder"])
    return [n.apply({"params": v}, x, False)["features"] for n, v in pairs]

  mine = {k: v for k, v in ours.items() if k in flatten(first)}
  one, two = both(unflatten(mine), unflatten(take(arrays, found)))
  np.testing.assert_allclose(one, two, atol=1e-5)


def damaged(change):
  arrays = releases.arrays("timm_vit_small_patch16_224")
  change(arrays)
  return arrays


@pytest.mark.parametrize(
  ("change", "sentence"),
  [
    (
      lambda x: x.update({"blocks.1.mlp.fc1.wait": x.pop("blocks.1.mlp.fc1.weight")}),
      r"blocks\.1\.mlp\.fc1\.weight \[96, 24\] is not there "
      r"\(blocks\.1\.mlp\.fc1\.wait would fit",
    ),
    (
      lambda x: x.update({"blocks.0.mlp.fc2.weight": x["blocks.0.mlp.fc2.weight"].T}),
      r"fc2\.weight is \[96, 24\] and must be \[24, 96\], which is it transposed",
    ),
    (
      lambda x: [x.pop(k) for k in [*x] if k.startswith(("blocks.1", "norm"))],
      r"norm\.weight \[24\] is not there",
    ),
    (
      lambda x: x.update({"dist_token": x["cls_token"]}),
      "dist_token has no place: DeiT's distillation token",
    ),
    (
      lambda x: x.update({"blocks.0.gate": x["cls_token"]}),
      r"blocks\.0\.gate \[1, 1, 24\] has no place",
    ),
    (
      lambda x: x["cls_token"].fill(np.nan),
      "cls_token has numbers that are not finite",
    ),
    (lambda x: [x.pop(k) for k in [*x] if k != "cls_token"], "of no family"),
    (
      lambda x: x.update({"pos_embed": x["pos_embed"].ravel()}),
      r"pos_embed is \[4728\] and must be \[1, 2, 24\]",
    ),
  ],
)
def test_what_does_not_fit_is_named_with_what_would(change, sentence):
  arrays = damaged(change)
  with pytest.raises(ConfigError, match=sentence) as raised:
    take(arrays, recognise(arrays))
  assert "\n" not in str(raised.value)


def test_half_a_resnet_is_not_taken_for_a_smaller_one():
  arrays = releases.arrays("torchvision_resnet50")
  half = {k: x for k, x in arrays.items() if not k.startswith("layer4")}
  with pytest.raises(ConfigError, match=r"stages have \(3, 4, 6\).*is the file whole"):
    recognise(half)
  assert recognise(half, told={"stage_sizes": (3, 4, 6)}).fields["width"] == 8


def test_half_a_swin_is_named_beside_the_whole_ones():
  arrays = releases.arrays("torchvision_swin_t")
  half = {
    k: x for k, x in arrays.items() if not k.startswith(("features.6", "features.7"))
  }
  with pytest.raises(
    ConfigError, match=r"stages have \(2, 2, 6\).*a swin's \(2, 2, 6, 2\)"
  ):
    recognise(half)


def test_an_unknown_format_is_named_beside_the_known_ones():
  with pytest.raises(ConfigError, match="format='timn' must be one of torchvision"):
    recognise(releases.arrays("torchvision_resnet18"), "timn")

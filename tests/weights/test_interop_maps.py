"""Encoders of maps give the features of torchvision's and timm's, where those are.

Random weights, pictures of odd sizes; what goes out is loaded with strict=True.
"""

import pytest

torch = pytest.importorskip("torch", reason="needs the extra interop-test: torch")
from interop import check, randomised

SHALLOW = {"depths": (2, 1, 2, 1), "dims": (12, 24, 48, 96), "num_classes": 0}


def told(depths, **fields):
  return {"stage_sizes": tuple(depths), **fields}


def test_torchvision_s_convnext_tiny():
  models = pytest.importorskip("torchvision.models", reason="needs torchvision")
  model = randomised(models.convnext_tiny())
  model.classifier[2] = torch.nn.Identity()
  check(model, 64, 96, name="convnext_tiny")


@pytest.mark.parametrize("patch", [4, 2, 1])
def test_torchvision_s_convnext_of_other_patches(patch):
  cnn = pytest.importorskip("torchvision.models.convnext", reason="needs torchvision")
  blocks, widths = SHALLOW["depths"], (*SHALLOW["dims"], None)
  stages = map(cnn.CNBlockConfig, widths, widths[1:], blocks)
  model = cnn.ConvNeXt(list(stages), layer_scale=1.0)
  model.features[0][0] = torch.nn.Conv2d(3, widths[0], patch, patch)
  model.classifier[2] = torch.nn.Identity()
  check(randomised(model), 12 * patch + 31, 47, **told(blocks))


def test_timm_s_convnext_atto():
  timm = pytest.importorskip("timm", reason="needs timm")
  model = randomised(timm.create_model("convnext_atto", num_classes=0))
  check(model, 65, 47, format="timm", name="convnext_atto")


@pytest.mark.parametrize(
  "fields",
  [
    {},
    {"conv_mlp": True},
    {"conv_mlp": True, "use_grn": True, "ls_init_value": None},
    {"use_grn": True, "ls_init_value": None},
  ],
)
def test_timm_s_convnext_and_its_second_version(fields):
  timm = pytest.importorskip("timm", reason="needs timm")
  model = randomised(timm.models.convnext.ConvNeXt(**SHALLOW, **fields))
  check(model, 65, 47, format="timm", **told(SHALLOW["depths"]))


@pytest.mark.parametrize("size", [(64, 80), (66, 53), (225, 30)])
def test_torchvision_s_swin_and_how_it_fills_odd_maps(size):
  swin = pytest.importorskip(
    "torchvision.models.swin_transformer", reason="needs torchvision"
  )
  blocks = (2, 2, 1, 2)
  model = swin.SwinTransformer([4, 4], 12, blocks, [2, 4, 8, 16], [4, 4])
  model.head = torch.nn.Identity()
  check(randomised(model), *size, **told(blocks))


def test_torchvision_s_swin_t():
  models = pytest.importorskip("torchvision.models", reason="needs torchvision")
  model = randomised(models.swin_t())
  model.head = torch.nn.Identity()
  check(model, 112, 112, name="swin_t")


def test_timm_s_swin():
  timm = pytest.importorskip("timm", reason="needs timm")
  model = timm.models.swin_transformer.SwinTransformer(
    **{"img_size": 56, "embed_dim": 12, "depths": (2, 2), "num_heads": (2, 4)},
    num_classes=0,
  )
  check(randomised(model), 56, 56, format="timm", **told((2, 2)))

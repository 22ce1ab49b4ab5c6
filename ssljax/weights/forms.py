"""Architectures under the names that several families share."""

from ssljax.weights.tables import Form, Row, conv, dense, norm

RESNET_ROWS = (  # torchvision's
  *conv("conv1", "conv1"),
  *norm("bn1", "bn1", running=True),
  *conv("layer{}_{}/conv{}", "layer{}.{}.conv{}"),
  *norm("layer{}_{}/bn{}", "layer{}.{}.bn{}", running=True),
  *conv("layer{}_{}/downsample_conv", "layer{}.{}.downsample.0"),
  *norm("layer{}_{}/downsample_bn", "layer{}.{}.downsample.1", running=True),
)
RESNET = Form(RESNET_ROWS)
SCALED = ("block0/scale1", "block0/scale2")  # LayerScale; without it numbers of 1
COUNTED = "*num_batches_tracked"  # of BatchNorm, which no network of ours asks


def vit_rows(position: str = "as_is") -> tuple[Row, ...]:
  """Makes the rows of timm's ViT, which DINO, MAE, MoCo v3 and DINOv2 have as well."""
  block = "block{}", "blocks.{}"
  return (
    *conv("patch", "patch_embed.proj", bias=True),
    Row("cls", "cls_token"),
    Row("position", "pos_embed", position),
    *(
      row
      for name in ("norm1", "norm2")
      for row in norm(f"{block[0]}/{name}", f"{block[1]}.{name}")
    ),
    *(
      row
      for ours, theirs in (
        *(("attn/qkv", "attn.qkv"), ("attn/proj", "attn.proj")),
        *(("fc1", "mlp.fc1"), ("fc2", "mlp.fc2")),
      )
      for row in dense(f"{block[0]}/{ours}", f"{block[1]}.{theirs}")
    ),
    Row("block{}/scale1", "blocks.{}.ls1.gamma"),
    Row("block{}/scale2", "blocks.{}.ls2.gamma"),
    *norm("norm", "norm"),
  )


VIT = Form(
  vit_rows(), {"resize": "antialias", "pool": "cls"}
)  # as timm resizes positions


def mlp(
  ours: str, theirs: str, layers: int, step: int = 3, normed: bool = True
) -> tuple[Row, ...]:
  """Makes the rows of a head that is a `torch.nn.Sequential` below `theirs`.

  Its linear maps stand `step` after one another, the norms right behind them.
  """
  rows = []
  for n in range(layers):
    rows += dense(f"{ours}/fc{n + 1}", f"{theirs}.{step * n}")
    if normed:
      rows += norm(f"{ours}/bn{n + 1}", f"{theirs}.{step * n + 1}", running=True)
  return tuple(rows)

"""torchvision's ResNets, ConvNeXt and Swin (not its second version), with labels.

They are its `models/resnet.py`, `convnext.py` and `swin_transformer.py`.
"""

from collections.abc import Mapping

import numpy as np

from ssljax.nets import positions
from ssljax.weights.forms import COUNTED, RESNET
from ssljax.weights.tables import Family, Form, Row, conv, dense, norm

STAGES = range(1, 5)
CONVNEXT_ROWS = (
  *conv("stem", "features.0.0", bias=True),
  *norm("stem_norm", "features.0.1"),
  *(
    row
    for i in STAGES
    for ours, theirs in ((f"layer{i}_{{}}", f"features.{2 * i - 1}.{{}}"),)
    for row in (
      *conv(f"{ours}/conv", f"{theirs}.block.0", bias=True),
      *norm(f"{ours}/norm", f"{theirs}.block.2"),
      *dense(f"{ours}/fc1", f"{theirs}.block.3"),
      *dense(f"{ours}/fc2", f"{theirs}.block.5"),
      Row(f"{ours}/scale", f"{theirs}.layer_scale", "of_maps"),
    )
  ),
  *(
    row
    for i in STAGES[1:]
    for row in (
      *norm(f"layer{i}_0/down_norm", f"features.{2 * i - 2}.0"),
      *conv(f"layer{i}_0/down", f"features.{2 * i - 2}.1", bias=True),
    )
  ),
  *norm("norm", "classifier.0"),
)

SWIN_ROWS = (
  *conv("embed", "features.0.0", bias=True),
  *norm("embed_norm", "features.0.2"),
  *(
    row
    for i in STAGES
    for ours, theirs in ((f"layer{i}_{{}}", f"features.{2 * i - 1}.{{}}"),)
    for row in (
      *norm(f"{ours}/norm1", f"{theirs}.norm1"),
      Row(f"{ours}/attn/position", f"{theirs}.attn.relative_position_bias_table"),
      *dense(f"{ours}/attn/qkv", f"{theirs}.attn.qkv"),
      *dense(f"{ours}/attn/proj", f"{theirs}.attn.proj"),
      *norm(f"{ours}/norm2", f"{theirs}.norm2"),
      *dense(f"{ours}/fc1", f"{theirs}.mlp.0"),
      *dense(f"{ours}/fc2", f"{theirs}.mlp.3"),
    )
  ),
  *(
    row
    for i in STAGES[1:]
    for row in (
      *norm(f"layer{i}_0/down_norm", f"features.{2 * i - 2}.norm"),
      Row(f"layer{i}_0/down/kernel", f"features.{2 * i - 2}.reduction.weight", "dense"),
    )
  ),
  *norm("norm", "norm"),
)


def _indices(encoder: Mapping) -> dict[str, np.ndarray]:
  """Makes Swin's buffers: of each pair in a window its row in a table."""
  index = positions.relative_index(*[encoder["window"]] * 2).ravel()
  return {
    f"features.{2 * i + 1}.{j}.attn.relative_position_index": index
    for i, size in enumerate(encoder["stage_sizes"])
    for j in range(size)
  }


FAMILY = Family(
  "torchvision: ResNet-18, 34, 50, 101, 152; ConvNeXt; Swin",
  (RESNET, Form(CONVNEXT_ROWS), Form(SWIN_ROWS, buffers=_indices)),
  beside=("fc.*", "classifier.2.*", "head.*", "*.relative_position_index", COUNTED),
)

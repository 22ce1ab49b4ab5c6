"""BYOL (deepmind-research/byol): the online network of a checkpoint, in Haiku's names.

A norm's running statistics are Haiku's averages, which are not biased to their start.
It was judged on TensorFlow's bicubic pictures, which are not antialiased; ours are.
"""

from collections.abc import Mapping

from ssljax.weights.tables import Family, Form, Pictures, Row

DEPTHS = (50, 101, 152, 200)
AVERAGES = {"mean": "mean_ema", "var": "var_ema"}


def _norm(ours: str, theirs: str, layout: str) -> list[Row]:
  params, state = f"online_params/{theirs}", f"online_state/{theirs}"
  rows = [Row(f"{ours}/scale", f"{params}/scale", layout)]
  rows.append(Row(f"{ours}/bias", f"{params}/offset", layout))
  for a, b in AVERAGES.items():
    rows.append(Row(f"{ours}/{a}", f"{state}/~/{b}/average", layout))
  return rows


def _rows(net: str) -> tuple[Row, ...]:
  ours, block = "layer{}_{}/", f"{net}block_group_{{-1}}/~/block_{{}}/~/"
  layers = [("conv1", "bn1", f"{net}initial_conv", f"{net}initial_batchnorm")]
  shortcut = f"{block}shortcut_conv", f"{block}shortcut_batchnorm"
  layers.append((f"{ours}downsample_conv", f"{ours}downsample_bn", *shortcut))
  inside = f"{block}conv_{{-1}}", f"{block}batchnorm_{{-1}}"
  layers.append((f"{ours}conv{{}}", f"{ours}bn{{}}", *inside))
  rows = []
  for conv, norm, their_conv, their_norm in layers:
    rows.append(Row(f"{conv}/kernel", f"online_params/{their_conv}/w"))
    rows += _norm(norm, their_norm, "of_pictures")
  return tuple(rows)


def _head(role: str) -> list[Row]:
  """Makes the rows of two linear maps, of which the second has no bias."""
  linear = f"online_params/{role}/linear"
  return [
    Row(f"{role}/fc1/kernel", f"{linear}/w"),
    Row(f"{role}/fc1/bias", f"{linear}/b"),
    *_norm(f"{role}/bn1", f"{role}/batch_norm", "of_rows"),
    Row(f"{role}/fc2/kernel", f"{linear}_1/w"),
  ]


def _method(_: Mapping) -> dict:
  return {"name": "given", "projector": {"layers": 2}, "predictor": {"layers": 2}}


HEADS = (*_head("projector"), *_head("predictor"))
FAMILY = Family(
  "BYOL: ResNet-50 and 200, wide ones; Haiku's names, `online_params/`",
  tuple(
    Form(_rows(f"res_net{depth}/~/"), {"padding": "same"}, heads=HEADS, method=_method)
    for depth in DEPTHS
  ),
  Pictures(interpolation="bicubic"),
  beside=(
    *("target_params/*", "target_state/*", "opt_state/*", "*/hidden", "*/counter"),
    *("online_params/classifier/*", "step", "rng"),
  ),
)

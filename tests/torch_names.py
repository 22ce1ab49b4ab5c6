"""State dicts under PyTorch's names and layouts -> this codebase's variables."""

import numpy as np
from flax import traverse_util

LEAVES = {
  "weight": ("params", "kernel"),
  "bias": ("params", "bias"),
  "running_mean": ("batch_stats", "mean"),
  "running_var": ("batch_stats", "var"),
}


def variables(state_dict: dict[str, np.ndarray], rename) -> dict:
  """`rename` maps a dotted module name to ours ("a/b"), or to None to drop it."""
  flat = {}
  for key, value in state_dict.items():
    module, _, leaf = key.rpartition(".")
    if leaf not in LEAVES or rename(module) is None:
      continue
    collection, name = LEAVES[leaf]
    if leaf == "weight" and value.ndim == 1:
      name = "scale"
    path = (collection, *rename(module).split("/"), name)
    flat[path] = layout(value).astype(np.float32)
  return traverse_util.unflatten_dict(flat)


def layout(weight: np.ndarray) -> np.ndarray:
  """OIHW -> HWIO, (out, in) -> (in, out)."""
  if weight.ndim == 4:
    return weight.transpose(2, 3, 1, 0)
  return weight.T


def resnet(module: str) -> str:
  """E.g. torchvision's "layer1.0.downsample.1" -> "layer1_0/downsample_bn"."""
  parts = module.split(".")
  if len(parts) == 1:
    return module
  stage, block, name, *rest = parts
  if rest:
    name = "downsample_bn" if rest == ["1"] else "downsample_conv"
  return f"{stage}_{block}/{name}"


def vit(module: str) -> str:
  """E.g. DINO's "blocks.0.attn.qkv" -> "block0/attn/qkv"."""
  parts = module.replace("mlp.", "").split(".")
  if parts[0] == "patch_embed":
    return "patch"
  if parts[0] == "blocks":
    parts = [f"block{parts[1]}", *parts[2:]]
  return "/".join(parts)


def under(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
  """The entries whose key starts with `prefix`, without it."""
  n = len(prefix)
  return {k[n:]: v for k, v in arrays.items() if k.startswith(prefix)}

"""A run's encoder as a file of weights that other programs load.

    python run.py --config configs/weights/save.py --config.checkpoint=runs/simclr \
--config.format=torchvision --config.file=resnet18.safetensors

`--config.format` is a family of docs/weights.md, whose names it takes; `hf` writes a
folder with config.json, preprocessor_config.json and README.md; `onnx` a graph. The
file ends in .safetensors or .npz, with PyTorch installed in .pth, of `onnx` in .onnx.
"""

from ml_collections import ConfigDict


def get_config():
  c = ConfigDict()
  c.evaluator = "save_weights"
  c.checkpoint = ""  # a run's folder
  c.step = 0  # of its checkpoint; 0: the newest
  c.format = "safetensors"  # whose names; safetensors: torchvision's or timm's
  c.input = "uint8"  # of onnx: pictures as they are; float: normalised; or text
  c.file = ""  # to write; of hf: a folder
  return c

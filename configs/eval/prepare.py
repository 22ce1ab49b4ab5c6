"""Decodes pictures once: canvases on the disk, which runs read instead.

    python run.py --config configs/eval/prepare.py --config.data.name=folder \
--config.data.dir=~/photos --config.data.size=256 --workdir=canvases
    python run.py --config configs/eval/prepare.py:byol_imagenet --workdir=canvases

A variant is a recipe, whose data and canvas are taken. Stopped, the same line goes on;
on what is finished it checks every byte. Runs read them by `data.prepared=canvases`,
JPEGs (`prepare.form=jpeg`) by `data.lossy=True` besides (docs/data.md).
"""

import importlib

from ml_collections import ConfigDict

FIELDS = ("name", "dir", "train_split", "eval_split", "size", "planes")


def get_config(variant: str = ""):
  c = ConfigDict()
  c.evaluator = "prepare"
  c.data = ConfigDict()
  c.data.update(name="imagenet2012", dir="", train_split="", eval_split="")
  c.data.size = 512  # pixels of the canvas: that of the recipe that will read it
  c.data.workers = 0  # threads that decode; 0: as many as cores
  c.prepare = ConfigDict()
  c.prepare.form = "raw"  # raw | jpeg
  if variant:
    c.data.update({k: v for k, v in _data(variant).items() if k in FIELDS})
  return c


def _data(recipe: str) -> ConfigDict:
  try:
    return importlib.import_module(f"configs.{recipe}").get_config().data
  except (ModuleNotFoundError, AttributeError):
    raise ValueError(
      f"config variant ':{recipe}' must be a recipe, the name of a file in configs/"
    ) from None

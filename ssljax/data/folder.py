"""Pictures in a tree of folders."""

import pathlib

from PIL import Image

from ssljax.data import tree
from ssljax.data.source import Splits

# Formats that Pillow names and that are no pictures to it: it hands them to a handler
# that nobody installed, to a program, or reads no more than their header.
NO_PICTURES = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")


def _endings() -> frozenset[str]:
  """Lists the endings of all that Pillow opens."""
  Image.init()
  formats = Image.registered_extensions()
  return frozenset(
    ending
    for ending, format in formats.items()
    if format in Image.OPEN and format not in NO_PICTURES
  )


def _open_picture(file: pathlib.Path) -> None:
  with Image.open(file):
    pass


PICTURES = tree.Kind("image", "pictures", _endings(), _open_picture)


def splits(*, dir: str = "", train_split: str = "", eval_split: str = "") -> Splits:
  """Opens pictures in the tree `dir`, as `tree.splits` splits it."""
  return tree.splits(PICTURES, dir, train_split, eval_split)

"""Host side: where pictures come from, and batches of them. Knows no JAX."""

from ssljax.data import digits, folder, tfds
from ssljax.data.codec import Spec
from ssljax.data.decode import Pictures
from ssljax.data.loader import Loader, eval_batches, make_loader, prefetch
from ssljax.data.reader import zeros
from ssljax.data.source import Source, Splits, spec

__all__ = [
  "Loader",
  "Pictures",
  "Source",
  "Spec",
  "Splits",
  "build",
  "eval_batches",
  "make_loader",
  "prefetch",
  "spec",
  "zeros",
]


def build(data) -> Splits:
  """The sources that the config group `data` names; its other fields are the loader's.

  `name`: "digits", "folder" or a data set of the TFDS catalogue; `dir`, `train_split`,
  `eval_split`: None or "" for the default of each. Raises ValueError in one sentence.
  """
  where = data.dir, data.train_split, data.eval_split
  if data.name == "digits":
    if any(where):
      raise ValueError(
        f"data.name='digits' has fixed splits and no folder, but dir, train_split, "
        f"eval_split are {where}; leave them empty"
      )
    return digits.splits()
  if data.name == "folder":
    return folder.splits(*where)
  return tfds.splits(data.name, *where)

"""scikit-learn's handwritten digits: 1797 greys of 8x8 that need no download."""

import numpy as np

from ssljax.data.source import Example, Source, Splits

NUM_EVAL = 360  # a fifth, of every class alike


class Digits(Source):
  """scikit-learn's digits: images uint8 [N,8,8,3], labels int [N]."""

  name = "digits"
  class_names = tuple("0123456789")

  def __init__(self, images: np.ndarray, labels: np.ndarray):
    self.images, self.labels = images, labels

  def facts(self):
    """Returns all of the data, which tells it from other data."""
    return {"images": self.images, "labels": self.labels}

  def __len__(self) -> int:
    return len(self.images)

  def __getitem__(self, index: int) -> Example:
    return {"image": self.images[index], "label": int(self.labels[index])}


def splits() -> Splits:
  """Splits the digits: 1437 to train, 360 to evaluate; always the same ones."""
  from sklearn import datasets, model_selection  # a second that only digits needs

  data = datasets.load_digits()
  grey = np.round(data.images * (255 / 16)).astype(np.uint8)
  images = np.repeat(grey[..., None], 3, axis=-1)
  train, test = model_selection.train_test_split(
    np.arange(len(images)), test_size=NUM_EVAL, stratify=data.target, random_state=0
  )
  return Splits(*(Digits(images[part], data.target[part]) for part in (train, test)))

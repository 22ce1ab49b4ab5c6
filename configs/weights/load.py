"""A run's folder made of a file of weights: everything works on it as on any run.

    python run.py --config configs/weights/load.py --config.file=resnet50.safetensors \
--workdir runs/resnet50

Reads .safetensors, .npz and TensorFlow's .index; .pth and the like by PyTorch, where it
is installed; a folder of Hugging Face's. What it is, is found out from names and
shapes, or said by `--config.format`; pictures are prepared as its family does
(docs/weights.md).
"""

from ml_collections import ConfigDict

from configs import common


def get_config():
  c = ConfigDict()
  c.evaluator = "load_weights"
  c.file = ""  # of weights
  c.head = ""  # of DINOv2's, a file of a linear classifier on it
  c.format = ""  # whose names: a family of docs/weights.md; "": found out
  c.crop = 0.0  # the central square's share of the shorter side; 0: the family's
  c.size = 0  # pixels of a side; 0: the family's, or those its positions are for
  c.encoder = ConfigDict()  # fields laid over those found, such as heads
  c.text = ConfigDict()  # of a tower of texts, likewise
  c.run = common.base()  # the other fields of the run's config
  c.data = c.run.data  # to judge on, where a protocol names no other
  c.data.update(name="digits", size=512)
  del c.run.data
  del c.run.encoder
  c.run.method.name = "given"
  c.run.augment.recipe = "supervised"  # mean and std may stand here: else the family's
  c.run.optimizer = {"name": "sgd", "learning_rate": 0.0}
  return c

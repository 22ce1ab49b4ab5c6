"""What every evaluation's config has; its file fills it."""

from ml_collections import ConfigDict

from configs import common


def base(evaluator: str, **numbers) -> ConfigDict:
  """Fields that all share, and the numbers of the evaluator."""
  c = ConfigDict()
  c.evaluator = evaluator
  c.protocol = ""  # the result's name in the run's folder evals/; "": the evaluator's
  c.checkpoint = ""  # a run's folder
  c.step = 0  # of its checkpoint; 0: the newest
  c.data = ConfigDict()  # what differs from the run's own
  c.data.update(name="", dir="", train_split="", eval_split="")
  if numbers:
    c[evaluator] = ConfigDict(numbers)
  return c


def training(protocol: str) -> ConfigDict:
  """One that trains: `training` has a run's fields, `data` two more.

  Encoder, precision and pictures are the run's own. Views are a crop and a flip.
  """
  c = base("training")
  c.protocol = protocol
  c.data.held_out = 0.0  # share of the training split on which heads are chosen
  c.data.per_class = 0  # labels of each class to learn from; 0: all
  c.training = common.base()
  c.training.augment.recipe = "supervised"
  c.training.log_every = 50
  return c

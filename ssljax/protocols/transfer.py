"""Protocols that train: linear probes on a run's encoder, and its fine-tuning.

Each is a run of its own, in a folder of the run that it judges: it can be stopped,
continued and looked at like any other.
"""

import functools
import pathlib
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ssljax import augment, data, encoder, recipe, runs, train
from ssljax.encoder import Trained
from ssljax.evals import classifier
from ssljax.fields import ConfigError
from ssljax.judge import Judge
from ssljax.train import origin

PROBE = "linear_probe"
# What every batch of pictures holds.
PICTURES = ("image", "extent", "aspect", "label", "index")
WHOLE = {"stop_grad_patch": False, "token_drop": 0.0}  # fields of an encoder
NUMBERS = ("seed", "batch_size", "epochs", "steps", "augment", "optimizer")


def compose(
  training: ConfigDict, run: pathlib.Path, trained: Trained, own_data: dict
) -> ConfigDict:
  """Composes the config of a run from `trained`, with the numbers of `training`.

  Its encoder, precision and pictures are those of `run`, save for what `own_data` and
  `training.encoder` set. ConfigError where that learned from no pictures.
  """
  c, old = training.copy_and_resolve_references(), trained.config
  c.unlock()
  c.data.update({**old.data.to_dict(), **own_data})
  encoder_fields = old.encoder.to_dict()
  if c.method.name != PROBE:  # all of it is tuned, by all of a picture
    encoder_fields |= {k: v for k, v in WHOLE.items() if k in encoder_fields}
  c.encoder = encoder_fields | {k: v for k, v in training.encoder.items() if v}
  c.dtype = old.dtype
  augmentation = augment.configure(old.augment)
  if augmentation.input != "image":
    raise ConfigError(
      f"checkpoint={str(run)!r} learned from {augmentation.input}, and this "
      "protocol trains on pictures; --config.evaluator=linear or knn judges it"
    )
  pictures = {name: getattr(augmentation, name) for name in ("colour", "mean", "std")}
  c.augment.update(size=augmentation.views[0].size, **pictures)
  c.evals.update(crop=old.evals.crop, every_epochs=0, at_end=())
  c.pretrained.update(checkpoint=str(run), step=int(trained.state.step))
  if c.method.name == PROBE:
    c.pretrained.into = "base"
    c.method.base = {
      "encoder": old.encoder.to_dict(),
      "method": old.method.to_dict(),
      "plan": trained.plan._asdict(),
    }
    c.method.inputs = tuple(
      (name, shape, dtype)
      for name, (shape, dtype) in trained.spec.items()
      if name not in PICTURES
    )
  return c


def shrink(config: ConfigDict, examples: int, devices: int) -> str:
  """Lowers the batch to what so many examples allow -> what to say of that, or ""."""
  batch_size, most = config.batch_size, examples // devices * devices
  if batch_size <= examples:
    return ""
  if not most:
    raise ConfigError(
      f"{examples} training examples are fewer than the {devices} devices, each of "
      "which sees one at least; name larger data, or show this program fewer devices"
    )
  config.batch_size = most
  why = f"there are {examples} training examples"
  return f"training.batch_size={batch_size}: {why}; it is {most} now."


def learn(
  config: ConfigDict, workdir: pathlib.Path, mesh: Mesh, checkpoint: str
) -> dict[str, Any]:
  """Trains what `compose` gave -> what it reached on the test split, looked at once.

  `checkpoint` is the identity of the one that it starts from.

  -> {"numbers", "data", "results"}: "accuracy" in % and, above five classes,
  "accuracy_top5"; no row where the run was stopped early. Of linear heads: "linear" of
  the one that was best on `data.held_out`, besides its name, "head", and "grid", what
  each reached there.
  """
  check(config)
  free = origin.moved(config, workdir)  # not its length: half a probe is none
  runs.check_same_run(config, workdir, free)
  train.train_and_evaluate(config, workdir)
  trained, parts, state, _, plan, *_ = encoder.restore(workdir, mesh)
  numbers = {name: trained[name] for name in NUMBERS}
  numbers["method"] = {
    k: v for k, v in trained.method.items() if k not in ("base", "inputs")
  }
  used = {"numbers": numbers, "data": trained.data.to_dict()}
  if int(state.step) < plan.total_steps:
    return {**used, "results": {}}
  chosen_on = recipe.open_data(trained, workdir)
  with trained.unlocked():
    trained.data.held_out = 0.0
  test = Judge(trained, parts, recipe.open_data(trained, workdir), mesh)
  state = state.replace(opt_state=None)
  if config.method.name != PROBE:
    scores = classifier.accuracies(*test.classified(state))
    return {**used, "results": {"trained encoder": scores}}

  @jax.jit
  def predictions(state, batch):
    return parts.method.predictions(state, parts.seen(batch))

  predict = functools.partial(predictions, state)
  heads, grid, best = parts.method.heads(state), {}, 0
  if len(heads) > 1:
    held_out = Judge(trained, parts, chosen_on, mesh)
    scores = _accuracies(*held_out.extract(predict))
    best = int(np.argmax(scores))
    grid = {name: float(score) for name, score in zip(heads, scores, strict=True)}
  linear = float(_accuracies(*test.extract(predict))[best])
  rows = {"trained encoder": {"linear": linear}}
  return {**used, "results": rows, "head": heads[best], "grid": grid}


def question(config: ConfigDict, checkpoint: str) -> dict[str, Any]:
  """Returns what a run of `compose` is asked, but for the identity of its data.

  `checkpoint` is the identity of the one that it starts from: another may be of the
  same step.
  """
  numbers = {"of_step": config.pretrained.step, "of": data.digest(checkpoint)[:6]}
  data_read = config.data.to_dict()
  return {"evaluator": "training", "numbers": numbers, "data": data_read}


def answered(workdir: pathlib.Path, checkpoint: str) -> dict[str, Any] | None:
  """Reads the question of the run that lies in `workdir`; None where there is none.

  An older ssljax left no word of its start: that is taken to be `checkpoint`.
  """
  if not (workdir / "config.json").exists():
    return None
  config = ConfigDict(runs.stored_config(workdir))
  start = workdir / origin.START
  first_question = question(config, start.read_text() if start.exists() else checkpoint)
  identity = encoder.learned(workdir)
  return {**first_question, "identity": identity} if identity else first_question


def check(config: ConfigDict) -> None:
  """Raises ConfigError where several heads have no pictures to be chosen on."""
  method = config.method
  several = len(method.get("rates", (1,))) * len(method.get("choices", (1,))) != 1
  if method.name == PROBE and several and not config.data.get("held_out"):
    raise ConfigError(
      "several heads are chosen among on a part of the training split; set "
      "--config.data.held_out=0.1"
    )


def _accuracies(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
  is_labelled = labels >= 0
  right = predicted[is_labelled] == labels[is_labelled, None]
  return 100 * right.sum(0) / max(1, is_labelled.sum())

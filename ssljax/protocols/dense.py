"""Protocols with an answer for each pixel: segmentation, depth."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import jax
import numpy as np
from ml_collections import ConfigDict

from ssljax import augment, data, figures
from ssljax.data import dense as truths
from ssljax.data.source import Splits
from ssljax.evals.dense import Maps, centred, segmentation
from ssljax.evals.dense import depth as depths
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Number, Positive, Range
from ssljax.judge import maps
from ssljax.protocols.case import Case

PICTURES = 64  # that the encoder sees at once


def segment(
  case: Case,
  *,
  size: Number = 0,
  block: str = "",
  classes: Number = 0,
  ignore: Sequence[Annotated[int, Range(0, truths.NO_CLASS)]] = (truths.NO_CLASS,),
  shown: Number = 8,
  **numbers,
) -> dict[str, Any]:
  """Segments by neighbours and by a linear head on frozen patches, {row: mIoU, ...}.

  Pictures are seen whole, squeezed to `size` pixels (0: the run's), and judged there.
  `classes` are as many as masks may hold (0: as many as they do), `ignore` the numbers
  that are none. Of `shown` pictures the report has prediction beside truth.
  """
  ignored = {*ignore, truths.NO_CLASS}
  num_classes = _count_classes(case.splits, classes, sorted(ignored))

  def finish(mask):
    return np.where(np.isin(mask, sorted(ignored)), segmentation.NONE, mask)

  rows, by_class, drawn, eye = {}, {}, {}, _eye(case, size, block)
  for row, seen in _rows(case, eye, finish):
    predict = segmentation.predictors(seen, num_classes, **numbers)
    rows[row] = {}
    for name, function in predict.items():
      pair = seen.test_x, seen.test_y
      counts = segmentation.confusion(function, *pair, num_classes)
      scores, iou = segmentation.scores(counts)
      rows[row] |= {f"{name}_{measure}": x for measure, x in scores.items()}
      by_class[f"{row}, {name}"] = {
        str(i): float(x) for i, x in enumerate(iou) if np.isfinite(x)
      }
      drawn[name] = function
  result = {**case.found(rows, classes=num_classes), "by_class": by_class}
  colour = functools.partial(figures.by_class, num_classes=num_classes)
  return _drawn(case, eye, result, seen, drawn, colour, "segmentation", shown)


def depth(
  case: Case,
  *,
  size: Number = 0,
  block: str = "",
  scale: Positive = 1.0,
  shown: Number = 8,
  **numbers,
) -> dict[str, Any]:
  """Estimates depths by a linear head on frozen patches, {row: rmse, ...}.

  Pictures are seen whole, squeezed to `size` pixels (0: the run's), and judged there.
  A depth is what is stored times `scale`; 0 is none. Of `shown` pictures the report has
  prediction beside truth.
  """
  ends = np.concatenate([truths.check(split) for split in case.splits])
  if not numbers.get("max_depth"):
    numbers["max_depth"] = float(scale * ends[: len(case.splits.train), 1].max())
    case.say(
      f"depth.max_depth is {numbers['max_depth']:g}, the greatest to learn from."
    )

  def finish(x):
    return np.float32(scale) * x

  range_of = numbers.get("min_depth", depths.MIN_DEPTH), numbers["max_depth"]
  rows, eye = {}, _eye(case, size, block, beside=True)
  for row, seen in _rows(case, eye, finish):
    predict = depths.predictor(seen, **numbers)
    rows[row] = depths.errors(predict, seen.test_x, seen.test_y, range_of)
  colour = functools.partial(figures.by_value, low=0.0, high=numbers["max_depth"])
  result = case.found(rows, max_depth=numbers["max_depth"])
  return _drawn(case, eye, result, seen, {"linear": predict}, colour, "depth", shown)


def _eye(case: Case, size: int, block: str, beside: bool = False) -> maps.Eye:
  """Makes what sees whole pictures of `size` pixels by the case's encoder."""
  method, config = case.trained.parts.method, case.trained.config
  if method.input != "image":
    raise ConfigError(
      f"checkpoint={str(case.run)!r} learned from {method.input}, and this protocol is "
      "about pictures"
    )
  if not size:
    size = augment.configure(augment.evaluation(config.augment, 1.0)).views[0].size
  judge = case.judge(
    labels=False,
    splits=case.splits,
    batch_size=PICTURES,
    size=size,
    in_memory=False,
    prepared="",
  )
  return maps.Eye(judge, size, block, beside)


def _rows(
  case: Case, eye: maps.Eye, finish: Callable[[np.ndarray], np.ndarray]
) -> Iterator[tuple[str, Maps]]:
  """Yields the patches of both splits, row by row; the trained encoder's come last."""
  states = case.states()
  raw = eye.raw(states["random encoder"])
  yield maps.RAW, centred(maps.collect(eye.judge, raw, finish))
  for row, state in states.items():
    yield row, maps.collect(eye.judge, eye.embedding(state), finish)


def _count_classes(splits: Splits, classes: int, ignored: list[int]) -> int:
  """Checks all masks -> how many classes there are; ConfigError: one is beyond them."""
  greatest = 0
  for split in splits:
    ends = truths.check(split, ignored)[:, 1].astype(int)
    beyond = np.flatnonzero(ends >= classes) if classes else ()
    if len(beyond):
      raise ConfigError(
        f"the mask of {split.path(int(beyond[0]))!r} has the class {ends[beyond[0]]}, "
        f"and segment.classes={classes} are 0 to {classes - 1}; set more, or name what "
        "is no class by --config.segment.ignore"
      )
    greatest = max(greatest, int(ends.max()))
  return classes or greatest + 1


def _drawn(
  case: Case,
  eye: maps.Eye,
  result: dict[str, Any],
  seen: Maps,
  predict: dict[str, Callable],
  colour: Callable[[np.ndarray], np.ndarray],
  title: str,
  shown: int,
) -> dict[str, Any]:
  """Draws test pictures, their truth and what the last row predicts -> the result."""
  name = case.result_name(result)
  count = len(seen.test_y)
  chosen = np.linspace(0, count - 1, min(shown, count)).astype(int)
  if not len(chosen) or jax.process_index():
    return {"name": name, **result}
  pictures = eye.pictures(case.splits.eval, seen.test_index[chosen])
  lines = {"picture": pictures, "truth": colour(seen.test_y[chosen])}
  for head, function in predict.items():
    lines[head] = colour(np.asarray(function(np.asarray(seen.test_x[chosen]))))
  (case.folder / name).mkdir(parents=True, exist_ok=True)
  figures.pictures(lines, title.capitalize(), case.folder / name / f"{title}.png")
  return {"name": name, **result}


def _open(kind: truths.Kind, c: ConfigDict, run: Any) -> Splits:
  splits = data.with_truth(c.data, kind)
  if splits.eval is None:
    raise ConfigError(
      f"{splits.train.name} has nothing to evaluate on; name a part of it by "
      "--config.data.eval_split"
    )
  return splits


OPENS = {  # by protocol, how its data is opened
  "segment": functools.partial(_open, truths.MASKS),
  "depth": functools.partial(_open, truths.DEPTHS),
}
NUMBERS = {  # and who takes its numbers
  "segment": (segment, segmentation.predictors),
  "depth": (depth, depths.predictor),
}

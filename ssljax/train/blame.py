"""What came first where a number is none: the data, the loss, a gradient, an update."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ssljax.core import Batch, Metrics, TrainState
from ssljax.fields import flat
from ssljax.parts import Parts

MOST = 1000  # steps that are repeated to find it
SMALL = 0.01  # a temperature below this magnifies what is rounded
LARGE = 1e4  # a parameter above this has taken steps that were too long
SLOWER = "a lower optimizer.learning_rate is the usual remedy"

Steps = Iterator[tuple[int, TrainState, Metrics]]  # done so far, what they led to


class NotANumberError(ArithmeticError):
  """A metric is not a finite number; holds its step, its name and its value."""


def worst(metrics: Metrics) -> tuple[str, float] | None:
  """Finds the first metric that is not finite: loss, gradient, then the others."""
  names = sorted(metrics, key=lambda name: (name != "loss", name != "grad_norm"))
  pairs = ((name, float(metrics[name])) for name in names)
  return next((pair for pair in pairs if not math.isfinite(pair[1])), None)


@jax.jit
def all_finite(tree: Any) -> jax.Array:
  """Whether every float of a tree is finite: metrics tell of the step before."""
  floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
  return jnp.stack([jnp.bool_(True), *(jnp.isfinite(x).all() for x in floats)]).all()


def find(
  config: ConfigDict,
  parts: Parts,
  steps_again: Callable[[], Steps],
  batch: Callable[[int], Batch],
  until: int,
) -> tuple[str, str]:
  """Finds what was not finite first, by the step `until`, and the remedy.

  `steps_again()` repeats the run's steps from its last checkpoint on, which itself
  comes first, with no metrics; `batch` gives a step's examples as global arrays. Beyond
  MOST steps nothing is repeated, and what came first is "".
  """
  for done, state, metrics in steps_again():
    if not metrics:
      if not all_finite(state):
        return "what it began with had parameters that are no numbers", (
          "see to pretrained.checkpoint, or to the weights that it was loaded from"
        )
      if until - done > MOST:
        return "", SLOWER
    elif (bad := worst(jax.device_get(metrics))) or not all_finite(state):
      break
    elif done >= until:
      return (
        "it did not come again when the steps were repeated",
        "the device may err, or add in another order each time: the same line goes on",
      )
  name = bad[0] if bad and all_finite(state) else ""  # of a metric, and nothing else
  state = next(state for step, state, _ in steps_again() if step == done - 1)
  first, remedy = _first(config, parts, state, batch(done), name)
  return f"in step {done} {first}", remedy


def sentence(
  step: int, name: str, value: float, last_step: int, first: str, remedy: str
) -> str:
  """Writes the sentence on a metric that is no number, and what `find` found."""
  last_good = (
    f"is that of step {last_step}" if last_step else "would have been the first"
  )
  return (
    f"{name} is {value} at step {step}; {first and f'{first}; '}"
    f"the last good checkpoint {last_good}; {remedy}"
  )


def _first(
  config: ConfigDict, parts: Parts, state: TrainState, batch: Batch, metric: str = ""
) -> tuple[str, str]:
  """Finds what was not finite first in the step from a whole state, and the remedy.

  `metric` is the name of one that was none where the state behind the step is finite.
  """
  for name, x in batch.items():
    if not all_finite(x):
      rows = _rows(x, batch["index"])
      return f"the data had values of {name} that are no numbers ({rows})", (
        "mend these examples, or leave them out"
      )
  look = jax.jit(functools.partial(_look, parts))
  views, loss, gradients, largest = jax.device_get(look(state, batch))
  groups = [name for name, finite in gradients.items() if not finite]
  if not views:
    return "the views had values that are no numbers, of data that are", (
      "look at the group augment: std must not be 0"
    )
  if not loss:
    first = "the loss was no number, of parameters that were"
  elif groups:
    first = f"the gradient of {' and '.join(groups)} was no number, of a loss that was"
  elif metric == "grad_norm":
    first = "the gradient was too large for its norm, which overflowed"
  elif metric:
    return f"{metric} was no number, of a loss, a gradient and parameters that were", (
      "see to how the method computes it"
    )
  else:
    first = "the update made parameters that are no numbers, of a gradient that was one"
  return first, _remedy(config, largest)


def _look(parts: Parts, state: TrainState, batch: Batch) -> tuple:
  (loss, _), gradients = parts.gradients(state, batch)
  views = parts.augmented(state, batch)
  groups = {name: all_finite(tree) for name, tree in gradients.items()}
  largest = jnp.stack([jnp.abs(x).max() for x in jax.tree.leaves(state.params)]).max()
  return all_finite(views), jnp.isfinite(loss), groups, largest


def _rows(x: jax.Array, index: jax.Array) -> str:
  """Names the examples, of this process's share, that hold no finite number."""
  shards = zip(x.addressable_shards, index.addressable_shards, strict=True)
  bad_examples = [
    str(number)
    for rows, numbers in shards
    for row, number in zip(*map(np.asarray, (rows.data, numbers.data)), strict=True)
    if not np.isfinite(row).all()
  ]
  return f"examples {', '.join(bad_examples[:5])}"


def _remedy(config: ConfigDict, largest: float) -> str:
  """Says what to change where the data was not to blame."""
  if largest > LARGE:
    return f"{SLOWER}: parameters had grown to {largest:.2g}"
  method = flat(config.method.to_dict())
  for name, value in method.items():
    if "temperature" in name and isinstance(value, float) and value < SMALL:
      return f"method.{name}={value:g} is very small; 0.05 to 0.5 is usual"
  if config.dtype == "bfloat16":
    return "dtype='float32' tells whether bfloat16 is too narrow here"
  return SLOWER

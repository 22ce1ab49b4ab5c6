"""What changes while a run trains, and what passes through a network."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax
import jax

Batch = dict[str, jax.Array]  # entry -> [B,...]
Inputs = dict[str, jax.Array]  # of a network: entry -> [B,...]
Outputs = dict[str, jax.Array]  # of a network: name -> [B,...], float32
Metrics = dict[str, jax.Array]  # name -> f32[]


@flax.struct.dataclass
class TrainState:
  """Everything that changes while a run trains: exactly what a checkpoint holds."""

  step: jax.Array  # i32[], optimizer steps taken; the only clock
  params: Any  # what the optimizer moves, nothing else
  batch_stats: Any  # running statistics of the online network
  target: Any  # what the method remembers: EMA network, queue, bank, centre
  opt_state: Any


class Layout(NamedTuple):
  """Where the arrays of a state lie within a step; by default where they are.

  Of a state that is split over devices networks see whole arrays, the optimizer pieces.
  Unless that is said, XLA may move activations in place of parameters.
  """

  whole: Callable[[TrainState], TrainState] = lambda state: state  # for the networks
  split: Callable[[Any], Any] = lambda grads: grads  # for the optimizer


IN_PLACE = Layout()


def _empty() -> Any:
  return flax.struct.field(default_factory=dict)


class Encoded(NamedTuple):
  """Examples after the networks: rows [b,...] to compare, new running statistics."""

  rows: dict[str, jax.Array]  # [b,...], an example a row: all that is compared
  batch_stats: Any  # the online network's new running statistics
  target_stats: Any = ()  # those of the target's own passes, for `after_update`


@flax.struct.dataclass
class Aux:
  """What a batch gives besides its loss; `objective` fills the first four fields."""

  carry: dict[str, Any] = _empty()  # what this batch leaves for `after_update`
  metrics: Metrics = _empty()  # name -> f32[]
  outputs: dict[str, jax.Array] = _empty()  # rows [B,V,...] beside those of `encode`
  loss: jax.Array | None = None  # what is logged as such, where another is minimised
  batch_stats: Any = ()  # the online network's new running statistics

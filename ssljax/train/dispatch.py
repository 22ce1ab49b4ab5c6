"""Several steps in one dispatch: small models spend more on handing over."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ssljax import core, sharding
from ssljax.core import Batch, Metrics, TrainState
from ssljax.parts import Parts, Traced

Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def loops_well() -> bool:
  """Whether steps in a loop cost no more than alone: on CPUs XLA's convolutions do."""
  return jax.default_backend() != "cpu"


def compile_init(
  init: Callable[[Batch], TrainState],
  batch: Batch,
  mesh: Mesh,
  by_row: Iterable[str] = (),
  least: int = 0,
) -> Callable[[], TrainState]:
  """Compiles init() -> the state at step 0, laid over the mesh; it compiles once.

  `by_row` and `least` say what is split: `sharding.state_sharding`.
  """
  layout = sharding.state_sharding(jax.eval_shape(init, batch), mesh, by_row, least)
  # A hundred small programs, of drawing: LLVM's loops would take ten seconds for them.
  quick = {"xla_backend_optimization_level": 1}
  options = quick if jax.default_backend() == "cpu" else None
  compiled = jax.jit(init, out_shardings=layout, compiler_options=options)
  return functools.partial(compiled, batch)


def layout(parts: Parts, shapes: TrainState, mesh: Mesh) -> TrainState:
  """Makes a tree of shardings like `shapes`: where a run's state lies between steps."""
  by_row, least = parts.method.by_row, parts.split_state
  return sharding.state_sharding(shapes, mesh, by_row, least)


def step(parts: Parts, traced: Traced, mesh: Mesh) -> Step:
  """Returns the step of a run, told where what is split over devices is seen whole."""
  if not parts.split_state or mesh.size == 1:
    return traced.step
  shown = sharding.state_sharding(traced.state, mesh, parts.method.by_row)
  pieces = layout(parts, traced.state, mesh).params

  def whole(state):
    state = state.replace(opt_state=None)
    return sharding.pin(state, shown.replace(opt_state=None))

  placed = core.Layout(whole, lambda grads: sharding.pin(grads, pieces))
  return functools.partial(parts.step, layout=placed)


def whole(parts: Parts, state: TrainState, mesh: Mesh) -> TrainState:
  """Lays a state out for its judge: every network whole, without its optimizer."""
  state = state.replace(opt_state=None)
  if not parts.split_state:
    return state
  by_row = parts.method.by_row
  return sharding.lay(state, sharding.state_sharding(state, mesh, by_row))


def compile_steps(step: Step, layout: TrainState, mesh: Mesh, k: int) -> Callable:
  """Compiles steps(state, batches, count, table) -> state, metrics of the last step.

  `batches` are k stacked ones [k,B,...] of which the first `count` i32[] are taken, so
  that a shorter dispatch needs no second program. What the whole set [N,...] is on the
  devices for, `table`, is gathered by their rows; {}: they are examples. `layout` is a
  tree of shardings. The state is donated.
  """

  def steps(state, batches, count, table):
    def at(i):
      return gathered(jax.tree.map(lambda x: x[i], batches), table)

    if k == 1:
      return step(state, at(0))
    _, metrics = jax.eval_shape(step, state, at(0))
    metrics = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), metrics)
    return jax.lax.fori_loop(
      0, count, lambda i, carry: step(carry[0], at(i)), (state, metrics)
    )

  repl = sharding.replicated(mesh)
  return jax.jit(
    steps,
    in_shardings=(layout, sharding.by_steps(mesh), repl, repl),
    out_shardings=(layout, repl),
    donate_argnums=0,
  )


def gathered(batch: Batch, table: Batch) -> Batch:
  """Gathers the rows of a batch, "row" i32 [B], from the whole set -> its examples.

  Behind a barrier, so that what follows is computed as of examples from the host.
  Without a `table` they are that.
  """
  if not table:
    return batch
  rows = {
    name: x.at[batch["row"]].get(mode="promise_in_bounds") for name, x in table.items()
  }
  return jax.lax.optimization_barrier(rows)


def counts(
  start: int, total: int, k: int, stops: tuple[float, ...], marks: tuple[int, ...] = ()
) -> Iterator[int]:
  """Yields the steps of each dispatch: at most k, never past a mark.

  Multiples of a stop are such marks too.
  """
  done = start
  while done < total:
    ends = [total, *(done + stop - done % stop for stop in stops), *marks]
    count = int(min(k, *(end - done for end in ends if end > done)))
    yield count
    done += count


def stacked(
  batches: Iterator[Batch], counts: Iterator[int], k: int
) -> Iterator[tuple[int, Batch]]:
  """Stacks host batches -> how many a dispatch takes, and k of them [k,B,...].

  Where fewer are taken, the last is repeated to fill up.
  """
  for count in counts:
    group = [next(batches) for _ in range(count)]
    group += group[-1:] * (k - count)
    if k == 1:
      yield count, {name: x[None] for name, x in group[0].items()}
    else:
      yield count, {name: np.stack([b[name] for b in group]) for name in group[0]}


def put(
  count: int, batches: Any, mesh: Mesh, table: Batch | None = None
) -> tuple[Any, jax.Array, Batch]:
  """Puts the process's share of stacked batches, and their count, onto the devices.

  -> what `compile_steps` makes takes beside the state.
  """
  number = sharding.put_whole(np.int32(count), mesh)
  return sharding.put_batch(batches, sharding.by_steps(mesh)), number, table or {}

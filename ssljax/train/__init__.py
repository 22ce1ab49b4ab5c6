"""One call trains and judges: `train_and_evaluate`. It knows no method's name."""

import pathlib
import time
from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from ssljax import data, html, provenance, recipe, runs, sharding
from ssljax.checkpoint import Checkpoints
from ssljax.core import TrainState
from ssljax.fields import ConfigError, as_path
from ssljax.judge import Judge, report
from ssljax.runs import compiled, lock, stop, upload
from ssljax.runs.writer import Writer
from ssljax.train import dispatch, exhausted, feed, origin
from ssljax.train.feed import Feed
from ssljax.train.loop import Run
from ssljax.train.pace import Pace
from ssljax.weights import pretrained


def train_and_evaluate(config: ConfigDict, workdir: str | pathlib.Path) -> dict:
  """Trains what `config` says in the folder `workdir`, or goes on where it stopped.

  `workdir` may be an address such as gs://bucket/run (`runs/upload.py`).
  Returns {row: {name: value}} for raw pixels, the random and the trained encoder, and
  between these the one that `pretrained` gave; empty where the data has no labels, or
  when SIGTERM or Ctrl-C ended the run early.
  Raises ConfigError, before anything compiles, for what cannot run, and a RunError for
  what cannot go on.
  """
  sharding.start_processes()
  workdir = as_path(workdir)
  recipe.check(config)
  with upload.uploaded(workdir), lock.owned(workdir):
    try:
      return train(config, workdir)
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
      if told := exhausted.explained(error, config):
        raise told from error
      raise


def train(config: ConfigDict, workdir: pathlib.Path) -> dict:
  """Trains as `train_and_evaluate` does, in a folder that is this run's alone."""
  since = time.monotonic()
  provenance.check_processes(config)
  free = *runs.LENGTH, *origin.moved(config, workdir)
  goes_on = runs.check_same_run(config, workdir, free)
  splits = recipe.open_data(config, workdir if goes_on else None)
  plan = recipe.make_plan(config, len(splits.train), splits.train.num_classes)
  parts = recipe.build(config, plan)
  mesh = sharding.make_mesh()
  recipe.check_devices(config, mesh.size)
  blank = data.zeros(splits.train.spec(config.data.size), config.batch_size)
  traced = recipe.trace(parts, blank, mesh)
  travels = parts.device_note(traced.state, blank, mesh.size)
  judge = Judge(config, parts, splits, mesh)
  identity = provenance.identify(splits)
  with (
    stop.Stop() as stopping,
    Checkpoints(workdir, **config.checkpoint, owned=True) as checkpoints,
  ):
    past = runs.history(checkpoints, plan)
    notes = provenance.check(past.meta, identity, workdir)
    with runs.writing(workdir), Writer(workdir, config, plan) as writer:
      writer.say(report.summary(config, plan, traced.state, mesh, past))
      for note in (*notes, travels, compiled.keep()):
        writer.say(note)
      if jax.process_index() == 0:
        splits.train.save(workdir)
        if past.ended:
          report.set_aside(workdir, past.step)
      loader = open_loader(config, splits.train)
      table, note = feed.place(config.data.get("on_device", "auto"), loader, mesh)
      writer.say(note)
      split = parts.method.by_row, parts.split_state
      init = dispatch.compile_init(traced.init, blank, mesh, *split)
      source = origin.identify(config, workdir, goes_on)
      first = lambda: pretrained.start(config, init(), mesh, source)  # noqa: E731
      run = Run(
        *(config, parts, plan, mesh, judge, identity),
        *(checkpoints, writer, stopping, past, traced, first),
        *(Feed(loader, table, mesh), Pace(config.batch_size, loader.cure, since)),
      )
      judge.allowed(run.evaluators)
      state = run.train(run.begin())
      writer.say(loader.complaint())
      if int(state.step) < plan.total_steps:
        writer.say(f"Stopped at step {state.step} and saved; the same line continues.")
        return {}
      try:
        whole = lambda state: dispatch.whole(parts, state, mesh)  # noqa: E731
        states = {
          "random encoder": whole(init()),
          **given(config, lambda: whole(first()), writer),
          html.TRAINED: whole(state),
        }
        return report.finish(
          *(config, judge, states, writer, workdir, identity, past.lengths),
          {"steps_per_dispatch": run.k, "examples": run.feed.place},
        )
      except stop.StoppedError:
        writer.say(
          "Stopped while it was judged; all is saved, the same line judges it."
        )
        return {}


def given(
  config: ConfigDict, first: Callable[[], TrainState], writer: Writer
) -> dict[str, TrainState]:
  """Returns the state that began with another run's weights, by its row; {}: none did.

  `first` loads it anew. Where that run has gone since, this is said.
  """
  if not pretrained.moves(config) or not config.evals.at_end:
    return {}
  try:
    return {html.START: first()}
  except (ConfigError, runs.RunError) as error:
    writer.say(f"Where it started is not judged: {error}.")
    return {}


def open_loader(config: ConfigDict, source: data.Source) -> data.Loader:
  """Opens this process's share of the training batches."""
  return data.make_loader(
    source,
    config.batch_size,
    config.seed,
    size=config.data.size,
    in_memory=config.data.in_memory,
    workers=config.data.workers,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )

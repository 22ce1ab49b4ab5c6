"""What a run leaves to look at: its figures, and the table it ends with."""

import datetime
import json
import pathlib
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ssljax import augment, data, figures, html, runs
from ssljax.augment import views
from ssljax.core import TrainState
from ssljax.data.source import Subset
from ssljax.judge import Judge, Scores, pictures
from ssljax.judge.rows import compare
from ssljax.nets import conv
from ssljax.provenance import Identities
from ssljax.runs import History
from ssljax.runs.writer import Writer
from ssljax.schedules import Plan

PICTURED = 8  # examples in the grid of views, from all over the data
PACKAGES = ("jax", "flax", "optax", "numpy")  # whose versions are kept


def summary(
  config: ConfigDict, plan: Plan, shapes: TrainState, mesh: Mesh, past: History
) -> str:
  """Writes the line that says what is about to run, and on what."""
  millions = sum(x.size for x in jax.tree.leaves(shapes.params)) / 1e6
  device = mesh.devices.flat[0].device_kind
  part = config.get("microbatch", 0)
  slow = part and jax.default_backend() == "cpu"
  return (
    f"{config.method.name} on {config.data.name}: {config.encoder.name}, "
    f"{millions:.2f} M parameters, {plan.num_examples:,} examples, "
    f"steps {past.step:,} to {plan.total_steps:,} of {plan.batch_size} examples, "
    f"{mesh.size} x {device}. The first step compiles."
    + (f" It was to end at step {past.step:,}." if past.ended else "")
    + (f" CPUs are slow at parts of a batch: microbatch={part} saves memory." * slow)
  )


def picture_views(
  config: ConfigDict, source: data.Source, workdir: pathlib.Path
) -> None:
  """Draws figures/views.png: pictures beside the views that the method is shown."""
  recipe = augment.configure(config.augment)
  if jax.process_index() or recipe.input != "image":
    return
  chosen = Subset(source, np.linspace(0, len(source) - 1, PICTURED))
  size = config.data.size
  (examples,) = data.eval_batches(
    chosen, PICTURED, size=size, in_memory=False, workers=1
  )
  augmented = augment.build(config.augment, normalise=False)

  @jax.jit
  def draw(key, examples):
    whole = views.whole(examples, recipe.views[0].size)
    return whole["image"], augmented(key, examples)

  drawn = draw(jax.random.key(config.seed), examples)
  originals, batch = jax.device_get(drawn)
  lines = {"original": originals[..., :3]}
  for title, stack in (("view", batch["image"]), ("local", batch.get("local"))):
    for i in range(0 if stack is None else stack.shape[1]):
      lines[f"{title} {i + 1}"] = stack[:, i, ..., :3]
  (workdir / "figures").mkdir(exist_ok=True)
  path = workdir / "figures" / "views.png"
  figures.pictures(lines, "Pictures and their views", path)


def set_aside(workdir: pathlib.Path, step: int) -> None:
  """Renames results.json after `step`, where a run was to end: another step will."""
  if (workdir / "results.json").exists():
    (workdir / "results.json").rename(workdir / f"results-step{step}.json")


def finish(
  config: ConfigDict,
  judge: Judge,
  states: Mapping[str, TrainState],
  writer: Writer,
  workdir: pathlib.Path,
  identity: Identities,
  lengths: Sequence[tuple[int, int]],
  computed: Mapping[str, Any],
) -> dict[str, Scores]:
  """Judges the run's `states`, by row; writes table, results.json and report.

  The last is what the run ended with, the others are what it is judged beside.
  `lengths`: (from which step on, how many steps in all) that the run was to have;
  `computed`: what was decided while it ran.
  -> {row: {name: value}}; {} where there are no labels, or `evals.at_end` is empty.
  """
  rows: dict[str, Scores] = {}
  last = states[html.TRAINED]
  if names := judge.allowed(config.evals.at_end):
    random = "random, the given" if html.START in states else "random"
    writer.say(f"Judging the {random} and the trained encoder beside the raw input.")
    if judge.possible:
      names = ["classifier", *names]
    rows, features = compare(judge, states, *names, forgiving=True)
    writer.write(int(last.step), rows[html.TRAINED])
    writer.say(figures.table(rows))
    writer.say(html.fallen(rows))
  folder = workdir / "figures"
  pictures.draw_method(judge, last, folder)
  if rows:
    pictures.draw(judge, last, features, folder)
  if jax.process_index() == 0:
    if rows:
      runs.write(workdir / "results.json", json.dumps(rows, indent=2) + "\n")
    facts = {**about(judge, last, lengths, computed), "identity": identity}
    text = json.dumps(facts, indent=2)
    runs.write(workdir / "about.json", text + "\n")
    html.write(workdir)
    writer.say(
      f"The run is in {workdir}: report.html, metrics.jsonl, checkpoints/, figures/."
    )
  return rows


def about(
  judge: Judge,
  state: TrainState,
  lengths: Sequence[tuple[int, int]],
  computed: Mapping[str, Any],
) -> dict[str, Any]:
  """Collects what a reader of the report asks, and no config says."""
  devices = judge.mesh.devices
  return {
    "date": str(datetime.date.today()),
    "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
    "lengths": lengths,
    "device": f"{devices.size} x {devices.flat[0].device_kind}",
    "computed": {  # what the machine decided, whatever the config says
      "dtype": jnp.dtype(judge.method.net.encoder.dtype).name,
      "convolution_gradients": "matrix products" if conv.as_products() else "XLA's",
      **computed,
    },
    "versions": {
      "python": platform.python_version(),
      **{name: metadata.version(name) for name in PACKAGES},
    },
  }

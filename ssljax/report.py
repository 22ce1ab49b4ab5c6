"""What a run leaves to look at: its figures, and the table it ends with."""

import datetime
import json
import pathlib
import platform
from importlib import metadata
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from ssljax import augment, data, figures, html, pictures
from ssljax import writer as writers
from ssljax.core import TrainState
from ssljax.data.source import Subset
from ssljax.judge import Judge, Scores, compare
from ssljax.recipe import Recipe
from ssljax.writer import Writer

PICTURED = 8  # examples in the grid of views
PACKAGES = ("jax", "flax", "optax", "numpy")  # whose versions are kept


def picture_views(
  config: ConfigDict, source: data.Source, workdir: pathlib.Path
) -> None:
  """figures/views.png: some pictures beside the views that the method is shown."""
  recipe = augment.configure(config.augment)
  if jax.process_index() or recipe.input != "image":
    return
  shown = _examples(config, source)
  views = jax.jit(augment.build(config.augment, normalise=False))
  batch = jax.device_get(views(jax.random.key(config.seed), shown))
  lines = {"original": shown["image"][..., :3]}
  for title, stack in (("view", batch["image"]), ("local", batch.get("local"))):
    for i in range(0 if stack is None else stack.shape[1]):
      lines[f"{title} {i + 1}"] = stack[:, i, ..., :3]
  _draw(lines, "Pictures and their views", workdir / "figures" / "views.png")


def picture_method(
  config: ConfigDict, parts: Recipe, judge: Judge, state: TrainState, folder
) -> None:
  """figures/method.png: what the method itself has to show, if anything."""
  recipe = augment.configure(config.augment)
  shown = _examples(config, judge.splits.eval or judge.splits.train)
  pictures = jax.device_get(jax.jit(parts.show)(state.replace(opt_state=None), shown))
  if pictures and jax.process_index() == 0:
    mean, std = np.float32(recipe.mean), np.float32(recipe.std)
    lines = {title: x * std + mean for title, x in pictures.items()}
    _draw(lines, "What the method makes of pictures", folder / "method.png")


def _examples(config: ConfigDict, source: data.Source) -> dict[str, np.ndarray]:
  """From all over the source: the first ones of a folder are of one class."""
  chosen = Subset(source, np.linspace(0, len(source) - 1, PICTURED))
  size = config.data.size
  return next(
    data.eval_batches(chosen, PICTURED, size=size, in_memory=False, workers=1)
  )


def _draw(lines: dict[str, np.ndarray], title: str, path: pathlib.Path) -> None:
  path.parent.mkdir(exist_ok=True)
  figures.pictures(lines, title, path)


def finish(
  config: ConfigDict,
  parts: Recipe,
  judge: Judge,
  first: TrainState,
  last: TrainState,
  writer: Writer,
  workdir: pathlib.Path,
) -> dict[str, Scores]:
  """Judges the last state beside the first: the table, results.json, the report.

  -> {row: {name: value}}; {} where there are no labels, or `evals.at_end` is empty.
  """
  rows: dict[str, Scores] = {}
  if judge.possible and config.evals.at_end:
    writer.say("Judging the random and the trained encoder beside the raw input.")
    states = {"random encoder": first, "trained encoder": last}
    rows, seen = compare(judge, states, "classifier", *config.evals.at_end)
    writer.write(int(last.step), rows["trained encoder"])
    writer.say(figures.table(rows))
  folder = workdir / "figures"
  picture_method(config, parts, judge, last, folder)
  if rows:
    pictures.draw(judge, last, seen, folder)
  if jax.process_index() == 0:
    folder.mkdir(exist_ok=True)
    figures.curves(writers.read(workdir), folder / "curves.png")
    if rows:
      (workdir / "results.json").write_text(json.dumps(rows, indent=2) + "\n")
      classes = judge.splits.train.class_names
      figures.embedding(seen.test_x, seen.test_y, classes, folder / "embedding.png")
    text = json.dumps(about(judge, last), indent=2)
    (workdir / "about.json").write_text(text + "\n")
    html.write(workdir)
    writer.say(
      f"The run is in {workdir}: report.html, metrics.jsonl, checkpoints/, figures/."
    )
  return rows


def about(judge: Judge, state: TrainState) -> dict[str, Any]:
  """What a reader of the report asks, and no config says."""
  devices = judge.mesh.devices
  return {
    "date": str(datetime.date.today()),
    "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
    "device": f"{devices.size} x {devices.flat[0].device_kind}",
    "versions": {
      "python": platform.python_version(),
      **{name: metadata.version(name) for name in PACKAGES},
    },
  }

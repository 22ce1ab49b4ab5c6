"""What a run leaves to look at: its figures, and the table it ends with."""

import json
import pathlib

import jax
from ml_collections import ConfigDict

from ssljax import augment, data, figures
from ssljax import writer as writers
from ssljax.core import TrainState
from ssljax.judge import Judge, Scores, compare
from ssljax.writer import Writer

PICTURED = 8  # examples in the grid of views


def picture_views(
  config: ConfigDict, source: data.Source, workdir: pathlib.Path
) -> None:
  """figures/views.png: some pictures beside the views that the method is shown."""
  if jax.process_index():
    return
  shown = next(
    data.eval_batches(
      source, PICTURED, size=config.data.size, in_memory=False, workers=1
    )
  )
  views = jax.jit(augment.build(config.augment, normalise=False))
  batch = jax.device_get(views(jax.random.key(config.seed), shown))
  path = workdir / "figures" / "views.png"
  path.parent.mkdir(exist_ok=True)
  figures.views_grid(shown["image"], batch["image"], path, batch.get("local"))


def finish(
  config: ConfigDict,
  judge: Judge,
  first: TrainState,
  last: TrainState,
  writer: Writer,
  workdir: pathlib.Path,
) -> dict[str, Scores]:
  """Judges the last state beside the first: the table, results.json, the figures.

  -> {row: {name: value}}; {} where there are no labels to judge by.
  """
  rows: dict[str, Scores] = {}
  if judge.possible:
    writer.say("Judging raw pixels, the random and the trained encoder.")
    names = ["knn"]
    if config.evals.few_label.labels_per_class:
      names.append("few_label")
    states = {"random encoder": first, "trained encoder": last}
    rows, seen = compare(judge, states, *names)
    writer.write(int(last.step), rows["trained encoder"])
    writer.say(figures.table(rows))
  if jax.process_index() == 0:
    folder = workdir / "figures"
    figures.curves(writers.read(workdir), folder / "curves.png")
    if rows:
      (workdir / "results.json").write_text(json.dumps(rows, indent=2) + "\n")
      classes = judge.splits.train.class_names
      figures.embedding(seen.test_x, seen.test_y, classes, folder / "embedding.png")
    writer.say(f"The run is in {workdir}: metrics.jsonl, checkpoints/, figures/.")
  return rows

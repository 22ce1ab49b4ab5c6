"""What a run leaves to read: config.json, metrics.jsonl, TensorBoard, progress."""

import io
import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
from tensorboardX import SummaryWriter
from tqdm import tqdm

BAR = "{n_fmt}/{total_fmt} steps |{bar:20}| {elapsed} gone, {remaining} left{postfix}"
LINE = BAR.replace("|{bar:20}| ", "")
SECONDS_BETWEEN_LINES = 10.0


class Writer:
  """Writes on process 0; elsewhere every call does nothing.

  `start_step` is the step of the checkpoint that the run goes on from: lines of later
  steps, which will be written anew, and a half-written last line are dropped, so
  metrics.jsonl ends as if the run had never been cut. 0 starts a new file.
  """

  def __init__(
    self,
    workdir: str | os.PathLike,
    config: Mapping[str, Any],
    *,
    total_steps: int,
    start_step: int = 0,
  ):
    self.active = jax.process_index() == 0
    if not self.active:
      return
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    _replace(workdir / "config.json", json.dumps(config, indent=2) + "\n")
    first_step = start_step + 1 if start_step else 0  # of the lines yet to come
    rows = [row for row in read(workdir) if row["step"] < first_step]
    _replace(workdir / "metrics.jsonl", "".join(map(_line, rows)))
    self.metrics = (workdir / "metrics.jsonl").open("a", buffering=1)
    self.tensorboard = SummaryWriter(
      str(workdir), purge_step=first_step, filename_suffix=f".from_step_{first_step}"
    )
    self.terminal = sys.stdout.isatty()
    self.bar = tqdm(
      total=total_steps,
      initial=start_step,
      bar_format=BAR if self.terminal else LINE,
      file=sys.stdout if self.terminal else io.StringIO(),
      dynamic_ncols=self.terminal,
    )
    self.last_line = time.monotonic()

  def write(self, step: int, metrics: Mapping[str, Any]) -> None:
    """Scalars after `step` steps -> a line, TensorBoard's event, the progress line.

    Floats are printed so that equal ones give equal lines; those that are not finite
    as the strings "nan", "inf" and "-inf", which `float` reads. Only names ending in
    "seconds" or "per_second" may differ between two equal runs.
    """
    if not self.active:
      return
    metrics = {name: float(value) for name, value in metrics.items()}
    self.metrics.write(_line({"step": int(step), **metrics}))
    for name, value in metrics.items():
      self.tensorboard.add_scalar(name, value, step)
    self.tensorboard.flush()
    self._progress(step, metrics)

  def say(self, text: str) -> None:
    """A line for whoever watches: what begins, what was found."""
    if self.active:
      tqdm.write(text, file=sys.stdout)
      sys.stdout.flush()

  def close(self) -> None:
    """Ends the progress line and the files."""
    if self.active:
      self.bar.close()
      self.tensorboard.close()
      self.metrics.close()

  def __enter__(self) -> "Writer":
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def _progress(self, step: int, metrics: Mapping[str, float]) -> None:
    """Redraws the bar; where nobody can see one redrawn, now and then a line."""
    if "loss" in metrics:
      text = f"loss {metrics['loss']:.4g}"
      if "images_per_second" in metrics:
        text += f", {metrics['images_per_second']:,.0f} images/s"
      self.bar.set_postfix_str(text, refresh=False)
    self.bar.update(step - self.bar.n)
    now = time.monotonic()
    late = now - self.last_line >= SECONDS_BETWEEN_LINES
    if not self.terminal and (late or step == self.bar.total):
      self.last_line = now
      self.say(str(self.bar))


def read(workdir: str | os.PathLike) -> list[dict[str, Any]]:
  """The rows of metrics.jsonl in order, without a last one that is half written."""
  path = pathlib.Path(workdir) / "metrics.jsonl"
  if not path.exists():
    return []
  *lines, _ = path.read_text().split("\n")
  return [json.loads(line) for line in lines]


def _line(row: Mapping[str, Any]) -> str:
  def printable(value):
    finite = not isinstance(value, float) or math.isfinite(value)
    return value if finite else str(value)

  return json.dumps({name: printable(v) for name, v in row.items()}) + "\n"


def _replace(path: pathlib.Path, text: str) -> None:
  """Writes the whole file or, where the process dies meanwhile, none of it."""
  temporary = path.with_name(path.name + ".tmp")
  temporary.write_text(text)
  temporary.replace(path)

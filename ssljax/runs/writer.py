"""What a run leaves to read: config.json, metrics.jsonl, TensorBoard, progress."""

import contextlib
import io
import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from absl import logging
from ml_collections import ConfigDict
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tqdm import tqdm

from ssljax import runs
from ssljax.schedules import Plan

LINE = "{n_fmt}/{total_fmt} steps, {elapsed} gone, {remaining} left{postfix}"
BAR = LINE.replace("steps, ", "steps |{bar:20}| ")
SECONDS_BETWEEN_LINES = 10.0


class Writer:
  """Writes what a run leaves to read on process 0; elsewhere every call does nothing.

  Floats are printed so that equal ones give equal lines; those that are not finite as
  the strings "nan", "inf" and "-inf", which `float` reads. "images_per_second" alone
  may differ between equal runs, and "peak_share", where the devices' peak is known.
  """

  def __init__(self, workdir: str | os.PathLike, config: ConfigDict, plan: Plan):
    """Makes the folder and writes config.json; `start` opens the rest."""
    self.active = jax.process_index() == 0
    self.workdir = pathlib.Path(workdir)
    self.total_steps = plan.total_steps
    self.opened = contextlib.ExitStack()
    if self.active:
      self.workdir.mkdir(parents=True, exist_ok=True)
      runs.write(self.workdir / "config.json", config.to_json(indent=2) + "\n")

  def start(
    self,
    step: int,
    ended: bool = False,
    log_every: int = 1,
    flops: float = 0.0,
    peak: float = 0.0,
  ) -> None:
    """Goes on after the checkpoint of `step`; 0 starts new files.

    Lines of later steps, which will be written anew, and what `read` leaves out are
    dropped: metrics.jsonl ends as if the run had never been cut. Of a run that `ended`
    at `step`, and is longer now, those go too that it wrote as it ended: what is not
    due there by `log_every`, and its last scores. `flops` are those of an image, `peak`
    the devices' FLOP/s, 0 where they are not known: progress tells them too.
    """
    self.flops, self.peak = flops, peak
    if not self.active:
      return
    first_step = step + 1 if step else 0  # of the lines yet to come
    rows = [row for row in read(self.workdir) if row["step"] < first_step]
    if ended:
      regular = step % log_every == 0
      rows = [row for row in rows if row["step"] < step or (regular and "loss" in row)]
    self.kept = {_line(row) for row in rows}
    path = self.workdir / "metrics.jsonl"
    runs.write(path, "".join(map(_line, rows)))
    self.metrics = self.opened.enter_context(path.open("a", buffering=1))
    # Not SummaryWriter: a full disk would end its thread, and then hang this one.
    events = EventsWriter(str(self.workdir / "events"), f".{first_step}")
    self.tensorboard = self.opened.enter_context(contextlib.closing(events))
    begin = SessionLog(status=SessionLog.START)
    events.write_event(Event(step=first_step, session_log=begin))
    self.terminal = sys.stdout.isatty()
    self.bar = self.opened.enter_context(
      tqdm(
        total=self.total_steps,
        initial=step,
        bar_format=BAR if self.terminal else LINE,
        file=sys.stdout if self.terminal else io.StringIO(),
        dynamic_ncols=self.terminal,
      )
    )
    self.last_line = time.monotonic()
    self.last_count = None  # of images, and when; the first steps compile

  def write(
    self, step: int, metrics: Mapping[str, Any], images: int | None = None
  ) -> None:
    """Writes scalars after `step` steps: a line of metrics.jsonl, TensorBoard's events.

    `images`, how many the run has seen, moves the progress line and gives
    "images_per_second". A line that the file kept at `start` is not written twice.
    """
    if not self.active:
      return
    metrics = {name: float(value) for name, value in metrics.items()}
    if images is not None:
      metrics |= self._speed(images)
      self._progress(step, metrics)
    line = _line({"step": int(step), **metrics})
    if line in self.kept:
      return
    self.metrics.write(line)
    for name, value in metrics.items():
      scalar = summary.scalar(name, value)
      event = Event(step=step, wall_time=time.time(), summary=scalar)
      self.tensorboard.write_event(event)
    self.tensorboard.flush()

  def say(self, text: str) -> None:
    """Prints a line for whoever watches: what begins, what was found; "": nothing."""
    if self.active:
      aloud(text)

  @contextlib.contextmanager
  def pause(self) -> Iterator[None]:
    """Pauses the clock: time inside counts neither as speed nor towards the rest."""
    began = time.monotonic()
    yield
    if self.active:
      self.bar.unpause()
      if self.last_count:
        images, when = self.last_count
        self.last_count = images, when + time.monotonic() - began

  def __enter__(self) -> "Writer":
    return self

  def __exit__(self, *_) -> None:
    self.opened.close()

  def _speed(self, images: int) -> dict[str, float]:
    previous, self.last_count = self.last_count, (images, time.monotonic())
    if previous is None:
      return {}
    passed = self.last_count[1] - previous[1]
    speed = round((images - previous[0]) / max(passed, 1e-9), 1)
    share = (
      {"peak_share": round(speed * self.flops / self.peak, 4)} if self.peak else {}
    )
    return {"images_per_second": speed, **share}

  def _progress(self, step: int, metrics: Mapping[str, float]) -> None:
    """Redraws the bar; where nobody can see one redrawn, now and then a line."""
    text = f"loss {metrics['loss']:.4g}"
    if "images_per_second" in metrics:
      text += f", {(speed := metrics['images_per_second']):,.0f} images/s"
      if self.peak:
        text += f", {metrics['peak_share']:.0%} of peak"
      elif self.flops:
        text += f", {speed * self.flops / 1e12:.1f} TFLOP/s"
    self.bar.set_postfix_str(text, refresh=False)
    self.bar.update(step - self.bar.n)
    now = time.monotonic()
    late = now - self.last_line >= SECONDS_BETWEEN_LINES
    if not self.terminal and (late or step == self.total_steps):
      self.last_line = now
      self.say(str(self.bar))


def aloud(text: str) -> None:
  """Prints a line on the screen, from process 0; "": nothing."""
  if text and jax.process_index() == 0:
    with contextlib.suppress(OSError):  # whoever watched has left: a closed pipe
      tqdm.write(text, file=sys.stdout)
      sys.stdout.flush()


def read(workdir: str | os.PathLike) -> list[dict[str, Any]]:
  """Reads the rows of metrics.jsonl in order, without a last one half written.

  Lines that something broke are named, and left out.
  """
  path, rows = pathlib.Path(workdir) / "metrics.jsonl", []
  if not path.exists():
    return rows
  *lines, _ = path.read_bytes().split(b"\n")
  for number, line in enumerate(lines, 1):
    try:
      rows.append(_row(line))
    except (ValueError, TypeError, KeyError):
      said = "%s, line %d is left out: it is broken (%.80r)"
      logging.warning(said, path, number, line)
  return rows


def _row(line: bytes) -> dict[str, Any]:
  """Parses what `_line` writes; ValueError, TypeError or KeyError: it is not."""
  row = {**json.loads(line.decode())}
  if not isinstance(row["step"], int):
    raise TypeError("a step is a whole number")
  for value in row.values():
    float(value)
  return row


def _line(row: Mapping[str, Any]) -> str:
  printable = {k: v if math.isfinite(float(v)) else str(v) for k, v in row.items()}
  return json.dumps(printable) + "\n"

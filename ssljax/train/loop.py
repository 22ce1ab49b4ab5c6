"""The steps of a run, one dispatch after the other, and what happens between them."""

import itertools
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ssljax import data, diagnostics, provenance, runs
from ssljax.checkpoint import Checkpoints
from ssljax.core import Batch, Metrics, TrainState
from ssljax.evals import geometry
from ssljax.judge import Judge
from ssljax.parts import Parts, Traced
from ssljax.runs import stop
from ssljax.runs.writer import Writer
from ssljax.schedules import Plan
from ssljax.train import blame, dispatch

IN_FLIGHT = 2  # dispatches the host runs ahead; more would pile up batches


class Run:
  """Runs the steps of a run, and what is due between them: metrics, scores, saves."""

  def __init__(
    self,
    config: ConfigDict,
    parts: Parts,
    plan: Plan,
    mesh: Mesh,
    judge: Judge,
    loader: data.Loader,
    identity: provenance.Identities,
    checkpoints: Checkpoints,
    writer: Writer,
    stopping: stop.Stop,
    past: runs.History,
    traced: Traced,
    first: Callable[[], TrainState],
    table: Batch,
  ):
    self.config, self.parts, self.plan, self.mesh = config, parts, plan, mesh
    self.judge, self.loader, self.identity = judge, loader, identity
    self.checkpoints, self.writer = checkpoints, writer
    self.stopping, self.past = stopping, past
    self.traced, self.first = traced, first
    self.table = table  # the whole set [N,...], or {}: batches come from the host
    every = config.evals.every_epochs * plan.steps_per_epoch
    self.eval_every = every if every and judge.possible else math.inf
    self.warning: str | None = None
    self.lost = ""

  @property
  def evaluators(self) -> list[str]:
    """Names the evaluators that will be asked, meanwhile or at the end."""
    meanwhile = ["knn"] if self.eval_every < self.plan.total_steps else []
    return list(dict.fromkeys([*meanwhile, *self.config.evals.at_end]))

  def restored(self, step: int) -> TrainState:
    """Restores the state of a whole checkpoint, laid over the mesh."""
    layout = dispatch.layout(self.parts, self.traced.state, self.mesh)
    return self.checkpoints.restore(self.traced.state, layout, step)

  def begin(self) -> TrainState:
    """Returns the state from which the run goes on: the first, or a checkpoint's."""
    if not (step := self.past.step):
      return self.first()
    self.loader.check(self.past.meta["data"], step)
    state = self.restored(step)
    self.checkpoints.set_aside(step)
    return state

  def train(self, state: TrainState) -> TrainState:
    """Runs `loop`; where a number is not finite, the error says what came first."""
    layout = jax.tree.map(lambda x: x.sharding, state)
    k = self.config.steps_per_dispatch
    step = dispatch.step(self.parts, self.traced, self.mesh)
    self.steps = dispatch.compile_steps(step, layout, self.mesh, k)
    try:
      return self.loop(state)
    except blame.NotANumberError as error:
      bad = error.args
    raise self.diverged(*bad)  # out here, where no frame holds the bad state

  def loop(self, state: TrainState) -> TrainState:
    """Takes steps to the end, or to SIGTERM or Ctrl-C.

    Nothing waits for the device between log points, save that the host stays a few
    dispatches ahead and no more. Metrics are read once the next dispatch is under
    way, so that the device never waits for the host either.
    """
    done, total = int(state.step), self.plan.total_steps
    k, log_every = self.config.steps_per_dispatch, self.config.log_every
    stops = log_every, self.config.checkpoint.every_steps, self.eval_every
    counts = dispatch.counts(done, total, k, stops)
    batches = dispatch.stacked(self.batches(done), counts, k)
    self.writer.start(done, self.past.ended, log_every)
    if (
      not self.past.meta.get("judged", True)
      and self.is_judged_at(done)
      and done < total
    ):
      self.evaluate(done, state)
    if self.lost:
      raise self.saved_without_data(done, state)
    in_flight, unread = [], None
    with jax.transfer_guard("disallow"):
      for i, (count, batch) in enumerate(self.delivered(data.prefetch(batches, 2))):
        on_device = dispatch.put(count, batch, self.mesh, self.table)
        state, metrics = self.steps(state, *on_device)
        self.stopping.hold()
        done += count
        in_flight = [*in_flight, metrics][-IN_FLIGHT:]
        jax.block_until_ready(in_flight[0])
        if unread:
          unread = self.read(*unread)
        if done % log_every == 0 or done == total:
          unread = done, metrics
        ends = self.stopping.due(i, self.checkpoints)
        if ends or self.is_pause(done):
          unread = self.read(*unread) if unread else None
          with jax.transfer_guard("allow"), self.writer.pause():
            ends = self.pause(done, state, metrics, ends)
          if ends:
            break
    if self.lost:
      raise self.saved_without_data(done, state)
    self.checkpoints.wait()  # whether they are saved, before anyone says so
    return state

  def batches(self, done: int) -> Iterator[Batch]:
    """Yields what the host hands over of each step after `done`: rows, or examples."""
    return self.loader.numbers(done) if self.table else self.loader.iterate(done)

  def delivered(self, batches: Iterator) -> Iterator:
    """Yields the batches until the data can no longer be read; then `lost` says why."""
    try:
      yield from batches
    except (OSError, data.DataGoneError) as error:
      self.lost = " ".join(str(error).split())

  def saved_without_data(self, done: int, state: TrainState) -> runs.DataLostError:
    """Saves the state when data is lost -> the error that ends the run."""
    if done > self.past.step:
      self.save(done, state, judged=not self.is_judged_at(done))
      self.checkpoints.wait()
    return runs.DataLostError(
      f"the data can no longer be read ({self.lost}); step {done} is saved: see to the "
      "data, and the same line continues"
    )

  def read(self, step: int, metrics: Metrics) -> None:
    """Fetches metrics, writes them, and says what is wrong with them."""
    values = {k: float(v) for k, v in jax.device_get(metrics).items()}
    self.check_finite(step, values)
    self.writer.write(step, values, images=step * self.plan.batch_size)
    if step > self.plan.steps_per_epoch:  # before, it may look collapsed and not be
      warning = diagnostics.collapse(values)
      if warning and not self.warning:
        self.writer.say(f"step {step}: {warning}")
      self.warning = warning

  def is_judged_at(self, done: int) -> bool:
    """Whether an evaluation is due."""
    return done % self.eval_every == 0

  def is_pause(self, done: int) -> bool:
    """Whether an evaluation or a checkpoint is due."""
    due = self.is_judged_at(done) or self.checkpoints.is_due(done)
    return due or done == self.plan.total_steps

  def pause(self, done: int, state: TrainState, metrics: Metrics, ends: bool) -> bool:
    """Evaluates and saves what is due -> whether the run ends here.

    It does where it was asked to, meanwhile too; then it saves in any case, and leaves
    an evaluation to the run that goes on.
    """
    self.check_finite(done, jax.device_get(metrics))
    end = done == self.plan.total_steps
    judged = not self.is_judged_at(done)
    if not judged and not end and not ends:
      judged = self.evaluate(done, state)
      if self.lost:
        return True
      ends = self.stopping.asked
    if ends or end or self.checkpoints.is_due(done):
      self.save(done, state, judged)
    return ends

  def evaluate(self, done: int, state: TrainState) -> bool:
    """Judges the encoder and writes its scores; whether it did.

    It does not where it is asked to end meanwhile, or where the data is `lost`.
    """
    try:
      whole = dispatch.whole(self.parts, state, self.mesh)
      features = self.judge.features(whole)
    except stop.StoppedError:
      return False
    except data.DataGoneError as error:
      self.lost = " ".join(str(error).split())
      return False
    scores = self.judge.scores(features, "classifier", "knn")
    scores["rankme"] = geometry.rankme(features.test_x)
    self.writer.write(done, scores)
    votes = (f"{k} {x:.1f} %" for k, x in scores.items() if k.startswith("knn"))
    self.writer.say(f"step {done}: {', '.join(votes)}".replace("knn", "kNN"))
    return True

  def save(self, done: int, state: TrainState, judged: bool) -> None:
    """Saves the state, and what a run that goes on must know besides."""
    if not blame.all_finite(state):
      raise blame.NotANumberError(done, "a parameter", math.nan)
    meta = {
      "config": json.loads(self.config.to_json()),
      "data": self.loader.state(done),
      "identity": self.identity,
      "plan": self.plan._asdict(),
      "spec": self.loader.spec,
      "lengths": self.past.lengths,
      "judged": judged,
    }
    self.checkpoints.save(done, state, meta)

  def check_finite(self, step: int, values: Metrics) -> None:
    """Raises NotANumberError for the first metric that is not finite."""
    if bad := blame.worst(values):
      raise blame.NotANumberError(step, *bad)

  def diverged(self, step: int, name: str, value: float) -> runs.TrainingDivergedError:
    """Finds why metrics are not finite -> the error that ends the run."""
    self.checkpoints.wait()
    last_step = self.checkpoints.choose() or 0
    first, remedy = blame.find(
      self.config, self.parts, lambda: self.again(last_step), self.alone, step
    )
    last_good = (
      f"is that of step {last_step}" if last_step else "would have been the first"
    )
    return runs.TrainingDivergedError(
      f"{name} is {value} at step {step}; {first and f'{first}; '}"
      f"the last good checkpoint {last_good}; {remedy}"
    )

  def again(self, last_step: int) -> blame.Steps:
    """Repeats the steps after a checkpoint (0: from the first on), one at a time."""
    state, metrics = self.restored(last_step) if last_step else self.first(), {}
    for done in itertools.count(last_step):
      yield done, state, metrics
      state, metrics = self.steps(state, *self.examples(done + 1))

  def examples(self, step: int) -> tuple[Any, jax.Array, Batch]:
    """Puts the examples of this step alone onto the devices, for a dispatch."""
    k = self.config.steps_per_dispatch
    ((count, batch),) = dispatch.stacked(self.batches(step - 1), iter([1]), k)
    return dispatch.put(count, batch, self.mesh, self.table)

  def alone(self, step: int) -> Any:
    """Returns the examples of a step, as global arrays [B,...]."""
    batches, _, table = self.examples(step)
    return dispatch.gathered(jax.tree.map(lambda x: x[0], batches), table)

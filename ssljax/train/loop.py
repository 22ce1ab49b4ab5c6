"""The steps of a run, one dispatch after the other, and what happens between them."""

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ssljax import data, diagnostics, provenance, runs, sharding
from ssljax.checkpoint import Checkpoints
from ssljax.core import Metrics, TrainState
from ssljax.evals import geometry
from ssljax.judge import Judge, report
from ssljax.parts import Parts, Traced
from ssljax.runs import stop
from ssljax.runs.writer import Writer
from ssljax.schedules import Plan
from ssljax.train import blame, dispatch, peaks
from ssljax.train.feed import Feed
from ssljax.train.pace import MEASURED, Pace, Profile

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
    identity: provenance.Identities,
    checkpoints: Checkpoints,
    writer: Writer,
    stopping: stop.Stop,
    past: runs.History,
    traced: Traced,
    first: Callable[[], TrainState],
    feed: Feed,
    pace: Pace,
  ):
    self.config, self.parts, self.plan, self.mesh = config, parts, plan, mesh
    self.judge, self.loader, self.identity = judge, feed.loader, identity
    self.checkpoints, self.writer = checkpoints, writer
    self.stopping, self.past, self.feed, self.pace = stopping, past, feed, pace
    self.traced, self.first = traced, first
    self.profile = Profile(config.get("profile"), writer.workdir / "profile")
    self.measured = past.meta.get("steps_per_dispatch", 0)  # as the clock once said
    every = config.evals.every_epochs * plan.steps_per_epoch
    self.eval_every = every if every and judge.possible else math.inf
    self.warning: str | None = None
    self.k = 0  # steps of a dispatch

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
    self.layout = jax.tree.map(lambda x: x.sharding, state)
    try:
      return self.loop(state)
    except blame.NotANumberError as error:
      bad = error.args
    finally:
      self.writer.say(self.profile.stop())
    raise self.diverged(*bad)  # out here, where no frame holds the bad state

  def loop(self, state: TrainState) -> TrainState:
    """Takes steps to the end, or to SIGTERM or Ctrl-C."""
    done, total = int(state.step), self.plan.total_steps
    work = peaks.work(self.traced.jaxpr, self.plan.batch_size, self.mesh)
    self.writer.start(done, self.past.ended, self.config.log_every, *work)
    owed = not self.past.meta.get("judged", True) and self.is_judged_at(done)
    if owed and done < total:
      self.evaluate(done, state)
    if self.feed.lost:
      raise self.saved_without_data(done, state)
    for until in self.stretches(done):
      state, done, ends = self.stretch(state, done, until)
      if ends or self.feed.lost:
        break
    if self.feed.lost:
      raise self.saved_without_data(done, state)
    self.checkpoints.wait()  # whether they are saved, before anyone says so
    return state

  def stretches(self, done: int) -> Iterator[int]:
    """Yields up to which step all dispatches take as many steps, having compiled that.

    Where the config leaves their number open the first steps are clocked for it, and a
    run that goes on keeps it. One on CPUs, which are slow at convolutions in a loop.
    """
    k = self.config.steps_per_dispatch or self.measured
    if not k and dispatch.loops_well():
      self.compile(1)
      until = min(done + MEASURED, self.plan.total_steps)
      yield until
      most = min(self.config.log_every, self.eval_every)
      k, note = self.pace.steps_per_dispatch(most, self.plan.total_steps - until)
      self.measured = k = int(sharding.told(str(k)))
      self.writer.say(note)
    self.compile(k or 1)
    yield self.plan.total_steps

  def compile(self, k: int) -> None:
    """Has dispatches of k steps compiled when the first is due."""
    if k != self.k:
      step = dispatch.step(self.parts, self.traced, self.mesh)
      self.steps = dispatch.compile_steps(step, self.layout, self.mesh, k)
    self.k = k

  def stretch(
    self, state: TrainState, done: int, until: int
  ) -> tuple[TrainState, int, bool]:
    """Takes the steps up to `until` -> the state, steps done, whether the run ends.

    Nothing waits for the device between log points, save that the host stays a few
    dispatches ahead and no more. Metrics are read once the next dispatch is under
    way, so that the device never waits for the host either.
    """
    total, log_every = self.plan.total_steps, self.config.log_every
    stops = log_every, self.config.checkpoint.every_steps, self.eval_every
    counts = dispatch.counts(done, until, self.k, stops, self.profile.marks)
    batches = data.prefetch(self.feed.dispatches(done, counts, self.k), 2)
    batches = self.pace.waits(self.feed.delivered(batches))
    in_flight, unread, ends = [], None, False
    with jax.transfer_guard("disallow"):
      for count, batch in batches:
        self.profile.before(done)
        state, metrics = self.steps(state, *self.feed.put(count, batch))
        self.stopping.hold()
        done += count
        if self.pace.dispatched(count, metrics) == 1:
          self.begun(metrics)
        in_flight = [*in_flight, metrics][-IN_FLIGHT:]
        jax.block_until_ready(in_flight[0])
        self.pace.finished(count)
        self.writer.say(self.profile.after(done, metrics))
        unread = self.read(*unread) if unread else None
        if done % log_every == 0 or done == total:
          unread = done, metrics
        ends = self.stopping.due(self.pace.dispatches, self.checkpoints)
        if ends or self.is_pause(done):
          unread = self.read(*unread) if unread else None
          jax.block_until_ready(metrics)  # its time is the steps', not the pause's
          with jax.transfer_guard("allow"), self.writer.pause():
            ends = self.pause(done, state, metrics, ends)
          self.pace.begin()
          if ends:
            break
      if unread:
        self.read(*unread)
    return state, done, ends

  def begun(self, metrics: Metrics) -> None:
    """Says when the first step was done, and draws its views; the run waits for it."""
    jax.block_until_ready(metrics)
    seconds = time.monotonic() - self.pace.since
    self.writer.say(f"The first step was done after {seconds:.1f} s.")
    with jax.transfer_guard("allow"), self.writer.pause():
      train = self.judge.splits.train
      report.picture_views(self.config, train, self.writer.workdir)
    self.pace.begin()

  def saved_without_data(self, done: int, state: TrainState) -> runs.DataLostError:
    """Saves the state when data is lost -> the error that ends the run.

    Of several processes the one that lost it leaves: the others are in the next step.
    """
    if jax.process_count() > 1:
      self.checkpoints.wait()
      sharding.leave(f"its data can no longer be read ({self.feed.lost})")
    if done > self.past.step:
      self.save(done, state, judged=not self.is_judged_at(done))
      self.checkpoints.wait()
    return runs.DataLostError(
      f"the data can no longer be read ({self.feed.lost}); step {done} is saved: see "
      "to the data, and the same line continues"
    )

  def read(self, step: int, metrics: Metrics) -> None:
    """Fetches metrics, writes them, and says what is wrong with them."""
    values = {k: float(v) for k, v in jax.device_get(metrics).items()}
    self.check_finite(step, values)
    self.writer.write(step, values, images=step * self.plan.batch_size)
    self.writer.say(self.pace.complaint())
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
      if self.feed.lost:
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
      self.feed.lost = " ".join(str(error).split())
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
      "steps_per_dispatch": self.measured,
    }
    self.checkpoints.save(done, state, meta)
    self.writer.say(self.pace.saved(self.checkpoints))

  def check_finite(self, step: int, values: Metrics) -> None:
    """Raises NotANumberError for the first metric that is not finite."""
    if bad := blame.worst(values):
      raise blame.NotANumberError(step, *bad)

  def diverged(self, step: int, name: str, value: float) -> runs.TrainingDivergedError:
    """Finds why metrics are not finite -> the error that ends the run."""
    self.checkpoints.wait()
    last_step = self.checkpoints.choose() or 0
    again, examples = lambda: self.again(last_step), self.feed.examples
    found = blame.find(self.config, self.parts, again, examples, step)
    sentence = blame.sentence(step, name, value, last_step, *found)
    return runs.TrainingDivergedError(sentence)

  def again(self, last_step: int) -> blame.Steps:
    """Repeats the steps after a checkpoint (0: from the first on), one at a time."""
    state, metrics = self.restored(last_step) if last_step else self.first(), {}
    for done in itertools.count(last_step):
      yield done, state, metrics
      state, metrics = self.steps(state, *self.feed.one(done + 1, self.k))

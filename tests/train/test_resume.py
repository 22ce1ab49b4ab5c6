"""A run can be stopped anywhere: the same line ends where the unbroken run ends."""

import itertools
import json
import shutil
import signal
import time

import command_line
import jax
import kill_and_resume
import numpy as np
import pytest
from short_runs import short, smoke

import ssljax
from ssljax import data, encoder, recipe, sharding, train
from ssljax.checkpoint import Checkpoints
from ssljax.train import loop


class Lightning(Exception):
  pass


def struck(monkeypatch, config, workdir, step):
  """Runs until something fails just after the checkpoint of `step`."""
  save = Checkpoints.save

  def strike(self, done, *arguments):
    save(self, done, *arguments)
    if done == step:
      raise Lightning

  with monkeypatch.context() as patch:
    patch.setattr(Checkpoints, "save", strike)
    with pytest.raises(Lightning):
      ssljax.train_and_evaluate(config, workdir)


def test_a_broken_run_ends_where_the_unbroken_one_ends(tmp_path, monkeypatch):
  broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
  name = "moco_v2_cifar10"
  ssljax.train_and_evaluate(smoke(name), unbroken)
  struck(monkeypatch, smoke(name), broken, step=3)
  steps = [row["step"] for row in kill_and_resume.metrics(broken)]
  assert steps == [2]
  # What a cut in the middle of writing leaves behind:
  with (broken / "metrics.jsonl").open("a") as file:
    file.write('{"step": 4, "loss": 1.0}\n{"step": 6, "lo')
  shutil.copytree(
    broken / "checkpoints" / "3", broken / "checkpoints" / "4.orbax-checkpoint-tmp-1"
  )
  ssljax.train_and_evaluate(smoke(name), broken)
  kill_and_resume.compare(broken, unbroken)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)]
)
def test_sigterm_and_ctrl_c_save_and_the_same_line_goes_on(number, code, tmp_path):
  line = "--config=configs/moco_v2_cifar10.py:smoke", "--config.steps=400"
  process = command_line.start(*line, f"--workdir={tmp_path}")
  while process.poll() is None and not has_begun(tmp_path):
    time.sleep(0.05)
  process.send_signal(number)
  output, errors = process.communicate(timeout=command_line.LONGEST)
  assert process.returncode == code, errors
  assert "Traceback" not in errors
  (said,) = (s for s in output.splitlines() if s.startswith("Stopped at step"))
  saved = max(int(p.name) for p in (tmp_path / "checkpoints").iterdir())
  assert said == f"Stopped at step {saved} and saved; the same line continues."
  assert 0 < saved < 400
  process = command_line.start(*line, f"--workdir={tmp_path}")
  try:
    while f"steps {saved:,} to 400" not in (said := process.stdout.readline()):
      assert said, process.stderr.read()
    process.send_signal(number)  # nothing is to be saved yet: it ends at once
    _, errors = process.communicate(timeout=command_line.LONGEST)
  finally:
    process.kill()
    process.communicate()
  assert process.returncode == 128 + number
  assert errors.strip().endswith("what was saved is whole, and the same line goes on.")
  assert "Traceback" not in errors


def has_begun(workdir) -> bool:
  """Whether the run in `workdir` has written a metric."""
  path = workdir / "metrics.jsonl"
  return path.exists() and path.stat().st_size > 0


def read(path):
  return json.loads(path.read_text())


def judged(in_memory, steps=8):
  """As `short`, of four steps an epoch, and judged after each."""
  evals = {"at_end": ("knn",), "every_epochs": 1}
  config = short(steps, batch_size=352, evals=evals)
  config.data.update(in_memory=in_memory, workers=1)
  return config


@pytest.fixture(scope="module")
def judged_whole(tmp_path_factory):
  """The folder of such a run without a break, and what it returned."""
  folder = tmp_path_factory.mktemp("judged")
  return folder, ssljax.train_and_evaluate(judged(True), folder)


def test_a_run_made_longer_is_the_longer_run(judged_whole, tmp_path):
  whole, rows = judged_whole
  ssljax.train_and_evaluate(judged(True, steps=4), tmp_path)
  reached = read(tmp_path / "results.json")
  assert ssljax.train_and_evaluate(judged(True), tmp_path) == rows
  kill_and_resume.compare(tmp_path, whole)
  assert read(tmp_path / "results.json") == read(whole / "results.json") != reached
  assert read(tmp_path / "results-step4.json") == reached
  assert read(tmp_path / "config.json")["steps"] == 8
  assert read(tmp_path / "about.json")["lengths"] == [[0, 4], [4, 8]]
  page = (tmp_path / "report.html").read_text()
  assert "4 steps at first, 8 from step 4 on" in page
  before = kill_and_resume.metrics(tmp_path)
  sentence = r"has done 8 steps already, and here steps or epochs make 6; set more"
  with pytest.raises(ssljax.ConfigError, match=sentence):
    ssljax.train_and_evaluate(judged(True, steps=6), tmp_path)
  assert kill_and_resume.metrics(tmp_path) == before


def test_schedules_take_the_new_length_from_where_a_longer_run_goes_on(tmp_path):
  falls = {"name": "sgd", "learning_rate": {"kind": "cosine", "base": 0.1}}
  config = short(8, optimizer=falls)
  ssljax.train_and_evaluate(short(4, optimizer=falls), tmp_path)
  mesh = sharding.make_mesh()
  state = encoder.restore(tmp_path, mesh).state
  ssljax.train_and_evaluate(config, tmp_path)
  # By hand: the steps of the longer plan from the shorter run's state on.
  source = recipe.open_data(config).train
  plan = recipe.make_plan(config, len(source), source.num_classes)
  step = jax.jit(recipe.build(config, plan).step)
  rates = [row["learning_rate"] for row in kill_and_resume.metrics(tmp_path)]
  batches = train.open_loader(config, source).iterate(4)
  for batch in itertools.islice(batches, 4):
    state, _ = step(state, batch)
  taken, totals = np.array([2, 5, 7]), np.array([4, 8, 8])  # at the lines 3, 6 and 8
  expected = 0.05 * (1 + np.cos(np.pi * taken / totals))
  np.testing.assert_allclose(rates, expected, rtol=1e-5)
  found = encoder.restore(tmp_path, mesh).state
  for a, b in zip(*map(jax.tree.leaves, (found.params, state.params)), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def struck_by_a_signal(monkeypatch, owner, name, at):
  """At the call `at` of a function Ctrl-C is pressed."""
  function, calls = getattr(owner, name), []

  def strike(*arguments, **keywords):
    calls.append(1)
    if len(calls) == at:
      signal.raise_signal(signal.SIGINT)
    return function(*arguments, **keywords)

  monkeypatch.setattr(owner, name, strike)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("owner", "name", "at", "saved", "in_memory"),
  [
    (loop.Run, "read", 2, 7, True),  # the line of step 6, when step 7 is under way
    (loop.Run, "read", 2, 7, False),
    (data, "eval_batches", 2, 4, True),  # judged at step 4; the first are the views'
    (data, "eval_batches", 7, 8, True),  # judged at the end
  ],
  ids=["training", "streaming", "judging", "end"],
)
def test_ctrl_c_leaves_nothing_out(
  owner, name, at, saved, in_memory, judged_whole, tmp_path, monkeypatch, capsys
):
  whole, rows = judged_whole
  with monkeypatch.context() as patch:
    struck_by_a_signal(patch, owner, name, at)
    assert ssljax.train_and_evaluate(judged(in_memory), tmp_path) == {}
  assert "Stopped " in capsys.readouterr().out
  assert max(int(p.name) for p in (tmp_path / "checkpoints").iterdir()) == saved
  assert ssljax.train_and_evaluate(judged(in_memory), tmp_path) == rows
  kill_and_resume.compare(tmp_path, whole)
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

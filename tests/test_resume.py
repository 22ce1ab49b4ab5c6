"""A run can be stopped anywhere: the same line ends where the unbroken run ends."""

import importlib
import shutil
import signal
import time

import command_line
import kill_and_resume
import pytest

import ssljax
from ssljax.checkpoint import Checkpoints


def smoke(name):
  config = importlib.import_module(f"configs.{name}").get_config("smoke")
  config.evals.at_end = ()
  return config


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


@pytest.mark.parametrize("name", ["moco_v2_cifar10", "dino_cifar10"])
def test_a_broken_run_ends_where_the_unbroken_one_ends(name, tmp_path, monkeypatch):
  broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
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


def test_sigterm_saves_and_the_same_line_goes_on(tmp_path):
  line = "--config=configs/moco_v2_cifar10.py:smoke", "--config.steps=400"
  process = command_line.start(*line, f"--workdir={tmp_path}")
  while process.poll() is None and not has_begun(tmp_path):
    time.sleep(0.05)
  process.send_signal(signal.SIGTERM)
  output, errors = process.communicate(timeout=command_line.LONGEST)
  assert process.returncode == 0, errors
  (said,) = (s for s in output.splitlines() if s.startswith("Stopped at step"))
  saved = max(int(p.name) for p in (tmp_path / "checkpoints").iterdir())
  assert said == f"Stopped at step {saved} and saved; the same line continues."
  assert 0 < saved < 400
  process = command_line.start(*line, f"--workdir={tmp_path}")
  try:
    while f"steps {saved:,} to 400" not in (said := process.stdout.readline()):
      assert said, process.stderr.read()
  finally:
    process.kill()
    process.communicate()


def has_begun(workdir) -> bool:
  """Whether the run in `workdir` has written a metric."""
  path = workdir / "metrics.jsonl"
  return path.exists() and path.stat().st_size > 0


def test_a_run_killed_at_a_random_moment_ends_bit_for_bit_the_same(tmp_path):
  config = "configs/moco_v2_cifar10.py:smoke"
  kill_and_resume.kill_and_compare(tmp_path, config, steps=24, kills=1)

"""Two processes of four devices are one process of eight."""

import importlib
import json
import shutil
import socket
import subprocess
import time

import command_line
import conftest
import jax
import kill_and_resume
import numpy as np
import pytest
from PIL import Image

import ssljax
from ssljax import encoder, paths, sharding

pytestmark = pytest.mark.slow  # two programs at once

LINE = (
  "--config=configs/moco_v2_cifar10.py:smoke",
  "--config.optimizer.learning_rate.base=1e-3",  # rounding must not grow by itself
  "--config.encoder.width=4",  # the fewer activations, the fewer near a kink
  "--config.augment.size=8",
  "--config.log_every=1",
  "--config.checkpoint.every_steps=1",
  "--config.checkpoint.keep=6",
)


def started(*lines: tuple[str, ...]) -> list[subprocess.Popen]:
  """Processes of one run, each by its line."""
  with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
  return [
    command_line.start(
      *line,
      XLA_FLAGS=conftest.xla_flags(4),
      JAX_COORDINATOR_ADDRESS=f"127.0.0.1:{port}",
      JAX_NUM_PROCESSES=str(len(lines)),
      JAX_PROCESS_ID=str(i),
    )
    for i, line in enumerate(lines)
  ]


def by_two_processes(*line: str) -> list[str]:
  """`python run.py LINE` by both, to its end -> what each said."""
  processes = started(line, line)
  try:
    told = [process.communicate(timeout=command_line.LONGEST) for process in processes]
  finally:
    for process in processes:
      process.kill()
  assert [process.returncode for process in processes] == [0, 0], told
  return [output for output, _ in told]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
  """A run of two processes."""
  folder = tmp_path_factory.mktemp("processes") / "two"
  on_device = "--config.data.on_device=yes"  # one process is fed by the host
  told = by_two_processes(*LINE, on_device, f"--workdir={folder}")
  assert "trained encoder" in told[0]
  assert "steps" not in told[1]
  assert len(list(folder.glob("events.out.tfevents.*"))) == 1
  return folder


def test_two_processes_compute_what_one_does_and_one_of_them_writes(two, tmp_path):
  code, _, errors = command_line.run(*LINE, f"--workdir={tmp_path}")
  assert code == 0, errors
  # From one and the same state: the gradient too, which SGD's momentum is by then.
  first, *later = zip(*map(kill_and_resume.metrics, (tmp_path, two)), strict=True)
  assert first[1] == pytest.approx(first[0], rel=1e-5)
  expected, found = (kill_and_resume.state(folder, 1) for folder in (tmp_path, two))
  for path, x in expected.items():
    np.testing.assert_allclose(found[path], x, rtol=1e-4, atol=1e-6, err_msg=path)
  # Later states differ by roundings. What the network computes is continuous in them;
  # its gradient is not: an activation at the kink of its ReLU is on either side.
  *later, knn = later
  assert knn[0].keys() == knn[1].keys()
  for expected, found in later:
    smooth = {name: x for name, x in expected.items() if name != "grad_norm"}
    assert found == pytest.approx(smooth | {"grad_norm": found["grad_norm"]}, rel=1e-4)


def test_what_two_processes_left_goes_on_in_one_of_four_devices(two, tmp_path):
  folder, four = tmp_path / "four", sharding.make_mesh(jax.devices()[:4])
  shutil.copytree(two, folder)
  for step in (4, 5, 6):
    shutil.rmtree(folder / "checkpoints" / str(step))
  written = kill_and_resume.state(two, 3)
  restored = encoder.restore(folder, four).state
  assert len(jax.tree.leaves(restored)) == len(written)
  for path, x in jax.tree_util.tree_leaves_with_path(restored):
    assert len(x.sharding.device_set) == 4
    np.testing.assert_array_equal(x, written[paths.name(path)])
  code, _, errors = command_line.run(
    *LINE, f"--workdir={folder}", XLA_FLAGS=conftest.xla_flags(4)
  )
  assert code == 0, errors
  before, after = map(kill_and_resume.metrics, (two, folder))
  assert after[:3] == before[:3]
  assert after[3]["step"] == 4
  assert after[3]["loss"] == pytest.approx(before[3]["loss"], rel=1e-6)


def test_two_processes_judge_as_one_does_and_one_of_them_writes(two):
  told = by_two_processes(
    "--config=configs/eval/geometry.py", f"--config.checkpoint={two}"
  )
  assert "trained encoder" in told[0]
  assert "trained encoder" not in told[1]
  found = json.loads((two / "evals" / "geometry.json").read_text())["results"]
  shutil.rmtree(two / "evals")  # the features with it
  config = importlib.import_module("configs.eval.geometry").get_config()
  config.checkpoint = str(two)
  for row, expected in ssljax.evaluate(config).items():
    assert found[row] == pytest.approx(expected, rel=1e-3)


def test_processes_of_other_runs_are_refused_before_they_compile(tmp_path):
  """Their gradients would be averaged, and nothing would look wrong."""
  line = *LINE, f"--workdir={tmp_path / 'run'}"
  processes = started(line, (*line, "--config.optimizer.momentum=0.5"))
  try:
    for process in processes:
      _, errors = process.communicate(timeout=command_line.LONGEST)
      assert process.returncode == 1
      assert "error: process 1 was started with optimizer.momentum=0.5, and" in errors
      assert "Traceback" not in errors
  finally:
    for process in processes:
      process.kill()
  assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_data_that_one_process_loses_ends_all_and_the_same_line_goes_on(tmp_path):
  rng = np.random.default_rng(0)
  for copy in "01":
    for i in range(64):
      file = tmp_path / copy / str(i % 2) / f"{i}.png"
      file.parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(file)
    rng = np.random.default_rng(0)
  fields = *LINE[1:], "--config.data.name=folder", "--config.data.in_memory=False"
  fields = *fields, "--config.steps=4000", "--config.evals.at_end="
  line = LINE[0], *fields, f"--workdir={tmp_path / 'run'}"
  processes = started(*((*line, f"--config.data.dir={tmp_path / c}") for c in "01"))
  try:
    while not list(tmp_path.glob("run/checkpoints/[0-9]*")):
      assert [process.poll() for process in processes] == [None, None]
      time.sleep(0.2)
    shutil.rmtree(tmp_path / "1")
    told = [process.communicate(timeout=300)[1] for process in reversed(processes)]
  finally:
    for process in processes:
      process.kill()
  assert all(process.returncode for process in processes)
  assert "error: process 1 leaves: its data can no longer be read" in told[0]
  steps = [int(p.name) for p in (tmp_path / "run").glob("checkpoints/[0-9]*")]
  assert 0 < max(steps) < 4000

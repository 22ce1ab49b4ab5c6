"""Two processes of four devices are one process of eight."""

import importlib
import json
import shutil
import socket

import command_line
import conftest
import kill_and_resume
import numpy as np
import pytest

import ssljax

LINE = (
  "--config=configs/moco_v2_cifar10.py:smoke",
  "--config.optimizer.learning_rate.base=1e-3",  # rounding must not grow by itself
)


def by_two_processes(*line: str) -> list[str]:
  """`python run.py LINE` by both, to its end -> what each said."""
  with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
  processes = [
    command_line.start(
      *line,
      XLA_FLAGS=conftest.xla_flags(4),
      JAX_COORDINATOR_ADDRESS=f"127.0.0.1:{port}",
      JAX_NUM_PROCESSES="2",
      JAX_PROCESS_ID=str(i),
    )
    for i in range(2)
  ]
  try:
    told = [process.communicate(timeout=240) for process in processes]
  finally:
    for process in processes:
      process.kill()
  assert [process.returncode for process in processes] == [0, 0], told
  return [output for output, _ in told]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
  """A run of two processes."""
  folder = tmp_path_factory.mktemp("processes") / "two"
  told = by_two_processes(*LINE, f"--workdir={folder}")
  assert "trained encoder" in told[0]
  assert "steps" not in told[1]
  assert len(list(folder.glob("events.out.tfevents.*"))) == 1
  return folder


def test_two_processes_compute_what_one_does_and_one_of_them_writes(two, tmp_path):
  code, _, errors = command_line.run(*LINE, f"--workdir={tmp_path}")
  assert code == 0, errors
  expected, found = map(kill_and_resume.metrics, (tmp_path, two))
  for row, other in zip(expected[:3], found, strict=False):  # the last one is kNN's
    assert other == pytest.approx(row, rel=1e-5 if row["step"] == 2 else 1e-4)
  expected, found = map(kill_and_resume.final_state, (tmp_path, two))
  for path in expected:
    np.testing.assert_allclose(
      found[path], expected[path], rtol=1e-3, atol=1e-4, err_msg=path
    )


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

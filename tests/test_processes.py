"""Two processes of four devices are one process of eight."""

import socket

import command_line
import kill_and_resume
import numpy as np
import pytest

LINE = (
  "--config=configs/moco_v2_cifar10.py:smoke",
  "--config.optimizer.learning_rate.base=1e-3",  # rounding must not grow by itself
)


def free_port() -> int:
  with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    return s.getsockname()[1]


def test_two_processes_compute_what_one_does_and_one_of_them_writes(tmp_path):
  two, one = tmp_path / "two", tmp_path / "one"
  address = f"127.0.0.1:{free_port()}"
  processes = [
    command_line.start(
      *LINE,
      f"--workdir={two}",
      XLA_FLAGS="--xla_force_host_platform_device_count=4",
      JAX_COORDINATOR_ADDRESS=address,
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
  assert "trained encoder" in told[0][0]
  assert "steps" not in told[1][0]
  assert len(list(two.glob("events.out.tfevents.*"))) == 1

  code, _, errors = command_line.run(*LINE, f"--workdir={one}")
  assert code == 0, errors
  expected, found = map(kill_and_resume.metrics, (one, two))
  for row, other in zip(expected[:3], found, strict=False):  # the last one is kNN's
    assert other == pytest.approx(row, rel=1e-5 if row["step"] == 2 else 1e-4)
  expected, found = map(kill_and_resume.final_state, (one, two))
  for path in expected:
    np.testing.assert_allclose(
      found[path], expected[path], rtol=1e-3, atol=1e-4, err_msg=path
    )

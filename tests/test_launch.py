"""What stands in launch/ can be read, and Slurm's script goes on after a lost node."""

import os
import pathlib
import shutil
import subprocess
import sys

import command_line
import conftest
import kill_and_resume
import pytest
import yaml

from ssljax.command_line import load

pytestmark = pytest.mark.slow  # jobs of two programs

ROOT = command_line.ROOT
FOLDER = ROOT / "launch"
SLURM = pathlib.Path(__file__).parent / "slurm"


@pytest.mark.parametrize("script", [*FOLDER.glob("*.sh"), ROOT / ".ci" / "run"])
def test_shellcheck_finds_nothing(script):
  program = shutil.which("shellcheck", path=f"{pathlib.Path(sys.executable).parent}")
  done = subprocess.run([program, script], capture_output=True, text=True)
  assert done.returncode == 0, done.stdout


def test_a_job_set_has_what_kubernetes_asks_for():
  """Fields of jobset.x-k8s.io/v1alpha2, batch/v1 and core/v1."""
  job_set = yaml.safe_load((FOLDER / "gke_jobset.yaml").read_text())
  assert job_set["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
  assert job_set["kind"] == "JobSet"
  (hosts,) = job_set["spec"]["replicatedJobs"]
  job = hosts["template"]["spec"]
  assert job["parallelism"] == job["completions"]
  pod = job["template"]["spec"]
  assert pod["restartPolicy"] == "Never"
  (container,) = pod["containers"]
  assert container["image"]
  given = dict(arg.removeprefix("--").split("=") for arg in container["args"])
  _, config = load(given["config"])
  assert "dir" in config.data
  assert given.keys() == {"config", "workdir", "config.data.dir"}


def test_a_sky_task_has_what_skypilot_asks_for():
  task = yaml.safe_load((FOLDER / "skypilot.yaml").read_text())
  known = {"name", "num_nodes", "envs", "resources", "file_mounts", "workdir"}
  assert task.keys() == known | {"setup", "run"}
  load(task["envs"]["CONFIG"])
  for script in (task["setup"], task["run"]):
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_image_copies_what_the_wheel_is_made_of():
  lines = (FOLDER / "Dockerfile").read_text().splitlines()
  copied = {word for line in lines if line.startswith("COPY ") for word in line.split()}
  assert copied >= {"pyproject.toml", "README.md", "LICENSE", "ssljax", "configs"}
  assert 'ENTRYPOINT ["ssljax"]' in lines


def sbatch(folder, *line, **environment):
  """`sbatch launch/slurm.sh LINE` on two nodes -> exit code, output, what was asked."""
  requests = folder.parent / "requests"
  places = SLURM, pathlib.Path(sys.executable).parent, os.environ["PATH"]
  env = {
    "PATH": os.pathsep.join(map(str, places)),
    "PYTHONPATH": str(ROOT),
    "ACTIVATE": "",
    "WORKDIR": str(folder),
    "REQUESTS": str(requests),
    "SLURM_JOB_ID": str(os.getpid()),  # JAX makes the port of it
    "SLURM_SUBMIT_DIR": str(ROOT),
    "XLA_FLAGS": conftest.xla_flags(2),
  }
  done = subprocess.run(
    ["bash", str(FOLDER / "slurm.sh"), *line],
    env=os.environ | command_line.QUICK | env | environment,
    capture_output=True,
    text=True,
    timeout=command_line.LONGEST,
  )
  asked = requests.read_text().split("\n")[:-1] if requests.exists() else []
  return done.returncode, done.stdout + done.stderr, asked


def test_a_job_that_lost_a_node_is_queued_again_and_ends_as_the_unbroken_one(tmp_path):
  line = (
    *("--config=configs/moco_v2_cifar10.py:smoke", "--config.encoder.width=4"),
    *("--config.augment.size=8", "--config.log_every=1", "--config.evals.at_end="),
    *("--config.steps=8", "--config.checkpoint.every_steps=1"),
  )
  broken, unbroken = tmp_path / "broken" / "run", tmp_path / "unbroken" / "run"
  broken.parent.mkdir()
  unbroken.parent.mkdir()
  code, told, asked = sbatch(broken, *line, DIES_AFTER="2")
  assert code != 0, told
  assert asked == [f"requeue {os.getpid()}"]
  assert 2 <= kill_and_resume.last_step(broken) < 8
  code, told, asked = sbatch(broken, *line, SLURM_RESTART_COUNT="1")
  assert code == 0, told
  assert len(asked) == 1
  code, told, asked = sbatch(unbroken, *line)
  assert (code, asked) == (0, []), told
  kill_and_resume.compare(broken, unbroken)

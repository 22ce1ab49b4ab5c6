"""What a wheel gives without the repository; a method that a command begins."""

import functools
import os
import shutil
import subprocess
import sys

import command_line
import pytest

from ssljax.command_line import new
from ssljax.fields import ConfigError

ROOT = command_line.ROOT
PIP = (sys.executable, "-m", "pip", "--quiet", "--no-input")


def run(*line, cwd, **environment):
  """A command's output; all that it said where it fails."""
  env = os.environ | command_line.QUICK | environment
  done = subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True)
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory):
  """A folder in which the wheel of this tree is installed, and nothing else."""
  folder = tmp_path_factory.mktemp("wheel")
  run(*PIP, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT), cwd=folder)
  (wheel,) = folder.glob("ssljax-*.whl")
  site = folder / "site"
  run(*PIP, "install", "--no-deps", "--target", str(site), str(wheel), cwd=folder)
  return site


def test_a_wheel_has_every_recipe_and_trains_from_any_folder(site, tmp_path):
  path = {"PYTHONPATH": str(site)}
  ssljax = sys.executable, str(site / "bin" / "ssljax")
  listed = run(*ssljax, "list", cwd=tmp_path, **path)
  for file in (ROOT / "configs").rglob("*.py"):
    assert file.stem == "common" or f" {file.stem} " in listed
  module = sys.executable, "-m", "ssljax", "show", "byol_imagenet"
  assert "method.tau.base" in run(*module, cwd=tmp_path, **path)
  fields = "--config.steps=2", "--config.evals.at_end=knn"
  run(*ssljax, "--config", "simclr_digits:smoke", *fields, cwd=tmp_path, **path)
  assert (tmp_path / "runs" / "simclr_digits" / "report.html").exists()
  line = *ssljax, "new", "method", "mine"
  refused = subprocess.run(line, env=os.environ | path, capture_output=True, text=True)
  assert refused.returncode == 1
  assert "is no clone of the repository" in refused.stderr


@pytest.fixture
def clone(tmp_path):
  """A copy of what a clone holds, in which a method can be written."""
  for name in ("ssljax", "configs", "tests", "docs"):
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
  for name in ("README.md", "pyproject.toml", "run.py"):
    shutil.copy(ROOT / name, tmp_path)
  return tmp_path


def test_a_new_method_is_held_to_its_equation_and_the_laws(clone):
  python = functools.partial(run, sys.executable, cwd=clone, PYTHONPATH=str(clone))
  told = python("run.py", "new", "method", "my_own")
  assert "pytest -m '' tests/methods/test_my_own.py" in told
  python("-m", "ruff", "check")
  python("-m", "ruff", "format", "--check")
  laws = "one_device_equals_eight", "a_config_and_a_test_file_exist"
  picked = " or ".join(f"({law} and my_own)" for law in laws)
  files = "tests/methods/test_my_own.py", "tests/test_contract.py", "tests/test_site.py"
  chosen = f"test_my_own or {picked} or (page_says_all and my_own)"
  assert "4 passed" in python("-m", "pytest", "-n0", "-v", *files, "-k", chosen)
  assert "| `my_own_cifar10` |" in (clone / "README.md").read_text("utf-8")
  with pytest.raises(AssertionError, match=r"my_own\.py is there"):
    python("run.py", "new", "method", "my_own")


@pytest.mark.parametrize(
  ("arguments", "sentence"),
  [
    (["method", "MyOwn"], r"a name is lower_case, such as my_method"),
    (["method", "moco"], r"moco\.py is there"),
    (["method", "cpc_text"], r"there is a method of this name"),
    (["method"], r"write new method NAME"),
    (["recipe", "x"], r"new recipe x: write new method NAME"),
  ],
)
def test_what_cannot_be_begun_is_a_sentence(arguments, sentence):
  with pytest.raises(ConfigError, match=sentence):
    new.write(arguments)

"""The loop from the outside: the command line, its folder, and what it refuses."""

import importlib
import json
import types

import command_line
import conftest
import jax
import kill_and_resume
import numpy as np
import pytest

import ssljax
from ssljax.train import dispatch, loop


def smoke(name="simclr_digits", **fields):
  config = importlib.import_module(f"configs.{name}").get_config("smoke")
  config.steps_per_dispatch = 1
  config.optimizer = dict(name="sgd", learning_rate=1e-3)
  config.evals.at_end = ("knn",)
  config.update(fields)
  return config


def test_help_says_what_to_type():
  code, output, _ = command_line.run("--help")
  assert code in (0, 1)  # absl's own
  assert "python run.py --config configs/byol_imagenet.py:smoke" in output
  assert "--workdir" in output


def test_a_run_from_any_folder_goes_to_runs_and_the_configs_name(tmp_path):
  config = command_line.ROOT / "configs" / "simclr_digits.py"
  line = f"--config={config}:smoke --config.batch_size=16 --config.steps=2"
  line += " --config.evals.at_end=('knn',)"
  code, output, errors = command_line.run(
    *line.split(),
    cwd=tmp_path,
    JAX_DISABLE_MOST_OPTIMIZATIONS="0",  # as it is for everybody
    XLA_FLAGS=" ".join(conftest.CALLERS),
  )
  assert (code, errors) == (0, "")
  assert "steps 0 to 2 of 16 examples" in output
  assert "trained encoder" in output
  (folder,) = tmp_path.glob("runs/*")
  assert folder.name == "simclr_digits"
  assert json.loads((folder / "config.json").read_text())["batch_size"] == 16
  first, last = map(json.loads, (folder / "metrics.jsonl").open())
  assert first["step"] == last["step"] == 2
  assert {"loss", "learning_rate", "grad_norm"} < first.keys()
  assert last.keys() == {"step", "knn", *last.keys()}


def test_several_steps_a_dispatch_are_the_same_steps(tmp_path):
  folders = tmp_path / "1", tmp_path / "3"
  for k, folder in zip((1, 3), folders, strict=True):
    # Log points and checkpoints cut dispatches. No ReLU, whose kink roundings cross:
    config = smoke("mae_cifar10", steps_per_dispatch=k)
    rows = ssljax.train_and_evaluate(config, folder)
  for one, other in zip(*map(kill_and_resume.metrics, folders), strict=True):
    assert one == pytest.approx(other, rel=1e-4)
  first, other = map(kill_and_resume.state, folders)
  for path, x in first.items():
    np.testing.assert_allclose(x, other[path], rtol=1e-3, atol=1e-4, err_msg=path)
  # A finished run, started again, judges again and changes nothing.
  before = (folder / "metrics.jsonl").read_text()
  assert ssljax.train_and_evaluate(config, folder) == rows
  assert (folder / "metrics.jsonl").read_text() == before


def test_a_loss_that_is_no_number_ends_the_run_at_its_last_good_checkpoint(tmp_path):
  config = smoke()
  explodes = dict(kind="steps", base=1e-3, milestones=(4 / 44,), factor=1e38)
  config.optimizer = dict(name="sgd", learning_rate=explodes)
  sentence = (
    r"\w+ is (nan|inf|-inf) at step 6; .* checkpoint is that of step 3; a lower"
  )
  with pytest.raises(ssljax.TrainingDivergedError, match=sentence):
    ssljax.train_and_evaluate(config, tmp_path)
  assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["3"]


def test_a_collapse_is_said_once(tmp_path):
  said = []
  say = lambda text: text and said.append(text)  # noqa: E731
  writer = types.SimpleNamespace(say=say, write=lambda *a, **k: None)
  plan = types.SimpleNamespace(batch_size=8, steps_per_epoch=10)
  run = types.SimpleNamespace(
    writer=writer, plan=plan, warning=None, check_finite=lambda *a: None
  )
  run.pace = types.SimpleNamespace(complaint=lambda: "")
  for step in (5, 20, 30):  # within the first epoch it is not judged
    loop.Run.read(run, step, {"loss": 1.0, "embedding_std": 0.0})
  (sentence,) = said
  assert sentence.startswith("step 20: Collapsed: all pictures have nearly one embed")


def test_a_transfer_between_log_points_is_an_error(tmp_path, monkeypatch):
  monkeypatch.setattr(dispatch, "put", lambda count, batch, *_: (batch, count, {}))
  with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device"):
    ssljax.train_and_evaluate(smoke(), tmp_path)

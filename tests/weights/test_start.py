"""A run that was given weights: what moves when, and the row of where it began."""

import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import ssljax
from configs import common, mae_folder
from ssljax import encoder, html, sharding
from ssljax.weights import pretrained

PARAMS = {"encoder": {"cls": np.zeros((1, 1, 32))}}
RAW, RANDOM = "raw pixels, centred", "random encoder"


def smoke(**fields):
  config = mae_folder.get_config("continue")
  common.smoke(config)
  config.encoder.image_size = config.augment.size
  config.update_from_flattened_dict({"steps": 2, "checkpoint.every_steps": 2} | fields)
  return config


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  """A run of another seed, and the table that it ended with."""
  folder = tmp_path_factory.mktemp("source") / "run"
  return folder, ssljax.train_and_evaluate(smoke(seed=1), folder)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # its attention is 0
def test_a_run_that_unlearns_is_told_so_beside_where_it_started(
  source, tmp_path, capsys
):
  """Its start's row is the given run's last; where that run has gone, it is said."""
  given, run = tmp_path / "given", tmp_path / "run"
  shutil.copytree(source[0], given)
  config = smoke(**{"pretrained.checkpoint": str(given)})
  config.encoder.stop_grad_patch = False
  config.optimizer = {"name": "adamw", "learning_rate": 30.0}  # too much
  rows = ssljax.train_and_evaluate(config, run)
  assert list(rows) == [RAW, RANDOM, html.START, html.TRAINED]
  assert rows[html.START] == source[1][html.TRAINED]
  assert rows[html.TRAINED]["knn"] < rows[html.START]["knn"]
  sentence = html.fallen(rows)
  assert sentence.startswith("It got worse than where it started: kNN ")
  assert sentence in capsys.readouterr().out
  assert sentence in (run / "report.html").read_text()

  shutil.rmtree(given)  # and the same line judges the run once more
  rows = ssljax.train_and_evaluate(config, run)
  assert list(rows) == [RAW, RANDOM, html.TRAINED]
  assert "Where it started is not judged: " in capsys.readouterr().out


def test_where_it_started_is_what_it_started_from(
  source, tmp_path, capsys, monkeypatch
):
  """Wherever that lies by now, and however its path is written; else it is said."""
  given, run = tmp_path / "given", tmp_path / "run"
  shutil.copytree(source[0], given)
  config = smoke(**{"pretrained.checkpoint": str(given), "evals.at_end": ("knn",)})
  rows = ssljax.train_and_evaluate(config, run)
  monkeypatch.chdir(tmp_path)
  config.pretrained.checkpoint = "given"
  assert ssljax.train_and_evaluate(config, run) == rows
  shutil.copytree(given, tmp_path / "copy")
  config.pretrained.checkpoint = str(tmp_path / "copy")
  assert ssljax.train_and_evaluate(config, run)[html.START] == rows[html.START]
  goes_on = {"steps": 4, "checkpoint.keep": 1}  # the newest alone
  ssljax.train_and_evaluate(smoke(seed=1, **goes_on), given)
  capsys.readouterr()
  config.pretrained.checkpoint = str(given)
  with pytest.raises(ssljax.ConfigError, match=r"pretrained\.checkpoint=.*copy there"):
    ssljax.train_and_evaluate(config, run)
  told = run / "config.json"
  told.write_text(told.read_text().replace(str(tmp_path / "copy"), str(given)))
  assert list(ssljax.train_and_evaluate(config, run)) == [RAW, RANDOM, html.TRAINED]
  said = capsys.readouterr().out
  assert "Where it started is not judged: step=2 is no checkpoint" in said


def test_heads_learn_first_and_the_patch_projection_never(source, tmp_path):
  """The encoder of `:continue` waits, here for two of four steps."""
  fields = {"pretrained.checkpoint": str(source[0]), "steps": 4, "evals.at_end": ()}
  config = smoke(**fields)
  config.optimizer.learning_rate.warmup_epochs = 0
  config.optimizer.freeze_until = {"^encoder/": 2 / (1437 // config.batch_size)}
  ssljax.train_and_evaluate(config, tmp_path)
  mesh = sharding.make_mesh()
  start, *states = (
    jax.device_get(encoder.restore(folder, mesh, step).state.params)
    for folder, step in ((source[0], 2), (tmp_path, 2), (tmp_path, 4))
  )
  waiting, moving = states
  jax.tree.map(np.testing.assert_array_equal, waiting["encoder"], start["encoder"])
  same = {k: _same(moving["encoder"][k], x) for k, x in start["encoder"].items()}
  assert {name for name, is_same in same.items() if is_same} == {"patch", "position"}
  assert not _same(waiting["decoder"]["pixels"], moving["decoder"]["pixels"])


@pytest.mark.parametrize(
  ("field", "value"),
  [
    *(("heads", 4), ("activation", "relu"), ("epsilon", 1e-5)),
    ("position", "sincos_columns"),
  ],
)
def test_what_no_shape_shows_is_compared(source, tmp_path, field, value):
  config = smoke(**{"pretrained.checkpoint": str(source[0])})
  config.encoder[field] = value
  with pytest.raises(ssljax.ConfigError, match=f"encoder.{field} is .* there and"):
    pretrained.start(config, SimpleNamespace(params=PARAMS), sharding.make_mesh())


def _same(a, b):
  return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))

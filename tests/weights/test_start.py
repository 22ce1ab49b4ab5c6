"""A run that was given weights is judged beside them."""

import shutil

import tiny

import ssljax
from ssljax import html

RAW, RANDOM = "raw pixels, centred", "random encoder"


def smoke(**fields):
  config = tiny.configs()["mae_cifar10"].copy_and_resolve_references()
  config.update_from_flattened_dict({"steps": 2, "checkpoint.every_steps": 2} | fields)
  return config


def test_where_a_run_started_stands_between_random_and_trained(tmp_path, capsys):
  """Its row is the given run's last; a rate at which all is unlearned is called so."""
  source, run = tmp_path / "source", tmp_path / "run"
  before = ssljax.train_and_evaluate(smoke(seed=1), source)
  config = smoke(**{"pretrained.checkpoint": str(source)})
  config.optimizer = {"name": "adamw", "learning_rate": 0.3}
  rows = ssljax.train_and_evaluate(config, run)
  assert list(rows) == [RAW, RANDOM, html.START, html.TRAINED]
  assert rows[html.START] == before[html.TRAINED]
  assert rows[html.TRAINED]["knn"] < rows[html.START]["knn"]
  sentence = html.fallen(rows)
  assert sentence.startswith("It got worse than where it started: kNN ")
  assert sentence in capsys.readouterr().out
  assert sentence in (run / "report.html").read_text()

  shutil.rmtree(source)  # and the same line judges the run once more
  rows = ssljax.train_and_evaluate(config, run)
  assert list(rows) == [RAW, RANDOM, html.TRAINED]
  assert "Where it started is not judged: " in capsys.readouterr().out

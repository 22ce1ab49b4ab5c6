import pytest
import run_folder
from ml_collections import ConfigDict
from test_html import Page

import ssljax
from ssljax import compare
from ssljax.fields import ConfigError

AT_THE_END = "at the end of training (on cifar10; knn.k = 200; knn.temperature = 0.1)"


@pytest.fixture
def runs(tmp_path):
  method = {"name": "moco", "queue": 64}
  return [
    run_folder.make(tmp_path / "one"),
    run_folder.make(tmp_path / "other", knn=49.55, seed=4, method=method),
  ]


def config(runs):
  return ConfigDict({"evaluator": "compare", "runs": ",".join(map(str, runs))})


def test_only_fields_that_differ_are_shown():
  one = {"seed": 0, "data": {"name": "a", "size": 32}, "rate": [1, 2], "dir": ""}
  other = {"seed": 0, "data": {"name": "b", "size": 32}, "rate": [1, 3], "k": None}
  assert compare.differences({"x": one, "y": other}) == {
    "data.name": {"x": "a", "y": "b"},
    "dir": {"x": '""', "y": "-"},
    "k": {"x": "-", "y": "null"},
    "rate": {"x": "[1, 2]", "y": "[1, 3]"},
  }


def test_runs_lie_side_by_side_and_what_they_share_is_there_once(runs, tmp_path):
  tables = ssljax.evaluate(config(runs), tmp_path / "out")
  assert tables[AT_THE_END] == {
    "raw pixels, centred": {"knn": 41.25},
    "random encoder": {"knn": 30.62},
    "one": {"knn": 50.32, "few_label_1": 20.04, "few_label_1_std": 2.26},
    "other": {"knn": 49.55, "few_label_1": 20.04, "few_label_1_std": 2.26},
  }
  title = "retrieval (on cifar10; ks = 1, 5; gallery = test)"
  assert list(tables[title]) == ["raw pixels, centred", "one", "other"]


def test_the_page_and_the_screen_show_the_same(runs, tmp_path, capsys):
  ssljax.evaluate(config(runs), tmp_path / "out")
  screen = [line.split() for line in capsys.readouterr().out.splitlines()]
  page = Page(tmp_path / "out" / "compare.html")
  assert len(page.addresses) == 1
  assert ["", "one", "other"] in page.rows
  for row in (
    ["method.name", "simclr", "moco"],
    ["method.queue", "-", "64"],
    ["seed", "3", "4"],
    ["one", "25.2", "33.3"],
    ["other", "24.8", "33.3"],
  ):
    assert row in page.rows
    assert row in screen
  assert "is highest for one: 50.3 %." in page.text


def test_other_numbers_make_another_protocol(runs, tmp_path):
  other = run_folder.retrieval(60.0, ks=(1, 10))
  run_folder.write(runs[1] / "evals" / "retrieval.json", other)
  tables = compare.compare(runs, tmp_path / "out")
  assert [rows.keys() & {"one", "other"} for rows in tables.values()] == [
    {"one", "other"},
    {"one"},
    {"other"},
  ]


def test_results_on_other_data_stand_apart(runs, tmp_path):
  digits = run_folder.make(tmp_path / "third", data={"name": "digits"})
  tables = compare.compare([*runs, digits], tmp_path / "out")
  assert tables[AT_THE_END].keys() & {"one", "other", "third"} == {"one", "other"}
  assert tables[AT_THE_END.replace("cifar10", "digits")].keys() >= {"third"}


def test_folders_of_one_name_are_called_by_their_paths(runs, tmp_path):
  twin = run_folder.make(tmp_path / "elsewhere" / "one")
  tables = compare.compare([runs[0], twin], tmp_path / "out")
  assert {str(runs[0]), str(twin)} < tables[AT_THE_END].keys()


@pytest.mark.parametrize("given", ["", "runs/one", "runs/one, runs/one"])
def test_less_than_two_runs_cannot_be_compared(given):
  with pytest.raises(ConfigError, match=r"must name two runs or more: --config\.runs="):
    ssljax.evaluate(ConfigDict({"evaluator": "compare", "runs": given}))


def test_a_folder_that_is_no_run_is_named(runs, tmp_path):
  with pytest.raises(ConfigError, match=r"nowhere holds no run"):
    ssljax.evaluate(config([*runs, tmp_path / "nowhere"]))

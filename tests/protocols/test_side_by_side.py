import shutil

import pytest
import run_folder
from ml_collections import ConfigDict
from test_html import Page

import ssljax
from ssljax import html
from ssljax.fields import ConfigError
from ssljax.protocols import side_by_side as compare

AT_THE_END = "At the end of training (on cifar10)"


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
  assert list(tables["Retrieval (on cifar10)"]) == [
    "raw pixels, centred",
    "one",
    "other",
  ]


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


def test_pictures_that_several_encoders_have_stand_together(runs, tmp_path):
  for run, names in zip(runs, (["attention", "filters"], ["attention"]), strict=True):
    for name in names:
      shutil.copy(run / "figures" / "views.png", run / "figures" / f"{name}.png")
  ssljax.evaluate(config(runs), tmp_path / "out")
  page = Page(tmp_path / "out" / "compare.html")
  assert "one. Where each head of the last block looks" in page.text
  assert "other. Where each head of the last block looks" in page.text
  assert "What the first layer looks for" not in page.text


def test_other_numbers_make_another_protocol(runs, tmp_path):
  other = run_folder.retrieval(60.0, ks=(1, 10))
  run_folder.write(runs[1] / "evals" / "retrieval.json", other)
  tables = compare.compare(runs, tmp_path / "out")
  assert {title: rows.keys() & {"one", "other"} for title, rows in tables.items()} == {
    AT_THE_END: {"one", "other"},
    "Retrieval (on cifar10; ks = 1, 5)": {"one"},
    "Retrieval (on cifar10; ks = 1, 10)": {"other"},
  }


def test_results_on_other_data_stand_apart(runs, tmp_path):
  digits = run_folder.make(tmp_path / "third", data={"name": "digits"})
  tables = compare.compare([*runs, digits], tmp_path / "out")
  assert tables[AT_THE_END].keys() & {"one", "other", "third"} == {"one", "other"}
  assert tables[AT_THE_END.replace("cifar10", "digits")].keys() >= {"third"}


def linear(run, **changed):
  """Leaves a linear probe in the run's folder, better than what its kNN reached."""
  result = run_folder.retrieval(0.0) | {"protocol": "linear", "evaluator": "linear"}
  result["results"] = {
    run_folder.RAW: {"linear": 44.4},
    run_folder.TRAINED: {"linear": 77.7},
  }
  run_folder.write(run / "evals" / "linear.json", result | changed)


def verdict(runs, out):
  compare.compare(runs, out)
  text = Page(out / "compare.html").text
  return text[text.index("Accuracy of") :].split(" is highest for ")


def test_no_run_is_best_at_what_others_were_not_asked(runs, tmp_path):
  linear(runs[1])
  name, best = verdict(runs, tmp_path / "out")
  assert name.startswith("Accuracy of the kNN vote")
  assert best.startswith("one: 50.3 %.")
  linear(runs[0])
  name, best = verdict(runs, tmp_path / "out")
  assert name.startswith("Accuracy of a linear probe")
  assert best.startswith("one and other: 77.7 %.")


def test_no_run_is_best_on_other_data_or_at_an_earlier_step(runs, tmp_path):
  for changed in ({"data": {"name": "cifar100"}}, {"step": 10}):
    for run in runs:
      linear(run, **changed)
    name, _ = verdict(runs, tmp_path / "out")
    assert name.startswith("Accuracy of the kNN vote")


def test_a_row_of_an_earlier_checkpoint_says_so(runs, tmp_path):
  linear(runs[0], step=10)
  (runs[0] / "evals" / "linear.json").rename(runs[0] / "evals" / "linear-step10.json")
  for run in runs:
    linear(run)
  tables = compare.compare(runs, tmp_path / "out")
  assert list(tables["Linear probe (on cifar10)"]) == [
    "raw pixels, centred",
    "one at step 10",
    "one",
    "other",
  ]


def test_results_are_of_one_table_where_they_are_on_the_same_data(runs, tmp_path):
  """Wherever it lies; other pictures in a folder of that name are other data."""
  for i, run in enumerate(runs):
    about = {"identity": {"train": {"names": "a", "times": i}}}
    run_folder.write(run / "about.json", about)
    (run / "evals" / "retrieval.json").unlink()
    own = {"names": "a", "times": 9}, {"names": "b", "times": 9}
    for name, identity in zip(("knn", "knn-b"), own, strict=True):
      found = run_folder.retrieval(float(i)) | {"protocol": "knn", "evaluator": "knn"}
      found |= {"identity": {"train": identity}, "own_data": identity["names"] == "a"}
      found["data"]["dir"] = f"/mnt/{i}"
      run_folder.write(run / "evals" / f"{name}.json", found)
  read = {"one": html.read(runs[0]), "other": html.read(runs[1])}
  reached = [one for one in compare.results(read) if "vote" in one.title]
  assert len(reached) == 2
  assert sorted(one.own for one in reached) == [False, True]
  for one in reached:
    assert {"one", "other"} < one.rows.keys()
  assert len({one.note for one in reached}) == 2


def test_checkpoints_bear_the_name_of_their_run(runs, tmp_path):
  result = run_folder.retrieval(0.0) | {"protocol": "progress", "evaluator": "progress"}
  result["results"] = {"step 20": {"rankme": 4.0}}
  run_folder.write(runs[0] / "evals" / "progress.json", result)
  tables = compare.compare(runs, tmp_path / "out")
  (rows,) = (rows for title, rows in tables.items() if "checkpoint" in title)
  assert list(rows) == ["step 20 of one"]


def test_folders_of_one_name_are_called_by_their_paths(runs, tmp_path):
  twin = run_folder.make(tmp_path / "elsewhere" / "one")
  tables = compare.compare([runs[0], twin], tmp_path / "out")
  assert {str(runs[0]), str(twin)} < tables[AT_THE_END].keys()


@pytest.mark.parametrize("given", ["", "runs/one", "runs/one, runs/one"])
def test_less_than_two_runs_cannot_be_compared(given):
  with pytest.raises(ConfigError, match=r"must name two runs or more: --config\.runs="):
    ssljax.evaluate(ConfigDict({"evaluator": "compare", "runs": given}))


def test_a_folder_of_another_program_is_named(runs):
  (runs[1] / "config.json").write_text('{"model": "bert"}')
  with pytest.raises(ConfigError, match="holds no run of ssljax"):
    ssljax.evaluate(config(runs))


def test_a_folder_that_is_no_run_is_named(runs, tmp_path):
  with pytest.raises(ConfigError, match=r"nowhere holds no run"):
    ssljax.evaluate(config([*runs, tmp_path / "nowhere"]))

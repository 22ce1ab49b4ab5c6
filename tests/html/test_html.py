import base64
import io
import json
import os
from html.parser import HTMLParser

import pytest
import run_folder
from PIL import Image

from ssljax import html
from ssljax.fields import ConfigError


class Page(HTMLParser):
  """What a browser would find: cells of tables, bold ones, addresses, open tags."""

  VOID = ("meta", "img")

  def __init__(self, path):
    super().__init__()
    self.rows, self.bold, self.addresses, self.tags = [], [], [], []
    self.text, self.open = "", []
    self.feed(path.read_text("utf-8"))
    self.close()

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    if tag not in self.VOID:
      self.open.append(tag)
    self.addresses += [v for k, v in attrs if k in ("src", "href", "srcset", "data")]
    if tag == "tr":
      self.rows.append([])
    if tag in ("th", "td"):
      self.rows[-1].append("")

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if "style" in self.open:
      assert "url(" not in data
      assert "@import" not in data
      return
    self.text += data
    if self.open and self.open[-1] in ("th", "td", "strong") and self.rows:
      self.rows[-1][-1] += data
      if self.open[-1] == "strong":
        self.bold.append(data)


@pytest.fixture
def run(tmp_path):
  return run_folder.make(tmp_path / "it")


def test_every_number_of_the_json_is_in_its_row_and_column(run):
  page = Page(html.write(run))
  files = [json.loads((run / "results.json").read_text())]
  files.append(json.loads((run / "evals" / "retrieval.json").read_text())["results"])
  wanted = [
    ["", "kNN", "1 label"],
    ["raw pixels, centred", f"{files[0]['raw pixels, centred']['knn']:.1f}", "-"],
    ["random encoder", f"{files[0]['random encoder']['knn']:.1f}", "-"],
    ["trained encoder", f"{files[0]['trained encoder']['knn']:.1f}", "20.0 ± 2.3"],
    ["", "mAP", "recall@1"],
    *(
      [row, f"{values['map']:.1f}", f"{values['recall_1']:.1f}"]
      for row, values in files[1].items()
    ),
  ]
  assert page.rows == wanted
  assert page.bold == ["50.3", "33.3", "25.2", "33.3"]  # of 33.3 both are the best


def test_many_measures_have_a_line_each(run):
  result = run_folder.retrieval(50.0)
  names = [f"blur_{n}" for n in range(12)]
  result["results"] = {
    row: {name: 10.0 * n + i for i, name in enumerate(names)}
    for n, row in enumerate((run_folder.RAW, run_folder.TRAINED), 1)
  }
  run_folder.write(run / "evals" / "retrieval.json", result)
  page = Page(html.write(run))
  assert ["", run_folder.RAW, run_folder.TRAINED] in page.rows
  assert ["blur 11", "21.0", "31.0"] in page.rows


def test_the_page_holds_its_pictures_and_loads_nothing(run):
  page = Page(html.write(run))
  assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
  assert page.open == []
  sizes = []
  for address in page.addresses:
    kind, _, data = address.partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
      sizes.append(image.size)
  with Image.open(run / "figures" / "curves.png") as curves:
    assert sizes == [(48, 32), curves.size, (48, 32)]


def test_a_reader_is_told_what_was_trained_how_it_went_and_how_good_it_is(run):
  page = Page(html.write(run))
  for words in (
    "simclr on cifar10",
    "for 20 steps of 128 examples",
    "The loss went from 8.00 to 7.00.",
    "did not collapse",
    "right for 50.3 % of the test examples, against 41.2 % (raw pixels, centred), "
    "30.6 % (random encoder): 9.1 points better than the best of these.",
    '"temperature": 0.2',  # of the config
    "An own one",
  ):
    assert words in page.text


def test_an_encoder_worse_than_pixels_is_called_so(tmp_path):
  page = Page(html.write(run_folder.make(tmp_path / "it", knn=40.25)))
  assert "1.0 points worse than the best of these." in page.text


@pytest.mark.parametrize(
  ("start", "sentence"),
  [
    (60.0, "It got worse than where it started: kNN 50.3 after 60.0."),
    (50.33, ""),  # the same as it is printed
    (40.0, ""),
  ],
)
def test_a_run_that_ends_below_its_given_weights_is_told_so(run, start, sentence):
  rows = json.loads((run / "results.json").read_text())
  raw, random, trained = rows
  given = {"knn": start, "accuracy": 99.0, "rankme": 50.0}
  rows = {raw: rows[raw], random: rows[random], html.START: given} | {
    trained: rows[trained] | {"accuracy": 9.0, "rankme": 5.0}
  }
  run_folder.write(run / "results.json", rows)
  page = Page(html.write(run))
  assert html.fallen(rows) == sentence
  assert ("It got worse" in page.text) == bool(sentence)
  assert sentence in page.text
  assert f"{start:.1f}" in next(row for row in page.rows if row[0] == html.START)


def test_a_collapse_is_named(run):
  with (run / "metrics.jsonl").open("a") as metrics:
    metrics.write('{"step": 30, "embedding_std": 0.01}\n')
  text = Page(html.write(run)).text
  assert "Collapsed: all pictures have nearly one embedding" in text
  assert "did not collapse" not in text


def test_scores_on_other_data_are_no_headline_of_the_run(run):
  result = run_folder.retrieval(0.0)
  result |= {"protocol": "linear", "evaluator": "linear"}
  result["results"] = {run_folder.TRAINED: {"linear": 77.7}}
  run_folder.write(run / "evals" / "linear.json", result)
  assert "is right for 77.7 %" in Page(html.write(run)).text
  result["data"]["name"] = "cifar100"
  run_folder.write(run / "evals" / "linear.json", result)
  page = Page(html.write(run))
  assert "is right for 77.7 %" not in page.text
  assert [run_folder.TRAINED, "77.7"] in page.rows


def judged(run, **changed):
  """A linear probe's JSON beside the run's others."""
  result = run_folder.retrieval(0.0)
  result |= {"protocol": "linear", "evaluator": "linear"}
  result |= {"results": {run_folder.RAW: {"linear": 44.4}} | LINEAR} | changed
  run_folder.write(run / "evals" / f"{result['protocol']}.json", result)
  return Page(html.write(run))


LINEAR = {run_folder.TRAINED: {"linear": 77.7}}


def test_an_earlier_checkpoint_s_score_is_no_headline_of_the_run(run):
  page = judged(run)
  assert "is right for 77.7 %" in page.text
  assert "Accuracy of a linear probe" in page.text
  page = judged(run, step=10)
  assert "is right for 77.7 %" not in page.text
  assert "Accuracy of the kNN vote" in page.text  # of the bars
  assert "at step 10" in page.text
  assert [run_folder.TRAINED, "77.7"] in page.rows
  (run / "results.json").unlink()
  assert "At its last step it has not been judged" in judged(run, step=10).text


def test_what_numbers_depend_on_is_folded_away(run):
  page = html.write(run).read_text()
  title, settings = page.index("Retrieval"), page.index("<dt>ks</dt><dd>1, 5</dd>")
  between = page[title:settings]
  assert between.index("</table>") < between.index('<details class="settings">')
  assert "gallery" not in between
  result = run_folder.retrieval(1.0)
  result["numbers"]["seed"] = 8  # of the protocol's own draws
  run_folder.write(run / "evals" / "retrieval.json", result)
  for name, seed in (("its seed", 3), ("seed", 8)):
    assert f"<dt>{name}</dt><dd>{seed}</dd>" in html.write(run).read_text()
  assert "knn.temperature" not in page[: page.index('<details class="settings">')]


def test_protocols_have_names_for_people_in_the_order_of_their_questions(run):
  for name in ("geometry", "transfer_flowers", "knn", "few_label", "linear_grid"):
    result = run_folder.retrieval(9.0) | {"protocol": name, "evaluator": name}
    run_folder.write(run / "evals" / f"{name}.json", result)
  text = html.write(run).read_text()
  text = text[text.index("How good it is") :]
  titles = (
    *("At the end of training", "Linear probe, the best of a grid"),
    *("Nearest-neighbour vote", "Few-label probe", "Transfer flowers", "Retrieval"),
    "Geometry of the features",
  )
  places = [text.index(f"<h3>{title}</h3>") for title in titles]
  assert places == sorted(places)


def test_what_is_no_result_of_ours_is_left_out_with_a_warning(run, caplog):
  before = Page(html.write(run)).rows
  assert not caplog.text
  for name, text in {
    "other": '{"results": {"accuracy": 3}}',
    "list": "[1, 2]",
    "half": '{"protocol": "knn", ',
    "words": '{"results": {"a": {"b": "c"}}}',
    "silent": '{"rows": 4096}',  # what `embed` leaves
  }.items():
    (run / "evals" / f"{name}.json").write_text(text)
  assert Page(html.write(run)).rows == before
  for name in ("other", "list", "half", "words"):
    assert f"{name}.json is left out: it is damaged, or nothing that" in caplog.text
  assert "silent" not in caplog.text


@pytest.mark.parametrize("name", ["about.json", "results.json"])
@pytest.mark.parametrize("text", ["", '{"versions": {"jax": ', "[1, 2]", "\0" * 9])
def test_what_the_disk_did_to_a_run_s_json_is_named_and_left_out(
  run, name, text, caplog
):
  (run / name).write_text(text)
  assert "The loss went from 8.00 to 7.00." in Page(html.write(run)).text
  (said,) = caplog.messages
  assert said.startswith(f"{run / name} is left out: it is damaged, or nothing that")


@pytest.mark.parametrize("cut", [0, 20, -20])
def test_a_figure_that_is_no_whole_png_is_named_and_left_out(run, cut, caplog):
  path = run / "figures" / "views.png"
  whole = path.read_bytes()
  path.with_name("neighbours.png").write_bytes(whole[:cut])
  path.write_bytes(whole[:cut])
  page = Page(html.write(run))
  assert len(page.addresses) == 2  # curves, and the run's own
  assert "An own one" in page.text
  assert f"{path} is left out: it cannot be read as a PNG" in caplog.text
  assert not html.seen(html.read(run))


def test_a_name_that_is_no_utf_8_is_written_out(run):
  result = run_folder.retrieval(1.0)
  result["data"]["dir"] = os.fsdecode(b"pictures/caf\xe9")
  run_folder.write(run / "evals" / "retrieval.json", result)
  assert "<dd>pictures/caf\\udce9</dd>" in html.write(run).read_text("utf-8")


@pytest.mark.parametrize("text", ["", "{", '{"seed": 3,', "\0" * 9])
def test_a_damaged_config_is_named_with_the_way_out(run, text):
  (run / "config.json").write_text(text)
  sentence = r"config\.json is damaged \(.*\); the line that trained .* writes it anew"
  with pytest.raises(ConfigError, match=sentence):
    html.read(run)


@pytest.mark.parametrize("text", ['{"model": {"name": "bert"}}', "[]", "{}"])
def test_a_config_of_another_program_is_named(run, text):
  (run / "config.json").write_text(text)
  with pytest.raises(ConfigError, match=r"no run of ssljax: .*config\.json lacks seed"):
    html.read(run)


def test_pictures_of_the_last_step_take_their_place_and_others_stand_apart(run):
  for name, changed in {
    "pictures": {},
    "early": {"step": 10},
    "digits": {"data": {"name": "digits"}},
  }.items():
    result = run_folder.retrieval(0.0)
    result |= {"protocol": "pictures", "evaluator": "pictures"}
    run_folder.write(run / "evals" / f"{name}.json", result | {"results": {}} | changed)
    (run / "evals" / name).mkdir()
    Image.new("RGB", (9, 7)).save(run / "evals" / name / "neighbours.png")
  Image.new("RGB", (5, 5)).save(run / "figures" / "neighbours.png")
  page = Page(html.write(run))
  assert "What it sees at step 10" in page.text
  assert "What it sees on digits" in page.text
  assert len(page.addresses) == 3 + 3  # of neighbours, only those drawn later


def test_a_probe_s_own_report_has_what_its_protocol_found(tmp_path):
  origin = {"checkpoint": "runs/it", "step": 7000}
  evals = {"at_end": [], "knn": {"k": 200}}
  probe = run_folder.make(tmp_path / "linear_grid", pretrained=origin, evals=evals)
  (probe / "results.json").unlink()
  assert "It has not been judged" not in Page(html.write(probe)).text  # has retrieval
  (probe / "evals" / "retrieval.json").unlink()
  assert "It has not been judged by labels yet." in Page(html.write(probe)).text
  result = run_folder.retrieval(0.0) | {"protocol": "linear_grid", "step": 7000}
  result |= {"evaluator": "training", "results": LINEAR}
  run_folder.write(tmp_path / "linear_grid.json", result | {"step": 9000})
  assert "It has not been judged by labels yet." in Page(html.write(probe)).text
  run_folder.write(tmp_path / "linear_grid.json", result)
  text = Page(html.write(probe)).text
  assert "is right for 77.7 % of the test examples." in text
  assert "It began with what runs/it had learned." in text


def test_checkpoints_looked_at_later_are_in_the_curves(run):
  result = run_folder.retrieval(0.0) | {"protocol": "late", "evaluator": "progress"}
  result["results"] = {"step 5": {"rankme": 3.0}, "step 15": {"agreement": 40.0}}
  run_folder.write(run / "evals" / "late.json", result)
  rows = html.history(html.read(run))
  assert [row["step"] for row in rows] == [5, 10, 15, 20, 20]
  assert rows[2] == {"step": 15, "agreement": 40.0}
  run_folder.write(run / "evals" / "late.json", result | {"data": {"name": "digits"}})
  assert len(html.history(html.read(run))) == 3


def test_what_was_tried_is_listed(run):
  result = run_folder.retrieval(0.0) | {"protocol": "linear_grid"}
  result |= {"head": "cls, rate 0.1", "grid": {"cls, rate 0.1": 58.0, "cls, rate 9": 9}}
  run_folder.write(run / "evals" / "linear_grid.json", result)
  page = Page(html.write(run))
  assert "kept: cls, rate 0.1" in page.text
  assert ["cls, rate 9", "9.0"] in page.rows


def test_words_of_the_config_are_never_markup(tmp_path):
  name = "<script>alert('x')</script>"
  folder = run_folder.make(tmp_path / "it", data={"name": name, "note": "&lt;b&gt;"})
  page = Page(html.write(folder))
  assert "script" not in page.tags
  assert page.text.count(name) >= 3  # the title, the facts, the config
  assert "&lt;b&gt;" in page.text


def test_a_run_without_labels_or_figures_has_a_page_too(run):
  for name in ("results.json", "evals/retrieval.json", "metrics.jsonl"):
    (run / name).unlink()
  for path in (run / "figures").iterdir():
    path.unlink()
  page = Page(html.write(run))
  assert "It has not been judged by labels yet." in page.text
  assert page.rows == []


def test_a_folder_that_is_no_run_is_named(tmp_path):
  with pytest.raises(ConfigError, match="holds no run"):
    html.write(tmp_path)

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from pictures import config, write

from ssljax import data
from ssljax.data import reader

WORDS = {"vocabulary": 280, "context": 10}
ROWS = (
  "file,caption,label\na.png,a red cat,cat\na.png,one cat,cat\nsub/b.png,a dog,dog\n"
)


def table(folder, text=ROWS, name="captions.csv"):
  folder.mkdir(exist_ok=True, parents=True)
  for i, file in enumerate(("a.png", "sub/b.png")):
    write(folder / file, i)
  (folder / name).write_text(text, encoding="utf-8")
  return folder


def build(folder, run=None, **fields):
  fields = {"name": "captions", "dir": str(folder), **WORDS, **fields}
  return data.build(config(**fields), run)


def batch(source, *rows):
  opened = reader.open_reader(source, size=8, in_memory=True, workers=1)
  return next(opened.batches(lambda step: np.array(rows), 0, 1))


def test_every_row_is_an_example_with_the_text_of_its_caption(tmp_path):
  train, evaluate = build(table(tmp_path))
  assert (len(train), evaluate, train.class_names) == (3, None, ("cat", "dog"))
  seen = batch(train, 0, 1, 2)
  assert seen["text"].shape == (3, 10)
  assert_array_equal(
    seen["text"], train.tokenizer.encode(["a red cat", "one cat", "a dog"])
  )
  assert_array_equal(seen["label"], [0, 0, 1])
  assert_array_equal(seen["image"][0], seen["image"][1])
  assert (seen["image"][0] != seen["image"][2]).any()
  shapes = {name: (x.shape[1:], str(x.dtype)) for name, x in seen.items()}
  assert shapes == train.spec(8)


def test_a_table_of_objects_says_the_same_as_one_of_commas(tmp_path):
  fields = ("file", "caption", "label")
  rows = [row.split(",") for row in ROWS.splitlines()[1:]]
  text = "\n".join(json.dumps(dict(zip(fields, r, strict=True))) for r in rows)
  one = build(table(tmp_path / "csv")).train
  other = build(table(tmp_path / "jsonl", text, "captions.jsonl")).train
  for mine, theirs in zip(one, other, strict=True):
    assert mine["image"].name == theirs["image"].name
    assert mine | {"image": 0} == theirs | {"image": 0}


def test_captions_may_hold_commas_quotes_and_lines_and_labels_may_be_absent(tmp_path):
  text = 'file,caption\na.png,"a ""red"", big\ncat"\n'
  train = build(table(tmp_path, text)).train
  assert train[0]["caption"] == 'a "red", big\ncat'
  assert (train[0]["label"], train.num_classes) == (-1, 0)


@pytest.mark.parametrize(
  ("names", "fields"),
  [
    (("train/captions.csv", "val/captions.csv"), {}),
    (("captions.csv", "test/captions.csv"), {}),
    (("a/captions.csv", "b/captions.csv"), dict(train_split="a", eval_split="b")),
    (("x.csv", "y.csv"), dict(train_split="x.csv", eval_split="y.csv")),
  ],
)
def test_splits_are_folders_or_tables(tmp_path, names, fields):
  for name, rows in zip(names, (ROWS, ROWS.replace("cat", "dog")), strict=True):
    path = tmp_path / name
    table(path.parent, rows, path.name)
  train, evaluate = build(tmp_path, **fields)
  assert train[0]["caption"] == "a red cat"
  assert evaluate[0]["caption"] == "a red dog"
  assert [e["label"] for e in evaluate] == [1, 1, 1]
  assert evaluate.tokenizer is train.tokenizer


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("file,caption\na.png,a cat\nb.png,a dog\n", r"line 3 .*: there is no file 'b\.p"),
    ("file,caption\na.png,a cat\na.png, \n", r"line 3 .* has 'a\.png' and ' '"),
    ("file,caption\na.png\n", r"line 2 .* has 'a\.png' and ''"),
    ("picture;text\na.png;a cat\n", r"line 2 .* needs file and caption and has ''"),
    ("file,caption\na.png,a cat, big\n", r"line 2 .* 3 cells under 2 .* a comma"),
    (ROWS + "a.png,no, cat,dog\n", r"line 5 .* has 4 cells under 3 columns; quote"),
    ("file;caption\na.png;red; big\n", r"line 2 .* 3 cells .* holds a semicolon"),
    ('file,caption\na.png,"a cat\na.png,a dog\n', r"line 2 .* close the quotes"),
    ('file,caption\na.png,"a\ncat"\na.png,"a dog\n', r"line 4 .* close the quotes"),
    ('file,caption\na.png,"No!", it said\n', r"line 2 .* 3 cells under 2 columns"),
    ('file,caption\na.png,"No!" it said\n', r"line 2 .* double those inside"),
    ('file,"caption\na.png,a cat\n', r"line 1 .* close the quotes"),
    ('file,caption\na.png,"a\ncat"\na.png,"\n \n"\n', r"line 4 .* has 'a\.png' and"),
    ("file,caption\n", r"has no rows; it needs file, caption"),
    ("", r"has no rows; it needs file, caption"),
  ],
)
def test_the_first_wrong_row_is_named_in_one_sentence(tmp_path, text, message):
  with pytest.raises(ValueError, match=rf"data\.dir: .*{message}") as error:
    build(table(tmp_path, text))
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("line", "message"),
  [
    ("{", "line 2 .* needs file and caption"),
    ('["a.png", "a cat"]', "line 2 .* needs file and caption"),
    ('{"file": "a.png", "caption": ["a", "b"]}', "line 2 .* not text"),
  ],
)
def test_a_wrong_object_is_named_too(tmp_path, line, message):
  text = '{"file": "a.png", "caption": "a cat"}\n' + line + "\n"
  with pytest.raises(ValueError, match=message):
    build(table(tmp_path, text, "captions.jsonl"))


def test_what_is_no_text_or_no_folder_or_no_label_is_named(tmp_path):
  with pytest.raises(ValueError, match=r"data\.dir='' is no folder"):
    build("")
  with pytest.raises(ValueError, match=r"holds no captions\.csv or captions\.jsonl"):
    build(tmp_path)
  (table(tmp_path / "a") / "captions.csv").write_bytes(b"file,caption\na.png,\xff\n")
  with pytest.raises(ValueError, match=r"is no table in UTF-8"):
    build(tmp_path / "a")
  table(tmp_path / "b" / "train")
  table(tmp_path / "b" / "val", ROWS.replace("dog\n", "emu\n"))
  with pytest.raises(ValueError, match=r"'emu', in .*, is none of the 2 classes"):
    build(tmp_path / "b")
  with pytest.raises(ValueError, match=r"eval_split='none' is neither a table"):
    build(tmp_path / "b" / "train", eval_split="none")


def test_names_of_classes_become_captions_by_the_example_s_number():
  templates = ("a photo of {}.", "this is a {}", "{}")
  train, test = data.build(config(captions=templates, **WORDS))
  plain = data.build(config())
  assert (len(train), len(test)) == (len(plain.train), len(plain.eval))
  counts = np.zeros(3)
  for i, example in enumerate(train):
    own = [t.replace("{}", train.class_names[example["label"]]) for t in templates]
    counts[own.index(example["caption"])] += 1
    assert example["caption"] == train[i]["caption"]
  assert counts.min() > 0.3 * len(train)
  seen = batch(train, 3, 4)
  assert_array_equal(seen["image"], batch(plain.train, 3, 4)["image"])
  expected = train.tokenizer.encode([train[3]["caption"], train[4]["caption"]])
  assert_array_equal(seen["text"], expected)


def test_underscores_are_not_said_and_what_has_no_label_says_nothing(
  tmp_path,
):
  for name in ("fire_truck", "cat"):
    for i in range(3):
      write(tmp_path / name / f"{i}.png", i)
  fields = {"name": "folder", "dir": str(tmp_path), "captions": ("a {}.",), **WORDS}
  train, _ = data.build(config(**fields))
  assert {example["caption"] for example in train} == {"a cat.", "a fire truck."}
  train.source.labels[0] = -1
  assert train[0]["caption"] == ""


@pytest.mark.parametrize("captions", [("a photo",), ("{} and {}",), "a {}"])
def test_a_template_that_does_not_say_the_class_once_is_named(captions):
  with pytest.raises(ValueError, match=r"data\.captions=.* must be a tuple"):
    data.build(config(captions=captions, **WORDS))


def test_templates_for_what_has_no_classes_are_named(tmp_path):
  write(tmp_path / "a.png")
  for name in ("folder", "captions"):
    fields = {"name": name, "dir": str(table(tmp_path)), "captions": ("a {}",)}
    with pytest.raises(ValueError, match=r"set data\.captions to \(\)"):
      data.build(config(**fields, **WORDS))


def test_a_run_that_goes_on_reads_its_own_tokenizer_not_new_captions(tmp_path):
  run = tmp_path / "run"
  run.mkdir()
  first = build(table(tmp_path / "data")).train
  first.save(run)
  table(tmp_path / "data", ROWS.replace("cat", "zebra"))
  again = build(tmp_path / "data", run).train
  anew = build(tmp_path / "data").train
  text = ["a zebra and a cat"]
  assert_array_equal(again.tokenizer.encode(text), first.tokenizer.encode(text))
  assert (anew.tokenizer.encode(text) != first.tokenizer.encode(text)).any()


def test_prompts_are_every_name_in_every_template(tmp_path):
  tokenizer = build(table(tmp_path)).train.tokenizer
  ids = data.prompts(tokenizer, ("cat", "fire_truck"), ("a {}", "{} !", "{}"))
  assert ids.shape == (2, 3, 10)
  assert_array_equal(ids[1, 0], tokenizer.encode(["a fire truck"])[0])
  assert_array_equal(ids[0, 1], tokenizer.encode(["cat !"])[0])


@pytest.mark.parametrize(
  ("text", "encoding"),
  [
    ("File; Caption ;LABEL\na.png;a red cat;7\nsub/b.png;a dog;0\n", "utf-8"),
    ("file\tcaption\tlabel\na.png\ta red cat\t7\nsub/b.png\ta dog\t0\n", "utf-16"),
    ("file,caption,label\na.png,a red cat,7\nsub/b.png,a dog,0\n", "utf-8-sig"),
  ],
)
def test_tables_are_read_as_spreadsheets_write_them(tmp_path, text, encoding):
  table(tmp_path)
  (tmp_path / "captions.csv").write_text(text, encoding=encoding)
  train = build(tmp_path).train
  assert train.source.captions == ["a red cat", "a dog"]
  assert (train.class_names, train[0]["label"]) == (("0", "7"), 1)


def test_a_class_may_be_a_number_even_0(tmp_path, caplog):
  lines = [{"file": "a.png", "caption": "a cat", "label": i} for i in (0, 7, None)]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  train = build(table(tmp_path, text, "Captions.JSONL")).train
  assert train.class_names == ("0", "7")
  assert [train[i]["label"] for i in range(3)] == [0, 1, -1]
  assert "1 of 3 examples" in caplog.text


def test_labels_are_stripped_and_what_says_none_is_none(tmp_path):
  written = ["dog", " dog", "dog\t", "-1", "NaN", " nan ", "", "cat"]
  expected = [1, 1, 1, -1, -1, -1, -1, 0]
  lines = [f"a.png,a dog,{label}\n" for label in written]
  text = "".join(["file,caption,label\n", *lines, "a.png,a dog\n"])
  train = build(table(tmp_path / "csv", text)).train
  assert train.class_names == ("cat", "dog")
  assert list(train.known_labels()) == [*expected, -1]
  assert [example["label"] for example in train] == [*expected, -1]
  lines = [{"file": "a.png", "caption": "a dog", "label": label} for label in written]
  lines += [lines[0] | {"label": -1}, lines[0] | {"label": float("nan")}]
  text = "\n".join(json.dumps(line) for line in lines)
  train = build(table(tmp_path / "jsonl", text, "captions.jsonl")).train
  assert train.class_names == ("cat", "dog")
  assert list(train.known_labels()) == [*expected, -1, -1]


def test_blank_lines_are_passed_over(tmp_path):
  line = '{"file": "a.png", "caption": "a cat"}\n'
  text = f"\n{line}\n  \n{line}\n"
  assert len(build(table(tmp_path / "jsonl", text, "captions.jsonl")).train) == 2
  text = "\nfile,caption\n\na.png,a cat\n\na.png,a dog\n\n"
  assert len(build(table(tmp_path / "csv", text)).train) == 2


@pytest.mark.parametrize(
  ("columns", "said"),
  [
    ("file,caption,labels", "'labels'; 'labels': did you mean label?"),
    ("file,caption,Lable ,url", "'lable', 'url'; 'lable': did you mean label?"),
    ("y,file,url,caption", "'url', 'y'; 'y': did you mean label?"),
    ("file,caption,label,labels", "'labels'\n"),
    ("file,caption,width", "'width'\n"),
  ],
)
def test_columns_that_are_not_read_are_said_once(tmp_path, caplog, columns, said):
  row = {"file": "a.png", "caption": "a cat", "label": "cat"}
  names = columns.split(",")
  row = ",".join(row.get(name, "1") for name in names)
  build(table(tmp_path / "csv", f"{columns}\n{row}\n{row}\n"))
  assert caplog.text.count("Not read, in ") == 1
  assert f"csv/captions.csv: {said}" in caplog.text
  names = [name.strip().lower() for name in names]
  line = json.dumps(dict(zip(names, row.split(","), strict=True)) | {"file": "a.png"})
  build(table(tmp_path / "jsonl", f"{line}\n{line}\n", "captions.jsonl"))
  assert f"jsonl/captions.jsonl: {said}" in caplog.text


def test_columns_that_are_all_read_are_not_said(tmp_path, caplog):
  build(table(tmp_path, ROWS.replace("label\n", "label,\n")))
  assert "Not read" not in caplog.text


@pytest.mark.parametrize(
  ("train", "evaluate"), [("Train", "Valid"), ("TRAINING", "dev")]
)
def test_splits_of_tables_are_known_by_their_names_in_any_case(
  tmp_path, train, evaluate
):
  table(tmp_path / train)
  table(tmp_path / evaluate, ROWS.splitlines()[0] + "\na.png,a red cat,cat\n")
  assert [len(s) for s in build(tmp_path)] == [3, 1]
  table(tmp_path / "b", name=f"{train}.CSV")
  (tmp_path / "b" / f"{evaluate}.csv").write_text(ROWS)
  assert [len(s) for s in build(tmp_path / "b")] == [3, 3]

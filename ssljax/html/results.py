"""What protocols found, as a report tells it: their names, order and tables."""

import json
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from absl import logging

from ssljax import figures
from ssljax.fields import flat
from ssljax.html.page import Table, table

AT_THE_END = "at_the_end"  # the protocol of results.json
TRAINED = "trained encoder"  # the row of results that a run is about
START = "where it started"  # the row of given weights, before the run's first step
TITLES = {  # of protocols, in the order of what a reader asks first
  AT_THE_END: "At the end of training",
  "linear": "Linear probe",
  "linear_grid": "Linear probe, the best of a grid",
  "linear_moco": "Linear probe as MoCo's",
  "linear_simclr": "Linear probe as SimCLR's",
  "knn": "Nearest-neighbour vote",
  "finetune": "Fine-tuned",
  "finetune_10pct": "Fine-tuned on 10 % of the labels",
  "finetune_1pct": "Fine-tuned on 1 % of the labels",
  "few_label": "Few-label probe",
  "attentive": "Attentive probe",
  "zero_shot": "Zero-shot, by the names of the classes",
  "transfer": "Transfer",
  "segment": "Segmentation",
  "depth": "Depth",
  "retrieval": "Retrieval",
  "copies": "Copy detection",
  "robustness": "Robustness to corruptions",
  "geometry": "Geometry of the features",
  "progress": "From checkpoint to checkpoint",
}
HEADLINES = {  # what a reader asks first, the most telling one first
  "linear": ("a linear probe", "A linear classifier on its features"),
  "knn": ("the kNN vote", "A vote of the most similar training examples"),
  "accuracy": ("its own classifier", "Its own classifier"),
}
EXAMPLES = ("name", "dir", "train_split", "eval_split", "per_class")  # of data: which
READING = {"in_memory", "workers"}  # of data: these change no number


def read(path: pathlib.Path) -> dict[str, Any]:
  """Reads a protocol's JSON and, as "file", its name; {} where it is none of ours."""
  result = load(path)
  if "results" not in result:
    return {}
  return checked(result, path) and {**result, "file": path.stem}


def load(path: pathlib.Path) -> dict[str, Any]:
  """Loads a JSON; {} where there is none and, with a warning, where it is damaged."""
  try:
    content = json.loads(path.read_text("utf-8")) if path.exists() else {}
  except ValueError:
    content = None
  return content if isinstance(content, dict) else _left_out(path)


def checked(result: dict[str, Any], path: pathlib.Path) -> dict[str, Any]:
  """Returns a result as it is; {}, and a warning, for what ssljax did not write."""
  return result if _is_ours(result) else _left_out(path)


def _left_out(path: pathlib.Path) -> dict[str, Any]:
  logging.warning("%s is left out: it is damaged, or nothing that ssljax wrote", path)
  return {}


def _is_ours(result: dict[str, Any]) -> bool:
  kinds = {"protocol": str, "evaluator": str, "step": int, "seed": int}
  kinds |= {"numbers": dict, "data": dict, "results": dict}
  return (
    all(isinstance(result.get(name), kind) for name, kind in kinds.items())
    and "name" in result["data"]
    and all(isinstance(row, dict) for row in result["results"].values())
    and all(
      isinstance(x, int | float)
      for row in result["results"].values()
      for x in row.values()
    )
  )


def place(result: Mapping[str, Any]) -> int:
  """Ranks a result among others: as its protocol, or one that is like it."""
  protocol, order = result["protocol"], list(TITLES)
  near = protocol, protocol.partition("_")[0], result["evaluator"]
  return next((order.index(name) for name in near if name in order), len(order))


def title(result: Mapping[str, Any]) -> str:
  """Writes a protocol's name for people."""
  name = result["protocol"].replace("_", " ")
  return TITLES.get(result["protocol"], name[:1].upper() + name[1:])


def settings(result: Mapping[str, Any]) -> dict[str, str]:
  """Collects all that a result depends on besides the encoder: {field: value}."""
  data = {k: v for k, v in result["data"].items() if k not in READING}
  numbers = flat({"data": data, **result.get("numbers", {})})
  set_numbers = {
    k: _words(v) for k, v in numbers.items() if v not in (None, "", [], ())
  }
  return {"evaluator": result["evaluator"], **set_numbers}


def same_examples(result: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
  """Whether a result is on the examples of its run, whose config of data is `data`.

  Where the result itself knows ("own_data"), the folder is no matter: it may move.
  """
  result_data, own_data = result["data"], result.get("own_data")
  names = [name for name in EXAMPLES if name != "dir" or own_data is None]
  alike = all((result_data.get(name) or "") == (data.get(name) or "") for name in names)
  return alike and own_data is not False


def examples(result: Mapping[str, Any]) -> str:
  """Writes which examples a result is on, as far as it says; "" where it does not."""
  identities = result.get("identity", {})
  lasting = {
    split: {word: value for word, value in identity.items() if word != "times"}
    for split, identity in identities.items()
  }
  return json.dumps(lasting, sort_keys=True) if lasting else ""


def tables(
  result: Mapping[str, Any], data: Mapping[str, Any], last: int
) -> list[Table]:
  """Lays out what a protocol gave and, folded, what it chose among.

  The note says what is unlike the run's own `data` and its `last` step.
  """
  notes = [where(result, data, last)]
  if result.get("grid"):
    notes.append(f"kept: {result['head']}")
  note = "; ".join(filter(None, notes))
  run = {"step of the run": f"{result['step']:,}", "its seed": str(result["seed"])}
  name = title(result)
  result_tables = [
    table(name, note, result["results"], settings=run | settings(result))
  ]
  if result.get("grid"):
    grid = {head: {"accuracy": value} for head, value in result["grid"].items()}
    note = "on the part of the training split that was held out to choose one"
    result_tables.append(table(f"{name}: what was tried", note, grid, "folded"))
  if result.get("by_class"):
    classes = _columns(result["by_class"])
    result_tables.append(table(f"{name}: IoU by class", "", classes, "folded"))
  return result_tables


def _columns(by_class: Mapping[str, Mapping[str, float]]) -> figures.Rows:
  """Turns {who: {class: IoU}} into a row a class: a column each for the last two."""
  rows: dict[str, dict[str, float]] = {}
  for who in list(by_class)[-2:]:
    name = who.rpartition(", ")[2]
    for number, iou in by_class[who].items():
      rows.setdefault(f"class {number}", {})[f"{name}_iou"] = iou
  return rows


def where(result: Mapping[str, Any], data: Mapping[str, Any], last: int) -> str:
  """Writes on what data and at what step, where these are not the run's own, last."""
  parts = []
  if not same_examples(result, data):
    parts.append(f"on {result['data']['name']}")
    result_data = {k: result["data"].get(k) for k in EXAMPLES[1:]}
    parts += [f"{k} = {v}" for k, v in result_data.items() if v and v != data.get(k)]
    if len(parts) == 1 and result["data"]["name"] == data["name"]:
      parts.append("changed since the run learned from it")
  if result["step"] != last:
    parts.append(f"at step {result['step']:,}")
  return ", ".join(parts)


def headlines(
  protocols: Collection[Mapping[str, Any]], data: Mapping[str, Any], last: int
) -> dict[str, figures.Rows]:
  """Picks {name: rows} of HEADLINES' names, from the first protocol that has them.

  Only those of the run's `last` step on all labels of its own `data` count, and no
  classifier of theirs: it may have been trained with the encoder.
  """
  own_results = [result for result in protocols if not where(result, data, last)]
  best: dict[str, figures.Rows] = {}
  for name in HEADLINES:
    for result in own_results:
      counts = name != "accuracy" or result["protocol"] == AT_THE_END
      if counts and name in result["results"].get(TRAINED, {}):
        best.setdefault(name, result["results"])
  return best


def fallen(rows: figures.Rows) -> str:
  """Writes in which measures a run ended below the weights it was given; "": in none.

  As they are printed. A classifier does not count: at the start it is fresh.
  """
  if START not in rows or TRAINED not in rows:
    return ""
  pair = {row: rows[row] for row in (START, TRAINED)}
  fell = [
    f"{figures.heading(name)} {figures.cell(pair[TRAINED], name)} after "
    f"{figures.cell(pair[START], name)}"
    for name in figures.columns(pair)
    if not name.startswith("accuracy") and figures.best(pair, name) == {START}
  ]
  return f"It got worse than where it started: {', '.join(fell)}." if fell else ""


def bars(
  tables: Collection[figures.Rows], ours: Collection[str]
) -> dict[str, Any] | None:
  """Lays out one of HEADLINES as bars, of the first table that has it for all `ours`.

  With the other rows beside them; None where there is no table, or a single row.
  -> {"title", "lines": [(row, text, percent, whether it is one of `ours`)]}.
  """
  candidates = [
    (name, rows)
    for name in HEADLINES
    for rows in tables
    if sum(name in row for row in rows.values()) > 1
    and all(name in rows.get(row, {}) for row in ours)
  ]
  if not candidates:
    return None
  name, rows = candidates[0]
  lines = [
    (row, figures.cell(values, name), values[name], row in ours)
    for row, values in sorted(rows.items(), key=lambda item: item[0] not in ours)
    if name in values
  ]
  title = f"Accuracy of {HEADLINES[name][0]} on the test split"
  return {"title": title, "lines": lines}


def _words(value: Any) -> str:
  """Writes a field of a config as people write it."""
  if isinstance(value, list | tuple):
    return ", ".join(map(_words, value))
  return value if isinstance(value, str) else json.dumps(value)

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
  "zero_shot": "Zero-shot, by the names of the classes",
  "transfer": "Transfer",
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
  """A protocol's JSON and, as "file", its name; {} where it holds no result of ours."""
  try:
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
  except ValueError:
    found = None
  if isinstance(found, dict) and "results" not in found:
    return {}
  return checked(found, path) and {**found, "file": path.stem}


def checked(found: Any, path: pathlib.Path) -> dict[str, Any]:
  """A result as it is; {}, and a warning, for what ssljax did not write to `path`."""
  if _is_ours(found):
    return found
  logging.warning("%s is left out: it is no result that ssljax wrote", path)
  return {}


def _is_ours(found: Any) -> bool:
  kinds = {"protocol": str, "evaluator": str, "step": int, "seed": int}
  kinds |= {"numbers": dict, "data": dict, "results": dict}
  return (
    isinstance(found, dict)
    and all(isinstance(found.get(name), kind) for name, kind in kinds.items())
    and "name" in found["data"]
    and all(isinstance(row, dict) for row in found["results"].values())
    and all(
      isinstance(x, int | float)
      for row in found["results"].values()
      for x in row.values()
    )
  )


def place(found: Mapping[str, Any]) -> int:
  """Where a result stands among others: as its protocol, or one that is like it."""
  protocol, order = found["protocol"], list(TITLES)
  near = protocol, protocol.partition("_")[0], found["evaluator"]
  return next((order.index(name) for name in near if name in order), len(order))


def title(found: Mapping[str, Any]) -> str:
  """A protocol's name for people."""
  name = found["protocol"].replace("_", " ")
  return TITLES.get(found["protocol"], name[:1].upper() + name[1:])


def settings(found: Mapping[str, Any]) -> dict[str, str]:
  """{field: value}, all that a result depends on besides the encoder."""
  data = {k: v for k, v in found["data"].items() if k not in READING}
  numbers = flat({"data": data, **found.get("numbers", {})})
  given = {k: _words(v) for k, v in numbers.items() if v not in (None, "", [], ())}
  return {"evaluator": found["evaluator"], **given}


def same_examples(found: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
  """Whether a result is on the examples of its run, whose config of data is `data`.

  Where the result itself knows ("own_data"), the folder is no matter: it may move.
  """
  one, known = found["data"], found.get("own_data")
  names = [name for name in EXAMPLES if name != "dir" or known is None]
  alike = all((one.get(name) or "") == (data.get(name) or "") for name in names)
  return alike and known is not False


def examples(found: Mapping[str, Any]) -> str:
  """Which examples a result is on, as far as it says; "" where it does not."""
  known = found.get("identity", {})
  lasting = {
    split: {word: value for word, value in one.items() if word != "times"}
    for split, one in known.items()
  }
  return json.dumps(lasting, sort_keys=True) if lasting else ""


def tables(found: Mapping[str, Any], data: Mapping[str, Any], last: int) -> list[Table]:
  """What a protocol gave and, folded, what it chose among.

  The note says what is unlike the run's own `data` and its `last` step.
  """
  notes = [where(found, data, last)]
  if found.get("grid"):
    notes.append(f"kept: {found['head']}")
  note = "; ".join(filter(None, notes))
  run = {"step of the run": f"{found['step']:,}", "its seed": str(found["seed"])}
  name = title(found)
  made = [table(name, note, found["results"], settings=run | settings(found))]
  if found.get("grid"):
    grid = {head: {"accuracy": value} for head, value in found["grid"].items()}
    note = "on the part of the training split that was held out to choose one"
    made.append(table(f"{name}: what was tried", note, grid, "folded"))
  return made


def where(found: Mapping[str, Any], data: Mapping[str, Any], last: int) -> str:
  """On what data and at what step, where these are not the run's own and last."""
  parts = []
  if not same_examples(found, data):
    parts.append(f"on {found['data']['name']}")
    other = {k: found["data"].get(k) for k in EXAMPLES[1:]}
    parts += [f"{k} = {v}" for k, v in other.items() if v and v != data.get(k)]
    if len(parts) == 1 and found["data"]["name"] == data["name"]:
      parts.append("changed since the run learned from it")
  if found["step"] != last:
    parts.append(f"at step {found['step']:,}")
  return ", ".join(parts)


def headlines(
  protocols: Collection[Mapping[str, Any]], data: Mapping[str, Any], last: int
) -> dict[str, figures.Rows]:
  """{name: rows} of HEADLINES' names, from the first protocol that has them.

  Only those of the run's `last` step on all labels of its own `data` count, and no
  classifier of theirs: it may have been trained with the encoder.
  """
  own = [found for found in protocols if not where(found, data, last)]
  best: dict[str, figures.Rows] = {}
  for name in HEADLINES:
    for found in own:
      counts = name != "accuracy" or found["protocol"] == AT_THE_END
      if counts and name in found["results"].get(TRAINED, {}):
        best.setdefault(name, found["results"])
  return best


def bars(
  tables: Collection[figures.Rows], ours: Collection[str]
) -> dict[str, Any] | None:
  """One of HEADLINES as bars, of the first table that has it for all of `ours`.

  With the other rows beside them; None where there is no table, or a single row.
  -> {"title", "lines": [(row, text, percent, whether it is one of `ours`)]}.
  """
  shown = [
    (name, rows)
    for name in HEADLINES
    for rows in tables
    if sum(name in row for row in rows.values()) > 1
    and all(name in rows.get(row, {}) for row in ours)
  ]
  if not shown:
    return None
  name, rows = shown[0]
  lines = [
    (row, figures.cell(values, name), values[name], row in ours)
    for row, values in sorted(rows.items(), key=lambda item: item[0] not in ours)
    if name in values
  ]
  title = f"Accuracy of {HEADLINES[name][0]} on the test split"
  return {"title": title, "lines": lines}


def _words(value: Any) -> str:
  """A field of a config as people write it."""
  if isinstance(value, list | tuple):
    return ", ".join(map(_words, value))
  return value if isinstance(value, str) else json.dumps(value)

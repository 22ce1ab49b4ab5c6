"""A run's report: what was trained, how it went, how good it is, what it sees."""

import datetime
import json
import pathlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ssljax import diagnostics, figures, writer
from ssljax.fields import ConfigError
from ssljax.html.page import Table, figure, render, settings, table

AT_THE_END = "at the end of training"  # the protocol of results.json
TRAINED = "trained encoder"  # the row of results that a run is about
CAPTIONS = {  # of a run's figures, in the order of the page
  "What it learned from": {
    "views": "Pictures of the data, and the random views of them that training sees.",
  },
  "How it went": {
    "curves": "What was measured over the steps of training; pale lines are single "
    "measurements, strong ones their running mean.",
  },
  "How good it is": {
    "confusion": "True classes by the class that was predicted, in % of a row.",
    "similarities": "Cosine similarity of pairs that belong together and of pairs "
    "that do not; dashed lines are the medians.",
  },
  "What it sees": {
    "embedding": "Test features in two dimensions: near each other where the encoder "
    "finds them alike.",
    "neighbours": "Pictures and those whose features are most similar to theirs.",
    "attention": "Where each head of the last block looks; below, the fewest patches "
    "that hold most of its attention.",
    "patch_colours": "Patches coloured by the three main directions of their "
    "features: like colours, like features.",
    "spectra": "How evenly features use their directions: the flatter, the richer.",
    "filters": "What the first layer looks for.",
    "method": "What the method itself makes of pictures.",
  },
}
HEADLINES = {  # what a reader asks first, the most telling one first
  "linear": ("a linear probe", "A linear classifier on its features"),
  "knn": ("the kNN vote", "A vote of the most similar training examples"),
  "accuracy": ("its own classifier", "Its own classifier"),
}
READING = {"in_memory", "workers"}  # of data: these change no number


class Run(NamedTuple):
  """What a run's folder holds to be read."""

  folder: pathlib.Path
  config: dict[str, Any]
  metrics: list[dict[str, Any]]
  protocols: list[dict[str, Any]]  # of evals/*.json, and results.json as the first
  about: dict[str, Any]  # of about.json; {} where there is none


def read(folder: str | pathlib.Path) -> Run:
  """ConfigError where `folder` holds no run."""
  folder = pathlib.Path(folder).expanduser()
  if not (folder / "config.json").is_file():
    raise ConfigError(f"{folder} holds no run: there is no {folder / 'config.json'}")
  config, metrics = _json(folder / "config.json"), writer.read(folder)
  evals = config["evals"]
  at_the_end = {
    "protocol": AT_THE_END,
    "evaluator": AT_THE_END,
    "step": _steps(metrics),
    "seed": config["seed"],
    "numbers": {name: evals.get(name) for name in evals.get("at_end", ())},
    "data": config["data"],
    "results": _json(folder / "results.json"),
  }
  protocols = [at_the_end, *map(_json, sorted(folder.glob("evals/*.json")))]
  judged = [found for found in protocols if found.get("results")]
  return Run(folder, config, metrics, judged, _json(folder / "about.json"))


def write(workdir: str | pathlib.Path) -> pathlib.Path:
  """A run's report.html, out of all that its folder holds; -> its path."""
  run = read(workdir)
  c = run.config
  drawn = {path.stem: path for path in sorted(run.folder.glob("figures/*.png"))}
  sections = []
  for title, captions in CAPTIONS.items():
    shown = [figure(drawn.pop(k), words) for k, words in captions.items() if k in drawn]
    tables = result_tables(run) if title == "How good it is" else []
    sections.append({"title": title, "tables": tables, "figures": shown})
  sections[-1]["figures"] += [
    figure(path, stem.replace("_", " ").capitalize()) for stem, path in drawn.items()
  ]
  details = [("The whole config", json.dumps(c, indent=2))]
  if "versions" in run.about:
    pairs = run.about["versions"].items()
    details.append(("Versions", "\n".join(f"{k} {v}" for k, v in pairs)))
  return render(
    run.folder / "report.html",
    kind="Training report",
    title=f"{c['method']['name']} on {c['data']['name']}",
    subtitle=run.folder.resolve().name,
    facts=facts(run),
    summary=summary(run),
    bars=bars(_headlines(run).values(), [TRAINED]),
    sections=sections,
    details=details,
  )


def facts(run: Run) -> dict[str, str]:
  """What was trained, in a word each."""
  c, about, steps = run.config, run.about, _steps(run.metrics)
  found = {
    "Method": c["method"]["name"],
    "Data": c["data"]["name"],
    "Encoder": c["encoder"]["name"],
    "Parameters": f"{about['parameters']:,}" if "parameters" in about else "",
    "Training": f"{steps:,} steps of {c['batch_size']:,}" if steps else "",
    "Optimizer": c["optimizer"]["name"],
    "Seed": str(c["seed"]),
    "Device": about.get("device", ""),
    "Date": about.get("date") or _date(run.folder / "config.json"),
  }
  return {name: value for name, value in found.items() if value}


def summary(run: Run) -> list[str]:
  """Sentences: what was trained, how it went, how good it is."""
  c, steps = run.config, _steps(run.metrics)
  sentences = [
    f"An encoder ({c['encoder']['name']}) was trained on {c['data']['name']} with the "
    f"method {c['method']['name']}"
    + (f", for {steps:,} steps of {c['batch_size']:,} examples." if steps else ".")
  ]
  losses = [float(row["loss"]) for row in run.metrics if "loss" in row]
  if len(losses) > 1:
    sentences.append(f"The loss went from {losses[0]:.2f} to {losses[-1]:.2f}.")
  measured = {k: float(v) for row in run.metrics for k, v in row.items()}
  if collapsed := diagnostics.collapse(measured):
    sentences.append(collapsed)
  elif "effective_rank" in measured:
    sentences.append(
      "Its embeddings did not collapse: at the end they vary along about "
      f"{measured['effective_rank']:.0f} directions."
    )
  headlines = _headlines(run)
  for name, rows in headlines.items():
    who, ours = HEADLINES[name][1], figures.cell(rows[TRAINED], name)
    sentence = f"{who} is right for {ours} % of the test examples"
    sentences.append(sentence + _beside(rows, name))
  if not headlines:
    sentences.append("It has not been judged by labels yet.")
  return sentences


def bars(
  tables: Collection[figures.Rows], ours: Collection[str]
) -> dict[str, Any] | None:
  """One of HEADLINES as bars, of the first table that has one, with others beside it.

  -> {"title", "lines": [(row, text, percent, whether it is one of `ours`)]}.
  """
  shown = [
    (name, rows)
    for name in HEADLINES
    for rows in tables
    if sum(name in row for row in rows.values()) > 1
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


def result_tables(run: Run) -> list[Table]:
  """What every protocol gave, and what it chose among."""
  tables = []
  for found in run.protocols:
    note = f"{protocol_note(found)}; step {found['step']:,}, seed {found['seed']}"
    if "head" in found:
      note += f"; kept: {found['head']}"
    title = figures.heading(found["protocol"])
    tables.append(table(title, note, found["results"]))
    if found.get("grid"):
      grid = {name: {"accuracy": value} for name, value in found["grid"].items()}
      note = "on the part of the training split that was held out to choose one"
      tables.append(table(f"{title}: what was tried", note, grid, "folded"))
  return tables


def protocol_note(found: Mapping[str, Any]) -> str:
  """What a protocol's numbers depend on, besides the encoder."""
  data = {k: v for k, v in found["data"].items() if k not in READING}
  parts = (
    "" if found["evaluator"] == found["protocol"] else found["evaluator"],
    f"on {data.pop('name')}",
    settings(data),
    settings(found.get("numbers", {})),
  )
  return "; ".join(filter(None, parts))


def _headlines(run: Run) -> dict[str, figures.Rows]:
  """{name: rows} of HEADLINES' names, from wherever the run has them first.

  Only protocols on all labels of the run's own data count, and no classifier of
  theirs: it may have been trained with the encoder.
  """
  own = _examples(run.config["data"])
  headlines: dict[str, figures.Rows] = {}
  for name in HEADLINES:
    for found in run.protocols:
      counts = name != "accuracy" or found["protocol"] == AT_THE_END
      same = _examples(found["data"]) == own
      if counts and same and name in found["results"].get(TRAINED, {}):
        headlines.setdefault(name, found["results"])
  return headlines


def _examples(data: Mapping[str, Any]) -> tuple:
  """Which examples are learned from and judged on."""
  names = "name", "dir", "train_split", "eval_split", "per_class"
  return tuple(data.get(name) or "" for name in names)


def _beside(rows: figures.Rows, name: str) -> str:
  """How the trained encoder compares with the others."""
  others = {k: v for k, v in rows.items() if k != TRAINED and name in v}
  if not others:
    return "."
  listed = ", ".join(f"{figures.cell(v, name)} % ({k})" for k, v in others.items())
  lead = rows[TRAINED][name] - max(v[name] for v in others.values())
  better = "better" if lead > 0 else "worse"
  return f", against {listed}: {abs(lead):.1f} points {better} than the best of these."


def _steps(metrics: list[dict[str, Any]]) -> int:
  return metrics[-1]["step"] if metrics else 0


def _date(path: pathlib.Path) -> str:
  return str(datetime.date.fromtimestamp(path.stat().st_mtime))


def _json(path: pathlib.Path) -> dict[str, Any]:
  return json.loads(path.read_text("utf-8")) if path.exists() else {}

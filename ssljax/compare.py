"""Several runs side by side: what differs in their configs, and what they reached."""

import datetime
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from ssljax import fields, figures, html
from ssljax.fields import ConfigError
from ssljax.html import TRAINED, Run, Table

ABSENT = "-"
ABOUT_LOSSES = (
  "A colour for each run. Losses of different methods, batches or temperatures cannot "
  "be compared; accuracies can."
)


def evaluate(config: ConfigDict, out: str | pathlib.Path | None = None) -> dict:
  """`compare` of config.runs, folders with commas between; `out`: runs/compare."""
  fields.check_names("the config", config, ("evaluator", "runs"), ("runs",))
  given = (name.strip() for name in config.runs.split(","))
  folders = list(dict.fromkeys(filter(None, given)))
  if len(folders) < 2:
    raise ConfigError(
      f"config.runs={config.runs!r} must name two runs or more: "
      "--config.runs=runs/one,runs/other"
    )
  return compare(folders, out or "runs/compare")


def compare(
  workdirs: Sequence[str | pathlib.Path], out: str | pathlib.Path
) -> dict[str, figures.Rows]:
  """Writes `out`/compare.html and shows most of it on the screen.

  -> {table: {row: {name: value}}}. ConfigError where one of `workdirs` holds no run.
  """
  runs = dict(zip(_names(workdirs), map(html.read, workdirs), strict=True))
  differing = differences({name: run.config for name, run in runs.items()})
  reached = results(runs)
  lines = [["", *runs], *([name, *row.values()] for name, row in differing.items())]
  print(figures.aligned(lines) if differing else "Their configs are the same.")
  titled = {f"{title} ({note})": rows for (title, note), rows in reached.items()}
  for title, rows in titled.items():
    print(f"\n{title}\n{figures.table(rows)}")
  print(f"\nwritten to {_write(pathlib.Path(out), runs, differing, reached)}")
  return titled


def differences(configs: Mapping[str, dict]) -> dict[str, dict[str, str]]:
  """{run: config} -> {field: {run: its value}}, of fields not all alike."""
  flat = {run: fields.flat(config) for run, config in configs.items()}
  table = {
    name: {run: _text(values, name) for run, values in flat.items()}
    for name in sorted({name for values in flat.values() for name in values})
  }
  return {name: row for name, row in table.items() if len(set(row.values())) > 1}


def results(runs: Mapping[str, Run]) -> dict[tuple[str, str], figures.Rows]:
  """{run: what its folder holds} -> {(protocol, its numbers): what they reached}.

  With other numbers or on other data it is another protocol. A run's row bears its
  name; others, such as raw pixels, stand there once where they agree.
  """
  found: dict[tuple[str, str], dict[str, figures.Rows]] = {}
  for name, run in runs.items():
    for protocol in run.protocols:
      kind = figures.heading(protocol["protocol"]), html.protocol_note(protocol)
      found.setdefault(kind, {})[name] = protocol["results"]
  return {kind: _merged(reached) for kind, reached in found.items()}


def _merged(reached: Mapping[str, figures.Rows]) -> figures.Rows:
  merged = {}
  for row in dict.fromkeys(row for rows in reached.values() for row in rows):
    values = {run: rows[row] for run, rows in reached.items() if row in rows}
    one, *others = values.values()
    if row == TRAINED:
      merged |= values
    elif all(other == one for other in others):
      merged[row] = one
    else:
      merged |= {f"{row} of {run}": value for run, value in values.items()}
  return merged


def _write(
  out: pathlib.Path,
  runs: Mapping[str, Run],
  differing: Mapping[str, Mapping[str, str]],
  reached: Mapping[tuple[str, str], figures.Rows],
) -> pathlib.Path:
  (out / "figures").mkdir(parents=True, exist_ok=True)
  drawn = out / "figures" / "overlay.png"
  figures.overlay({name: run.metrics for name, run in runs.items()}, drawn)
  lines = [
    (name, [(x, False) for x in row.values()]) for name, row in differing.items()
  ]
  configs = [Table("", "", list(runs), lines, "words")] if differing else []
  tables = [html.table(*kind, rows) for kind, rows in reached.items()]
  summary = [f"{len(runs)} runs, whose configs differ in {len(differing)} fields."]
  bars = html.bars(reached.values(), runs)
  if ours := [line for line in bars["lines"] if line[3]] if bars else []:
    best, value, *_ = max(ours, key=lambda line: line[2])
    summary.append(f"{bars['title']} is highest for {best}: {value} %.")
  return html.render(
    out / "compare.html",
    kind="Comparison of runs",
    title=" and ".join(runs) if len(runs) == 2 else f"{len(runs)} runs side by side",
    subtitle=str(datetime.date.today()),
    summary=summary,
    bars=bars,
    facts={},
    sections=[
      {"title": "What differs", "tables": configs, "figures": []},
      {
        "title": "How they went",
        "tables": [],
        "figures": [html.figure(drawn, ABOUT_LOSSES)],
      },
      {"title": "How good they are", "tables": tables, "figures": []},
    ],
    details=[
      (f"The whole config of {name}", json.dumps(run.config, indent=2))
      for name, run in runs.items()
    ],
  )


def _names(workdirs: Sequence[str | pathlib.Path]) -> list[str]:
  """The folders' own names, or their paths where two have the same name."""
  names = [pathlib.Path(path).expanduser().resolve().name for path in workdirs]
  return names if len(set(names)) == len(names) else list(map(str, workdirs))


def _text(values: Mapping[str, Any], name: str) -> str:
  value = values.get(name, ABSENT)
  return value if isinstance(value, str) and value else json.dumps(value)

"""Several runs side by side: what differs in their configs, and what they reached."""

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from ssljax import fields, figures, html
from ssljax.fields import ConfigError
from ssljax.html import TRAINED, Run, Section, Table
from ssljax.runs import check_writable, writing

ABSENT = "-"
ABOUT_LOSSES = (
  "A colour for each run. Losses of different methods, batches or temperatures cannot "
  "be compared; accuracies can."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
  """The fields of a comparison's config."""

  evaluator: str  # "compare"
  runs: str  # folders, with commas between


DECLARED = fields.Group("", "the config", fields.declared(Comparison))


def declare(_: ConfigDict) -> list[fields.Group]:
  """Lists the groups of a comparison's config, which is one."""
  return [DECLARED]


class Reached(NamedTuple):
  """What runs reached under one protocol, with the same numbers on the same data."""

  title: str
  note: str  # the data, and what tells it from others of its title
  settings: dict[str, str]
  own: bool  # whether it is on the data of all runs
  rows: figures.Rows


def evaluate(config: ConfigDict, out: str | pathlib.Path | None = None) -> dict:
  """Compares config.runs, folders with commas between; `out`: runs/compare."""
  fields.check(DECLARED, config)
  names = (name.strip() for name in config.runs.split(","))
  folders = list(dict.fromkeys(filter(None, names)))
  if len(folders) < 2:
    raise ConfigError(
      f"config.runs={config.runs!r} must name two runs or more: "
      "--config.runs=runs/one,runs/other"
    )
  place = fields.as_path(out or "runs/compare")
  check_writable(place)
  with writing(place):
    return compare(folders, place)


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
  titled = {f"{entry.title} ({entry.note})": entry.rows for entry in reached}
  for title, rows in titled.items():
    print(f"\n{title}\n{figures.table(rows)}")
  print(f"\nwritten to {_write(fields.as_path(out), runs, differing, reached)}")
  return titled


def differences(configs: Mapping[str, dict]) -> dict[str, dict[str, str]]:
  """Finds fields in which configs differ: {run: config} -> {field: {run: value}}."""
  flat = {run: fields.flat(config) for run, config in configs.items()}
  table = {
    name: {run: _text(values, name) for run, values in flat.items()}
    for name in sorted({name for values in flat.values() for name in values})
  }
  return {name: row for name, row in table.items() if len(set(row.values())) > 1}


def results(runs: Mapping[str, Run]) -> list[Reached]:
  """Groups what runs reached by protocol, in the order of a report.

  With other numbers or on other data it is another protocol. A run's row bears its
  name, and the step if it is not the run's last; other rows, such as raw pixels, stand
  there once where they agree.
  """
  pairs = [(result, run) for run, its in runs.items() for result in its.protocols]
  groups: dict[tuple[str, str, str], dict[str, dict]] = {}
  on_own_data: dict[tuple[str, str, str], bool] = {}
  # Older runs do not say which examples they are on.
  identified = all(html.examples(result) for result, _ in pairs)
  for result, run in sorted(pairs, key=lambda pair: html.place(pair[0])):
    settings = html.settings(result)
    examples = html.examples(result) if identified else ""
    if identified:
      settings.pop("data.dir", "")  # the same data may lie in several places
    kind = html.title(result), json.dumps(settings, sort_keys=True), examples
    at = "" if result["step"] == runs[run].last else f" at step {result['step']:,}"
    groups.setdefault(kind, {})[run + at] = result
    of_run = html.same_examples(result, runs[run].config["data"])
    on_own_data[kind] = on_own_data.get(kind, True) and of_run
  reached = []
  for kind, group in groups.items():
    title, settings, _ = kind
    like = {key: json.loads(key) for name, key, _ in groups if name == title}
    note = _note(like[settings], differences(like))
    while any((title, note) == (entry.title, entry.note) for entry in reached):
      note += "; other pictures"
    rows = _merged(
      {name: _rows(name, result["results"]) for name, result in group.items()}
    )
    reached.append(Reached(title, note, like[settings], on_own_data[kind], rows))
  return reached


def _note(settings: Mapping[str, str], differing: Collection[str]) -> str:
  """Names the data, and what tells a protocol apart from others of its title."""
  differing_fields = [k for k in differing if k in settings and k != "data.name"]
  settings_text = (f"{k} = {settings[k]}" for k in differing_fields)
  return "; ".join([f"on {settings['data.name']}", *settings_text])


def _rows(run: str, rows: figures.Rows) -> figures.Rows:
  """Renames a run's rows: the trained encoder's by its name, or else all by it."""
  if TRAINED in rows:
    return {run if row == TRAINED else row: x for row, x in rows.items()}
  return {f"{row} of {run}": x for row, x in rows.items()}


def _merged(reached: Mapping[str, figures.Rows]) -> figures.Rows:
  """Merges the rows of all runs; those of one name stand once where they agree."""
  merged = {}
  for row in dict.fromkeys(row for rows in reached.values() for row in rows):
    values = {run: rows[row] for run, rows in reached.items() if row in rows}
    first, *others = values.values()
    if all(value == first for value in others):
      merged[row] = first
    else:
      merged |= {f"{row} of {run}": value for run, value in values.items()}
  return merged


def _write(
  out: pathlib.Path,
  runs: Mapping[str, Run],
  differing: Mapping[str, Mapping[str, str]],
  reached: Sequence[Reached],
) -> pathlib.Path:
  (out / "figures").mkdir(parents=True, exist_ok=True)
  overlay = out / "figures" / "overlay.png"
  figures.overlay({name: html.history(run) for name, run in runs.items()}, overlay)
  lines = [
    (name, [(x, False) for x in row.values()]) for name, row in differing.items()
  ]
  configs = [Table("", "", list(runs), lines, "words")] if differing else []
  tables = [
    html.table(entry.title, entry.note, entry.rows, settings=entry.settings)
    for entry in reached
  ]
  summary = [f"{len(runs)} runs, whose configs differ in {len(differing)} fields."]
  if bars := html.bars([entry.rows for entry in reached if entry.own], runs):
    run_lines = [line for line in bars["lines"] if line[3]]
    _, best, *_ = max(run_lines, key=lambda line: line[2])
    names = " and ".join(name for name, text, *_ in run_lines if text == best)
    summary.append(f"{bars['title']} is highest for {names}: {best} %.")
  return html.render(
    out / "compare.html",
    kind="Comparison of runs",
    title=" and ".join(runs) if len(runs) == 2 else f"{len(runs)} runs side by side",
    subtitle=str(datetime.date.today()),
    summary=summary,
    bars=bars,
    facts={},
    sections=[
      Section("What differs", configs),
      Section("How they went", figures=[html.figure(overlay, ABOUT_LOSSES)]),
      Section("How good they are", tables),
      Section("What they see", figures=_seen(runs)),
    ],
    details=[
      (f"The whole config of {name}", json.dumps(run.config, indent=2))
      for name, run in runs.items()
    ],
  )


def _seen(runs: Mapping[str, Run]) -> list[html.Figure]:
  """Embeds what two runs or more have a picture of, one under the other."""
  of_runs = {name: html.seen(run) for name, run in runs.items()}
  stems = dict.fromkeys(stem for its in of_runs.values() for stem in its)
  embedded = []
  for stem in stems:
    shown = {name: its[stem] for name, its in of_runs.items() if stem in its}
    if len(shown) > 1:
      embedded += [
        html.figure(png, f"{name}. {words}") for name, (png, words) in shown.items()
      ]
  return embedded


def _names(workdirs: Sequence[str | pathlib.Path]) -> list[str]:
  """Names runs by their folders or, where two have the same name, by their paths."""
  names = [fields.as_path(path).resolve().name for path in workdirs]
  return names if len(set(names)) == len(names) else list(map(str, workdirs))


def _text(values: Mapping[str, Any], name: str) -> str:
  value = values.get(name, ABSENT)
  return value if isinstance(value, str) and value else json.dumps(value)

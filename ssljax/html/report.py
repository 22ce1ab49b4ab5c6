"""A run's report: what was trained, how it went, how good it is, what it sees."""

import datetime
import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from ssljax import diagnostics, figures
from ssljax.fields import ConfigError, as_path, flat
from ssljax.html import results
from ssljax.html.page import Figure, Section, Table, figure, is_png, render
from ssljax.html.results import AT_THE_END, HEADLINES, TRAINED
from ssljax.runs import writer

JUDGED, SEEN = "How good it is", "What it sees"
CAPTIONS = {  # of a run's figures, in the order of the page
  "What it learned from": {
    "views": "Pictures of the data, and the random views of them that training sees.",
  },
  "How it went": {
    "curves": "What was measured over the steps of training; pale lines are single "
    "measurements, strong ones their running mean.",
  },
  JUDGED: {
    "confusion": "True classes by the class that was predicted, in % of a row.",
    "similarities": "Cosine similarity of pairs that belong together and of pairs "
    "that do not; dashed lines are the medians.",
  },
  SEEN: {
    "embedding": "Test features in two dimensions: near each other where the encoder "
    "finds them alike.",
    "neighbours": "Pictures and those whose features are most similar to theirs.",
    "attention": "Where each head of the last block looks; below, the fewest patches "
    "that hold most of its attention.",
    "patch_colours": "Patches coloured by the three main directions of their "
    "features: like colours, like features.",
    "segmentation": "Pictures, their true classes, and those that neighbours and a "
    "linear head read from the features of patches; white has no class.",
    "depth": "Pictures, how far their pixels are, and how far a linear head reads it "
    "from the features of patches: the darker, the farther; white is unknown.",
    "spectra": "How evenly features use their directions: the flatter, the richer.",
    "filters": "What the first layer looks for.",
    "method": "What the method itself makes of pictures.",
  },
}
PICTURED = ("pictures", "segment", "depth")  # evaluators that leave pictures
NEEDED = (  # of a run's config, to tell what it is
  *("seed", "batch_size", "data.name", "encoder.name", "method.name"),
  *("optimizer.name", "evals.at_end"),
)


class Run(NamedTuple):
  """A run as its folder holds it, to be read."""

  folder: pathlib.Path
  config: dict[str, Any]
  metrics: list[dict[str, Any]]
  protocols: list[dict[str, Any]]  # that have results, as a reader asks for them
  pictured: list[dict[str, Any]]  # that left pictures in evals/<its file>/
  about: dict[str, Any]  # of about.json; {} where there is none

  @property
  def last(self) -> int:
    """The run's last step, so far."""
    return self.metrics[-1]["step"] if self.metrics else 0


def read(folder: str | pathlib.Path) -> Run:
  """Reads a run's folder; ConfigError where `folder` holds no run."""
  folder = as_path(folder)
  config, metrics = _config(folder / "config.json"), writer.read(folder)
  run = Run(folder, config, metrics, [], [], results.load(folder / "about.json"))
  protocols = [
    _at_the_end(run),
    *map(results.read, sorted(folder.glob("evals/*.json"))),
  ]
  protocols = sorted(filter(None, protocols), key=results.place)
  return run._replace(
    protocols=[result for result in protocols if result["results"]],
    pictured=[result for result in protocols if result["evaluator"] in PICTURED],
  )


def _config(path: pathlib.Path) -> dict[str, Any]:
  if not path.is_file():
    raise ConfigError(f"{path.parent} holds no run: there is no {path}")
  try:
    config = json.loads(path.read_text("utf-8"))
  except ValueError as error:
    raise ConfigError(
      f"{path} is damaged ({error}); the line that trained the run writes it anew"
    ) from error
  stored_fields = flat(config)
  if lacking := [name for name in NEEDED if name not in stored_fields]:
    raise ConfigError(
      f"{path.parent} holds no run of ssljax: {path} lacks {', '.join(lacking)}"
    )
  return config


def _at_the_end(run: Run) -> dict[str, Any]:
  """Reads results.json as a protocol's. A probe's own lies beside its folder."""
  c = run.config
  result = {
    "evaluator": AT_THE_END,
    "seed": c["seed"],
    "numbers": {name: c["evals"].get(name) for name in c["evals"]["at_end"]},
    "data": c["data"],
    "results": results.load(run.folder / "results.json"),
    "identity": run.about.get("identity", {}),
  }
  if not result["results"] and c.get("pretrained", {}).get("checkpoint"):
    probe_result = results.read(run.folder.parent / f"{run.folder.name}.json")
    if probe_result and c["pretrained"].get("step") in (0, probe_result["step"]):
      result |= probe_result
  result |= {"protocol": AT_THE_END, "step": run.last, "own_data": True}
  return results.checked(result, run.folder / "results.json")


def write(workdir: str | pathlib.Path) -> pathlib.Path:
  """Writes a run's report.html, out of all that its folder holds; -> its path.

  Its curves are drawn anew, as figures/curves.png.
  """
  run = read(workdir)
  c = run.config
  if run.metrics:
    (run.folder / "figures").mkdir(exist_ok=True)
    figures.curves(history(run), run.folder / "figures" / "curves.png")
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
    bars=results.bars(_headlines(run).values(), [TRAINED]),
    sections=sections(run),
    details=details,
  )


def history(run: Run) -> list[dict[str, Any]]:
  """Returns rows as of metrics.jsonl, with what was measured on checkpoints later."""
  rows = list(run.metrics)
  for result in run.protocols:
    on_own_data = results.same_examples(result, run.config["data"])
    if result["evaluator"] == "progress" and on_own_data:
      rows += [
        {"step": int(row.removeprefix("step ")), **values}
        for row, values in result["results"].items()
      ]
  return sorted(rows, key=lambda row: row["step"])


def seen(run: Run) -> dict[str, tuple[pathlib.Path, str]]:
  """Finds what a run's encoder sees of its data at the end: {name: (PNG, caption)}."""
  pngs, _ = _pictures(run)
  words = CAPTIONS[SEEN]
  return {stem: (pngs[stem], words[stem]) for stem in words if stem in pngs}


def sections(run: Run) -> list[Section]:
  """Lays out the page's body; pictures of other data or earlier steps stand apart."""
  own_pngs, elsewhere = _pictures(run)
  foreign_sections = [
    Section(f"{SEEN} {where}", figures=_figures(pngs)) for where, pngs in elsewhere
  ]
  run_sections = []
  for title, captions in CAPTIONS.items():
    known_pngs = {stem: own_pngs.pop(stem) for stem in captions if stem in own_pngs}
    run_sections.append(
      Section(title, _tables(run) if title == JUDGED else (), _figures(known_pngs))
    )
  run_sections.append(Section("What else there is", figures=_figures(own_pngs)))
  return [*run_sections, *foreign_sections]


def _pictures(run: Run) -> tuple[dict, list[tuple[str, dict]]]:
  """Finds PNGs by name: of the run itself, and of (other data or an earlier step)."""
  own_pngs, elsewhere = _pngs(run.folder / "figures"), []
  for result in run.pictured:
    pngs = _pngs(run.folder / "evals" / result["file"])
    if where := results.where(result, run.config["data"], run.last):
      elsewhere.append((where, pngs))
    else:
      own_pngs |= pngs
  return own_pngs, elsewhere


def _tables(run: Run) -> list[Table]:
  data_and_step = run.config["data"], run.last
  return [
    result_table
    for result in run.protocols
    for result_table in results.tables(result, *data_and_step)
  ]


def _pngs(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  return {path.stem: path for path in sorted(folder.glob("*.png")) if is_png(path)}


def _figures(pngs: dict[str, pathlib.Path]) -> list[Figure]:
  """Lays out figures in the order of the captions; others say their file's name."""
  captions = {stem: words for part in CAPTIONS.values() for stem, words in part.items()}
  captions |= {
    stem: stem.replace("_", " ").capitalize() for stem in pngs if stem not in captions
  }
  return [figure(pngs[stem], words) for stem, words in captions.items() if stem in pngs]


def facts(run: Run) -> dict[str, str]:
  """Says what was trained, in a word each."""
  c, about, steps = run.config, run.about, run.last
  begun = (run.folder / "config.json").stat().st_mtime
  words = {
    "Method": c["method"]["name"],
    "Data": c["data"]["name"],
    "Encoder": c["encoder"]["name"],
    "Parameters": f"{about['parameters']:,}" if "parameters" in about else "",
    "Training": f"{steps:,} steps of {c['batch_size']:,}" if steps else "",
    "Length": _length(about.get("lengths", ())),
    "Optimizer": c["optimizer"]["name"],
    "Seed": str(c["seed"]),
    "Device": about.get("device", ""),
    "Date": about.get("date") or str(datetime.date.fromtimestamp(begun)),
  }
  return {name: value for name, value in words.items() if value}


def summary(run: Run) -> list[str]:
  """Writes sentences: what was trained, how it went, how good it is."""
  c, steps = run.config, run.last
  sentences = [
    f"An encoder ({c['encoder']['name']}) was trained on {c['data']['name']} with the "
    f"method {c['method']['name']}"
    + (f", for {steps:,} steps of {c['batch_size']:,} examples." if steps else ".")
  ]
  if origin := c.get("pretrained", {}).get("checkpoint"):
    sentences.append(f"It began with what {origin} had learned.")
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
    who, trained_text = HEADLINES[name][1], figures.cell(rows[TRAINED], name)
    sentence = f"{who} is right for {trained_text} % of the test examples"
    sentences.append(sentence + _beside(rows, name))
  for result in run.protocols:
    if not results.where(result, c["data"], steps) and (
      worse := results.fallen(result["results"])
    ):
      sentences.append(worse)
  if not headlines:
    subject = "At its last step it" if run.protocols else "It"
    sentences.append(f"{subject} has not been judged by labels yet.")
  return sentences


def _headlines(run: Run) -> dict[str, figures.Rows]:
  return results.headlines(run.protocols, run.config["data"], run.last)


def _beside(rows: figures.Rows, name: str) -> str:
  """Writes how the trained encoder compares with the others."""
  others = {k: v for k, v in rows.items() if k != TRAINED and name in v}
  if not others:
    return "."
  listed = ", ".join(f"{figures.cell(v, name)} % ({k})" for k, v in others.items())
  lead = rows[TRAINED][name] - max(v[name] for v in others.values())
  better = "better" if lead > 0 else "worse"
  return f", against {listed}: {abs(lead):.1f} points {better} than the best of these."


def _length(lengths: Sequence[tuple[int, int]]) -> str:
  """Writes how many steps a run was to have, where that changed on the way."""
  first, *later = [f"{total:,}" for _, total in lengths] or [""]
  sentences = (
    f"{n} from step {start:,} on"
    for n, (start, _) in zip(later, lengths[1:], strict=True)
  )
  return ", ".join([f"{first} steps at first", *sentences]) if later else ""

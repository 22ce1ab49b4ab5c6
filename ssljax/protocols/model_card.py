"""The model card of a run that goes out: README.md of a folder of Hugging Face's."""

import pathlib
from typing import Any

from ssljax.encoder import Trained
from ssljax.html import results


def write(trained: Trained, run: pathlib.Path, origin: dict[str, Any]) -> str:
  """Writes the model card of a run: what it is, learned from what, how good it is."""
  c, found = trained.config, {"results": results.load(run / "results.json")}
  for file in sorted((run / "evals").glob("*.json")):
    found[file.stem] = results.read(file).get("results", {})
  lines = [
    *("---", "library_name: transformers", "tags:", "- self-supervised", "---", ""),
    f"# {c.encoder.name}, {run.name}",
    "",
    f"Written by ssljax from step {int(trained.state.step)} of a run.",
    "",
    f"- method: {c.method.name}, seed {c.seed}",
  ]
  if origin:
    lines += [
      f"- weights: {origin['file']}, sha256 {origin['sha256']}, as {origin['format']}",
      "- licence: that of those weights",
    ]
  else:
    lines += [
      f"- data: {c.data.name}, {int(trained.state.step) * c.batch_size} pictures"
    ]
  start = c.pretrained.checkpoint
  lines += [f"- started from: {start}, whose licence holds here too"] * bool(start)
  for name, rows in found.items():
    for row, scores in rows.items():
      told = ", ".join(f"{k} {v:.2f}" for k, v in scores.items())
      lines.append(f"- {name}, {row}: {told}")
  return "\n".join([*lines, ""])

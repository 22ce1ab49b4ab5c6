"""The model card of a run that goes out: README.md of a folder of Hugging Face's."""

import json
import pathlib
from typing import Any

from ssljax.encoder import Trained


def write(trained: Trained, run: pathlib.Path, origin: dict[str, Any]) -> str:
  """Writes the model card of a run: what it is, learned from what, how good it is."""
  c, results = trained.config, {}
  for file in (run / "results.json", *sorted((run / "evals").glob("*.json"))):
    if file.is_file():
      found = json.loads(file.read_text("utf-8"))
      results[file.stem] = found.get("results", found)
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
  for name, rows in results.items():
    for row, scores in rows.items():
      told = ", ".join(f"{k} {v:.2f}" for k, v in scores.items())
      lines.append(f"- {name}, {row}: {told}")
  return "\n".join([*lines, ""])

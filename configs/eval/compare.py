"""Runs side by side: what differs in their configs, and what they reached.

    python run.py --config configs/eval/compare.py --config.runs=runs/one,runs/other

Reads what lies in the folders and computes nothing: configs, curves, scores and, where
`eval/pictures` or the runs' own ends left them, the same pictures as each encoder sees
them. The page is compare.html in --workdir, default runs/compare.
"""

from ml_collections import ConfigDict


def get_config():
  c = ConfigDict()
  c.evaluator = "compare"
  c.runs = ""  # folders, with commas between
  return c

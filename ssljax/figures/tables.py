"""Results as text: how a number is rounded, and what its column is called."""

from collections.abc import Mapping, Sequence

Rows = Mapping[str, Mapping[str, float]]  # {"raw pixels": {"knn": 97.1, ...}, ...}

HEADINGS = {"knn": "kNN", "linear": "linear", "map": "mAP", "rankme": "RankMe"}
HEADINGS |= {"lidar": "LiDAR", "accuracy_top5": "top 5", "linear_top5": "linear, top 5"}
HEADINGS |= {"copy_map": "copy mAP", "rmse": "RMSE", "abs_rel": "AbsRel"}
HEADINGS |= {"knn_miou": "kNN, mIoU", "knn_pixel_accuracy": "kNN, pixels right"}
HEADINGS |= {"linear_miou": "linear, mIoU", "knn_iou": "kNN", "linear_iou": "linear"}
HEADINGS |= {"attentive_top5": "attentive, top 5"}
HEADINGS |= {"linear_pixel_accuracy": "linear, pixels right"}
LESS = ("error", "rmse", "abs_rel")  # of names so ending less is better
DECIMALS = {
  "alignment": 3,
  "uniformity": 2,
  "rmse": 3,
  "abs_rel": 3,
}  # what is no percentage; others: 1
UNRANKED = {  # more is not yet better
  *("alignment", "uniformity", "rankme", "lidar"),
  *("agreement", "prototypes_used", "knn_iou", "linear_iou"),
}


def table(rows: Rows) -> str:
  """Writes results as aligned text, one line a row.

  "few_label_5" stands beside its "few_label_5_std" as "72.1 ± 2.3" in column
  "5 labels"; what a row lacks is "-".
  """
  names = columns(rows)
  lines = [["", *map(heading, names)]]
  lines += [
    [title, *(cell(row, name) for name in names)] for title, row in rows.items()
  ]
  return aligned(lines)


def aligned(lines: Sequence[Sequence[str]], words: bool = False) -> str:
  """Aligns cells in columns, line by line: the first to the left; with `words` all."""
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  justify = str.ljust if words else str.rjust
  rows = ([x[0].ljust(widths[0]), *map(justify, x[1:], widths[1:])] for x in lines)
  return "\n".join("  ".join(row).rstrip() for row in rows)


def columns(rows: Rows) -> list[str]:
  """Lists the names that any row has; deviations stand beside their means."""
  names = dict.fromkeys(name for row in rows.values() for name in row)
  return [name for name in names if not name.endswith("_std")]


def heading(name: str) -> str:
  """Writes a column's title: "few_label_5" -> "5 labels", "recall_1" -> "recall@1"."""
  if name in HEADINGS:
    return HEADINGS[name]
  kind, _, n = name.rpartition("_")
  if kind == "few_label":
    return f"{n} label" if n == "1" else f"{n} labels"
  if kind.endswith("recall"):
    return f"{kind.replace('_', ' ')}@{n}"
  if kind == "knn":
    return f"kNN, k = {n}"
  return name.replace("_", " ")


def cell(row: Mapping[str, float], name: str) -> str:
  """Writes a number as it is printed everywhere, with its deviation if there is one."""
  if name not in row:
    return "-"
  digits, std = DECIMALS.get(name, 1), row.get(f"{name}_std")
  text = f"{row[name]:.{digits}f}"
  return text if std is None else f"{text} ± {std:.{digits}f}"


def best(rows: Rows, name: str) -> set[str]:
  """Finds the rows whose printed number is the best of its column.

  None in a single row, nor where neither more nor less is better by itself. Of errors
  less is.
  """
  values = {title: row[name] for title, row in rows.items() if name in row}
  if len(values) < 2 or name in UNRANKED:
    return set()
  top = (min if name.endswith(LESS) else max)(values.values())
  best_text = cell({name: top}, name)
  return {title for title, x in values.items() if cell({name: x}, name) == best_text}

"""A method's page: what is written by hand, and what is read off code and results.

docs/methods/NAME.md belongs to ssljax/methods/NAME.py. Its head says what no code does:
the drawing, and the words of the table of all methods.
"""

import ast
import functools
import inspect
import pathlib
import re
import sys

import yaml
from ml_collections import ConfigDict

from generator import drawing
from ssljax import augment, command_line
from ssljax.recipe import methods

DOCS = pathlib.Path(__file__).parent.parent
ROOT = DOCS.parent
HEAD = re.compile(r"\A---\n(.*?\n)---\n", re.DOTALL)
FIELDS = {  # of a page's head -> what it says in the table of all methods
  "negatives": "negatives",
  "target": "target",
  "state": "keeps between steps",
}
GROUPS = ("augment", "encoder", "method", "optimizer")  # of a recipe that is shown
CODE = re.compile(r"`([^`]+)`")
COLUMNS = "| method | negatives | target | views | batch | keeps | GFLOP | MiB |"


def names():
  """Lists the files of methods, in the order of METHODS."""
  modules = (cls.__module__.split(".")[-1] for cls in methods.METHODS.values())
  return list(dict.fromkeys(modules))


def classes(name):
  """Lists the methods of a file."""
  found = methods.METHODS.values()
  return [cls for cls in found if cls.__module__ == f"ssljax.methods.{name}"]


def head(text):
  """Reads a page's head -> its fields, and the text behind it."""
  found = HEAD.match(text)
  return yaml.safe_load(found[1]), text[found.end() :]


@functools.cache
def configs():
  """Loads every recipe: name -> (config, docstring)."""
  files = sorted((ROOT / "configs").glob("*_*.py"))
  return {
    file.stem: (
      command_line.load(str(file))[1],
      ast.get_docstring(ast.parse(file.read_text("utf-8"))),
    )
    for file in files
  }


def recipes(name):
  """Lists the recipes of a file's methods."""
  known = {k for k, cls in methods.METHODS.items() if cls in classes(name)}
  return [k for k, (config, _) in configs().items() if config.method.name in known]


def page(name, text):
  """Completes the text of docs/methods/NAME.md."""
  fields, body = head(text)
  heading, _, body = body.strip().partition("\n")
  parts = [heading, idea(name), figure(name, fields), facts(name, fields), body]
  parts += [results(name), recipe(fields["recipe"]), others(name, fields["recipe"])]
  return "\n\n".join(part for part in parts if part) + "\n"


def idea(name):
  """Joins the docstrings of the file and of its methods."""
  module = sys.modules[f"ssljax.methods.{name}"]
  bases = [c for c in classes(name)[0].__mro__[1:] if c.__module__ == module.__name__]
  documented = [inspect.getdoc(cls) for cls in (*bases, *classes(name))]
  lead = f"*{inspect.getdoc(module)}*"
  return "\n\n".join([lead, *documented, f"In the code: `ssljax/methods/{name}.py`."])


def figure(name, fields):
  """Draws the networks of a page's head."""
  title = f"Networks and targets of {name}"
  svg = drawing.svg(fields["lanes"], fields["loss"], title)
  return f'<figure class="networks">\n{svg}\n</figure>'


def facts(name, fields):
  """Says in a table what the method needs."""
  config, _ = configs()[fields["recipe"]]
  heads = dict.fromkeys(h for cls in classes(name) for h in cls.needs_heads)
  rows = [(says, fields[key]) for key, says in FIELDS.items()]
  rows += [
    ("views", views(name, config)),
    ("heads", ", ".join(f"`{h}`" for h in heads) or "none"),
    ("batch", f"{config.batch_size:,} in `{fields['recipe']}`"),
  ]
  if cost := costs().get(fields["recipe"]):
    where = "[counted](../speed.md#counted-without-a-gpu)"
    rows.append(("a picture", f"{cost[0]} GFLOP, {cost[1]} MiB kept: {where}"))
  return table_of(("", ""), rows)


def views(name, config):
  """Says how many views of an example the methods of a file compare."""
  cls = classes(name)[0]
  count = str(cls.num_views) if cls.num_views else "any number"
  usual = getattr(augment.RECIPES[config.augment.recipe], "local_views", 0)
  local = config.augment.get("local_views", usual)
  return f"{count} and {local} smaller" if "local" in cls.reads and local else count


def results(name):
  """Puts what was published beside what was reached here, and its curve."""
  rows, figures = [], []
  for config in recipes(name):
    said = published().get(config, "")
    ours = reached().get(config, ("", "", "", ""))
    if said.strip("- ") or any(ours):
      rows.append((f"`{config}`", said, *ours))
    if (DOCS / f"{config}.png").exists():
      figures.append(f"![What a run of {config} wrote](../{config}.png)")
  if not rows:
    return "\n\n".join(figures)
  if not any(any(ours) for _, _, *ours in rows):
    table = table_of(("recipe", "published"), [row[:2] for row in rows])
    return "\n\n".join(["## Results", table, "Ours: not yet run.", *figures])
  names = (
    "recipe",
    "published",
    "ours, `:cpu`",
    "kNN",
    "linear",
    "random: kNN, linear",
  )
  note = (
    "Ours are runs of minutes on two cores, no run of the published length: "
    "[what they are](../cifar10_on_a_cpu.md)."
  )
  return "\n\n".join(["## Results", table_of(names, rows), note, *figures])


def recipe(name):
  """Shows a recipe: its docstring, and its fields."""
  config, said = configs()[name]
  rows = [("`batch_size`", f"{config.batch_size:,}"), ("`epochs`", f"{config.epochs}")]
  for group in GROUPS:
    rows += [(f"`{k}`", f"`{v}`") for k, v in flat(config[group], group)]
  shown = f"`ssljax show {name}` lists all fields, with their ranges."
  table = table_of(("field", "value"), rows)
  return "\n\n".join([f"## Recipe: {name}", said, table, shown])


def others(name, chosen):
  """Quotes the docstrings of a file's other recipes."""
  parts = [
    f"### {config}\n\n{configs()[config][1]}"
    for config in recipes(name)
    if config != chosen
  ]
  return "\n\n".join(["## Other recipes", *parts]) if parts else ""


def flat(group, path):
  """Yields the fields of a group and of the groups in it, by their path."""
  for key, value in group.items():
    if isinstance(value, ConfigDict):
      yield from flat(value, f"{path}.{key}")
    elif value != "":
      yield f"{path}.{key}", value


def table():
  """Writes the table of all methods."""
  lines = [COLUMNS, "|" + "---|" * COLUMNS.count(" | ") + "---|"]
  for name in names():
    fields, body = head((DOCS / "methods" / f"{name}.md").read_text("utf-8"))
    title = body.strip().split("\n")[0].removeprefix("# ")
    config, _ = configs()[fields["recipe"]]
    cost = costs().get(fields["recipe"], ("", ""))
    row = [f"[{title}]({name}.md)", fields["negatives"], fields["target"]]
    row += [views(name, config), f"{config.batch_size:,}", fields["state"], *cost]
    lines.append(f"| {' | '.join(row)} |")
  return "\n\n" + "\n".join(lines) + "\n"


def table_of(columns, rows):
  """Writes a table in Markdown; "|" in a cell is escaped."""
  lines = [columns, ["---"] * len(columns), *rows]
  cells = ([str(cell).replace("|", "\\|") for cell in line] for line in lines)
  return "\n".join(f"| {' | '.join(line)} |" for line in cells)


@functools.cache
def published():
  """Reads README's table: recipe -> what is published of it and of its variants."""
  found = {}
  for _, _, named, claim in rows_of(ROOT / "README.md", 4):
    found |= dealt(named, claim)
  return found


def dealt(named, claim):
  """Deals a cell of claims out to the recipes named in the cell beside it.

  Between two ";" stand the claims of all that is named between two ";" there, or that
  of each recipe and variant, in order.
  """
  claims = [part.strip() for part in claim.split(";")]
  groups = [CODE.findall(part) for part in named.split(";")]
  each = [(name,) for group in groups for name in group]
  groups = each if len(each) == len(claims) else groups
  if len(groups) != len(claims):
    groups, claims = [CODE.findall(named)], [claim]
  found, last = {}, ""
  for group, said in zip(groups, claims, strict=True):
    for name in group:
      if not name.startswith((":", "-")):
        found[name], last = said, name
      elif groups is each:
        found[last] += f"; `{name}` {said}"
  return found


@functools.cache
def reached():
  """Reads what `:cpu` forms reached: recipe -> steps, kNN, linear, random's two."""
  rows = rows_of(DOCS / "cifar10_on_a_cpu.md", 8)
  return {
    CODE.match(named)[1]: (f"{steps} steps", knn, linear, f"{random}, {random_linear}")
    for named, steps, _, knn, linear, random, random_linear, _ in rows
    if CODE.match(named)
  }


@functools.cache
def costs():
  """Reads what is counted without a GPU: recipe -> GFLOP and MiB a picture."""
  rows = rows_of(DOCS / "speed.md", 4)
  return {CODE.match(r[0])[1]: (r[1], r[3]) for r in rows if CODE.match(r[0])}


def rows_of(file, columns):
  """Yields the rows of a page's tables of so many columns, a list of cells each."""
  for line in file.read_text("utf-8").splitlines():
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    if line.startswith("| ") and len(cells) == columns:
      yield cells

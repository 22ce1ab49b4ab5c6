"""README and docs/: links lead somewhere, commands can be typed, all is named."""

import functools
import itertools
import pathlib
import re
import shlex

import pytest

from ssljax import command_line, methods, recipe
from ssljax.command_line import listing
from ssljax.protocols import evaluate as protocols

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = sorted(ROOT.glob("docs/*.md"))
PAGES = [README, *DOCS, *sorted(ROOT.glob("examples/*/README.md"))]
RECIPES = sorted(path.stem for path in ROOT.glob("configs/*_*.py"))
PROTOCOLS = sorted(path.stem for path in ROOT.glob("configs/eval/*.py"))
PROTOCOLS.remove("common")
COMMANDS = [f"eval/{name}" for name in PROTOCOLS] + [
  f"weights/{path.stem}" for path in sorted(ROOT.glob("configs/weights/*.py"))
]

BLOCK = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)#\s]*)#?([^)\s]*)\)")
FILE = re.compile(r"\b(?:ssljax|tests|configs|benchmarks|examples)/[\w/.]+(?![\w/.<])")
OPTION = re.compile(r'(?:"--(?=\w+")|\b(?=\w+=\())(\w+)')  # of a benchmark
FLAG = re.compile(r"--config\.([\w.]+)=")
PROTOCOL_ROW = re.compile(r"^\| `(\w+)(:\w+)?` (?:`(--[^`]*)`)?", re.MULTILINE)
CUT = {"runs/...", "..."}  # a value that the reader fills in


def where(path):
  return path.relative_to(ROOT).as_posix()


def anchors(page):
  """What links may name: headings as GitHub spells them."""
  heads = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text("utf-8")), re.MULTILINE)
  return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def snippets(page):
  """Lines of code blocks, and what stands between backticks, on one line."""
  text = page.read_text("utf-8")
  for block in BLOCK.findall(text):
    yield from block.splitlines()[1:-1]
  for code in CODE.findall(BLOCK.sub("", text)):
    yield " ".join(code.split())


def commands(page, program):
  """The arguments of every `PROGRAM ...` of a page, a list each."""
  for snippet in snippets(page):
    for command in snippet.split(" && "):
      _, found, rest = command.partition(program)
      if found and "<" not in rest and rest != " ...":
        yield shlex.split(rest, comments=True)


def unknown_fields(arguments):
  """Loads, changes and checks a config as run.py does -> fields that it lacks."""
  overrides, rest = command_line.split(arguments)
  options = dict(itertools.pairwise(rest))
  name = options.get("--config", "configs/simclr_digits.py")
  known = {"--config", "--workdir", "--fields", "--help"}
  assert {option for option in rest if option.startswith("--")} <= known
  _, config = command_line.load(name)
  for path, text in overrides:
    if text not in CUT:
      command_line.override(config, path, text)
  (protocols if "evaluator" in config else recipe).check(config)
  return {path for path, _ in overrides} - fields_of(config)


def fields_of(config):
  lines = listing.fields_text(config).splitlines()
  return {line.split()[0] for line in lines}


@functools.cache
def every_field():
  """The fields of all recipes and protocols, in their full form."""
  configs = (command_line.load(name)[1] for name in [*RECIPES, *COMMANDS])
  return set().union(*map(fields_of, configs))


@pytest.mark.parametrize("page", PAGES, ids=where)
def test_every_link_leads_to_a_page_and_a_heading(page):
  for name, anchor in LINK.findall(page.read_text("utf-8")):
    target = page.parent / name if name else page
    assert target.exists(), name
    assert not anchor or anchor in anchors(target), f"{name}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=where)
def test_every_command_can_be_typed(page):
  """Its config, variant and fields are there, and every value within its range."""
  for arguments in commands(page, "python run.py"):
    assert not unknown_fields(arguments), arguments
  for program in ROOT.glob("benchmarks/*.py"):
    for arguments in commands(page, f"python benchmarks/{program.name}"):
      options = {a.removeprefix("--") for a in arguments if a.startswith("--")}
      assert options <= {"quick", *OPTION.findall(program.read_text())}, arguments


@pytest.mark.parametrize("page", PAGES[-1:], ids=where)
def test_every_command_of_an_example_has_its_options(page):
  for program in page.parent.glob("*.py"):
    found = [*commands(page, f"-m examples.{page.parent.name}.{program.stem}")]
    options = set(re.findall(r'"(--\w+)"', program.read_text()))
    for arguments in found:
      assert {a for a in arguments if a.startswith("--")} <= options, arguments
    assert found or "__main__" not in program.read_text(), program


def test_every_protocol_s_command_can_be_typed():
  """The table of all protocols on one run gives their names, variants and fields."""
  rows = PROTOCOL_ROW.findall((ROOT / "docs/evaluation.md").read_text("utf-8"))
  assert {name for name, *_ in rows} >= set(PROTOCOLS)
  for name, variant, flags in rows:
    line = ["--config", f"configs/eval/{name}.py{variant}", *shlex.split(flags)]
    if name not in ("compare", "prepare"):  # of runs, of none
      assert not unknown_fields([*line, "--config.checkpoint=runs/a"]), line


@pytest.mark.parametrize("page", PAGES, ids=where)
def test_every_field_is_one_of_some_config(page):
  assert set(FLAG.findall(page.read_text("utf-8"))) <= every_field()


def test_readme_is_short():
  assert len(README.read_text("utf-8").splitlines()) <= 250


def test_readme_names_every_page_config_and_method():
  text = README.read_text("utf-8")
  for page in DOCS:
    assert f"({where(page)})" in text
  for name in RECIPES:
    assert f"`{name}`" in text
  for method in methods.METHODS.values():
    file = method.__module__.split(".")[-1]
    assert f"`{file}.py`" in text or file == "linear_probe"  # a protocol's


@pytest.mark.parametrize("page", PAGES, ids=where)
def test_every_file_that_is_named_is_there(page):
  for snippet in snippets(page):
    for path in FILE.findall(snippet):
      assert (ROOT / path.rstrip(".")).exists(), path

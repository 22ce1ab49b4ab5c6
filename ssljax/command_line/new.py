"""`new method NAME`: files, a line and a row that a method begins with."""

import pathlib
import re
import string
from collections.abc import Sequence

from ssljax import recipe
from ssljax.command_line import HOME, PACKAGE
from ssljax.fields import ConfigError

TEMPLATES = pathlib.Path(__file__).parent / "templates"
FILES = {  # template -> where it goes, from the repository's root
  "method": "ssljax/methods/{}.py",
  "config": "configs/{}_cifar10.py",
  "test": "tests/methods/test_{}.py",
  "page": "docs/methods/{}.md",
}
IMPORT = re.compile(r"^from ssljax\.methods\.(\w+) import .*\n", re.MULTILINE)
LAST_LINE = re.compile(r"^(METHODS: .*?)^}", re.MULTILINE | re.DOTALL)
BASELINE = "| cross-entropy, the baseline |"  # README's rows of methods end before it


def write(arguments: Sequence[str]) -> str:
  """Writes the files of a method that learns as SimCLR does -> what to do next.

  `arguments`: "method" and its name, as configs will say it. A repository's clone is
  asked for; ConfigError elsewhere, and where there is one of this name.
  """
  match arguments:
    case ["method", name]:
      root = _clone()
    case _:
      raise ConfigError(f"new {' '.join(arguments)}: write new method NAME")
  if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
    raise ConfigError(f"new method {name}: a name is lower_case, such as my_method")
  files = {key: root / place.format(name) for key, place in FILES.items()}
  if taken := [file for file in files.values() if file.exists()]:
    raise ConfigError(f"new method {name}: {taken[0]} is there")
  if name in recipe.methods.KNOWN:
    raise ConfigError(f"new method {name}: there is a method of this name")
  words = name.split("_")
  titles = {
    "name": name,
    "title": " ".join(word.capitalize() for word in words),
    "class_name": "".join(word.capitalize() for word in words),
  }
  table, readme = root / "ssljax/methods/__init__.py", root / "README.md"
  changed = {
    table: _with_line(table.read_text("utf-8"), name, titles["class_name"]),
    readme: _with_row(readme.read_text("utf-8"), name, titles["title"]),
  }
  for key, file in files.items():
    template = string.Template((TEMPLATES / f"{key}.txt").read_text("utf-8"))
    changed[file] = template.substitute(titles)
  for file, text in changed.items():
    file.write_text(text, "utf-8")
  lines = [f"  {file.relative_to(root)}" for file in changed]
  test = files["test"].relative_to(root)
  laws = f"pytest -m '' {test} tests/test_contract.py tests/test_microbatch.py "
  laws += f"tests/test_site.py -k {name}"
  return "\n".join(["Written, or given a line:", *lines, "Its laws:", f"  {laws}"])


def _clone() -> pathlib.Path:
  if HOME == PACKAGE or not (HOME / "tests" / "methods").is_dir():
    raise ConfigError(
      f"new method: {HOME} is no clone of the repository, where a method's config and "
      "test belong; clone it, and install it by pip install -e ."
    )
  return HOME


def _with_line(text: str, name: str, class_name: str) -> str:
  """Adds the import, in the order of the alphabet, and the last line of METHODS."""
  line = f"from ssljax.methods.{name} import {class_name}\n"
  places = [m for m in IMPORT.finditer(text) if m[1] < name]
  at = places[-1].end() if places else IMPORT.search(text).start()
  text = text[:at] + line + text[at:]
  return LAST_LINE.sub(rf'\1  "{name}": {class_name},\n}}', text, count=1)


def _with_row(text: str, name: str, title: str) -> str:
  row = f"| {title} | `{name}.py` | `{name}_cifar10` | - |\n"
  return text.replace(BASELINE, row + BASELINE, 1)

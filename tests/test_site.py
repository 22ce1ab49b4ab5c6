"""The site: every method has its page, what a page names is there, and it builds."""

import importlib.util
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

ROOT = pathlib.Path(__file__).parent.parent
sys.path.append(str(ROOT / "docs"))

from generator import drawing, methods

WRITTEN = sorted(path.stem for path in ROOT.glob("docs/methods/[!R]*.md"))
SECTIONS = ["## Equation", "## Pseudo-code", "## Pitfalls"]
LINK = re.compile(r"\]\(([^)#\s]+\.md)")
LANES = [["view 1", "f", "g", "q"], ["view 2", "slow f", "slow g", "stop"], ["queue"]]


def text(name):
  return (ROOT / f"docs/methods/{name}.md").read_text("utf-8")


def drawn(lanes):
  return ET.fromstring(drawing.svg(lanes, "the loss", "a < b"))


def of(picture, tag, look=None):
  found = picture.iter(f"{{http://www.w3.org/2000/svg}}{tag}")
  return [part for part in found if look in (None, part.get("class"))]


def test_every_method_has_a_page_and_every_page_a_method():
  assert sorted(methods.names()) == WRITTEN


@pytest.mark.parametrize("name", methods.names())
def test_a_page_says_all_and_names_what_is_there(name):
  fields, body = methods.head(text(name))
  assert fields.keys() == {"recipe", *methods.FIELDS, "lanes", "loss"}
  assert fields["recipe"] in methods.recipes(name)
  assert [line for line in body.splitlines() if line.startswith("## ")] == SECTIONS
  assert body.count("$") >= 4  # an equation or more
  code = re.search(r"```python\n(.*?)```", body, re.DOTALL)[1].splitlines()
  assert 4 <= len(code) <= 15
  for link in LINK.findall(body):
    assert (ROOT / "docs/methods" / link).exists(), link
  for named in re.findall(r"`(\w+?_(?:cifar100?|imagenet|folder))(?::\w+)?`", body):
    assert named in methods.configs(), named
  page = methods.page(name, text(name))
  for recipe in methods.recipes(name):
    assert methods.configs()[recipe][1] in page
  config, _ = methods.configs()[fields["recipe"]]
  assert f"| `method.name` | `{config.method.name}` |" in page


@pytest.mark.parametrize("name", methods.names())
def test_words_stay_in_their_boxes(name):
  fields, _ = methods.head(text(name))
  picture = drawn(fields["lanes"])
  width = float(picture.get("viewBox").split()[2])
  for part in of(picture, "text"):
    letters = len(part.text) * 6.6
    at, anchor = float(part.get("x")), part.get("text-anchor")
    left = at - {"middle": letters / 2, "end": letters, "start": 0}[anchor]
    assert left >= -2, part.text
    assert left + letters <= width, part.text
  assert all(len(part.text) <= drawing.LETTERS for part in of(picture, "text")[:-1])


def test_a_drawing_has_lanes_copies_and_where_the_gradient_stops():
  picture = drawn(LANES)
  assert len(of(picture, "rect", "data")) == 2
  assert len(of(picture, "rect", "net")) == 3
  assert len(of(picture, "rect", "slow")) == len(of(picture, "path", "average")) == 2
  assert len(of(picture, "rect", "memory")) == 1
  assert len(of(picture, "path", "stop")) == 1
  assert of(picture, "title")[0].text == "a < b"


def test_neighbours_of_one_name_are_one_network():
  (shared,) = of(drawn([["view 1", "f"], ["view 2", "f"]]), "rect", "net")
  assert float(shared.get("width")) == 2 * drawing.WIDTH + drawing.ACROSS


@pytest.mark.parametrize(
  ("named", "claim", "expected"),
  [
    ("`a`", "kNN 1", {"a": "kNN 1"}),
    ("`a`, `b`", "1; 2", {"a": "1", "b": "2"}),
    ("`a`, `b`; `c`, `:x`", "-; 2", {"a": "-", "b": "-", "c": "2"}),
    ("`a`; `b`, `:x`, `:y`", "-; 1; 2; 3", {"a": "-", "b": "1; `:x` 2; `:y` 3"}),
    ("`a`, `b`, `--c=`", "1; 2", {"a": "1; 2", "b": "1; 2"}),
  ],
)
def test_claims_are_dealt_to_the_recipes_they_are_of(named, claim, expected):
  assert methods.dealt(named, claim) == expected


def test_results_are_those_of_the_tables():
  assert methods.published()["byol_imagenet"] == "linear 74.3, 1000 epochs"
  assert methods.reached().keys() <= methods.configs().keys()
  assert methods.costs().keys() <= methods.configs().keys()
  assert len(methods.reached()) > 20
  assert len(methods.costs()) > 20


@pytest.mark.skipif(
  not all(map(importlib.util.find_spec, ("sphinx", "myst_nb", "furo"))),
  reason="the site is built with the extra `docs`",
)
def test_the_site_builds_without_a_warning(tmp_path):
  site = tmp_path / "site"
  line = sys.executable, "-m", "sphinx", "-q", "-W", "-c", "docs", ".", str(site)
  done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  index = (site / "index.html").read_text("utf-8")
  for name in methods.names():
    assert f'href="docs/methods/{name}.html"' in index

"""The site, built from the repository's root with the extra `docs`.

    sphinx-build -W -c docs . build/site

Sources are what GitHub shows, from the root, so that a link is the same on both; Sphinx
follows each, and a broken one fails. `generator/` adds what is read off the code:
docs/add_a_method.md says how a method's page comes about.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

from generator import pages  # noqa: E402

project = "ssljax"
author = "the authors of ssljax"
root_doc = "README"  # and index.html
include_patterns = [
  *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
  *("docs/*.md", "docs/*/*.md", "examples/*/README.md", "notebooks/*.ipynb"),
]
exclude_patterns = ["build", "dist", "runs", ".*"]
extensions = ["myst_nb", "sphinx.ext.autodoc"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4  # spelled as GitHub does
nb_execution_mode = "off"  # tests/test_notebooks.py runs them
suppress_warnings = ["misc.highlighting_failure"]  # a notebook's `%pip` is no Python
autodoc_typehints = "description"
autodoc_member_order = "bysource"
default_role = "code"  # docstrings have one backtick, as Markdown

html_theme = "furo"
html_title = "ssljax"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False


def setup(app):
  """Sphinx calls this by its name."""
  app.connect("source-read", pages.complete)
  app.connect("build-finished", pages.begin_with_readme)

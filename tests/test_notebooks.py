"""Notebooks run from top to bottom, as a person runs them, and show pictures."""

import re

import command_line
import conftest
import nbclient
import nbformat
import pytest

pytestmark = pytest.mark.slow  # a kernel each

NOTEBOOKS = sorted((command_line.ROOT / "notebooks").glob("*.ipynb"))
TRAINS = re.compile(r"^( *)(.*\btrain_and_evaluate\(config)", re.MULTILINE)
SHORT = r"\1config.epochs = 2\n\1\2"  # every line is run; the epochs teach no test


def read(path):
  return nbformat.read(path, as_version=4)


def code(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def own_process(tmp_path, monkeypatch):
  """One device, files in a folder that goes away, programs compiled once."""
  for name, value in command_line.QUICK.items():
    monkeypatch.setenv(name, value)
  monkeypatch.setenv("XLA_FLAGS", conftest.xla_flags(1))
  monkeypatch.setenv("TMPDIR", str(tmp_path))
  monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_its_pictures(path, own_process):
  notebook = read(path)
  for cell in code(notebook):
    cell.source = TRAINS.sub(SHORT, cell.source)
  where = {"metadata": {"path": str(path.parent)}}
  nbclient.NotebookClient(
    notebook, timeout=command_line.LONGEST, resources=where
  ).execute()
  shown = [
    output
    for cell in code(notebook)
    for output in cell.outputs
    if "image/png" in output.get("data", {})
  ]
  assert shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_kept_with_a_notebook(path):
  for cell in code(read(path)):
    assert not cell.outputs
    assert cell.execution_count is None


def test_all_notebooks_begin_with_the_same_setup():
  setups = {next(iter(code(read(path)))).source for path in NOTEBOOKS}
  assert len(setups) == 1

"""Notebooks run from top to bottom, as a person runs them, and show pictures."""

import pathlib

import conftest
import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST_SECONDS = 180  # of a cell; slow machines share their cores


def read(path):
  return nbformat.read(path, as_version=4)


def code(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def own_process(tmp_path, monkeypatch):
  """One device, files in a folder that goes away, programs compiled once."""
  cache = {
    "compilation_cache_dir": conftest.CACHE,
    "persistent_cache_min_compile_time_secs": 0.2,
    "persistent_cache_min_entry_size_bytes": 0,
  }
  for name, value in cache.items():
    monkeypatch.setenv(f"JAX_{name.upper()}", str(value))
  monkeypatch.setenv("XLA_FLAGS", " ".join(conftest.CALLERS))
  monkeypatch.setenv("TMPDIR", str(tmp_path))
  monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_its_pictures(path, own_process):
  notebook = read(path)
  where = {"metadata": {"path": str(path.parent)}}
  nbclient.NotebookClient(notebook, timeout=MOST_SECONDS, resources=where).execute()
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

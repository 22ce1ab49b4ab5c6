"""Benchmarks start, from any folder, and say numbers."""

import json
import math

import command_line
import pytest

pytestmark = pytest.mark.slow  # a program each

FOLDER = command_line.ROOT / "benchmarks"
PROGRAMS = sorted(
  path.name for path in FOLDER.glob("*.py") if "__main__" in path.read_text()
)


def numbers(told):
  """Every number in what a line of JSON holds."""
  if isinstance(told, dict | list):
    for part in told.values() if isinstance(told, dict) else told:
      yield from numbers(part)
  elif isinstance(told, int | float):
    yield told


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_quick_benchmark_ends_and_its_figures_are_finite(name, tmp_path):
  code, output, errors = command_line.run(
    "--quick", program=f"benchmarks/{name}", cwd=tmp_path
  )
  assert code == 0, errors
  lines = output.splitlines()
  assert lines
  for line in lines:
    if not line.startswith("{"):
      assert "nan" not in line  # a table
      continue
    told = json.loads(line)
    assert all(map(math.isfinite, numbers(told)))
    if "peer" in told:  # figures of both, or why there are none
      assert min(told["ours"].values()) >= 0
      assert told.keys() & {"theirs", "skipped"}, line

"""A run killed at a random moment ends bit for bit as the one that nobody touched.

`tests/test_launch.py` does it to two processes of MoCo, an average and a queue; the
long form, of twenty moments for each kind of state, is `benchmarks/soak.py`.
"""

import kill_and_resume
import pytest

pytestmark = pytest.mark.slow  # several programs a recipe


@pytest.mark.parametrize(
  "name",
  ["instdisc_cifar10", "dino_cifar10"],  # a bank; an average and a centre
)
def test_a_killed_run_ends_as_the_untouched_one(name, tmp_path):
  kill_and_resume.kill_and_compare(tmp_path, f"configs/{name}.py:smoke", 12, kills=1)

"""A run killed at a random moment ends bit for bit as the one that nobody touched.

The long form, of twenty moments for each kind of state, is `benchmarks/soak.py`.
"""

import kill_and_resume
import pytest


@pytest.mark.parametrize(
  "name", ["moco_v2_cifar10", "instdisc_cifar10", "dino_cifar10"]
)  # an average and a queue; a bank; an average and a centre
def test_a_killed_run_ends_as_the_untouched_one(name, tmp_path):
  kill_and_resume.kill_and_compare(tmp_path, f"configs/{name}.py:smoke", 24, kills=1)

"""Views that grow during a run: each step is that of its size, and the run one run."""

import jax
import numpy as np
import pytest
import tiny
from numpy.testing import assert_allclose

from ssljax import recipe
from ssljax.core import step_keys
from ssljax.fields import ConfigError


def config(name="simclr_digits", **fields):
  c = tiny.configs()[name].copy_and_resolve_references()
  c.data.update(name="digits", size=8)
  c.augment.update(size=8)
  if name == "simclr_digits":
    c.encoder.stage_sizes = (1,)
  else:
    c.encoder.update(patch_size=2, depth=1, width=16)
  c.optimizer = {"name": "sgd", "learning_rate": 0.03}
  for name, value in fields.items():
    c[name] = value
  return c


def build(c):
  recipe.check(c)
  return recipe.build(c, tiny.PLAN)  # of 40 steps


def test_a_step_is_that_of_a_run_of_its_size():
  """Steps 9 and 10 of 40, on both sides of a quarter, to rounding."""
  grown = build(config(resolution=((0.25, 4),)))
  batch = tiny.batch()
  state = jax.jit(grown.init)(batch)
  step = jax.jit(grown.step)
  for number, size, stage in ((9, 4, 0), (10, 8, 1)):
    c = config()
    c.augment.size = size
    at = state.replace(step=np.int32(number))
    ours, metrics = step(at, batch)
    theirs, expected = jax.jit(build(c).step)(at, batch)
    assert metrics.pop("stage") == stage
    close = lambda a, b: assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
    jax.tree.map(close, (ours, metrics), (theirs, expected))


def test_early_views_are_smaller_and_local_ones_are_not():
  c = tiny.configs()["dino_folder"].copy_and_resolve_references()
  c.resolution = ((0.5, 12),)
  built = build(c)
  ((end, views),) = built.early
  assert end == 20
  seen = views(step_keys(0, 0)[0], tiny.batch())
  last = built.views(step_keys(0, 0)[0], tiny.batch())
  assert seen["image"].shape[2:4] == (12, 12)
  assert last["image"].shape[2:4] == (16, 16)
  assert seen["local"].shape == last["local"].shape


@pytest.mark.parametrize(
  ("value", "sentence"),
  [
    (((0.5, 4), (0.5, 6)), r"resolution=.* the shares of the run must rise"),
    (((1.5, 4),), r"resolution\[0\]\[0\]=1\.5 must be .*at most 1"),
    (((0.5, 0),), r"resolution\[0\]\[1\]=0 must be .*at least 1"),
    (((0.5,),), r"resolution\[0\]=\(0\.5,\) must be"),
    (((0.5, 5),), r"encoder\.patch_size=2 must divide the image's 5 pixels"),
  ],
)
def test_what_cannot_be_is_refused_before_anything_compiles(value, sentence):
  with pytest.raises(ConfigError, match=sentence):
    recipe.trace(build(config("moco_v3_folder", resolution=value)), tiny.batch())

"""DINOv3: Gram anchoring in NumPy, what it sees, and when its teacher is renewed."""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from numpy.testing import assert_allclose, assert_array_equal

from ssljax import core, recipe
from ssljax.fields import ConfigError
from ssljax.losses import predictive
from ssljax.methods import dinov3

RNG = np.random.default_rng(0)


def official(student, teacher):
  """`GramLoss` (normalized, img_level) of patches [B,V,N,D], in float64."""

  def cosines(x):
    x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return x @ x.swapaxes(-1, -2)

  return ((cosines(student) - cosines(teacher)) ** 2).mean((1, 2, 3))


def test_value_and_gradient_are_the_official_ones():
  student, teacher = RNG.normal(size=(2, 3, 2, 5, 4))
  assert_allclose(
    predictive.gram(jnp.float32(student), jnp.float32(teacher)),
    official(student, teacher),
    rtol=1e-5,
  )
  loss = lambda x: predictive.gram(x, jnp.float32(teacher)).mean()  # noqa: E731
  grad = jax.grad(loss)(jnp.float32(student))
  for at in ((0, 0, 0, 0), (1, 1, 4, 2), (2, 0, 3, 3)):
    move = np.zeros_like(student)
    move[at] = 1e-6
    ahead, behind = (official(student + s * move, teacher).mean() for s in (1, -1))
    assert_allclose(grad[at], (ahead - behind) / 2e-6, rtol=1e-3, atol=1e-7)


def test_patches_are_resized_as_pytorch_s_bicubic():
  """Halving a line: taps at half a pixel, (-3, 19, 19, -3) / 32; edges repeated."""
  patches = RNG.normal(size=(1, 1, 16, 2)).astype(np.float32)
  grid = np.pad(patches.reshape(4, 4, 2), ((1, 1), (1, 1), (0, 0)), "edge")
  taps = np.array([-3, 19, 19, -3]) / 32
  expected = [
    np.einsum("i,j,ijd->d", taps, taps, grid[r : r + 4, c : c + 4])
    for r in (0, 2)
    for c in (0, 2)
  ]
  found = dinov3.resized(jnp.asarray(patches), 4)[0, 0]
  assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
  assert_array_equal(dinov3.resized(patches, 16), patches)


def renewals(steps, **numbers):
  """Steps after which the official loop renews its Gram teacher, `numbers` as there."""
  first, every, most = numbers["first"], numbers["every"], numbers["updates"]
  done, count = [], 0
  for it in range(steps):
    if it + 1 >= first and (it + 1) % every == 0 and (not most or count < most):
      done.append(it + 1)
      count += 1
  return done


@pytest.mark.parametrize(
  ("first", "every", "updates"),
  [(0, 3, 0), (0, 3, 2), (7, 3, 2), (9, 3, 2), (10, 3, 1), (2, 5, 0)],
)
def test_the_gram_teacher_is_renewed_when_the_official_one_is(first, every, updates):
  numbers = dict(gram_first=first, gram_every=every, gram_updates=updates)
  method = dataclasses.replace(tiny.parts("dinov3").method, **numbers)
  due = [n for n in range(1, 31) if method.due(jnp.int32(n))]
  assert due == renewals(30, first=first, every=every, updates=updates)


def test_between_renewals_the_gram_teacher_stays_and_then_is_the_teacher_s_encoder():
  built = tiny.parts("dinov3")
  numbers = dict(gram_first=2, gram_every=2, gram_updates=1)
  built = built._replace(method=dataclasses.replace(built.method, **numbers))
  state = first = tiny.first_state(built)
  step = jax.jit(built.step)
  for n in range(1, 5):
    before = state
    state, metrics = step(state, tiny.batch())
    gram = state.target["gram"]["params"]["encoder"]
    teacher = state.target["params"]["encoder"]
    expected = teacher if n == 2 else before.target["gram"]["params"]["encoder"]
    jax.tree.map(assert_array_equal, gram, expected)
  begun = first.target["gram"]["params"]["encoder"]
  jax.tree.map(assert_array_equal, begun, first.params["encoder"])
  assert metrics["gram"] > 0


@pytest.mark.parametrize(
  ("first", "every", "there"), [(0, 3, 0), (7, 3, 9), (9, 3, 9), (2, 5, 5)]
)
def test_a_gram_teacher_that_is_still_to_come_weighs_nothing(first, every, there):
  numbers = dict(gram_first=first, gram_every=every, gram_updates=1)
  always = dict(gram_weight=lambda step: jnp.float32(2.0))
  method = dataclasses.replace(tiny.parts("dinov3").method, **numbers, **always)
  weights = [float(method.weight(jnp.int32(n))) for n in range(20)]
  assert weights == [0.0] * there + [2.0] * (20 - there)


def test_a_recipe_weighs_gram_matrices_from_the_first_renewal_on():
  for name, epoch in (("dinov3_cifar10", 50_000 // 512), ("dinov3_imagenet", 625)):
    config = importlib.import_module(f"configs.{name}").get_config()
    _, start = config.method.gram_weight.milestones
    assert round(start * epoch) == config.method.gram_first
    assert config.method.gram_first % config.method.gram_every == 0


def test_the_loss_is_dinov2_s_and_the_weighted_distance():
  built = tiny.parts("dinov3")
  method, state = built.method, tiny.first_state(built)
  method = dataclasses.replace(method, gram_first=0)
  rng_views, rng = core.step_keys(0, state.step)
  batch = built.views(rng_views, tiny.batch())
  rest = state.replace(params=None)
  heavier = dataclasses.replace(method, gram_weight=lambda step: jnp.float32(5.0))
  none = dataclasses.replace(method, gram_weight=lambda step: jnp.float32(0.0))
  losses, rows = [], []
  for one in (heavier, none):
    loss, aux = jax.jit(one.loss_fn)(state.params, rest, batch, rng)
    losses.append(loss)
    rows.append(aux.outputs["gram"])
  assert_allclose(losses[0] - losses[1], 5 * rows[0].mean(), rtol=1e-4)
  assert batch["image"].shape[2:4] == (8, 8)
  assert batch["larger"].shape[2:4] == (32, 32)


def test_larger_crops_are_the_same_boxes_and_flips_without_distortion():
  config = tiny.configs()["dinov3_cifar10"].copy_and_resolve_references()
  config.augment.update(larger=32, size=16, jitter_p=0.0, gray_p=0.0, blur_p=0.0)
  config.augment.update(solarize_p=0.0, interpolation="bilinear", flip=0.5)
  built = recipe.build(config, tiny.PLAN)
  batch = built.views(jax.random.key(0), tiny.batch())
  small, larger = np.asarray(batch["image"]), np.asarray(batch["larger"])
  halved = larger.reshape(*larger.shape[:2], 16, 2, 16, 2, 3).mean((3, 5))
  far = np.abs(halved - small).mean()
  assert far < 0.2 * np.abs(halved[::-1] - small).mean()


def test_crops_that_are_not_drawn_are_asked_for():
  config = tiny.configs()["dinov3_cifar10"].copy_and_resolve_references()
  config.augment.larger = 0
  with pytest.raises(ConfigError, match=r"larger=0: method 'dinov3' sees crops larger"):
    recipe.build(config, tiny.PLAN)

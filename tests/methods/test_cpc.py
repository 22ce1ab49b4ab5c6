"""CPC's patches and draws by hand, and the method on sound and on text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ssljax import core, nets, optim, schedules
from ssljax.losses import sequence
from ssljax.methods import cpc

PLAN = schedules.Plan(8, num_examples=8, steps_per_epoch=1, total_steps=60)


def test_patches_are_numpy_s_slices_of_the_picture():
  image = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
  grid = cpc.patches(image, size=8, stride=4)
  assert grid.shape == (2, 7, 7, 8, 8, 3)
  for r in range(7):
    for s in range(7):
      expected = image[:, 4 * r : 4 * r + 8, 4 * s : 4 * s + 8]
      assert_array_equal(grid[:, r, s], expected)


def test_the_paper_s_grid_is_7_by_7():
  shape = jax.eval_shape(lambda x: cpc.patches(x, 64, 32), jnp.zeros((1, 256, 256, 1)))
  assert shape.shape == (1, 7, 7, 64, 64, 1)


def test_a_patch_larger_than_the_picture_is_refused():
  with pytest.raises(ValueError, match="patch_size=64 is larger than the picture"):
    cpc.patches(jnp.zeros((1, 32, 40, 1)), 64, 32)


def test_a_crop_larger_than_its_patch_is_refused():
  with pytest.raises(ValueError, match=r"patch_crop=5 must be at most patch_size=4"):
    cpc.ImageCPC(nets.Network(None), patch_size=4, patch_stride=2, patch_crop=5)


def test_a_subcrop_is_a_square_of_the_patch_amid_zeros():
  patch = np.arange(2 * 25, dtype=np.float32).reshape(2, 5, 5, 1) + 1
  corner = np.array([[0, 2], [1, 0]], np.int32)
  out = cpc.subcrop(jnp.asarray(patch), jnp.asarray(corner), 3)
  assert_array_equal(out[0, 1:4, 1:4], patch[0, 0:3, 2:5])
  assert_array_equal(out[1, 1:4, 1:4], patch[1, 1:4, 0:3])
  assert np.count_nonzero(out) == 2 * 9


def image_method(**fields):
  encoder = nets.build({"name": "resnet18", "width": 4, "stage_sizes": (1,)})
  net = nets.Contextual(
    encoder.clone(stem="cifar", norm="layer"),
    nets.build_head("forecast", {"horizon": 1}),
    pixelcnn=nets.build_head("pixelcnn", {"width": 4, "layers": 1}),
  )
  return cpc.ImageCPC(net, patch_size=4, patch_stride=2, patch_crop=3, **fields)


def test_only_training_crops_patches_and_each_its_own_way():
  image = jnp.ones((4, 8, 8, 3))
  method, keys = image_method(), core.keys(jax.random.key(0), jnp.arange(4))
  assert_allclose(method.cut(image), np.ones((4, 3, 3, 4, 4, 3)))
  ramp = image * jnp.arange(64.0).reshape(1, 8, 8, 1)
  first = np.asarray(method.cut(ramp, keys))[..., 0, 0, 0]
  assert len(np.unique(first)) > 2 * 9  # of 9 patches with 4 crops each
  alone = method.cut(ramp[2:3], keys[2:3])
  assert_array_equal(alone[0], method.cut(ramp, keys)[2])


def test_drawn_negatives_are_even_over_the_batch_and_its_positions():
  index = jnp.arange(4, dtype=jnp.int32)
  number = cpc.draw(jax.random.key(0), index, positions=3, count=6000)
  assert number.shape == (4, 6000)
  count = np.bincount(np.ravel(number), minlength=12)
  assert len(count) == 12
  assert_allclose(count, 2000, atol=5 * np.sqrt(2000))
  assert not np.array_equal(number[0], number[1])


def test_an_example_s_negatives_do_not_depend_on_the_order_of_the_batch():
  index = np.array([40, 7, 23, 11], np.int32)
  order = np.array([2, 0, 3, 1])

  def latents(index):  # (example, position) that each draws
    number = np.asarray(cpc.draw(jax.random.key(1), jnp.asarray(index), 5, 9))
    return np.stack([index[number // 5], number % 5], -1)

  assert_array_equal(latents(index[order]), latents(index)[order])


def sound():
  """Tones of different pitch: what comes next is to be told from the other tones."""
  pitch = np.random.default_rng(0).uniform(0.02, 0.5, (8, 1, 1))
  batch = {"audio": np.sin(pitch * np.arange(960)), "index": np.arange(8)}
  return {"audio": np.float32(batch["audio"]), "index": np.int32(batch["index"])}


def text():
  """Passages of 5 sentences, each with words of its own."""
  words = np.random.default_rng(0).integers(1, 4, (8, 1, 5, 6))
  own = 3 * np.arange(8)[:, None, None, None]
  return {"text": np.int32(words + own), "index": np.arange(8, dtype=np.int32)}


def on(kind, **fields):
  """-> the method on sound or on text, and a batch."""
  cls, encoder, batch = {
    "audio": (cpc.AudioCPC, {"name": "waveform", "width": 16}, sound()),
    "text": (cpc.TextCPC, {"name": "sentence", "vocabulary": 28, "width": 16}, text()),
  }[kind]
  net = nets.Contextual(
    nets.build(encoder),
    nets.build_head("forecast", {"horizon": 2}),
    gru=nets.build_head("gru", {"width": 8}),
  )
  return cls(net, **fields), batch


def start(method, batch):
  """-> state at step 0, the jitted step; the batch is all there is of views."""

  def views(rng, batch):
    return batch

  tx = optim.build({"name": "adamw", "learning_rate": 3e-3}, PLAN)
  parts = method, tx, views, 0
  state = jax.jit(lambda: core.init_state(*parts, batch))()
  return state, jax.jit(lambda state, batch: core.train_step(*parts, state, batch))


@pytest.mark.parametrize("kind", ["audio", "text"])
def test_features_are_the_context_s_mean_of_sound_and_the_latents_of_text(kind):
  method, batch = on(kind)
  state, _ = start(method, batch)
  x = batch[kind][:, 0]
  see = {kind: x}
  out = jax.jit(lambda p: method.net.apply({"params": p}, see, train=False))(
    state.params
  )
  expected = {"audio": out["context"], "text": out["latents"]}[kind].mean(1)
  assert_allclose(jax.jit(method.embed)(state, x), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["audio", "text"])
def test_the_loss_is_the_mean_over_steps_and_falls(kind):
  method, batch = on(kind)
  state, step = start(method, batch)
  x = {kind: batch[kind][:, 0]}
  out = jax.jit(lambda p: method.net.apply({"params": p}, x, train=True))(state.params)
  expected = np.asarray(sequence.cpc(out["predictions"], out["latents"]))
  _, metrics = step(state, batch)
  assert_allclose(metrics["loss"], expected.mean(), rtol=1e-5)
  assert_allclose(metrics["loss_next"], expected[0], rtol=1e-5)
  assert_allclose(metrics["loss_farthest"], expected[1], rtol=1e-5)
  for _ in range(60):
    state, metrics = step(state, batch)
  assert metrics["loss"] < 0.9 * expected.mean()


@pytest.mark.parametrize("kind", ["audio", "text"])
def test_drawn_negatives_leave_the_loss_as_it_is_in_whatever_order(kind):
  method, batch = on(kind, negatives=4)
  state, step = start(method, batch)
  order = np.array([3, 1, 7, 0, 2, 6, 5, 4])
  _, metrics = step(state, batch)
  _, permuted = step(state, {k: v[order] for k, v in batch.items()})
  assert_allclose(permuted["loss"], metrics["loss"], rtol=1e-5)
  everything, _ = on(kind)
  _, all_metrics = start(everything, batch)[1](state, batch)
  assert metrics["loss"] < all_metrics["loss"]  # of 5 candidates, not of all

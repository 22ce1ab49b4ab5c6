import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssljax import fields, sharding
from ssljax.evals import EVALUATORS, features


@jax.jit
def embed(batch):
  image = batch["image"].astype(jnp.float32)
  return jnp.stack([image.mean((1, 2, 3)), image.max((1, 2, 3))], axis=1)


def pictures(n, size=4):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (n, size, size, 3), np.uint8)
  return images, np.arange(n) % 3


def in_batches(images, labels, batch_size):
  for i in range(0, len(images), batch_size):
    j = i + batch_size
    index = np.arange(len(images), dtype=np.int32)[i:j]
    yield {"image": images[i:j], "label": labels[i:j].astype(np.int32), "index": index}


@pytest.mark.parametrize("devices", [1, 8])
def test_every_picture_once_and_in_order_although_the_last_batch_is_short(devices):
  images, labels = pictures(21)
  mesh = sharding.make_mesh(jax.devices()[:devices])
  batches = in_batches(images, labels, batch_size=5)
  x, y = features.extract(embed, batches, mesh)
  expected = np.stack([images.mean((1, 2, 3)), images.max((1, 2, 3))], axis=1)
  np.testing.assert_allclose(x, expected, rtol=1e-6)
  np.testing.assert_array_equal(y, labels)
  assert x.dtype == np.float32
  assert y.dtype == np.int32


def test_the_short_last_batch_compiles_nothing_new():
  counted = jax.jit(lambda batch: embed(batch) + 1)
  batches = in_batches(*pictures(30), batch_size=16)
  features.extract(counted, batches, sharding.make_mesh())
  assert counted._cache_size() == 1


def test_rows_that_the_loader_masked_count_for_nothing():
  images, labels = pictures(8)
  mask = np.array([True, False, True, True, False, True, True, False])
  batch = {"image": images, "label": labels.astype(np.int32), "mask": mask}
  x, y = features.extract(embed, [batch], sharding.make_mesh())
  np.testing.assert_allclose(x[:, 0], images[mask].mean((1, 2, 3)), rtol=1e-6)
  np.testing.assert_array_equal(y, labels[mask])


def test_embed_sees_everything_that_came_with_the_picture():
  images, labels = pictures(8)
  batch = {"image": images, "label": labels, "aspect": np.linspace(0.5, 2, 8)}
  batch = {name: x.astype(np.float32) for name, x in batch.items()}
  seen = jax.jit(lambda batch: batch["aspect"][:, None])
  x, _ = features.extract(seen, [batch], sharding.make_mesh())
  np.testing.assert_array_equal(x[:, 0], batch["aspect"])


def test_raw_pixels_are_centred_on_the_train_mean():
  train, labels = pictures(16)
  test = 255 - train[:8]
  found = features.centred(
    features.collect(
      features.raw_pixels,
      in_batches(train, labels, 8),
      in_batches(test, labels[:8], 8),
      3,
      sharding.make_mesh(),
    )
  )
  flat = train.reshape(16, -1) / 255
  expected = test.reshape(8, -1) / 255 - flat.mean(0)
  np.testing.assert_allclose(found.test_x, expected, atol=1e-6)
  np.testing.assert_allclose(found.train_x, flat - flat.mean(0), atol=1e-6)


def test_a_label_outside_the_classes_is_named():
  images, _ = pictures(8)
  labelled = in_batches(images, np.zeros(8), 8)
  strange = in_batches(images, np.arange(8), 8)
  seen = features.collect(embed, labelled, strange, 3, sharding.make_mesh())
  with pytest.raises(fields.ConfigError, match=r"label=3 .* 3 classes .* 0\.\.2; cor"):
    features.labelled(seen)


def test_what_has_no_label_is_left_to_those_who_ask_for_none():
  images, _ = pictures(8)
  train, test = np.array([0, -1, 1, -1, 0, 1, 1, 0]), np.array([-1, 0, 1, 0] * 2)
  splits = in_batches(images, train, 8), in_batches(images[::-1], test, 8)
  seen = features.collect(embed, *splits, 2, sharding.make_mesh())
  looked = []
  seen = seen._replace(look=lambda change, rows=None: looked.append(rows))
  labelled = features.labelled(seen)
  np.testing.assert_array_equal(labelled.train_y, train[train >= 0])
  np.testing.assert_array_equal(labelled.train_x, seen.train_x[train >= 0])
  np.testing.assert_array_equal(labelled.test_index, np.flatnonzero(test >= 0))
  labelled.look(None)
  labelled.look(None, [0, 2])
  np.testing.assert_array_equal(looked[0], np.flatnonzero(test >= 0))
  np.testing.assert_array_equal(looked[1], np.flatnonzero(test >= 0)[[0, 2]])
  whole = in_batches(images, np.zeros(8), 8), in_batches(images, np.zeros(8), 8)
  seen = features.collect(embed, *whole, 1, sharding.make_mesh())
  assert features.labelled(seen) is seen


def test_a_split_may_have_no_labels_at_all():
  images, _ = pictures(8)
  splits = (in_batches(images, np.full(8, -1), 8) for _ in range(2))
  seen = features.collect(embed, *splits, 0, sharding.make_mesh())
  np.testing.assert_array_equal(seen.test_y, np.full(8, -1))


def test_no_pictures_is_an_error_with_a_way_out():
  with pytest.raises(ValueError, match="0 pictures, it needs at least one"):
    features.extract(embed, [], sharding.make_mesh())


def test_accuracy_counts_the_label_among_the_highest_scores():
  scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3], [0.4, 0.4, 0.2]])
  labels = np.array([2, 0, 1])
  assert features.accuracy(scores, labels) == pytest.approx(100 / 3)
  assert features.accuracy(scores, labels, top=2) == 100


@pytest.mark.parametrize("name", ["knn", "linear", "few_label", "retrieval"])
def test_well_separated_classes_are_told_apart_by(name):
  rng = np.random.default_rng(0)
  labels = np.arange(240) % 6
  x = np.eye(6)[labels] + 0.01 * rng.normal(size=(240, 6))
  x = x.astype(np.float32)
  cut = features.FeatureSet(x[:180], labels[:180], x[180:], labels[180:], 6)
  numbers = {"knn": {"k": 20}, "retrieval": {"ks": (1, 9)}}
  result = EVALUATORS[name](cut, **numbers.get(name, {}))
  assert all(np.isscalar(value) for value in result.values())
  assert all(v == (0 if k.endswith("_std") else 100) for k, v in result.items())

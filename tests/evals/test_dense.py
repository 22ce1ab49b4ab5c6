"""Answers for each pixel: shares, votes, heads and their figures."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from sklearn.datasets import load_digits
from sklearn.metrics import (
  accuracy_score,
  jaccard_score,
  mean_absolute_percentage_error,
  root_mean_squared_error,
)

sys.path.append(str(tiny.ROOT / "benchmarks"))
import dense as made_here

from ssljax.evals import dense
from ssljax.evals.dense import Maps, depth, segmentation
from ssljax.fields import ConfigError

NONE = segmentation.NONE


def test_a_resize_is_that_of_pytorch():
  """The example of torch.nn.Upsample, bilinear without align_corners."""
  x = jnp.array([[1.0, 2.0], [3.0, 4.0]])[None, :, :, None]
  expected = [
    [1.00, 1.25, 1.75, 2.00],
    [1.50, 1.75, 2.25, 2.50],
    [2.50, 2.75, 3.25, 3.50],
    [3.00, 3.25, 3.75, 4.00],
  ]
  np.testing.assert_allclose(dense.resize(x, 4)[0, :, :, 0], expected, rtol=1e-6)


def test_raw_patches_are_the_pixels_of_each_in_the_order_of_their_grid():
  image = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
  patches = dense.raw_patches(image, 2, 2)
  np.testing.assert_allclose(
    patches[1, 0, 1], image[1, :4, 4:].reshape(-1) / 255, rtol=1e-5, atol=1e-6
  )
  assert dense.raw_patches(np.zeros((1, 64, 64, 3), np.uint8), 2, 2).shape[-1] == 192


def test_intersection_over_union_is_scikit_learn_s_over_all_pictures():
  rng = np.random.default_rng(0)
  masks = rng.integers(0, 4, (5, 6, 6)).astype(np.uint8)
  predicted = np.where(rng.random(masks.shape) < 0.6, masks, 1).astype(np.uint8)
  masks[rng.random(masks.shape) < 0.2] = NONE
  counts = segmentation.tally(masks, predicted, 7)  # three classes are nowhere
  scores, iou = segmentation.scores(counts)
  seen = masks != NONE
  pair = masks[seen], predicted[seen]
  expected = 100 * jaccard_score(*pair, average=None, labels=range(4))
  np.testing.assert_allclose(iou[:4], expected)
  assert np.isnan(iou[4:]).all()
  assert scores["miou"] == pytest.approx(expected.mean())
  assert scores["pixel_accuracy"] == pytest.approx(100 * accuracy_score(*pair))


def test_intersection_over_union_by_hand():
  masks = np.uint8([[[0, 0, 1, NONE]]])
  predicted = np.uint8([[[0, 2, 1, 1]]])
  scores, iou = segmentation.scores(segmentation.tally(masks, predicted, 4))
  np.testing.assert_allclose(iou, [50, 100, 0, np.nan])  # 2 is predicted, and nowhere
  assert scores == {
    "miou": pytest.approx(50),
    "pixel_accuracy": pytest.approx(200 / 3),
  }


def test_a_patch_has_the_shares_of_its_labelled_pixels():
  mask = np.uint8([[0, 0, 1, 1], [0, 1, NONE, 1], [NONE] * 4, [NONE, NONE, 2, NONE]])
  shares = segmentation.shares_of(mask, 2, 2, 3)
  expected = [[[0.75, 0.25, 0], [0, 1, 0]], [[0, 0, 0], [0, 0, 1]]]
  np.testing.assert_allclose(shares, expected)
  assert segmentation.shares_of(np.zeros((7, 7), np.uint8), 3, 2, 1).all()


def scenes(count, seed, side=8, patch=2):
  """Patches whose features are noisy signs of their class, ground and two others."""
  rng = np.random.default_rng(seed)
  classes = rng.integers(0, 3, (count, side // patch, side // patch))
  masks = classes.repeat(patch, 1).repeat(patch, 2).astype(np.uint8)
  signs = np.float32([[3, 0, 0, 1], [0, 3, 0, 1], [0, 0, 3, 1]])
  x = signs[classes] + rng.normal(0, 0.3, (*classes.shape, 4)).astype(np.float32)
  masks[rng.random(masks.shape) < 0.1] = NONE
  return x, masks


def made():
  return Maps(*scenes(40, 0), *scenes(10, 1))


def test_neighbours_vote_as_written_down():
  maps, numbers = made(), segmentation.Neighbours(5, 0.02, 30, 3)
  predict = segmentation.nearest(maps, 3, numbers)
  bank, shares = segmentation.draw_bank(maps.train_x, maps.train_y, 3, numbers)
  assert bank.shape == (30, 4)
  np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)
  bank = bank / np.linalg.norm(bank, axis=1, keepdims=True)
  query = maps.test_x[:2] / np.linalg.norm(maps.test_x[:2], axis=-1, keepdims=True)
  votes = np.zeros((*query.shape[:3], 3))
  for place in np.ndindex(*query.shape[:3]):
    cosines = bank @ query[place]
    nearest = np.argsort(-cosines)[:5]
    weights = np.exp((cosines[nearest] - cosines.max()) / 0.02)
    votes[place] = weights @ shares[nearest] / weights.sum()
  expected = np.asarray(dense.resize(jnp.float32(votes), 8)).argmax(3)
  np.testing.assert_array_equal(predict(maps.test_x[:2]), expected)


@pytest.mark.parametrize("head", ["knn", "linear"])
def test_features_that_tell_classes_segment(head):
  maps = made()
  predict = segmentation.predictors(maps, 3, k=9, steps=150, learning_rate=0.03)[head]
  counts = segmentation.confusion(predict, maps.test_x, maps.test_y, 3)
  assert counts.sum() == np.sum(maps.test_y != NONE)
  assert segmentation.scores(counts)[0]["pixel_accuracy"] > 85  # by chance 33


def test_a_class_without_a_training_pixel_is_never_predicted():
  """As the number of an ignored one: after one step nothing else would hold it down."""
  maps = made()
  maps = maps._replace(
    train_y=np.where(maps.train_y == 0, NONE, maps.train_y).astype(np.uint8)
  )
  head = segmentation.Head(1, 4, 1e-3, 0.0, 0)
  predict = segmentation.linear(maps, 5, head)
  assert set(np.unique(predict(jnp.asarray(maps.test_x)))) <= {1, 2}


def test_colours_of_patches_tell_digits_from_the_ground_of_scenes():
  """Scikit-learn's digits, a class each, on noise: features that nobody learned."""
  rng, digits = np.random.default_rng(0), load_digits()
  images = np.uint8(digits.images * (255 / 16))
  drawn = [made_here.scene(rng, images, digits.target) for _ in range(60)]
  pictures, masks = (np.stack(x) for x in list(zip(*drawn, strict=True))[:2])
  x = np.asarray(dense.raw_patches(pictures, 16, 16))
  x = x.reshape(*x.shape[:3], 16, 3)
  x = np.concatenate([x.mean(3), x.std(3), x.std(3) ** 2], -1)  # of a patch's colours
  maps = Maps(x[:40], masks[:40], x[40:], masks[40:])
  ground = segmentation.tally(maps.test_y, 0 * maps.test_y, 11)
  by_chance = segmentation.scores(ground)[0]["miou"]
  for name, predict in segmentation.predictors(
    maps, 11, k=5, bank=5000, steps=200, learning_rate=0.03
  ).items():
    counts = segmentation.confusion(predict, maps.test_x, maps.test_y, 11)
    told = np.array([[counts[0, 0], counts[0, 1:].sum()]])
    found = counts[1:, 1:].sum() / counts[1:].sum()  # as some digit
    assert segmentation.scores(counts)[0]["miou"] > by_chance, name
    assert found > 2 * told[0, 1] / told.sum(), name


def test_pixels_without_a_class_move_nothing():
  """Nor does what stands there in the picture."""
  maps = made()
  train_y = maps.train_y.copy()
  train_y[:, :2] = NONE
  x = maps.train_x.copy()
  x[:, 0] = np.roll(x[:, 0], 1, axis=-1)  # moments stay close, what they say does not
  numbers = segmentation.Neighbours(3, 0.02, 10_000, 0)
  bank, _ = segmentation.draw_bank(x, train_y, 3, numbers)
  assert len(bank) == 40 * 12
  with pytest.raises(ConfigError, match=r"segment\.k=30 must be at most the 20 patche"):
    segmentation.nearest(maps, 3, segmentation.Neighbours(30, 0.02, 20, 0))
  with pytest.raises(ConfigError, match="no pixel of the training split has a class"):
    segmentation.draw_bank(x, np.full_like(train_y, NONE), 3, numbers)


def test_moments_by_parts_are_those_of_the_whole():
  x = np.random.default_rng(0).normal(50, 2, (37, 3, 2, 5)).astype(np.float32)
  mean, std = dense.moments(x)
  np.testing.assert_allclose(mean, x.mean((0, 1, 2)), rtol=1e-5)
  np.testing.assert_allclose(std, x.std((0, 1, 2)), rtol=1e-4)


def test_every_example_is_drawn_once_an_epoch():
  order = dense.draws(10, 3, 0)
  epoch = np.concatenate([next(order) for _ in range(3)])
  assert len(set(epoch)) == 9
  assert len(next(dense.draws(2, 16, 0))) == 2


def test_depth_is_the_mean_of_bins_by_adabins_linear_shares():
  scores, centres = np.float32([[-1.0, 0.9, 0.0]]), np.float32([1.0, 2.0, 4.0])
  expected = (0.1 * 1 + 1.0 * 2 + 0.1 * 4) / 1.2
  np.testing.assert_allclose(depth.of_bins(scores, centres), [expected], rtol=1e-6)


def test_the_loss_of_depths_is_scale_invariant_as_in_dinov2_s_code():
  rng = np.random.default_rng(0)
  predicted, truth = rng.uniform(1, 5, (2, 1, 3, 3)).astype(np.float32)
  known = np.ones_like(truth, bool)
  known[0, 0, 0] = False
  g = np.log(predicted[known] + 1e-3) - np.log(truth[known] + 1e-3)
  for step, variance in ((0, 0.0), (100, np.var(g, ddof=1))):
    loss = depth.scale_invariant(predicted, truth, known, np.int32(step))
    assert loss == pytest.approx(np.sqrt(variance + 0.15 * g.mean() ** 2), rel=1e-4)


def test_errors_of_depth_by_hand_and_beside_scikit_learn():
  truth, predicted = np.float32([1, 2, 4, 8]), np.float32([1.2, 2, 6, 6])
  row = depth.of_picture(predicted, truth)
  assert row["rmse"] == pytest.approx(root_mean_squared_error(truth, predicted))
  expected = mean_absolute_percentage_error(truth, predicted)
  assert row["abs_rel"] == pytest.approx(expected) == pytest.approx(0.95 / 4)
  assert row["delta1"] == 50  # 1.2 and 1; not 1.5 and 1.33


def test_a_picture_counts_as_any_other_and_what_is_unknown_not_at_all():
  truth = np.float32([[[1, 1], [0, 99]], [[2, 0], [0, 0]], [[0, 0], [0, 0]]])
  predicted = np.float32([[[1, 3], [5, 5]], [[2, 5], [5, 5]], [[5, 5], [5, 5]]])
  pixels = jnp.asarray(predicted)[..., None]
  told = depth.errors(lambda x: x[..., 0], np.asarray(pixels), truth, (0.1, 10))
  assert told["rmse"] == pytest.approx(np.sqrt(2) / 2)
  assert told["delta1"] == pytest.approx(75)
  with pytest.raises(ConfigError, match=r"depth between 20 and 30; set --config\.dep"):
    depth.errors(lambda x: x[..., 0], np.asarray(pixels), truth, (20, 30))


def test_features_that_tell_depths_are_read():
  x, classes = scenes(40, 0)
  depths = np.float32([1, 2, 4])
  truth = np.where(classes == NONE, 0, depths[np.minimum(classes, 2)])
  maps = Maps(x[:30], truth[:30], x[30:], truth[30:])
  numbers = dict(max_depth=5.0, bins=32, steps=400, learning_rate=0.03)
  predict = depth.predictor(maps, **numbers)
  told = depth.errors(predict, maps.test_x, maps.test_y, (1e-3, 5.0))
  blind = maps._replace(train_x=np.ones_like(maps.train_x), test_x=0 * maps.test_x + 1)
  guess = depth.errors(depth.predictor(blind, **numbers), *blind[2:4], (1e-3, 5.0))
  assert told["rmse"] < 0.8 * guess["rmse"]
  assert told["delta1"] > guess["delta1"] + 20
  with pytest.raises(ConfigError, match=r"depth\.max_depth=0\.0 must be more than"):
    depth.predictor(maps)


def test_numbers_outside_their_range_are_refused():
  with pytest.raises(ConfigError, match=r"segment\.temperature=0 must be"):
    segmentation.predictors(made(), 3, temperature=0)
  with pytest.raises(ConfigError, match=r"depth\.bins=0 must be"):
    depth.predictor(made(), bins=0)


def test_heads_are_trained_with_decay_of_kernels_alone():
  zero = lambda params, rows, step: 0.0 * jnp.sum(params["kernel"])  # noqa: E731
  params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
  trained = dense.train(
    zero,
    params,
    (np.zeros((4, 1)),),
    steps=1,
    batch=2,
    schedule=lambda step: 0.1,
    weight_decay=0.5,
    seed=0,
  )
  np.testing.assert_allclose(trained["kernel"], 0.95)
  np.testing.assert_allclose(trained["bias"], 1.0)
  assert jax.tree.leaves(trained)

"""Hidden patches and the places of crops: what views hand on beside pictures."""

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ssljax import augment
from ssljax.augment import masks
from ssljax.fields import ConfigError

ROWS, COLUMNS = 9, 12


def draw(count, seed=0):
  key = jax.random.key(seed)
  hidden = jax.jit(masks.blocks, static_argnums=(1, 2))(key, ROWS, COLUMNS, count)
  return np.asarray(hidden).reshape(ROWS, COLUMNS)


@pytest.mark.parametrize("count", [0, 1, 7, 50, ROWS * COLUMNS])
def test_as_many_patches_are_hidden_as_asked_for(count):
  assert {draw(count, seed).sum() for seed in range(8)} == {count}


def neighbours(hidden):
  """Of the hidden patches the share of sides that touch another hidden one."""
  pairs = (hidden[1:] & hidden[:-1]).sum() + (hidden[:, 1:] & hidden[:, :-1]).sum()
  return pairs / hidden.sum()


def test_they_lie_in_blocks():
  rng = np.random.default_rng(0)
  single = rng.permuted(np.arange(ROWS * COLUMNS) < 32).reshape(ROWS, COLUMNS)
  mean = np.mean([neighbours(draw(32, seed)) for seed in range(20)])
  assert mean > 1.3 > 0.9 > neighbours(single)


def test_every_patch_is_hidden_now_and_then():
  often = np.mean([draw(32, seed) for seed in range(200)], axis=0)
  assert often.min() > 0.04
  assert often.max() < 0.7


def test_shares_are_those_of_the_recipe_and_half_of_the_views_hide_none():
  keys = jax.random.split(jax.random.key(0), 500)
  blocks = masks.Blocks(mask_p=0.5, mask_min=0.1, mask_max=0.4)
  hidden = np.asarray(blocks.draw(keys, 2, 10, 10)["mask"]).sum(-1) / 100
  assert abs((hidden > 0).mean() - 0.5) < 0.06
  assert_allclose([hidden[hidden > 0].min(), hidden.max()], [0.1, 0.4], atol=0.02)


def ibot(**changed):
  config = {"recipe": "ibot", "size": 16, "patch_size": 4, "local_size": 8}
  return augment.build({**config, "local_views": 2, "mask_p": 1.0, **changed})


def batch(index):
  image = np.random.default_rng(0).integers(0, 256, (64, 24, 32, 3), np.uint8)
  return {"image": image[index], "index": np.int32(index)}


def test_masks_and_places_follow_their_example_and_no_other():
  views = jax.jit(ibot())
  whole = views(jax.random.key(1), batch([3, 5, 8, 13]))
  turned = views(jax.random.key(1), batch([13, 8, 5, 3]))
  assert whole["mask"].shape == (4, 2, 16)
  assert whole["place"].shape == whole["local_place"].shape == (4, 2, 5)
  for entry in ("mask", "place", "local_place"):
    assert_array_equal(whole[entry], turned[entry][::-1])
  flat = np.asarray(whole["mask"]).reshape(8, 16)
  assert len(np.unique(flat, axis=0)) > 5


def test_a_place_says_which_part_of_the_picture_a_view_shows():
  """Pictures whose red and green say the row and the column."""
  rows, columns = np.mgrid[0:64, 0:96]
  ramp = np.stack([255 * rows / 63, 255 * columns / 95, 0 * rows], -1)
  image = np.stack(8 * [np.uint8(ramp.round())])
  plain = {"recipe": "supervised", "size": 32, "crop_min": 0.2}
  views = jax.jit(augment.build(plain, normalise=False))
  out = views(
    jax.random.key(0), {"image": image, "index": np.arange(8, dtype=np.int32)}
  )
  picture, place = np.asarray(out["image"][:, 0]), np.asarray(out["place"][:, 0])
  assert set(place[:, 4]) == {0.0, 1.0}
  share = (np.arange(32) + 0.5) / 32
  for x, (top, left, height, width, mirrored) in zip(picture, place, strict=True):
    across = share[::-1] if mirrored else share
    assert_allclose(x[4:-4, :, 0].mean(1), (top + height * share)[4:-4], atol=0.02)
    assert_allclose(x[:, 4:-4, 1].mean(0), (left + width * across)[4:-4], atol=0.02)


def test_an_impossible_share_is_refused_by_name():
  with pytest.raises(ConfigError, match=r"mask_min=0\.5 must be at most mask_max=0\.4"):
    ibot(mask_min=0.5, mask_max=0.4)


def multiblock(count, rows=14, columns=14, **fields):
  keys = jax.random.split(jax.random.key(0), count)
  drawn = masks.Multiblock(**fields).draw(keys, 1, rows, columns)
  return {name: np.asarray(x)[:, 0] for name, x in drawn.items()}


def test_targets_are_rectangles_of_the_papers_sizes_one_size_a_picture():
  drawn = multiblock(300)
  sizes = []
  for targets, weights in zip(drawn["target"], drawn["weight"], strict=True):
    of_this = set()
    for target, weight in zip(targets, weights, strict=True):
      row, column = np.divmod(target[weight > 0], 14)
      height, width = np.ptp(row) + 1, np.ptp(column) + 1
      cells = set(zip(row, column, strict=True))
      assert len(cells) == (weight > 0).sum() == height * width
      of_this.add((height, width))
    assert len(of_this) == 1
    sizes += of_this
  share = np.prod(sizes, axis=1) / 196
  assert 0.13 < share.min() < 0.16 < 0.19 < share.max() < 0.22
  ratio = np.divide(*np.transpose(sizes))
  assert 0.6 < ratio.min() < 0.9 < 1.3 < ratio.max() < 1.7


def test_a_context_has_nothing_of_its_targets_and_is_drawn_from_its_block():
  drawn = multiblock(300)
  for target, weight, context, seen in zip(
    *(drawn[k] for k in ("target", "weight", "context", "seen")), strict=True
  ):
    visible = context[:seen]
    assert len(set(context)) == len(context)
    assert not set(visible) & set(target[weight > 0])
  assert drawn["seen"].max() <= drawn["context"].shape[1] == 98
  assert 60 < drawn["seen"].mean() < 95
  corner = multiblock(500, context_min=0.3, context_max=0.3)
  for context, seen in zip(corner["context"], corner["seen"], strict=True):
    if seen > 10:  # else others help out
      row, column = np.divmod(context[:seen], 14)
      assert max(np.ptp(row), np.ptp(column)) < 8  # sqrt(0.3) of 14


def test_something_is_seen_even_where_targets_cover_everything():
  drawn = multiblock(50, 2, 2, target_min=1.0, target_max=1.0)
  assert drawn["weight"].all()
  assert (drawn["seen"] == 1).all()


def test_the_last_row_and_column_are_targets_as_often_as_the_first():
  drawn = multiblock(2000)
  often = np.zeros(196)
  np.add.at(often, drawn["target"][drawn["weight"] > 0], 1)
  often = often.reshape(14, 14)
  assert_allclose(often[0].sum(), often[-1].sum(), rtol=0.15)
  assert_allclose(often[:, 0].sum(), often[:, -1].sum(), rtol=0.15)


def test_bounds_in_the_wrong_order_are_refused_by_name():
  with pytest.raises(ConfigError, match=r"target_min=0\.5 must be at most"):
    masks.Multiblock(target_min=0.5)
  with pytest.raises(ConfigError, match=r"context_least=0\.6 must be at most"):
    masks.Multiblock(context_least=0.6)


def test_units_are_hidden_whole_and_their_share_is_rounded_up():
  simmim = masks.Blocks(4, 1.0, 0.6, 0.6, mask_unit=8)
  keys = jax.random.split(jax.random.key(0), 300)
  hidden = np.asarray(simmim.draw(keys, 1, 6, 6)["mask"]).reshape(300, 3, 2, 3, 2)
  assert (hidden == hidden[:, :, :1, :, :1]).all()
  assert set(hidden.sum((1, 2, 3, 4))) == {4 * 6}  # of 9 units 5.4
  assert_allclose(hidden.mean(0), 6 / 9, atol=0.1)


@pytest.mark.parametrize(
  ("share", "unit", "side", "hidden"),
  [(0.6, 8, 10, 4 * 15), (0.61, 8, 10, 4 * 16), (0.29, 0, 10, 29), (0.58, 0, 10, 58)],
)
def test_a_share_that_is_a_whole_number_of_patches_is_that_number(
  share, unit, side, hidden
):
  drawn = masks.Blocks(4, 1.0, share, share, mask_unit=unit)
  keys = jax.random.split(jax.random.key(0), 20)
  found = np.asarray(drawn.draw(keys, 1, side, side)["mask"])
  assert set(found.sum(-1).ravel()) == {hidden}


def test_units_that_do_not_fit_are_refused_by_name():
  with pytest.raises(ConfigError, match="mask_unit=6 must be a multiple of patch_size"):
    masks.Blocks(4, mask_unit=6)
  with pytest.raises(ConfigError, match="mask_unit=12 must divide the views' 32"):
    masks.Blocks(4, 1.0, mask_unit=12).draw(None, 1, 8, 8)

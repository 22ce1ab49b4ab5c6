import jax
import numpy as np
import tiny
from numpy.testing import assert_allclose

from ssljax import core
from ssljax.losses import redundancy
from ssljax.methods.wmse import WMSE

B, D = 12, 2
VIEWS = np.random.default_rng(0).normal(size=(B, 2, D)).astype(np.float32)
INDEX = np.int32(7 * np.arange(B) % 5 + 10 * np.arange(B))


def loss_of(sub_batch, iterations, seed, views=VIEWS, index=INDEX):
  net, params = tiny.linear(D)
  state = core.TrainState(np.int32(0), None, {}, {}, None)
  method = WMSE(net, sub_batch, iterations)
  batch = {"image": views, "index": index}
  return method.loss_fn(params, state, batch, jax.random.key(seed))[0]


def test_one_sub_batch_is_the_whole_batch_whitened_whatever_the_deal():
  white = []
  for x in VIEWS.swapaxes(0, 1).astype(np.float64):
    factor = np.linalg.cholesky(np.cov(x, rowvar=False))
    rows = (x - x.mean(0)) @ np.linalg.inv(factor).T
    white.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
  expected = np.square(white[0] - white[1]).sum(1).mean()
  for seed in (0, 1):
    assert_allclose(loss_of(B, 1, seed), expected, rtol=1e-5)


def test_sub_batches_are_dealt_anew_with_every_rng_and_iteration(monkeypatch):
  dealt = []

  def record(z, order, sub_batch):
    dealt.append(np.asarray(order))
    return z.sum()

  monkeypatch.setattr(redundancy, "w_mse", record)
  for seed in (0, 1):
    loss_of(4, 3, seed)
  for order in np.concatenate(dealt):
    assert sorted(order) == list(range(B))
  assert len({tuple(order) for order in np.concatenate(dealt)}) == 6


def test_a_deal_goes_by_the_examples_index_not_by_its_place_in_the_batch():
  order = np.random.default_rng(1).permutation(B)
  loss = loss_of(4, 3, 0)
  assert_allclose(loss_of(4, 3, 0, VIEWS[order], INDEX[order]), loss, rtol=1e-5)
  assert abs(loss_of(4, 3, 0, index=INDEX[order]) - loss) > 1e-3

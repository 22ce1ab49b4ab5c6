import jax
import numpy as np
import pytest
import tiny
from numpy.testing import assert_allclose

from ssljax import core
from ssljax.losses import metric
from ssljax.methods.metric_learning import LOSSES, MetricLearning

B, DIM = 5, 3
LABEL = np.array([1, -1, 1, 0, -1], np.int32)
SAME_LABEL = [(0, 2), (2, 0)]


def loss_and_views(name, labels, mining="all", views=2):
  net, params = tiny.linear(DIM)
  method = MetricLearning(net, name, labels, 0.7, mining, 0.02, 0.4)
  views = np.random.default_rng(0).normal(size=(B, views, DIM)).astype(np.float32)
  state = core.TrainState(np.int32(0), None, {}, {}, None)
  batch = {"image": views, "label": LABEL}
  loss, aux = jax.jit(method.loss_fn)(params, state, batch, jax.random.key(0))
  assert_allclose(aux.outputs["projection"], views)
  return loss, views


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("labels", "views"), [(False, 2), (True, 2), (True, 1)])
def test_views_of_a_picture_and_with_labels_of_a_class_are_positives(
  name, labels, views
):
  loss, x = loss_and_views(name, labels, views=views)
  positive = np.zeros((B, views, B, views), bool)
  for i, j in [(i, i) for i in range(B)] + (SAME_LABEL if labels else []):
    positive[i, :, j] = True
  positive = positive.reshape(B * views, -1) & ~np.eye(B * views, dtype=bool)
  numbers = {"margin": (0.7,), "triplet": (0.7, "all"), "n_pair": (0.02,)}
  function = getattr(metric, name)
  expected = function(x.reshape(-1, DIM), positive, *numbers.get(name, (0.4,)))
  assert_allclose(loss, expected, rtol=1e-6)


def test_one_view_without_labels_is_told_to_have_no_positive():
  with pytest.raises(ValueError, match=r"labels=False takes .* one view"):
    loss_and_views("margin", labels=False, views=1)


def test_mining_is_the_triplets():
  losses = {
    mining: loss_and_views("triplet", True, mining)[0] for mining in metric.MINING
  }
  assert losses["hard"] > losses["all"]
  assert losses["semi_hard"] not in (losses["hard"], losses["all"])


def test_an_unknown_choice_is_named():
  with pytest.raises(ValueError, match=r"method.loss='soft' must be one of margin"):
    loss_and_views("soft", labels=True)
  with pytest.raises(ValueError, match=r"method.mining='soft' must be one of all"):
    loss_and_views("triplet", labels=True, mining="soft")

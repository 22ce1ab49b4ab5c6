import jax
import numpy as np
import tiny
from numpy.testing import assert_allclose, assert_array_equal

from ssljax import core, nets
from ssljax.methods.supervised import Supervised
from ssljax.nets.heads import Classifier


def test_the_classifier_learns_the_labels_and_says_what_it_thinks():
  x = np.eye(4, dtype=np.float32)
  net = nets.Network(tiny.Encoder(), classifier=Classifier(3))
  method = Supervised(net)
  batch = {"image": x[:, None], "label": np.int32([0, 1, 2, -1])}
  params, stats, target = method.init(jax.random.key(0), batch)
  assert target == {}
  state = core.TrainState(np.int32(0), None, stats, target, None)
  step = jax.jit(jax.value_and_grad(method.loss_fn, has_aux=True))
  unlabelled = params["classifier"]["Dense_0"]["kernel"][3]
  for _ in range(200):
    (loss, aux), grads = step(params, state, batch, jax.random.key(0))
    params = jax.tree.map(lambda p, g: p - g, params, grads)
  assert loss < 0.1
  assert aux.metrics["train_accuracy"] == 1
  logits = method.classify(state.replace(params=params), x)
  assert_array_equal(logits.argmax(1)[:3], [0, 1, 2])
  assert_allclose(params["classifier"]["Dense_0"]["kernel"][3], unlabelled)

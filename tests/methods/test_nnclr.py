import jax
import jax.numpy as jnp
import numpy as np
import tiny
from numpy.testing import assert_allclose, assert_array_equal

from ssljax import core, nets
from ssljax.methods.nnclr import NNCLR
from ssljax.nets.heads import MLP

B, D, K, TEMPERATURE = 4, 5, 8, 0.2


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def linear():
  """Projection x, prediction x @ kernel."""
  net = nets.Network(
    tiny.Encoder(), projector=MLP(layers=1, out=D), predictor=MLP(layers=1, out=D)
  )
  zero = np.zeros(D, np.float32)
  heads = {"projector": np.eye(D, dtype=np.float32), "predictor": normal(1, D, D)}
  params = {k: {"fc1": {"kernel": v, "bias": zero}} for k, v in heads.items()}
  return net, params


def state_of(queue, pointer=0):
  target = {"queue": jnp.asarray(queue), "pointer": jnp.int32(pointer)}
  return core.TrainState(jnp.int32(0), None, {}, target, None)


def algorithm_1(views, queue, projector, predictor):
  """The paper's pseudo-code, one example at a time -> loss."""
  total = 0.0
  for own, other in ((0, 1), (1, 0)):
    p = unit(views[:, other].astype(np.float64) @ projector @ predictor)
    for i, z in enumerate(unit(views[:, own] @ projector)):
      distances = [((z - row) ** 2).sum() for row in queue]
      similar = np.exp(p @ queue[int(np.argmin(distances))] / TEMPERATURE)
      total -= np.log(similar[i] / similar.sum()) / (2 * len(views))
  return total


def slope(function, kernel):
  """Finite differences of function(kernel [D,D]) -> [D,D]."""
  steps = 1e-5 * np.eye(D * D).reshape(D, D, D, D)
  return np.reshape(
    [
      (function(kernel + step) - function(kernel - step)) / 2e-5
      for row in steps
      for step in row
    ],
    (D, D),
  )


def test_loss_and_gradient_are_those_of_the_papers_algorithm():
  net, params = linear()
  views, queue = normal(2, B, 2, D), unit(normal(3, K, D))
  first, second = (params[k]["fc1"]["kernel"] for k in ("projector", "predictor"))
  method = NNCLR(net, TEMPERATURE, K)
  grad_fn = jax.value_and_grad(method.loss_fn, has_aux=True)
  (loss, aux), grads = grad_fn(params, state_of(queue), {"image": views}, None)
  assert_allclose(loss, algorithm_1(views, queue, first, second), rtol=1e-5)
  assert_array_equal(aux.outputs["projection"], views)
  by_first = slope(lambda w: algorithm_1(views, queue, w, second), first)
  by_second = slope(lambda w: algorithm_1(views, queue, first, w), second)
  assert_allclose(grads["projector"]["fc1"]["kernel"], by_first, atol=1e-5)
  assert_allclose(grads["predictor"]["fc1"]["kernel"], by_second, atol=1e-5)


def test_the_queue_takes_the_first_views_directions_after_the_step():
  net, params = linear()
  views, queue = normal(4, B, 2, D), unit(normal(5, K, D))
  method, state = NNCLR(net, TEMPERATURE, K), state_of(queue, pointer=B)
  _, aux = method.loss_fn(params, state, {"image": views}, None)
  same, target = method.after_update(params, state, aux.carry)
  assert same is params
  assert_allclose(target["queue"][:B], queue[:B])
  assert_allclose(target["queue"][B:], unit(views[:, 0]), rtol=1e-6)
  assert target["pointer"] == 0

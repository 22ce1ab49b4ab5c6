import jax
import numpy as np
import tiny
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import core
from ssljax.methods.invaspread import InvaSpread


def test_loss_and_one_sided_gradient_are_those_of_the_official_code():
  o = oracle("09_invaspread_0")
  views = np.stack(np.split(o["in_x"], 2), 1)  # [B,2,D], unit rows
  net, params = tiny.linear(views.shape[-1])
  method = InvaSpread(net, temperature=float(o["hp_T"]))
  state = core.TrainState(np.int32(0), None, {}, {}, None)
  grad_fn = jax.value_and_grad(method.loss_fn, has_aux=True)
  (loss, _), grads = grad_fn(params, state, {"image": views}, jax.random.key(0))
  assert_allclose(loss, o["out_loss"], rtol=3e-6)
  x, grad = o["in_x"], o["out_grad_x"]  # theirs is of the unit rows as free variables
  expected = x.T @ (grad - (grad * x).sum(1, keepdims=True) * x)
  kernel = grads["projector"]["fc1"]["kernel"]
  assert_allclose(kernel, expected, atol=1e-5 * np.abs(expected).max())

import jax
import numpy as np
import tiny
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import core
from ssljax.methods.simclr import SimCLR


def test_loss_and_gradient_are_those_of_the_official_tensorflow_code():
  o = oracle("01_simclr_ntxent_tf_0")
  views = np.stack(np.split(o["in_hidden"], 2), 1)  # [B,2,D]
  net, params = tiny.linear(views.shape[-1])
  method = SimCLR(net, temperature=float(o["hp_temperature"]))
  state = core.TrainState(np.int32(0), None, {}, {}, None)
  grad_fn = jax.value_and_grad(method.loss_fn, has_aux=True)
  (loss, aux), grads = grad_fn(params, state, {"image": views}, jax.random.key(0))
  assert_allclose(loss, o["out_loss"], rtol=1e-6)
  assert_allclose(aux.outputs["projection"], views)
  expected = o["in_hidden"].T @ o["out_grad_hidden"]
  kernel = grads["projector"]["fc1"]["kernel"]
  assert_allclose(kernel, expected, atol=3e-6 * np.abs(expected).max())

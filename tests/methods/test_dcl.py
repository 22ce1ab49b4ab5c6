import jax
import numpy as np
import pytest
import tiny
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import core
from ssljax.methods.dcl import DCL


@pytest.mark.parametrize(("file", "sigma"), [("dcl", {}), ("dclw", {"sigma": 0.5})])
def test_loss_and_gradient_are_lightlys(file, sigma):
  o = oracle(f"12_lightly_{file}_0")
  views = np.stack([o["in_a"], o["in_b"]], 1)
  net, params = tiny.linear(views.shape[-1])
  method = DCL(net, float(o["hp_temperature"]), **sigma)
  state = core.TrainState(np.int32(0), None, {}, {}, None)
  grad_fn = jax.value_and_grad(method.loss_fn, has_aux=True)
  (loss, aux), grads = grad_fn(params, state, {"image": views}, jax.random.key(0))
  assert_allclose(loss, o["out_loss"], rtol=2e-6)
  assert_allclose(aux.outputs["projection"], views)
  expected = o["in_a"].T @ o["out_grad_a"] + o["in_b"].T @ o["out_grad_b"]
  kernel = grads["projector"]["fc1"]["kernel"]
  assert_allclose(kernel, expected, atol=3e-6 * np.abs(expected).max())

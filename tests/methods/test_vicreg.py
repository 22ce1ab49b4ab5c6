import jax
import numpy as np
import tiny
from numpy.testing import assert_allclose
from oracle_file import oracle

from configs import vicreg_imagenet
from ssljax import core, schedules
from ssljax.methods.vicreg import VICReg


def test_loss_and_gradient_are_those_of_the_official_code():
  o = oracle("12_vicreg_official_0")
  views = np.stack([o["in_a"], o["in_b"]], 1)
  net, params = tiny.linear(views.shape[-1])
  weights = (float(o[f"hp_{name}_coeff"]) for name in ("sim", "std", "cov"))
  method = VICReg(net, *weights)
  state = core.TrainState(np.int32(0), None, {}, {}, None)
  grad_fn = jax.value_and_grad(method.loss_fn, has_aux=True)
  (loss, aux), grads = grad_fn(params, state, {"image": views}, jax.random.key(0))
  assert_allclose(loss, o["out_loss"], rtol=1e-6)
  assert_allclose(aux.outputs["projection"], views)
  expected = o["in_a"].T @ o["out_grad_a"] + o["in_b"].T @ o["out_grad_b"]
  kernel = grads["projector"]["fc1"]["kernel"]
  assert_allclose(kernel, expected, atol=3e-6 * np.abs(expected).max())


def test_the_learning_rate_is_the_official_one():
  expected = oracle("15_lr_barlow_vicreg_0")["out_lr_vicreg"]
  plan = schedules.Plan(2048, 2048 * 5, 5, 500)
  optimizer = vicreg_imagenet.get_config().optimizer
  factor = schedules.scale(optimizer.scaling, 2048)
  schedule = schedules.build(optimizer.learning_rate, plan, factor)
  assert_allclose(schedule(np.arange(500)), expected, atol=1e-6 * expected.max())

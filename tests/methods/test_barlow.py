import jax
import numpy as np
import tiny
from numpy.testing import assert_allclose
from oracle_file import oracle

from configs import barlow_imagenet
from ssljax import core, optim, schedules
from ssljax.methods.barlow import BarlowTwins


def test_loss_and_gradient_are_those_of_the_official_code():
  o = oracle("12_barlow_official_0")
  views = np.stack([o["in_a"], o["in_b"]], 1)
  net, params = tiny.linear(views.shape[-1])
  method = BarlowTwins(net, off_diagonal=float(o["hp_lambd"]))
  state = core.TrainState(np.int32(0), None, {}, {}, None)
  grad_fn = jax.value_and_grad(method.loss_fn, has_aux=True)
  (loss, aux), grads = grad_fn(params, state, {"image": views}, jax.random.key(0))
  assert_allclose(loss, o["out_loss"], rtol=1e-6)
  assert_allclose(aux.outputs["projection"], views)
  expected = o["in_a"].T @ o["out_grad_a"] + o["in_b"].T @ o["out_grad_b"]
  kernel = grads["projector"]["fc1"]["kernel"]
  assert_allclose(kernel, expected, atol=3e-6 * np.abs(expected).max())


def test_of_the_gradient_one_part_in_world_size_is_left():
  """As of the official code's 16 processes: LARS makes up for it in kernels alone."""
  o = oracle("12_barlow_official_0")
  views = np.stack([o["in_a"], o["in_b"]], 1)
  net, params = tiny.linear(views.shape[-1])
  plan = schedules.Plan(8, 8, 1, 10)
  config = {"name": "lars", "learning_rate": 0.1, "exclude": ("norm_and_bias",)}
  tx = optim.build(config, plan)
  state = core.TrainState(np.int32(0), None, {}, {}, None)
  after = {}
  for world_size in (1, 16):
    method = BarlowTwins(net, 0.005, world_size)
    grads, aux = jax.grad(method.loss_fn, has_aux=True)(
      params, state, {"image": views}, jax.random.key(0)
    )
    grads["projector"]["fc1"]["bias"] += 1 / world_size  # BatchNorm's has none
    updates, _ = tx.update(grads, tx.init(params), params, step=np.int32(0))
    after[world_size] = aux.loss, grads, updates["projector"]["fc1"]
  (loss, grads, moved), (same_loss, less, moved_less) = after.values()
  assert_allclose(loss, same_loss)
  jax.tree.map(lambda x, y: assert_allclose(x, 16 * y, atol=1e-5), grads, less)
  assert_allclose(moved["kernel"], moved_less["kernel"], atol=1e-8)
  assert_allclose(moved["bias"], 16 * moved_less["bias"], atol=1e-6)
  assert np.abs(moved["bias"]).min() > 0.01


def test_weights_and_biases_have_the_official_learning_rates():
  o = oracle("15_lr_barlow_vicreg_0")
  plan = schedules.Plan(2048, 2048 * 5, 5, 500)
  optimizer = barlow_imagenet.get_config().optimizer
  rates = (optimizer, optimizer.groups["norm_and_bias"])
  factor = schedules.scale(optimizer.scaling, 2048)
  for group, expected in zip(rates, o["out_lr_barlow"].T, strict=True):
    schedule = schedules.build(group.learning_rate, plan, factor)
    assert_allclose(schedule(np.arange(500)), expected, atol=1e-6 * expected.max())

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from numpy.testing import assert_allclose, assert_array_equal
from oracle_file import oracle

from ssljax import core
from ssljax.methods.instdisc import InstDisc

N, PADDING = 40, 24


def run(o, negatives):
  """Our losses, gradients and targets at the oracle's inputs; noise comes as rng."""
  net, params = tiny.linear(o["in_x"].shape[-1])
  method = InstDisc(net, float(o["hp_T"]), float(o["hp_momentum"]), negatives, N)
  bank = np.concatenate([o["in_memory"], np.ones((PADDING, 16), np.float32)])
  target = {"bank": jnp.asarray(bank)}
  if negatives:
    target["z"] = jnp.zeros(())

  @jax.jit
  def step(i, target, batch, noise):
    state = core.TrainState(i, None, {}, target, None)
    grad_fn = jax.value_and_grad(method.loss_fn, has_aux=True)
    (loss, aux), grads = grad_fn(params, state, batch, noise)
    _, target = method.after_update(params, state, aux.carry)
    return loss, grads["projector"]["fc1"]["kernel"], target

  noise = o.get("out_idx", o["in_y"][..., None])[..., 1:].astype(np.int32)
  for i, (x, index) in enumerate(zip(o["in_x"], np.int32(o["in_y"]), strict=True)):
    batch = {"image": x[:, None], "index": index}
    loss, kernel, target = step(np.int32(i), target, batch, noise[i])
    yield loss, kernel, target


def tangent(x, gradient):
  """The part of a gradient that moves unit rows x along the sphere."""
  return gradient - (gradient * x).sum(-1, keepdims=True) * x


@pytest.mark.parametrize("file", ["08_instdisc_linear_0", "08_instdisc_nce_0"])
def test_four_steps_have_the_official_losses_gradients_and_banks(file, monkeypatch):
  monkeypatch.setattr(jax.random, "randint", lambda rng, *_: rng)
  o = oracle(file)
  negatives = int(o.get("hp_K", 0))
  for i, (loss, kernel, target) in enumerate(run(o, negatives)):
    assert_allclose(loss, o["out_loss"].ravel()[i], rtol=1e-5)
    x = np.float64(o["in_x"][i])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    expected = x.T @ tangent(x, o["out_grad_x"][i])
    assert_allclose(kernel, expected, atol=1e-5 * np.abs(expected).max())
    assert_allclose(target["bank"][:N], o["out_memory"][i], atol=1e-6)
    assert_array_equal(target["bank"][N:], 1.0)  # padding stays as it was
    if negatives:
      assert_allclose(target["z"], o["out_Z"][i], rtol=1e-5)


def test_the_proximal_term_is_the_weighted_way_to_the_bank():
  rng = np.random.default_rng(0)
  x, bank = rng.normal(size=(2, 6, 4)).astype(np.float32)
  x, bank = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, bank))
  net, params = tiny.linear(4)
  state = core.TrainState(jnp.int32(0), None, {}, {"bank": jnp.asarray(bank)}, None)
  batch = {"image": x[:, None], "index": jnp.asarray([5, 4, 3, 2, 1, 0])}
  without, added = (
    InstDisc(net, 0.1, 0.5, 0, 6, proximal=weight).loss_fn(params, state, batch, None)[
      0
    ]
    for weight in (0.0, 30.0)
  )
  expected = 30 * np.square(x - bank[::-1]).sum(1).mean()
  assert_allclose(added - without, expected, rtol=1e-5)

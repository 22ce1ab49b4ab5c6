import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from numpy.testing import assert_allclose, assert_array_equal
from oracle_file import oracle

from ssljax import core
from ssljax.losses import contrastive
from ssljax.methods.supcon import SupCon, SupConMoCo


def value_and_gradient(method, params, views, label, target=None):
  """Of the loss, by the kernel of `tiny.linear`; the target after the step."""
  state = core.TrainState(np.int32(0), None, {}, target or {}, None)
  batch = {"image": views, "label": np.asarray(label, np.int32)}
  grad_fn = jax.jit(jax.value_and_grad(method.loss_fn, has_aux=True))
  (loss, aux), grads = grad_fn(params, state, batch, jax.random.key(0))
  _, target = method.after_update(params, state, aux.carry)
  return loss, grads["projector"]["fc1"]["kernel"], target


@pytest.mark.usefixtures("both_forms")
@pytest.mark.parametrize(
  ("file", "given"),
  [("02_supcon_labels_0", None), ("01_simclr_supcon_unsup_0", np.full(8, -1))],
)
def test_loss_and_gradient_are_those_of_the_official_code(file, given):
  """Also where all labels are unknown: then it has its own views as positives."""
  o = oracle(file)
  views, t = o["in_features"], float(o["hp_temperature"])
  net, params = tiny.linear(views.shape[-1])
  method = SupCon(net, t, base_temperature=float(o["hp_base_temperature"]))
  label = o["in_labels"] if given is None else given
  loss, kernel, _ = value_and_gradient(method, params, views, label)
  assert_allclose(loss, o["out_loss"], rtol=1e-6)
  free, z = o["out_grad_features"], views
  tangent = free - (free * z).sum(-1, keepdims=True) * z
  expected = np.einsum("bvd,bve->de", z, tangent)
  assert_allclose(kernel, expected, atol=3e-6 * np.abs(expected).max())


def test_labels_off_are_labels_unknown():
  views = oracle("02_supcon_labels_0")["in_features"]
  net, params = tiny.linear(views.shape[-1])
  off = value_and_gradient(SupCon(net, 0.5, 0.07, labels=False), params, views, [0] * 8)
  unknown = value_and_gradient(SupCon(net, 0.5, 0.07), params, views, [-1] * 8)
  assert off[0] == unknown[0]
  assert_array_equal(off[1], unknown[1])


def test_an_unknown_contrast_mode_is_named():
  with pytest.raises(ValueError, match="contrast_mode='both' must be one of all, one"):
    SupCon(None, 0.1, 0.07, contrast_mode="both")


B, K, DIM = 4, 8, 5


def queued():
  net, params = tiny.linear(DIM)
  method = SupConMoCo(net, 0.2, 0.9, K, base_temperature=0.1)
  views = np.random.default_rng(0).normal(size=(B, 2, DIM)).astype(np.float32)
  _, _, target = method.init(jax.random.key(0), {"image": views})
  return method, params, views, {**target, "params": params}


def test_the_queue_holds_each_key_beside_its_label():
  method, params, views, target = queued()
  assert_array_equal(target["queue_label"], np.full(K, -1))
  for label in ([3, 1, -1, 3], [0, 2, 5, 1], [7, 7, 8, -1]):
    _, _, target = value_and_gradient(method, params, views, label, target)
  assert_array_equal(target["queue_label"], [7, 7, 8, -1, 0, 2, 5, 1])
  keys = contrastive.unit(jnp.asarray(views[:, 1]))
  assert_allclose(target["queue"], np.concatenate([keys, keys]), atol=1e-6)
  assert target["pointer"] == 4


def test_keys_of_one_label_in_the_queue_are_positives():
  method, params, views, target = queued()
  target["queue_label"] = jnp.asarray([0, 1, 1, -1, -1, 4, 4, 4])
  loss, _, _ = value_and_gradient(method, params, views, [1, 0, 9, -1], target)
  q, k = (
    v / np.linalg.norm(v, axis=1, keepdims=True) for v in np.moveaxis(views, 1, 0)
  )
  queue, total = np.asarray(target["queue"]), 0.0
  for i, rows in enumerate([[1, 2], [0], [], []]):
    denominator = np.exp([q[i] @ x / 0.2 for x in [k[i], *queue]]).sum()
    chosen = [k[i], *(queue[row] for row in rows)]
    total -= np.mean([np.log(np.exp(q[i] @ x / 0.2) / denominator) for x in chosen])
  assert_allclose(loss, 2 * total / B, rtol=1e-5)  # temperature / base_temperature

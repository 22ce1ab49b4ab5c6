"""MSN: the official terms and gradients; what anchors and targets see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import core
from ssljax.losses import clustering
from ssljax.methods.msn import MSN
from ssljax.nets import Network
from ssljax.nets.heads import MLP, Prototypes

VIEWS = 3


def terms(anchors, targets, prototypes, *numbers):
  """Terms of anchors [V B,D], view by view, as there."""
  anchors = anchors.reshape(VIEWS, -1, anchors.shape[-1]).swapaxes(0, 1)
  return clustering.msn(anchors, targets, prototypes, *numbers)


def inputs(o):
  return [jnp.float32(o[f"in_{name}"]) for name in ("anchors", "targets", "prototypes")]


def close(actual, expected):
  assert_allclose(actual, expected, rtol=0, atol=5e-6 * np.abs(expected).max())


def test_terms_and_gradients_are_the_official_ones():
  o = oracle("12_msn_official_0")
  anchors, targets, prototypes = inputs(o)
  numbers = float(o["hp_tau"]), float(o["hp_T_sharpen"])
  weights = float(o["hp_memax_weight"]), float(o["hp_ent_weight"])

  def loss(anchors, prototypes):
    found = terms(anchors, targets, prototypes, *numbers)
    total = found.cross_entropy + weights[0] * found.me_max + weights[1] * found.entropy
    return total, found

  (total, found), grads = jax.value_and_grad(loss, (0, 1), has_aux=True)(
    anchors, prototypes
  )
  assert_allclose(total, o["out_total"], rtol=1e-5)
  assert_allclose(found.cross_entropy, o["out_ce"], rtol=1e-5)
  assert_allclose(found.me_max, o["out_me_max"], rtol=1e-5)
  assert_allclose(found.entropy, o["out_entropy"], rtol=1e-5)
  close(grads[0], o["out_grad_anchors"])
  close(grads[1], o["out_grad_prototypes"])


def test_lightly_has_the_same_loss():
  o = oracle("12_lightly_msn_0")
  anchors, targets, prototypes = inputs(o)
  numbers = float(o["hp_temperature"]), float(o["hp_target_sharpen_temperature"])

  def loss(anchors, prototypes):
    found = terms(anchors, targets, prototypes, *numbers)
    return found.cross_entropy + float(o["hp_regularization_weight"]) * found.me_max

  total, grads = jax.value_and_grad(loss, (0, 1))(anchors, prototypes)
  assert_allclose(total, o["out_loss"], rtol=1e-5)
  close(grads[0], o["out_grad_anchors"])
  close(grads[1], o["out_grad_prototypes"])


def test_sinkhorn_makes_targets_even_as_the_official_code():
  o = oracle("12_msn_official_0")
  anchors, targets, prototypes = (np.float64(x) for x in inputs(o))
  unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731

  def probabilities(x, temperature):
    e = np.exp(unit(x) @ unit(prototypes).T / temperature)
    return e / e.sum(1, keepdims=True)

  q = probabilities(targets, 0.1 * 0.25).T
  q /= q.sum()
  for _ in range(3):
    q /= q.sum(1, keepdims=True) * len(q)
    q /= q.sum(0, keepdims=True) * q.shape[1]
  assigned = np.tile(q.T * q.shape[1], (VIEWS, 1))
  expected = -(assigned * np.log(probabilities(anchors, 0.1))).sum(1).mean()
  found = terms(*inputs(o), 0.1, 0.25, 3)
  assert_allclose(found.cross_entropy, expected, rtol=1e-5)


def test_the_method_s_loss_is_that_of_its_rows():
  built = tiny.parts("msn")
  method, state = built.method, tiny.first_state(built)
  rng_views, rng = core.step_keys(0, state.step)
  batch = built.views(rng_views, tiny.batch())
  rest = state.replace(params=None)
  rows = jax.jit(method.encode)(state.params, rest, batch, rng).rows
  assert rows["anchors"].shape[:2] == (tiny.BATCH, 1 + batch["local"].shape[1])
  loss, aux = method.objective(state.params, rows, rest, {}, rng)
  kernel = state.params["prototypes"]["kernel"].T
  found = clustering.msn(rows["anchors"], rows["target"], kernel, 0.1, 0.25, 3)
  assert_allclose(loss, found.cross_entropy + found.me_max, rtol=1e-6)
  assert "prototypes" not in state.target["params"]
  assert set(method.weights(state)["params"]) == set(state.params)
  assert aux.metrics["me_max"] == found.me_max


def test_patches_left_out_are_drawn_by_example():
  method = tiny.parts("msn").method
  method = MSN(**{**vars(method), "patch_drop": 0.5})
  index = jnp.array([7, 1, 4])
  keep = method.draw(jax.random.key(0), index, (32, 32))
  assert keep.shape == (3, 32)
  turned = method.draw(jax.random.key(0), index[::-1], (32, 32))
  assert (turned[::-1] == keep).all()
  assert all(len(set(row)) == 32 for row in np.asarray(keep).tolist())


def test_an_encoder_without_patches_is_refused():
  heads = {"projector": MLP(1, out=4), "prototypes": Prototypes(4)}
  method = tiny.parts("msn").method
  method = MSN(**{**vars(method), "net": Network(tiny.Encoder(4), **heads)})
  with pytest.raises(ValueError, match=r"patch_drop=0\.15 leaves out patches"):
    method.draw(jax.random.key(0), jnp.arange(2), (8, 8))

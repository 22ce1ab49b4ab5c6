import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax.losses import contrastive


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(actual, expected, tolerance=2e-6):
  """Within a share of the largest expected entry."""
  assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def tangent(x, gradient):
  """The part of a gradient that moves unit rows x along the sphere."""
  return gradient - (gradient * x).sum(-1, keepdims=True) * x


def spread_equation(z, temperature, b, v):
  """InvaSpread's criterion for the anchor z[b, v], by the names of its parts."""
  z = unit(z.astype(np.float64))
  others = [a for a in np.ndindex(*z.shape[:2]) if a != (b, v)]
  similar = {a: np.exp(z[b, v] @ z[a] / temperature) for a in others}
  p = {a: similar[a] / sum(similar.values()) for a in others}
  spread = [np.log(1 - p[a]) for a in others if a[0] != b]
  return -np.log(p[b, 1 - v]) - sum(spread)


def test_invariant_spread_is_the_mean_criterion_of_the_anchors():
  z = normal(0, 5, 2, 6)
  expected = np.mean([spread_equation(z, 0.3, b, v) for b, v in np.ndindex(5, 2)])
  loss = contrastive.invariant_spread(jnp.asarray(z), 0.3)
  assert_allclose(loss, expected, rtol=1e-5)


def test_invariant_spread_of_four_equal_embeddings_is_log_3_minus_2_log_two_thirds():
  loss = contrastive.invariant_spread(jnp.ones((2, 2, 3)), 0.1)
  assert_allclose(loss, np.log(3) - 2 * np.log(2 / 3), rtol=1e-6)


def test_invariant_spread_has_the_official_value_and_one_sided_gradient():
  o = oracle("09_invaspread_0")
  z = np.stack(np.split(o["in_x"], 2), 1)
  step = jax.value_and_grad(contrastive.invariant_spread)
  loss, grad = step(jnp.asarray(z), float(o["hp_T"]))
  assert_allclose(loss, o["out_loss"], rtol=3e-6)
  expected = np.stack(np.split(o["out_grad_x"], 2), 1)
  close(grad, tangent(z, expected), 5e-6)


def test_invariant_spread_moves_an_anchor_as_if_all_others_stood_still():
  z = normal(1, 4, 2, 5)
  grad = jax.grad(contrastive.invariant_spread)(jnp.asarray(z), 0.5)
  for b, v, d in np.ndindex(4, 2, 5):
    step = np.zeros(z.shape)
    step[b, v, d] = 1e-5
    ahead = spread_equation(z + step, 0.5, b, v)
    behind = spread_equation(z - step, 0.5, b, v)
    assert_allclose(grad[b, v, d], (ahead - behind) / 2e-5 / 8, atol=1e-5)


def test_invariant_spread_of_opposed_pictures_is_finite():
  z = jnp.asarray([[[1.0, 0.0]] * 2, [[-1.0, 0.0]] * 2])  # every positive has P = 1
  loss, grad = jax.value_and_grad(contrastive.invariant_spread)(z, 0.1)
  assert_allclose(loss, 0.0, atol=1e-6)
  assert np.isfinite(grad).all()


def test_sampled_softmax_has_cmcs_official_losses_and_gradients():
  o = oracle("10_cmc_softmax_2")
  banks = {"l": o["in_memory_ab"], "ab": o["in_memory_l"]}  # of the other view
  for view, bank in banks.items():
    x = o[f"in_{view}"][0]
    rows = jnp.asarray(bank[o["in_idx"][0]])
    loss, grad = jax.value_and_grad(contrastive.sampled_softmax)(
      jnp.asarray(x), rows, float(o["hp_T"])
    )
    assert_allclose(loss, o[f"out_loss_{view}"][0], rtol=1e-6)
    close(grad, tangent(x, o[f"out_grad_{view}"][0]))


def test_sampled_softmax_of_orthogonal_rows_is_log_of_one_plus_k_over_e():
  x, rows = jnp.eye(4)[:1], jnp.eye(4)[None]
  expected = np.log(1 + 3 / np.e)  # the positive at 1, three rows at 0
  assert_allclose(contrastive.sampled_softmax(x, rows, 1.0), expected, rtol=1e-6)


def nce_equation(x, rows, temperature, num_examples, z):
  """InstDisc eq. 4 to 7, written for one example at a time."""
  noise, total = (rows.shape[1] - 1) / num_examples, 0.0
  for example, candidates in zip(unit(x.astype(np.float64)), rows, strict=True):
    p = np.exp(candidates @ example / temperature) / z
    h = p / (p + noise)
    total -= np.log(h[0]) + np.log(1 - h[1:]).sum()
  return total / len(x)


def test_nce_is_the_papers_equation():
  x, rows = normal(0, 3, 5), unit(normal(1, 3, 8, 5))
  loss = contrastive.nce(x, rows, 0.5, 20, jnp.float32(30.0))
  assert_allclose(loss, nce_equation(x, rows, 0.5, 20, 30.0), rtol=1e-5)


@pytest.mark.parametrize("file", ["08_instdisc_nce_0", "08_instdisc_cmcrepo_0"])
def test_nce_gives_two_official_implementations_losses_and_gradients(file):
  o = oracle(file)
  banks, drawn = [o["in_memory"], *o["out_memory"]], o.get("out_idx", o.get("in_idx"))
  temperature, num_examples, z = float(o["hp_T"]), len(banks[0]), None
  step = jax.jit(jax.value_and_grad(contrastive.nce))
  for i, x in enumerate(o["in_x"]):
    x, rows = unit(x), banks[i][drawn[i]].astype(np.float32)
    if z is None:
      z = contrastive.nce_constant(x, rows, temperature, num_examples)
    loss, grad = step(x, rows, temperature, num_examples, z)
    assert_allclose(loss, o["out_loss"][i, 0], rtol=1e-5)
    close(grad, tangent(x, o["out_grad_x"][i]), 1e-5)


def test_the_nce_constant_is_the_official_one():
  o = oracle("08_instdisc_nce_0")
  rows = o["in_memory"][o["out_idx"][0]]
  z = contrastive.nce_constant(o["in_x"][0], rows, float(o["hp_T"]), 40)
  assert_allclose(z, o["out_Z"][0], rtol=1e-5)


def test_proximal_is_the_mean_squared_way_from_the_bank():
  x, previous = jnp.asarray([[2.0, 0.0], [0.0, 1.0]]), jnp.asarray([[0.0, 1.0]] * 2)
  assert_allclose(contrastive.proximal(x, previous), 1.0, rtol=1e-6)  # (2 + 0) / 2


ROWS = unit(normal(8, 3, 5, 4))
LOSSES = {
  "nce": lambda x: contrastive.nce(x[:, 0], ROWS, 0.5, 20, jnp.float32(20.0)),
  "proximal": lambda x: contrastive.proximal(x[:, 0], ROWS[:, 0]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_differences(name):
  x = jnp.asarray(normal(9, 3, 2, 4))
  check_grads(LOSSES[name], (x,), order=1, modes=["rev"], eps=1e-2, atol=3e-3)

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import sharding
from ssljax.losses import contrastive, pairwise

pytestmark = pytest.mark.usefixtures("both_forms")


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


def nt_xent_equation(z, temperature):
  """SimCLR eq. 1 for every anchor; SupCon's mean where there are more positives."""
  z = unit(z.astype(np.float64))
  total = []
  for b, v in np.ndindex(*z.shape[:2]):
    similar = np.exp(z @ z[b, v] / temperature)  # [B,V]
    denominator = similar.sum() - similar[b, v]
    positives = [similar[b, w] for w in range(z.shape[1]) if w != v]
    total.append(-np.mean(np.log(positives / denominator)))
  return np.mean(total)


@pytest.mark.parametrize("views", [2, 3])
def test_nt_xent_is_the_papers_equation(views):
  z = normal(0, 6, views, 5)
  assert_allclose(
    contrastive.nt_xent(jnp.asarray(z), 0.3), nt_xent_equation(z, 0.3), rtol=1e-5
  )


def test_nt_xent_of_two_orthogonal_pictures_is_log_of_one_plus_two_exp_minus_one():
  z = jnp.asarray([[[2.0, 0.0], [5.0, 0.0]], [[0.0, 1.0], [0.0, 3.0]]])
  expected = np.log(1 + 2 * np.exp(-1))  # positive 1, two negatives at 0
  assert_allclose(contrastive.nt_xent(z, 1.0), expected, rtol=1e-6)


def test_nt_xent_is_half_of_the_official_tensorflow_loss_and_so_is_its_gradient():
  o = oracle("01_simclr_ntxent_tf_0")
  z = jnp.stack(jnp.split(jnp.asarray(o["in_hidden"]), 2), 1)
  loss, grad = jax.value_and_grad(contrastive.nt_xent)(z, float(o["hp_temperature"]))
  assert_allclose(2 * loss, o["out_loss"], rtol=1e-6)
  close(2 * np.concatenate([grad[:, 0], grad[:, 1]]), o["out_grad_hidden"])


def test_nt_xent_equals_supcon_without_labels():
  o = oracle("01_simclr_supcon_unsup_0")
  z = o["in_features"]
  loss, grad = jax.value_and_grad(contrastive.nt_xent)(
    jnp.asarray(z), float(o["hp_temperature"])
  )
  assert_allclose(loss, o["out_loss"], rtol=1e-6)
  close(grad, tangent(z, o["out_grad_features"]))


def test_nt_xent_of_eight_devices_is_that_of_one_with_one_gather(
  both_forms, monkeypatch
):
  if both_forms:
    monkeypatch.setattr(pairwise, "columns_at_once", lambda n, m: m // 8)
  z, mesh = jnp.asarray(normal(1, 16, 2, 8)), sharding.make_mesh()
  step = jax.jit(jax.value_and_grad(lambda z: contrastive.nt_xent(z, 0.1)))
  loss, grad = step(z)
  spread = jax.device_put(z, sharding.by_rows(mesh))
  compiled = step.lower(spread).compile()
  loss8, grad8 = compiled(spread)
  assert_allclose(loss8, loss, rtol=1e-6)
  close(grad8, grad)
  hlo = compiled.as_text()
  gathers = hlo.count(" all-gather(")
  # In tiles rows are gathered again for the gradient, and so is what belongs to them.
  assert gathers <= 4 if both_forms else gathers == 1
  for word in ("all-to-all", "collective-permute", "reduce-scatter"):
    assert f" {word}(" not in hlo


def test_losses_are_float32_of_bfloat16_embeddings():
  z = jnp.asarray(normal(2, 4, 2, 8), jnp.bfloat16)
  assert contrastive.nt_xent(z, 0.1).dtype == jnp.float32


def test_a_dead_embedding_has_a_finite_gradient():
  z = jnp.asarray(normal(3, 4, 2, 8)).at[1, 0].set(0.0)
  assert np.isfinite(jax.grad(contrastive.nt_xent)(z, 0.1)).all()


def test_nt_xent_with_a_queue_is_its_description():
  query, key = unit(normal(0, 4, 3, 5)), unit(normal(1, 4, 3, 5))
  queue, total = unit(normal(2, 7, 5)), []
  for b, v in np.ndindex(4, 3):
    past = np.exp(queue @ query[b, v] / 0.3).sum()
    similar = np.exp(key @ query[b, v] / 0.3)  # [B,V]
    denominator = past + similar.sum() - similar[b, v]
    total.append(-np.log(np.delete(similar[b], v) / denominator).mean())
  loss = contrastive.nt_xent_queue(3 * query, 2 * key, jnp.asarray(queue), 0.3)
  assert_allclose(loss, np.mean(total), rtol=1e-5)


def test_nt_xent_with_a_queue_of_orthogonal_rows_is_a_log_of_a_count():
  eye = jnp.eye(6)
  query, key = eye[:4].reshape(2, 2, 6), eye[jnp.asarray([1, 0, 3, 2])].reshape(2, 2, 6)
  loss = contrastive.nt_xent_queue(query, key, eye[4:], 1.0)
  # The positive is the anchor itself, two other keys and two rows are at 0.
  assert_allclose(loss, np.log(np.e + 4) - 1, rtol=1e-6)


def test_nt_xent_with_an_empty_queue_and_its_own_keys_is_nt_xent():
  z, empty = jnp.asarray(normal(1, 6, 2, 5)), jnp.zeros((0, 5))
  loss, grad = jax.value_and_grad(
    lambda z: contrastive.nt_xent_queue(z, z, empty, 0.2)
  )(z)
  expected, expected_grad = jax.value_and_grad(contrastive.nt_xent)(z, 0.2)
  assert_allclose(loss, expected, rtol=1e-6)
  close(grad, expected_grad)


def test_info_nce_is_mocos_equation_with_the_positive_against_the_queue():
  query, key, queue = normal(0, 4, 6), normal(1, 4, 6), unit(normal(2, 9, 6))
  q, k = unit(query.astype(np.float64)), unit(key.astype(np.float64))
  positive = np.exp((q * k).sum(1) / 0.2)
  expected = -np.log(positive / (positive + np.exp(q @ queue.T / 0.2).sum(1))).mean()
  assert_allclose(contrastive.info_nce(query, key, queue, 0.2), expected, rtol=1e-5)


def test_info_nce_of_orthogonal_keys_is_log_of_one_plus_k():
  eye = jnp.eye(4)
  loss = contrastive.info_nce(3 * eye[:1], eye[1:2], eye[2:], 0.5)
  assert_allclose(loss, np.log(3.0), rtol=1e-6)


def test_info_nce_gives_mocos_official_losses():
  o = oracle("03_moco_v1_0")
  queues = [o["in_queue"], *o["out_queue"]]
  for step in range(len(o["out_loss"])):
    arrays = o["out_q"][step], o["out_k"][step], queues[step].T
    q, k, queue = (jnp.asarray(x, jnp.float32) for x in arrays)
    loss = contrastive.info_nce(q, k, queue, float(o["hp_T"]))
    rounding = np.finfo(np.float32).eps / o["hp_T"]  # of logits, whose difference it is
    assert_allclose(loss, o["out_loss"][step], rtol=1e-6, atol=rounding)


def test_info_nce_in_batch_is_moco_v3s_equation_one_query_at_a_time():
  query, key = normal(0, 5, 6), normal(1, 5, 6)
  losses = []
  for q, own in zip(unit(query.astype(np.float64)), range(5), strict=True):
    similar = [np.exp(q @ k / 0.2) for k in unit(key.astype(np.float64))]
    losses.append(-np.log(similar[own] / sum(similar)))
  loss = contrastive.info_nce_in_batch(query, key, 0.2)
  assert_allclose(loss, np.mean(losses), rtol=1e-5)


def test_info_nce_in_batch_of_orthogonal_pictures_is_log_of_one_plus_two_over_e():
  eye = jnp.eye(3)
  loss = contrastive.info_nce_in_batch(2 * eye, 5 * eye, 1.0)
  assert_allclose(loss, np.log(1 + 2 * np.exp(-1)), rtol=1e-6)


def test_both_directions_times_two_tau_are_moco_v3s_official_loss_and_gradients():
  o = oracle("04_mocov3_symmetric_0")
  temperature = float(o["hp_T"])

  def loss_fn(q1, q2):
    first = contrastive.info_nce_in_batch(q1, o["in_k2"], temperature)
    second = contrastive.info_nce_in_batch(q2, o["in_k1"], temperature)
    return 2 * temperature * (first + second)

  loss, grads = jax.value_and_grad(loss_fn, (0, 1))(o["in_q1"], o["in_q2"])
  assert_allclose(loss, o["out_loss"], rtol=1e-6)
  close(grads[0], o["out_grad_q1"])
  close(grads[1], o["out_grad_q2"])


def test_info_nce_with_the_other_keys_as_queue_has_moco_v3s_official_gradient():
  o = oracle("04_mocov3_contrastive_0")
  q, k, temperature = o["in_q"], o["in_k"], float(o["hp_T"])

  def loss_fn(q):
    losses = [
      contrastive.info_nce(
        q[i][None], k[i][None], unit(np.delete(k, i, 0)), temperature
      )
      for i in range(len(k))
    ]
    return 2 * temperature * sum(losses) / len(k)

  loss, grad = jax.value_and_grad(loss_fn)(jnp.asarray(q))
  assert_allclose(loss, o["out_loss"], rtol=1e-6)
  close(grad, o["out_grad_q"])


def test_instance_softmax_ignores_the_banks_padding():
  x, bank = normal(0, 3, 5), unit(normal(1, 8, 5))
  index = np.array([4, 0, 2])
  logits = unit(x) @ bank[:6].T / 0.1
  probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  expected = -np.log(probability[np.arange(3), index]).mean()
  loss = contrastive.instance_softmax(x, bank, index, 0.1, 6)
  assert_allclose(loss, expected, rtol=1e-5)


def test_instance_softmax_gives_instdiscs_official_losses_and_gradients():
  o = oracle("08_instdisc_linear_0")
  banks = [o["in_memory"], *o["out_memory"]]
  step = jax.jit(jax.value_and_grad(contrastive.instance_softmax))
  for i, x in enumerate(o["in_x"]):
    bank = np.concatenate([banks[i], np.ones((3, 16))]).astype(np.float32)
    index = o["in_y"][i].astype(np.int32)
    loss, grad = step(x, bank, index, float(o["hp_T"]), 40)
    assert_allclose(loss, o["out_loss"][i], rtol=3e-6)
    close(grad, tangent(x, o["out_grad_x"][i]), 3e-6)


LOSSES = {
  "nt_xent": lambda x: contrastive.nt_xent(x, 0.5),
  "nt_xent_queue": lambda x: contrastive.nt_xent_queue(x, x[::-1], ROWS[0], 0.5),
  "info_nce": lambda x: contrastive.info_nce(x[:, 0], x[:, 1], ROWS[0], 0.5),
  "info_nce_in_batch": lambda x: contrastive.info_nce_in_batch(x[:, 0], x[:, 1], 0.5),
  "instance_softmax": lambda x: contrastive.instance_softmax(
    x[:, 0], ROWS[0], jnp.asarray([0, 2, 1]), 0.5, 4
  ),
}
ROWS = unit(normal(8, 3, 5, 4))


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_differences(name):
  x = jnp.asarray(normal(9, 3, 2, 4))
  check_grads(LOSSES[name], (x,), order=1, modes=["rev"], eps=1e-2, atol=3e-3)


def split_views(o):
  return jnp.stack([o["in_a"], o["in_b"]], 1)


@pytest.mark.parametrize(("file", "sigma"), [("dcl", 0.0), ("dclw", 0.5)])
def test_dcl_gives_lightlys_loss_and_gradient(file, sigma):
  o = oracle(f"12_lightly_{file}_0")
  assert float(o.get("hp_sigma", 0.0)) == sigma
  step = jax.jit(jax.value_and_grad(contrastive.dcl), static_argnums=(1, 2))
  loss, grad = step(split_views(o), float(o["hp_temperature"]), sigma)
  assert_allclose(loss, o["out_loss"], rtol=2e-6)
  close(grad[:, 0], o["out_grad_a"])
  close(grad[:, 1], o["out_grad_b"])


@pytest.mark.parametrize("sigma", [0.0, 0.7])
def test_dcl_is_the_papers_equation(sigma):
  z = unit(normal(0, 5, 2, 4).astype(np.float64))
  likely = [np.exp(a @ b / sigma) if sigma else 1.0 for a, b in z]
  total = 0.0
  for i, view in np.ndindex(5, 2):
    weight = 2 - likely[i] / np.mean(likely)
    others = [np.exp(z[i, view] @ x / 0.3) for j in range(5) if j != i for x in z[j]]
    total += -weight * (z[i, 0] @ z[i, 1]) / 0.3 + np.log(np.sum(others))
  loss = contrastive.dcl(jnp.float32(z), 0.3, sigma)
  assert_allclose(loss, total / 10, rtol=1e-5)


def test_dcl_of_two_orthogonal_pictures_is_log_two_minus_one():
  z = jnp.asarray([[[2.0, 0.0], [5.0, 0.0]], [[0.0, 1.0], [0.0, 3.0]]])
  assert_allclose(contrastive.dcl(z, 1.0), np.log(2) - 1, rtol=1e-6)


def test_nnclr_is_info_nce_in_the_batch_with_neighbours_as_queries():
  o = oracle("12_solo_nnclr_0")
  neighbour, prediction = jnp.asarray(o["in_a"]), jnp.asarray(o["in_b"])
  step = jax.value_and_grad(contrastive.info_nce_in_batch, argnums=(0, 1))
  loss, grads = step(neighbour, prediction, float(o["hp_temperature"]))
  assert_allclose(loss, o["out_loss"], rtol=1e-6)
  close(grads[0], o["out_grad_a"])
  close(grads[1], o["out_grad_b"])

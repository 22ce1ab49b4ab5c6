import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracle_file import oracle

from ssljax.losses import contrastive, supervised

pytestmark = pytest.mark.usefixtures("both_forms")


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(actual, expected, tolerance=2e-6):
  """Within a share of the largest expected entry."""
  assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def equation(anchors, others, positives, temperature):
  """Eq. 2, mean over anchors: `others` and `positives` list what each is compared with.

  Anchors without positives are zeros of the mean.
  """
  losses = []
  for z, rest, same in zip(anchors, others, positives, strict=True):
    denominator = sum(np.exp(z @ a / temperature) for a in rest)
    terms = [np.log(np.exp(z @ p / temperature) / denominator) for p in same]
    losses.append(-sum(terms) / max(len(terms), 1))
  return np.mean(losses)


LABEL = np.array([2, 0, 2, -1, 1, -1, 2])


def test_labels_make_groups_and_the_unknown_one_makes_none():
  group = supervised.groups(jnp.asarray(LABEL))
  same = np.equal.outer(LABEL, LABEL) & (LABEL >= 0) | np.eye(len(LABEL), dtype=bool)
  assert_array_equal(group[:, None] == group[None], same)


@pytest.mark.parametrize("mode", ["all", "one"])
@pytest.mark.parametrize("views", [1, 2, 3])
def test_sup_con_is_the_papers_equation(mode, views):
  z = normal(0, len(LABEL), views, 5)
  w, label = unit(z.astype(np.float64)), LABEL
  rows = list(np.ndindex(len(label), views))
  anchors = [r for r in rows if mode == "all" or r[1] == 0]

  def together(i, j):
    return i == j or label[i] == label[j] >= 0

  expected = equation(
    [w[r] for r in anchors],
    [[w[q] for q in rows if q != r] for r in anchors],
    [[w[q] for q in rows if q != r and together(r[0], q[0])] for r in anchors],
    0.3,
  )
  loss = supervised.sup_con(jnp.asarray(z), label, 0.3, 0.1, mode)
  assert_allclose(loss, 3 * expected, rtol=1e-5)


def test_sup_con_of_two_classes_at_right_angles_is_log_of_two_plus_two_exp_minus_one():
  z = jnp.asarray([[[2.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 3.0]]])
  label = jnp.asarray([0, 0, 1, 1])
  expected = np.log(1 + 2 * np.exp(-1))  # one positive at 1, two negatives at 0
  assert_allclose(supervised.sup_con(z, label, 1.0, 1.0), expected, rtol=1e-6)


@pytest.mark.parametrize(
  "file",
  [
    "01_simclr_supcon_unsup_0",
    "02_supcon_labels_0",
    "02_supcon_singletons_0",
  ],
)
def test_sup_con_gives_the_official_loss_and_gradient(file):
  o = oracle(file)
  z = o["in_features"]
  label = np.full(len(z), -1, np.int32)
  if "in_labels" in o:
    label = o["in_labels"].astype(np.int32)
  scales = float(o["hp_temperature"]), float(o["hp_base_temperature"])
  loss, grad = jax.value_and_grad(supervised.sup_con)(jnp.asarray(z), label, *scales)
  assert_allclose(loss, o["out_loss"], rtol=1e-6)
  free = o["out_grad_features"]  # theirs does not normalise: along the sphere alone
  close(grad, free - (free * z).sum(-1, keepdims=True) * z)


def test_sup_con_without_labels_is_half_of_simclrs_official_loss():
  o = oracle("01_simclr_ntxent_tf_0")
  z, t = jnp.stack(jnp.split(jnp.asarray(o["in_hidden"]), 2), 1), 0.5
  alone = np.full(len(z), -1)
  loss, grad = jax.value_and_grad(supervised.sup_con)(z, alone, t, t)
  assert_allclose(2 * loss, o["out_loss"], rtol=1e-6)
  close(2 * np.concatenate([grad[:, 0], grad[:, 1]]), o["out_grad_hidden"])


def test_sup_con_queue_is_the_papers_equation_over_the_own_key_and_the_queue():
  query, key, queue = normal(0, 3, 4), normal(1, 3, 4), unit(normal(2, 5, 4))
  label, queue_label = np.array([0, 1, -1]), np.array([1, 0, -1, 0, 2])
  q, k = unit(query.astype(np.float64)), unit(key.astype(np.float64))
  expected = equation(
    q,
    [[k[i], *queue] for i in range(3)],
    [[k[0], queue[1], queue[3]], [k[1], queue[0]], [k[2]]],
    0.2,
  )
  loss, found = supervised.sup_con_queue(
    query, key, queue, label, queue_label, 0.2, 0.1
  )
  assert_array_equal(found, [2, 1, 0])
  assert_allclose(loss, 2 * expected, rtol=1e-5)


def test_sup_con_queue_without_labels_is_mocos_info_nce_and_so_is_its_gradient():
  query, key, queue = normal(0, 3, 4), normal(1, 3, 4), unit(normal(2, 5, 4))
  labels = np.array([-1, 0, 1]), np.full(5, -1)
  (loss, _), grad = jax.value_and_grad(supervised.sup_con_queue, has_aux=True)(
    query, key, queue, *labels, 0.2, 0.2
  )
  expected, expected_grad = jax.value_and_grad(contrastive.info_nce)(
    query, key, queue, 0.2
  )
  assert_allclose(loss, expected, rtol=1e-6)
  close(grad, expected_grad)


def test_a_dead_embedding_has_a_finite_gradient():
  z = jnp.asarray(normal(3, 4, 2, 8)).at[1, 0].set(0.0)
  grad = jax.grad(supervised.sup_con)(z, np.arange(4), 0.1, 0.07)
  assert np.isfinite(grad).all()

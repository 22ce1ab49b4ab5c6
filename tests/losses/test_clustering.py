import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.test_util import check_grads
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import memory, sharding
from ssljax.losses import clustering

pytestmark = pytest.mark.usefixtures("both_forms")


def softmax(x):
  e = np.exp(x - x.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def eye(x):
  """Prototypes whose scores with rows x [...,K] are x."""
  return clustering.Prototypes(jnp.eye(x.shape[-1]))


def dino(student, teacher, *args):
  """The loss of logits [B,V,K]."""
  return clustering.dino(student, teacher, eye(student), eye(student), *args)[0]


def q_of(scores, shift, epsilon):
  return softmax((np.float64(scores) - np.asarray(shift)[None]) / epsilon)


def sinkhorn(scores, epsilon, *remembered, **kwargs):
  """-> assignments [B,A,K] by scores."""
  shift = clustering.sinkhorn(scores, eye(scores), epsilon, *remembered, **kwargs)
  return q_of(scores, shift, epsilon)


def assigned(p):
  """What is left of assignments p [B,G,K]."""
  rows = jnp.log(jnp.maximum(jnp.asarray(p, jnp.float32), 1e-30))
  return clustering.assign(rows, eye(rows), 1.0, jnp.zeros((1, p.shape[-1])), eye(rows))


def test_dino_is_the_mean_cross_entropy_over_pairs_of_different_crops():
  student, teacher, centre = normal(0, 3, 5, 7), normal(1, 3, 2, 7), normal(2, 1, 7)
  p = softmax((teacher.astype(np.float64) - centre) / 0.04)
  q = softmax(student.astype(np.float64) / 0.1)
  pairs = [
    -(p[:, g] * np.log(q[:, v])).sum(1).mean()
    for g in range(2)
    for v in range(5)
    if g != v
  ]
  loss = dino(student, teacher, centre, 0.1, 0.04)
  assert_allclose(loss, np.mean(pairs), rtol=1e-5)


def test_dino_of_an_undecided_student_is_log_k():
  loss = dino(
    jnp.zeros((2, 3, 8)), jnp.asarray(normal(0, 2, 2, 8)), jnp.zeros((1, 8)), 0.1, 0.04
  )
  assert_allclose(loss, np.log(8), rtol=1e-6)


def test_dino_gives_the_official_losses_gradients_and_centres():
  o = oracle("07_dino_loss_0")
  steps, crops, k = len(o["out_loss"]), int(o["hp_ncrops"]), int(o["hp_out_dim"])

  def views(x, n):
    return x.reshape(n, -1, k).swapaxes(0, 1)  # the official rows go crop by crop

  centre = o["in_center"]
  loss_fn = jax.jit(jax.value_and_grad(dino))
  for i in range(steps):
    teacher = views(o["in_teacher"][i], 2)
    loss, grad = loss_fn(
      views(o["in_student"][i], crops),
      teacher,
      centre,
      float(o["hp_student_temp"]),
      float(o["out_teacher_temp_schedule"][i]),
    )
    centre = memory.move_centre(
      centre, teacher.mean((0, 1))[None], float(o["hp_center_momentum"])
    )
    expected = views(o["out_grad_student"][i], crops)
    assert_allclose(loss, o["out_loss"][i], rtol=1e-6)
    assert_allclose(grad, expected, atol=2e-6 * np.abs(expected).max())
    assert_allclose(centre, o["out_center"][i], atol=1e-6)


def test_the_gradient_is_finite_differences():
  teacher, centre = normal(1, 3, 2, 4), normal(2, 1, 4)

  def loss(student):
    return dino(student, teacher, centre, 0.5, 0.2)

  student = jnp.asarray(normal(0, 3, 4, 4))
  check_grads(loss, (student,), order=1, modes=["rev"], eps=1e-2, atol=3e-3)


def test_entropy_is_one_when_even_and_zero_when_certain():
  def entropy(*p):
    return clustering.entropy(assigned(np.tile(np.asarray(p), (3, 2, 1))))

  even, half, certain = (0.25,) * 4, (0.5, 0.5, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0)
  assert_allclose([entropy(*p) for p in (even, half, certain)], [1, 0.5, 0], atol=1e-6)


def test_information_is_what_an_assignment_tells_of_its_crop():
  """Mutual information, by the joint distribution of crop and prototype."""
  p = softmax(normal(0, 6, 2, 5).astype(np.float64)).reshape(-1, 5)
  joint = p / len(p)
  apart = joint.sum(0, keepdims=True) * joint.sum(1, keepdims=True)
  expected = (joint * np.log(joint / apart)).sum() / np.log(5)
  told = clustering.information(assigned(p.reshape(6, 2, 5)))
  assert_allclose(told, expected, rtol=1e-4)


def test_certain_crops_tell_all_where_they_differ_and_nothing_where_they_agree():
  each = np.eye(4)[:, None]
  assert_allclose(clustering.information(assigned(each)), 1, rtol=1e-6)
  for same in (each[:1], np.full((1, 1, 4), 0.25)):
    same = assigned(np.tile(same, (4, 1, 1)))
    assert_allclose(clustering.information(same), 0, atol=1e-6)


def test_usage_counts_the_prototypes_that_come_first_for_some_crop():
  one, two, last = (0.6, 0.4, 0, 0), (0.1, 0.7, 0.2, 0), (0, 0, 0.1, 0.9)
  assignment = np.asarray([[one, two], [one, one], [two, last]])
  assert_allclose(clustering.usage(assigned(assignment)), 3 / 4)
  assert_allclose(clustering.usage(assigned(np.full((3, 2, 4), 0.25))), 1 / 4)


def scaled(scores, epsilon, iterations=3):
  """The paper's Sinkhorn-Knopp on one crop's scores [B,K], in float64 -> [B,K]."""
  q = np.exp(np.float64(scores).T / epsilon)
  k, b = q.shape
  for _ in range(iterations):
    for row in range(k):
      q[row] /= q[row].sum() * k
    for column in range(b):
      q[:, column] /= q[:, column].sum() * b
  return b * q.T


def test_sinkhorn_gives_the_official_assignments():
  o = oracle("06_swav_sinkhorn_0")
  q = sinkhorn(o["in_scores"][:, None], float(o["hp_epsilon"]))
  assert_allclose(q[:, 0], o["out_q"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("epsilon", [0.05, 1 / 150])  # exp(150) overflows in float32
def test_sinkhorn_scales_rows_and_columns_in_turn_for_each_crop_alone(epsilon):
  scores = np.tanh(normal(0, 6, 2, 5))
  q = sinkhorn(scores, epsilon)
  expected = np.stack([scaled(scores[:, a], epsilon) for a in range(2)], 1)
  assert_allclose(q, expected, rtol=1e-4, atol=1e-7)


def test_remembered_examples_take_part_and_are_not_returned():
  scores, earlier = np.tanh(normal(0, 6, 2, 5)), np.tanh(normal(1, 9, 2, 5))
  q = sinkhorn(scores, 0.05, earlier)
  both = np.concatenate([earlier, scores])
  expected = np.stack([scaled(both[:, a], 0.05)[-6:] for a in range(2)], 1)
  assert_allclose(q, expected, rtol=1e-4, atol=1e-7)
  assert np.abs(q - sinkhorn(scores, 0.05)).max() > 0.05


def test_examples_are_assigned_wholly_and_prototypes_equally_in_the_end():
  scores = np.tanh(normal(0, 12, 2, 4))
  few, many = (sinkhorn(scores, 0.2, iterations=n) for n in (3, 20))
  assert_allclose(few.sum(2), 1, rtol=1e-6)
  assert_allclose(many.sum(2), 1, rtol=1e-6)
  assert_allclose(many.sum(0), 12 / 4, rtol=1e-4)  # the polytope of eq. 4
  uneven = jax.nn.softmax(scores / 0.2).sum(0)
  assert np.abs(few.sum(0) - 3).max() < 0.2 * np.abs(uneven - 3).max()


def test_assignments_follow_their_examples_when_the_batch_is_permuted():
  scores, order = np.tanh(normal(0, 16, 2, 5)), np.random.default_rng(1).permutation(16)
  q = sinkhorn(scores, 0.05)
  assert_allclose(sinkhorn(scores[order], 0.05), q[order], rtol=1e-5)


def test_eight_devices_assign_as_one_and_exchange_sums_over_prototypes_alone(
  both_forms,
):
  scores, earlier = np.tanh(normal(0, 16, 2, 5)), np.tanh(normal(1, 24, 2, 5))
  mesh = sharding.make_mesh()
  layout = sharding.by_rows(mesh), sharding.replicated(mesh)
  shift = jax.jit(
    lambda x, y: clustering.sinkhorn(x, eye(x), 0.05, y), in_shardings=layout
  )
  expected = clustering.sinkhorn(scores, eye(scores), 0.05, earlier)
  assert_allclose(shift(scores, earlier), expected, rtol=1e-5)
  moved = tiny.collectives(shift.lower(scores, earlier).compile())
  if not both_forms:  # in tiles rows are gathered
    assert moved == [("all-reduce", 2 * 5)] * 6


def test_swav_is_the_mean_cross_entropy_of_each_crop_s_assignment_with_other_crops():
  logits, shift = normal(0, 3, 5, 7), normal(1, 2, 7)
  q = q_of(logits[:, :2], shift, 0.5)
  p = softmax(logits.astype(np.float64) / 0.1)
  pairs = [
    -(q[b, s] * np.log(p[b, t])).sum()
    for b in range(3)
    for s in range(2)
    for t in range(5)
    if s != t
  ]
  loss, _ = clustering.swav(logits, eye(logits), shift, 0.5, 0.1)
  assert_allclose(loss, np.mean(pairs), rtol=1e-5)


def test_swav_of_swapped_certain_assignments_by_hand():
  """Each view gives the other's prototype odds of 1 to 3: log 4 each."""
  logits = 0.5 * np.log(3) * np.array([[[1.0, 0.0], [0.0, 1.0]]], np.float32)
  loss, _ = clustering.swav(logits, eye(logits), jnp.zeros((2, 2)), 1e-3, 0.5)
  assert_allclose(loss, np.log(4), rtol=1e-6)


def test_gradients_by_crops_directions_and_biases_are_those_of_the_scores():
  """Of a crop's cross-entropy, where assignments are constant."""
  crops, directions, bias = normal(0, 4, 3, 5), normal(1, 7, 5), normal(2, 7)
  shift = normal(3, 2, 7)

  def scores(crops, directions, bias):
    return jnp.einsum("bvd,kd->bvk", crops, directions) + bias[None, None]

  q = jax.nn.softmax((scores(crops[:, :2], directions, bias) - shift[None]) / 0.5)

  def expected(*args):
    log_p = jax.nn.log_softmax(scores(*args) / 0.3)
    pairs = -jnp.einsum("bgk,bvk->bgv", q, log_p).mean(0)
    return pairs.mean(where=~jnp.eye(2, 3, dtype=bool))

  def loss(crops, *prototypes):
    return clustering.swav(crops, clustering.Prototypes(*prototypes), shift, 0.5, 0.3)

  given = crops, directions, bias
  (value, target), grads = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(*given)
  whole, expected_grads = jax.value_and_grad(expected, (0, 1, 2))(*given)
  assert_allclose(value, whole, rtol=1e-6)
  for x, y in zip(grads, expected_grads, strict=True):
    assert_allclose(x, y, rtol=0, atol=2e-6 * np.abs(y).max())
  assert_allclose(target.share, q.mean((0, 1)), rtol=1e-5)
  entropy = jax.scipy.special.entr(q).sum(2)
  assert_allclose(target.entropy, entropy, rtol=1e-5, atol=1e-6)
  assert_allclose(target.first, q.argmax(2))

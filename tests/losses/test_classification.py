import jax
import numpy as np
from numpy.testing import assert_allclose

from ssljax.losses import classification

RNG = np.random.default_rng(0)


def softmax(row):
  e = [np.exp(v) for v in row]
  return [v / sum(e) for v in e]


def test_cross_entropy_is_the_mean_surprise_at_the_labels_there_are():
  logits = RNG.normal(size=(5, 4)).astype(np.float32)
  label = np.array([0, 3, -1, 2, -1], np.int32)
  known = [i for i in range(5) if label[i] >= 0]
  expected = np.mean([-np.log(softmax(logits[i])[label[i]]) for i in known])
  loss, grad = jax.value_and_grad(classification.cross_entropy)(logits, label)
  assert_allclose(loss, expected, rtol=1e-6)
  for i in range(5):
    p = np.array(softmax(logits[i]))
    p[label[i]] -= 1
    assert_allclose(grad[i], p / 3 if i in known else np.zeros(4), atol=1e-6)


def test_without_a_label_the_loss_is_zero():
  logits, none = np.ones((2, 3), np.float32), np.full(2, -1, np.int32)
  assert classification.cross_entropy(logits, none) == 0
  assert classification.accuracy(logits, none) == 0


def test_accuracy_by_hand():
  logits = np.float32([[1, 0], [0, 1], [3, 2], [0, 9]])
  assert classification.accuracy(logits, np.int32([0, 0, 0, -1])) == np.float32(2 / 3)


def test_distillation_is_hinton_s_loss_and_gradient():
  student, teacher = RNG.normal(size=(2, 3, 4)).astype(np.float32)
  t = 0.5
  expected = 0.0
  gradient = np.zeros((3, 4))
  for i in range(3):
    p, q = softmax(teacher[i] / t), softmax(student[i] / t)
    expected -= t**2 * sum(a * np.log(b) for a, b in zip(p, q, strict=True)) / 3
    gradient[i] = t * (np.array(q) - np.array(p)) / 3
  loss, grad = jax.value_and_grad(classification.distillation)(student, teacher, t)
  assert_allclose(loss, expected, rtol=1e-6)
  assert_allclose(grad, gradient, atol=1e-6)

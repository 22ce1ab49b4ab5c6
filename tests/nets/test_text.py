import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from ssljax.nets.text import Sentence

MODULE = Sentence(vocabulary=11, width=6, embedding=5)
TEXT = np.array([[3, 7, 1, 10, 0, 0], [5, 0, 0, 0, 0, 0]], np.int32)
WEIGHTS = MODULE.init(jax.random.key(0), {"text": TEXT}, False)


@jax.jit
def apply(weights, text):
  return MODULE.apply(weights, {"text": text}, True)["latents"]


def test_a_sentence_is_its_convolution_written_out():
  params = jax.tree.map(np.asarray, WEIGHTS["params"])
  actual = apply(WEIGHTS, TEXT)
  for row, length in zip(range(2), (4, 1), strict=True):
    words = [params["embed"]["embedding"][token] for token in TEXT[row, :length]]
    words = [np.zeros(5), *words, np.zeros(5)]
    total = 0
    for t in range(length):
      y = params["conv"]["bias"].astype(np.float64)
      for tap in range(3):
        y = y + words[t + tap] @ params["conv"]["kernel"][tap]
      total = total + np.maximum(y, 0)
    assert_allclose(actual[row], total / length, atol=1e-6)


def test_more_padding_changes_nothing():
  longer = np.pad(TEXT, ((0, 0), (0, 3)))
  expected = apply(WEIGHTS, TEXT)
  assert_allclose(apply(WEIGHTS, longer), expected, atol=1e-6)


def test_padding_is_not_learned_and_an_empty_sentence_is_zero():
  empty = np.zeros((1, 4), np.int32)
  assert_array_equal(apply(WEIGHTS, empty), np.zeros((1, 6)))
  grads = jax.grad(lambda w: apply(w, TEXT).sum())(WEIGHTS)
  slope = np.abs(grads["params"]["embed"]["embedding"]).sum(1)
  used = sorted(set(TEXT.ravel()) - {0})
  assert_array_equal(np.flatnonzero(slope), used)


def test_sentences_of_a_passage_are_encoded_each_by_itself():
  passage = np.stack([TEXT, TEXT[::-1]])  # [B,N,T]
  single = apply(WEIGHTS, TEXT)
  expected = jnp.stack([single, single[::-1]])
  assert_allclose(apply(WEIGHTS, passage), expected, atol=1e-6)

"""Scores seen in tiles come to what they come to as one array, in linear memory."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from ssljax import sharding
from ssljax.losses import clustering, contrastive, pairwise, tiled

N, M, D = 8, 16, 3


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


ROWS, COLUMNS, BIAS = normal(0, N, D), normal(1, M, D), normal(2, M)
ID = np.arange(N)[:, None], np.arange(M)
LABEL = np.arange(N)[:, None] % 3, np.arange(M) % 3
SCALE = jnp.float32(1.5)


def equation():
  """Of one pair after the other, in float64 -> denominator, positive, count, most."""
  found = []
  for i in range(N):
    score = {
      j: float(SCALE) * np.dot(np.float64(ROWS[i]), COLUMNS[j]) + BIAS[j]
      for j in range(M)
      if ID[0][i, 0] != ID[1][j]
    }
    positive = [s for j, s in score.items() if LABEL[0][i, 0] == LABEL[1][j]]
    total = np.log(np.exp(list(score.values())).sum())
    found.append((total, sum(positive), len(positive), max(score.values())))
  return np.transpose(found)


def compare(rows, columns, scale, bias, dealt=False):
  return tiled.compare(rows, columns, scale, ID, LABEL, bias, dealt)


def among(rows, columns, scale, bias):
  half = np.arange(M) // 2
  itself = pairwise.numbers(M)
  return tiled.compare_among(columns, scale, itself, (half[:, None], half))


def both_ways(rows, columns, scale, bias):
  return tiled.compare_both_ways(rows, columns, scale, LABEL)


def answers(rows, columns, scale, bias):
  return tiled.answers(rows, columns, scale, bias[0], LABEL)


FORMS = {
  "compare": compare,
  "dealt": functools.partial(compare, dealt=True),
  "among": among,
  "both_ways": both_ways,
  "answers": answers,
}


def of(form, *args):
  """Its outputs, and their sum's gradient, each output weighed by random numbers."""

  def weighed(*args):
    out = jax.tree.leaves(FORMS[form](*args))
    weights = [normal(10 + i, *x.shape) for i, x in enumerate(out)]
    return sum((w * x).sum() for w, x in zip(weights, out, strict=True)), out

  grads, out = jax.jit(jax.grad(weighed, (0, 1, 2, 3), has_aux=True))(*args)
  return out, grads


@functools.cache
def expected(form):
  return jax.device_get(of(form, ROWS, COLUMNS, SCALE, BIAS))


def in_tiles(monkeypatch, size):
  monkeypatch.setattr(pairwise, "columns_at_once", lambda n, m: size)


def assert_close(actual, expected):
  """To 1e-6 of the largest number, and the types and shapes."""
  actual, expected = jax.tree.leaves(actual), jax.tree.leaves(expected)
  largest = max(np.abs(x).max() for x in expected)
  for x, y in zip(actual, expected, strict=True):
    assert (x.dtype, x.shape) == (y.dtype, y.shape)
    assert_allclose(x, y, rtol=0, atol=1e-6 * largest)


@pytest.mark.parametrize("size", [M, 5])
def test_a_comparison_is_its_definition_pair_by_pair(size, monkeypatch):
  in_tiles(monkeypatch, size)
  assert_allclose(compare(ROWS, COLUMNS, SCALE, BIAS), equation(), rtol=1e-5)


@pytest.mark.parametrize("size", [1, 4, 5])
@pytest.mark.parametrize("form", FORMS)
def test_tiles_give_the_values_and_gradients_of_one_array(form, size, monkeypatch):
  whole = expected(form)
  in_tiles(monkeypatch, size)
  assert_close(of(form, ROWS, COLUMNS, SCALE, BIAS), whole)


@pytest.mark.parametrize("form", FORMS)
def test_tiles_on_eight_devices_give_those_of_one(form, monkeypatch):
  whole = expected(form)
  in_tiles(monkeypatch, 4)
  rows, columns, bias = jax.device_put(
    (ROWS, COLUMNS, BIAS), sharding.by_rows(sharding.make_mesh())
  )
  assert_close(jax.device_get(of(form, rows, columns, SCALE, bias)), whole)


@pytest.mark.parametrize("size", [M, 4])
def test_products_of_bfloat16_stay_short_and_their_sums_long(size, monkeypatch):
  """Also in the gradient, where a score's own is float32."""
  in_tiles(monkeypatch, size)
  rows, columns = (jnp.asarray(x, jnp.bfloat16) for x in (ROWS, COLUMNS))
  grad = jax.jit(jax.grad(lambda *x: tiled.denominators(*x, 1.5).sum(), (0, 1)))
  products = re.findall(
    r"dot_general.* : \(tensor<\w+x(\w+)>, tensor<\w+x(\w+)>\) -> tensor<\w+x(\w+)>",
    grad.lower(rows, columns).as_text(),
  )
  assert set(products) == {("bf16", "bf16", "f32")}
  whole = jax.grad(lambda *x: tiled.denominators(*x, 1.5).sum(), (0, 1))(ROWS, COLUMNS)
  for x, y in zip(grad(rows, columns), whole, strict=True):
    assert_allclose(x.astype(jnp.float32), y, rtol=0, atol=0.02 * np.abs(y).max())


def nt_xent(n):
  return lambda z: contrastive.nt_xent(z, 0.1), [(n, 2, 128)]


def dino(n):
  """Of as many prototypes as crops."""

  def loss(crops, own):
    prototypes, centre = clustering.Prototypes(own), jnp.zeros((1, len(own)))
    return clustering.dino(crops, crops, prototypes, prototypes, centre, 0.1, 0.04)[0]

  return loss, [(n // 2, 4, 64), (2 * n, 64)]


def sinkhorn(n):
  def loss(crops, own):
    return clustering.sinkhorn(crops, clustering.Prototypes(own), 0.05).sum()

  return loss, [(2 * n, 1, 64), (2 * n, 64)]


def megabytes(loss, shapes):
  """Temporaries of value and gradient."""
  args = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
  step = jax.jit(jax.value_and_grad(loss, range(len(args))))
  return step.lower(*args).compile().memory_analysis().temp_size_in_bytes / 1e6


@pytest.mark.parametrize("case", [nt_xent, dino, sinkhorn])
def test_memory_is_linear_in_the_rows(case):
  """At four times the rows it is less than five times as much; one array's is 16."""
  small, large = (megabytes(*case(n)) for n in (2**12, 2**14))
  assert large < 5 * small


def test_a_tile_divides_the_columns_where_it_can():
  """What is filled up lies elsewhere on the devices than it did."""
  assert pairwise.columns_at_once(4096, 4096) == 4096  # 2^24 scores: one array
  assert pairwise.columns_at_once(8192, 8192) == 512
  assert pairwise.columns_at_once(65536, 65536) == 128
  assert pairwise.columns_at_once(10000, 10000) == 200
  assert pairwise.columns_at_once(10007, 10007) == 384  # a prime number

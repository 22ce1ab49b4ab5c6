"""Operations counted on a traced program, against sums done by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from ssljax.train import flops


def shape(*sizes, dtype="float32"):
  return jax.ShapeDtypeStruct(sizes, dtype)


def count(f, *shapes):
  return flops.count(jax.make_jaxpr(f)(*shapes))


def test_a_product_counts_two_for_each_pair_by_the_type_of_its_factors():
  halves = shape(4, 3, 5, dtype="bfloat16"), shape(4, 5, 7, dtype="bfloat16")
  f32 = {"preferred_element_type": jnp.float32}
  assert count(lambda a, b: jnp.matmul(a, b, **f32), *halves) == {
    "bfloat16": 2 * 4 * 3 * 5 * 7
  }
  mixed = shape(3, 5, dtype="bfloat16"), shape(5, 7)
  assert count(lambda a, b: lax.dot(a, b), *mixed) == {"float32": 2 * 3 * 5 * 7}


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_costs_the_same_forward_and_for_either_gradient(stride):
  def loss(x, kernel):
    conv = lax.conv_general_dilated(
      *(x, kernel, (stride, stride), ((1, 1), (1, 1))),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return conv.sum()

  shapes = shape(2, 8, 8, 3), shape(3, 3, 3, 5)
  once = 2 * 2 * (8 // stride) ** 2 * 3 * 3 * 3 * 5
  assert count(loss, *shapes) == {"float32": once}
  assert count(jax.grad(loss, (0, 1)), *shapes) == {"float32": 3 * once}


def square(x):
  return x @ x


ONCE = 2 * 4**3


@pytest.mark.parametrize(
  ("f", "times"),
  [
    (jax.jit(square), 1),
    (lambda x: lax.fori_loop(0, 3, lambda i, x: square(x), x), 3),
    (lambda x: lax.fori_loop(0, x[0, 0].astype(int), lambda i, x: square(x), x), 1),
    (lambda x: lax.cond(x[0, 0] > 0, square, lambda x: x, x), 1),
    (lambda x: lax.map(square, jnp.stack([x, x])), 2),
    (jax.grad(lambda x: square(x).sum()), 3),
    (jax.grad(lambda x: jax.checkpoint(lambda x: jnp.sin(square(x)))(x).sum()), 4),
  ],
  ids=["jit", "loop", "while", "choice", "map", "gradient", "recomputed"],
)
def test_what_runs_inside_counts_as_often_as_it_runs(f, times):
  assert flops.total(count(f, shape(4, 4))) == times * ONCE


def test_a_custom_gradient_counts_once():
  f = jax.custom_vjp(square)
  f.defvjp(lambda x: (square(x), x), lambda x, g: (g @ x.T,))
  assert flops.total(count(f, shape(4, 4))) == ONCE
  assert flops.total(count(jax.grad(lambda x: f(x).sum()), shape(4, 4))) == 2 * ONCE

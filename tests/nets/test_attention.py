"""Attention's own gradient against autodiff's, what it keeps, and who asks cuDNN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from ssljax.nets import attention
from ssljax.nets.vit import ViT
from ssljax.train import flops, kept

SHAPE = 2, 7, 3, 8  # B, N, heads, numbers of a head
Q, K, V, W = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype(np.float32)
HALVES = [jax.ShapeDtypeStruct(SHAPE, jnp.bfloat16)] * 3


def plain(q, k, v, causal=False):
  p = attention.probabilities(q, k, causal).astype(v.dtype)
  return jnp.einsum("bhqk,bkhd->bqhd", p, v)


def value_and_grads(f, dtype, causal):
  def loss(*args):
    y = f(*(x.astype(dtype) for x in args), causal).astype(jnp.float32)
    return (y * W).sum(), y

  grads, y = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(2 * Q, 2 * K, V)
  return y, *grads


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("dtype", "error"), [("float32", 1e-6), ("bfloat16", 2e-2)])
def test_values_and_gradients_are_those_of_autodiff(causal, dtype, error):
  expected = value_and_grads(plain, "float32", causal)
  actual = value_and_grads(attention.attend, dtype, causal)
  for x, y in zip(actual, expected, strict=True):
    assert_allclose(x, y, rtol=0, atol=error * np.abs(y).max())


def total(q, k, v):
  return attention.attend(q, k, v).astype(jnp.float32).sum()


def test_what_is_kept_is_q_k_v_the_output_and_the_denominators():
  scaled = lambda w, *x: total(*(w * x for x in x))  # noqa: E731
  _, arrays = kept.trace(scaled, jnp.bfloat16(1), *HALVES)
  expected = [("bfloat16", SHAPE)] * 4 + [("float32", (2, 3, 7))]
  assert sorted((a.dtype.name, a.shape) for a in arrays) == sorted(expected)


def test_every_product_has_bfloat16_factors():
  gradient = jax.make_jaxpr(jax.grad(total, (0, 1, 2)))(*HALVES)
  pairs = 2 * 2 * 3 * 7 * 7 * 8
  assert flops.count(gradient) == {"bfloat16": 7 * pairs}  # 2 forward, scores again, 4


def test_maps_are_computed_for_who_asks():
  net = ViT(width=12, depth=2, heads=3, patch_size=4)
  x = {"image": jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)}
  weights = jax.eval_shape(lambda x: net.init(jax.random.key(0), x, False), x)
  apply = lambda mutable: jax.make_jaxpr(  # noqa: E731
    lambda w, x: net.apply(w, x, False, mutable=mutable)
  )(weights, x)
  counted = [flops.total(flops.count(apply(m))) for m in (False, ["intermediates"])]
  assert counted[1] - counted[0] == 2 * (2 * 5 * 5 * 12)  # scores of two blocks


@pytest.fixture
def asked(monkeypatch):
  """A machine with Hopper's number, and what is asked of cuDNN there."""
  calls = []

  def record(q, k, v, **kwargs):
    calls.append(kwargs)
    return q

  monkeypatch.setattr(attention, "compute_capability", lambda: 9.0)
  monkeypatch.setattr(jax.nn, "dot_product_attention", record)
  return calls


@pytest.mark.parametrize("causal", [False, True])
def test_cudnn_attends_where_it_can(asked, causal):
  even = [jax.ShapeDtypeStruct((2, 64, 3, 8), jnp.bfloat16)] * 3
  jax.eval_shape(lambda *x: attention.attend(*x, causal), *even)
  assert asked == [{"is_causal": causal, "implementation": "cudnn"}]


@pytest.mark.parametrize("causal", [False, True])
def test_what_pads_an_odd_number_of_tokens_for_cudnn_is_not_seen(monkeypatch, causal):
  """By JAX's own attention in its place, which takes the same arguments."""
  real = jax.nn.dot_product_attention

  def in_its_place(q, k, v, **kwargs):
    assert q.shape[1] % 2 == 0
    return real(q, k, v, **kwargs | {"implementation": "xla"})

  monkeypatch.setattr(jax.nn, "dot_product_attention", in_its_place)
  expected = value_and_grads(plain, "float32", causal)
  actual = value_and_grads(attention._cudnn, "float32", causal)
  for x, y in zip(actual, expected, strict=True):
    assert_allclose(x, y, rtol=0, atol=2e-6 * np.abs(y).max())


@pytest.mark.parametrize(
  ("shape", "dtype", "implementation"),
  [
    ((2, 64, 3, 8), "bfloat16", "xla"),
    ((2, 64, 3, 8), "float32", "auto"),
    ((2, 64, 3, 12), "bfloat16", "auto"),
    ((2, 64, 3, 136), "bfloat16", "auto"),
    ((2, 50, 3, 64), "bfloat16", "auto"),  # XLA is faster
  ],
)
def test_cudnn_is_not_asked_for_what_it_cannot_or_slows(
  asked, shape, dtype, implementation
):
  x = jax.ShapeDtypeStruct(shape, dtype)
  y = jax.eval_shape(lambda x: attention.attend(x, x, x, False, implementation), x)
  assert (y.shape, y.dtype, asked) == (shape, jnp.dtype(dtype), [])


@pytest.mark.parametrize(
  ("number", "expected"), [("8.0", 8.0), ("gfx90a", 0.0), (None, 0.0)]
)
def test_only_cuda_s_devices_have_a_number(monkeypatch, number, expected):
  device = type("Device", (), {} if number is None else {"compute_capability": number})
  monkeypatch.setattr(jax, "local_devices", lambda: [device()])
  assert attention.compute_capability() == expected


def test_cudnn_s_attention_lowers_for_cuda_and_is_counted(monkeypatch):
  """Asked for where JAX finds the library; here there is none."""
  module = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo")
  monkeypatch.setattr(module, "check_cudnn_version", lambda: 91000)
  monkeypatch.setattr(attention, "compute_capability", lambda: 9.0)
  halves = [jax.ShapeDtypeStruct((2, 65, 3, 8), jnp.bfloat16)] * 3  # and one more
  traced = jax.jit(jax.grad(lambda *x: total(*x), (0, 1, 2))).trace(*halves)
  pairs = 2 * 2 * 3 * 66 * 66 * 8
  assert flops.count(traced.jaxpr) == {"bfloat16": 7 * pairs}
  text = traced.lower(lowering_platforms=("cuda",)).as_text()
  assert "__cudnn$fmha" in text


LENGTH = np.int32([7, 3])


def shortened(q, k, v, causal=False):
  """Each example alone, without the keys behind its length."""
  rows = [
    plain(q[i : i + 1], k[i : i + 1, :n], v[i : i + 1, :n])
    for i, n in enumerate(LENGTH)
  ]
  return jnp.concatenate(rows)


@pytest.mark.parametrize("implementation", ["attend", "_cudnn"])
def test_keys_behind_an_example_s_length_are_as_if_they_were_not(
  monkeypatch, implementation
):
  real = jax.nn.dot_product_attention
  in_its_place = lambda *x, **kw: real(*x, **kw | {"implementation": "xla"})  # noqa: E731
  monkeypatch.setattr(jax.nn, "dot_product_attention", in_its_place)
  attend = {
    "attend": lambda *x: attention.attend(*x, length=LENGTH),
    "_cudnn": lambda *x: attention._cudnn(*x, LENGTH),
  }[implementation]
  expected = value_and_grads(shortened, "float32", False)
  actual = value_and_grads(attend, "float32", False)
  for x, y in zip(actual, expected, strict=True):
    assert_allclose(x, y, rtol=0, atol=2e-6 * np.abs(y).max())
  maps = attention.probabilities(Q, K, length=LENGTH)
  assert not np.asarray(maps)[1, :, :, 3:].any()

"""CLIP's text encoder against its definition in NumPy; what stands after the end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen.initializers import normal
from numpy.testing import assert_allclose, assert_array_equal
from tiny import Encoder

from ssljax.nets import MLP
from ssljax.nets.text import TextTransformer, TwoTowers
from ssljax.nets.transformer import Block

MODULE = TextTransformer(vocabulary=11, out=5, width=12, depth=2, heads=3)
TEXT = np.array([[1, 7, 4, 10, 2, 0, 0], [1, 2, 0, 0, 0, 0, 0]], np.int32)
WEIGHTS = MODULE.init(jax.random.key(0), TEXT, False)
# Starts are so small that attention is all but even; larger weights tell more.
WEIGHTS = jax.tree.map(lambda x: 3 * x if x.ndim > 1 else x, WEIGHTS)
apply = jax.jit(lambda weights, text: MODULE.apply(weights, text, True))


def layer_norm(x, p):
  x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
  return x * p["scale"] + p["bias"]


def dense(x, p):
  return x @ p["kernel"] + p.get("bias", 0)


def attend(x, p):
  """Token by token and head by head, over itself and what is before it."""
  q, k, v = np.split(dense(x, p["qkv"]), 3, axis=1)
  out = np.zeros_like(q)
  for head in np.split(np.arange(q.shape[1]), 3):
    for n in range(len(x)):
      past = k[: n + 1, head]
      weights = np.exp(past @ q[n, head] / np.sqrt(len(head)))
      out[n, head] = weights @ v[: n + 1, head] / weights.sum()
  return dense(out, p["proj"])


def definition(p, text):
  """One text without its padding -> [out]."""
  x = p["embed"]["embedding"][text] + p["position"][0, : len(text)]
  for block in (p["block0"], p["block1"]):
    x = x + attend(layer_norm(x, block["norm1"]), block["attn"])
    hidden = dense(layer_norm(x, block["norm2"]), block["fc1"])
    x = x + dense(hidden / (1 + np.exp(-1.702 * hidden)), block["fc2"])
  return dense(layer_norm(x[-1], p["norm"]), p["proj"])


def test_a_text_is_its_definition_written_out():
  params = jax.tree.map(np.float64, WEIGHTS["params"])
  expected = [definition(params, row[row > 0]) for row in TEXT]
  assert_allclose(apply(WEIGHTS, TEXT), expected, atol=1e-5)


def test_a_token_sees_itself_and_what_is_before_it():
  """By the derivative of every token that leaves a block by every one that enters."""
  block = Block(2, 2.0, *2 * (normal(1.0),), 0.0, jnp.float32, causal=True)
  x = jax.random.normal(jax.random.key(0), (1, 5, 4))
  weights = block.init(jax.random.key(1), x, False)
  slope = jax.jit(jax.jacrev(lambda x: block.apply(weights, x, False)[0]))(x)
  reached = np.abs(slope).sum((0, 2, 3, 5)) > 0  # [leaves, enters]
  assert_array_equal(reached, np.tri(5, dtype=bool))


def test_what_stands_behind_the_end_changes_nothing():
  short, longer = TEXT[:, :6], TEXT
  table = WEIGHTS["params"]["position"]
  cut = {"params": {**WEIGHTS["params"], "position": table[:, :6]}}
  assert_allclose(apply(cut, short), apply(WEIGHTS, longer), atol=1e-6)


def test_the_order_of_tokens_matters_and_so_does_the_end():
  first = np.array([[1, 7, 4, 2, 0, 0, 0]], np.int32)
  other = np.array([[1, 4, 7, 2, 0, 0, 0]], np.int32)
  assert np.abs(apply(WEIGHTS, first) - apply(WEIGHTS, other)).max() > 1e-3


def test_weights_start_as_in_the_official_code():
  net = TextTransformer(vocabulary=300, out=64, width=128, depth=4, heads=2)
  params = jax.jit(net.init, static_argnums=2)(
    jax.random.key(1), np.zeros((1, 77), np.int32), False
  )["params"]
  block, wide = params["block3"], 128**-0.5
  for leaf, std in (
    (params["embed"]["embedding"], 0.02),
    (params["position"], 0.01),
    (block["attn"]["qkv"]["kernel"], wide),
    (block["attn"]["proj"]["kernel"], wide * 8**-0.5),
    (block["fc1"]["kernel"], (2 * 128) ** -0.5),
    (block["fc2"]["kernel"], wide * 8**-0.5),
    (params["proj"]["kernel"], wide),
  ):
    assert_allclose(leaf.std(), std, rtol=0.05)


def test_heads_that_do_not_divide_the_width_are_named():
  with pytest.raises(ValueError, match="heads=5 must divide width=12"):
    MODULE.clone(heads=5).init(jax.random.key(0), TEXT, False)


def test_towers_answer_what_they_are_asked():
  net = TwoTowers(Encoder(), MODULE, MLP(layers=1, out=5))
  image = jnp.ones((2, 4))
  weights = net.init(jax.random.key(0), {"image": image, "text": TEXT}, False)
  both = net.apply(weights, {"image": image, "text": TEXT}, False)
  assert set(both) == {"features", "projection", "text"}
  for given, keys in (
    ({"image": image}, {"features", "projection"}),
    ({"text": TEXT}, {"text"}),
  ):
    alone = net.apply(weights, given, False)
    assert set(alone) == keys
    for name, x in alone.items():
      assert_array_equal(x, both[name])

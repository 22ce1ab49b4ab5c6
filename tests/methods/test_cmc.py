import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracle_file import oracle
from tiny import Encoder

from ssljax import core
from ssljax.methods.cmc import CMC
from ssljax.nets import MultiView
from ssljax.nets.heads import MLP

N, PADDING = 30, 24


def around(dim, views, **fields):
  """CMC whose projections are its pictures' channels, and such parameters."""
  net = MultiView(Encoder(), MLP(layers=1, out=dim))
  fc1 = {"kernel": np.eye(dim, dtype=np.float32), "bias": np.zeros(dim, np.float32)}
  params = {f"view{i}": {"projector": {"fc1": fc1}} for i in range(views)}
  fields = {"channels": views * (dim,), "temperature": 0.07} | fields
  return CMC(net, bank_momentum=0.5, num_examples=N, **fields), params


def tangent(x, gradient):
  """The part of a gradient that moves unit rows x along the sphere."""
  return gradient - (gradient * x).sum(-1, keepdims=True) * x


@pytest.mark.parametrize("file", ["10_cmc_nce_0", "10_cmc_softmax_2"])
def test_three_steps_have_the_official_losses_gradients_and_banks(file, monkeypatch):
  """L is told apart in the bank of ab, and ab in that of L, with the same noise."""
  o = oracle(file)
  softmax = bool(o["hp_use_softmax"])
  method, params = around(16, 2, negatives=int(o["hp_K"]), softmax=softmax)
  noise = jnp.asarray(np.int32(o["in_idx"]))
  monkeypatch.setattr(CMC, "draw_rows", lambda self, banks, index, rng: banks[rng])
  bank = np.stack([o["in_memory_l"], o["in_memory_ab"]], 1)
  padding = np.ones((PADDING, 2, 16), np.float32)
  target = {"memory": jnp.asarray(np.concatenate([bank, padding]))}
  if not softmax:
    target["z"] = jnp.zeros(2)

  @jax.jit
  def step(i, target, batch, noise):
    state = core.TrainState(i, None, {}, target, None)
    grad_fn = jax.value_and_grad(method.loss_fn, has_aux=True)
    (loss, aux), grads = grad_fn(params, state, batch, noise)
    return loss, grads, method.after_update(params, state, aux.carry)[1]

  for i in range(3):
    x = np.concatenate([o["in_l"][i], o["in_ab"][i]], 1)
    batch = {"image": x[:, None], "index": np.int32(o["in_y"][i])}
    loss, grads, target = step(np.int32(i), target, batch, noise[i])
    expected = (o["out_loss_l"][i] + o["out_loss_ab"][i]).item()
    assert_allclose(loss, expected, rtol=1e-5)
    for view, name in (("view0", "l"), ("view1", "ab")):
      x = np.float64(o[f"in_{name}"][i])
      x /= np.linalg.norm(x, axis=1, keepdims=True)
      expected = x.T @ tangent(x, o[f"out_grad_{name}"][i])
      kernel = grads[view]["projector"]["fc1"]["kernel"]
      assert_allclose(kernel, expected, atol=1e-5 * np.abs(expected).max())
    banks = np.stack([o["out_memory_l"][i], o["out_memory_ab"][i]], 1)
    assert_allclose(target["memory"][:N], banks, atol=1e-6)
    assert_array_equal(target["memory"][N:], 1.0)  # padding stays as it was
    if not softmax:
      assert_allclose(target["z"], o["out_Z"][i], rtol=1e-5)


def cross_entropy(z, rows, temperature):
  """Section 3.2 of the paper an example at a time, its own row of the bank first."""
  losses = []
  for embedding, row in zip(z, rows, strict=True):
    h = [np.exp(embedding @ other / temperature) for other in row]
    losses.append(-np.log(h[0] / sum(h)))
  return np.mean(losses)


@pytest.mark.parametrize(
  ("graph", "ways"),
  [
    ("core", [(0, 1), (1, 0), (0, 2), (2, 0), (0, 3), (3, 0)]),
    ("full", [(i, j) for i in range(4) for j in range(4) if i != j]),
  ],
)
def test_four_views_are_contrasted_along_the_graph(graph, ways):
  """Core-view contrasts the first with the others, full-graph all with all."""
  views, dim = 4, 3
  method, params = around(
    dim, views, negatives=5, softmax=True, graph=graph, temperature=0.5
  )
  assert sorted(method.ways) == sorted(ways)
  rng = np.random.default_rng(0)
  x, bank = rng.normal(size=(6, views, dim)), rng.normal(size=(N, views, dim))
  x, bank = (
    np.float32(a / np.linalg.norm(a, axis=-1, keepdims=True)) for a in (x, bank)
  )
  batch = {
    "image": jnp.asarray(x.reshape(6, 1, views * dim)),
    "index": jnp.arange(6, dtype=jnp.int32),
  }
  state = core.TrainState(jnp.int32(0), None, {}, {"memory": jnp.asarray(bank)}, None)
  key = jax.random.key(0)
  loss, _ = method.loss_fn(params, state, batch, key)
  rows = np.asarray(method.draw_rows(state.target["memory"], batch["index"], key))
  assert_array_equal(rows[:, 0], bank[:6])
  expected = sum(cross_entropy(x[:, i], rows[:, :, j], 0.5) for i, j in ways)
  assert_allclose(loss, expected, rtol=1e-5)


def test_noise_is_drawn_for_each_example_by_its_index():
  method, _ = around(1, 2, negatives=400)
  bank = jnp.arange(N, dtype=jnp.float32)[:, None, None]
  index = jnp.array([4, 9, 2])
  rows = method.draw_rows(bank, index, jax.random.key(1))
  turned = method.draw_rows(bank, index[::-1], jax.random.key(1))
  assert_array_equal(rows[::-1], turned)
  counts = np.bincount(np.int32(rows[:, 1:]).ravel(), minlength=N)
  assert counts.min() > 0.4 * counts.mean()
  assert len(counts) == N


def test_channels_are_views_and_their_features_stand_side_by_side():
  method, _ = around(2, 2, channels=(1, 2), negatives=1)
  image = np.random.default_rng(0).normal(size=(5, 4, 4, 3)).astype(np.float32)
  for split, expected in zip(
    method.split(image), (image[..., :1], image[..., 1:]), strict=True
  ):
    assert_array_equal(split, expected)
  method, params = around(2, 3, negatives=1)
  x = np.float32([[1, 2, 3, 4, 5, 6]])
  state = core.TrainState(jnp.int32(0), params, {}, {}, None)
  assert_array_equal(method.embed(state, x), x)


def test_every_view_has_parameters_of_its_own():
  method, _ = around(2, 2, channels=(1, 2), negatives=1)
  net = MultiView(Encoder(width=3), MLP(layers=1, out=2))
  method = dataclasses.replace(method, net=net)
  batch = {"image": jnp.ones((4, 1, 3)), "index": jnp.arange(4, dtype=jnp.int32)}
  params, _, target = method.init(jax.random.key(0), batch)
  views = params["view0"], params["view1"]
  assert [p["encoder"]["body"]["kernel"].shape for p in views] == [(1, 3), (2, 3)]
  assert not np.array_equal(*(p["projector"]["fc1"]["kernel"] for p in views))
  banks = np.asarray(target["memory"]).swapaxes(0, 1)
  assert banks.shape == (2, 1024, 2)
  assert not np.array_equal(*banks)


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    ({"graph": "ring"}, "method.graph='ring' must be one of core, full"),
    ({"channels": (3,)}, r"method.channels=\(3,\) is one view .* try \(1, 2\)"),
  ],
)
def test_what_cannot_be_contrasted_is_named(fields, sentence):
  with pytest.raises(ValueError, match=sentence):
    around(1, 2, negatives=1, **fields)


def test_channels_must_be_those_of_the_pictures():
  method, _ = around(1, 2, negatives=1)
  with pytest.raises(ValueError, match=r"channels=\(1, 1\) are 2 .* have 3 channels"):
    method.split(jnp.zeros((1, 4, 4, 3)))

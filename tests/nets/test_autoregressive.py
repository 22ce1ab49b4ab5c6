import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from numpy.testing import assert_allclose, assert_array_equal

from ssljax.nets.autoregressive import GRU, Contextual, Forecast, PixelCNN
from ssljax.nets.text import Sentence


def normal(*shape):
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def init(module, x):
  return jax.device_get(jax.jit(module.init)(jax.random.key(0), x))


def sees(module, x, where):
  """Which positions of x [1,...,D] the context at `where` has a gradient by."""
  weights = init(module, x)
  slope = jax.jit(jax.grad(lambda x: module.apply(weights, x)[(0, *where)].sum()))(x)
  return np.abs(slope[0]).sum(-1) > 0


def test_the_gru_is_its_equations_written_out():
  x = normal(2, 4, 3)
  module = GRU(width=5)
  weights = init(module, x)
  (cell,) = weights["params"].values()
  w = jax.tree.map(lambda a: np.asarray(a, np.float64), cell)

  def sigmoid(a):
    return 1 / (1 + np.exp(-a))

  def dense(name, a):
    return a @ w[name]["kernel"] + w[name].get("bias", 0)

  h, expected = np.zeros((2, 5)), []
  for t in range(4):
    reset = sigmoid(dense("ir", x[:, t]) + dense("hr", h))
    update = sigmoid(dense("iz", x[:, t]) + dense("hz", h))
    new = np.tanh(dense("in", x[:, t]) + reset * dense("hn", h))
    h = (1 - update) * new + update * h
    expected.append(h)
  assert_allclose(module.apply(weights, x), np.stack(expected, 1), atol=1e-5)


def test_the_gru_sees_the_past_and_the_present_only():
  x = normal(1, 6, 3)
  assert_array_equal(sees(GRU(width=4), x, (3,)), [1, 1, 1, 1, 0, 0])


def test_what_comes_later_does_not_move_the_gru_s_context():
  x, module = normal(2, 6, 3), GRU(width=4)
  weights = init(module, x)
  apply = jax.jit(lambda x: module.apply(weights, x))
  before = apply(x)
  after = apply(np.concatenate([x[:, :4], 9 + x[:, 4:]], 1))
  assert_array_equal(after[:, :4], before[:, :4])
  assert np.abs(after[:, 4:] - before[:, 4:]).min() > 0


def test_the_gru_s_state_is_float32_where_its_gates_are_not():
  x = normal(2, 6, 3)
  weights = init(GRU(width=4), x)
  context = GRU(width=4, dtype=jnp.bfloat16).apply(weights, x)
  assert context.dtype == jnp.float32
  assert_allclose(context, GRU(width=4).apply(weights, x), atol=0.02)


@pytest.mark.parametrize("where", [(3, 3), (0, 2), (6, 0)])
def test_a_block_of_the_grid_sees_its_row_and_the_one_above_and_a_column_beside(where):
  """A gradient may be 0 behind a ReLU: 64 hidden features leave no such place."""
  seen = sees(PixelCNN(width=64, layers=1), normal(1, 7, 7, 8), where)
  row, column = np.indices((7, 7))
  above = (row <= where[0]) & (row >= where[0] - 1)
  assert_array_equal(seen, above & (abs(column - where[1]) <= 1))


def test_five_blocks_see_five_rows_above_and_the_whole_width():
  seen = sees(PixelCNN(width=64), normal(1, 7, 7, 8), (5, 3))
  expected = np.zeros((7, 7), bool)
  expected[:6] = True
  # Of row 0 five blocks see one way down only, so that a ReLU may well close it.
  assert_array_equal(seen[1:], expected[1:])
  assert not sees(PixelCNN(width=64), normal(1, 7, 7, 8), (6, 3))[0].any()


def test_what_stands_below_does_not_move_a_row_s_context():
  x, module = normal(2, 5, 4, 3), PixelCNN(width=8)
  weights = init(module, x)
  apply = jax.jit(lambda x: module.apply(weights, x))
  before = apply(x)
  for row in range(1, 5):
    changed = np.where(np.arange(5)[None, :, None, None] >= row, 9 + x, x)
    after = apply(changed)
    assert_array_equal(after[:, :row], before[:, :row])
    assert np.abs(after[:, row] - before[:, row]).max() > 0.1


class Mean(nn.Module):
  """An encoder of patches: their mean colour."""

  def __call__(self, x, train):
    return {"features": x["image"].mean((1, 2))}


def outputs(net, x):
  run = jax.jit(net.init_with_output, static_argnums=2)
  return run(jax.random.key(0), x, False)


def test_a_grid_s_latents_are_its_patches_each_by_itself():
  x = normal(2, 3, 4, 5, 5, 3)
  net = Contextual(Mean(), Forecast(2), pixelcnn=PixelCNN(width=8, layers=1))
  out, _ = outputs(net, {"image": x})
  assert_allclose(out["latents"], x.mean((3, 4)), atol=1e-6)
  assert out["context"].shape == (2, 3, 4, 3)
  assert out["predictions"].shape == (2, 3, 4, 2, 3)


def test_predictions_are_one_scaled_matrix_a_step_times_the_context():
  text = np.random.default_rng(0).integers(0, 9, (2, 4, 5)).astype(np.int32)
  forecast = Forecast(2, scale=0.1)
  net = Contextual(Sentence(9, width=3, embedding=4), forecast, gru=GRU(6))
  out, weights = outputs(net, {"text": text})
  assert {v.dtype for v in out.values()} == {jnp.dtype("float32")}
  matrices = np.asarray(weights["params"]["forecast"]["w"]["kernel"]).reshape(6, 2, 3)
  assert out["context"].shape == (2, 4, 6)
  for k in range(2):
    expected = 0.1 * out["context"] @ matrices[:, k]
    assert_allclose(out["predictions"][..., k, :], expected, atol=1e-6)


def test_a_network_without_a_context_is_refused():
  with pytest.raises(ValueError, match="one of them must be the context"):
    outputs(Contextual(Mean(), Forecast(2)), {"image": normal(2, 3, 3, 5, 5, 3)})

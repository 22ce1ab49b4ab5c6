"""Norms, and BatchNorm's groups and running statistics, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from numpy.testing import assert_allclose

from ssljax import sharding
from ssljax.nets.norm import BatchNorm, ChannelNorm, LayerNorm
from ssljax.train import kept

X = np.random.default_rng(0).normal(3.0, 2.0, (12, 2, 3, 5)).astype(np.float32)


def run(x, train=True, **fields):
  norm = BatchNorm(**fields)
  variables = norm.init(jax.random.key(0), x, train)
  return norm.apply(variables, x, train, mutable=["batch_stats"])


def normalised(x):
  mean = x.mean((0, 1, 2), dtype=np.float64)
  var = x.var((0, 1, 2), dtype=np.float64)
  return (x - mean) / np.sqrt(var + 1e-5)


def test_group_size_zero_normalises_the_whole_batch():
  y, new = run(X)
  assert_allclose(y, normalised(X), atol=1e-5)
  flat = X.reshape(-1, 5).astype(np.float64)
  assert_allclose(new["batch_stats"]["mean"], 0.1 * flat.mean(0), rtol=1e-5)
  var = 0.9 + 0.1 * flat.var(0, ddof=1)
  assert_allclose(new["batch_stats"]["var"], var, rtol=1e-5)


def test_groups_are_neighbours_in_the_batch():
  y, new = run(X, group_size=4)
  groups = [X[0:4], X[4:8], X[8:12]]
  assert_allclose(y, np.concatenate([normalised(g) for g in groups]), atol=1e-5)
  var = np.mean([g.reshape(-1, 5).var(0, ddof=1) for g in groups], axis=0)
  assert_allclose(new["batch_stats"]["var"], 0.9 + 0.1 * var, rtol=1e-5)


def test_strided_groups_take_every_third_of_twelve_examples():
  y, _ = run(X, group_size=4, strided=True)
  for g in range(3):
    assert_allclose(y[g::3], normalised(X[g::3]), atol=1e-5)


def test_statistics_of_bfloat16_are_float32():
  y, new = run(jnp.asarray(X, jnp.bfloat16), dtype=jnp.bfloat16)
  assert y.dtype == jnp.bfloat16
  assert new["batch_stats"]["var"].dtype == jnp.float32
  assert_allclose(np.float32(y), normalised(X), atol=0.05)


def test_without_train_the_running_statistics_serve_and_stay():
  y, new = run(X, train=False)
  assert_allclose(y, X / np.sqrt(1 + 1e-5), rtol=1e-6)
  assert not new["batch_stats"]["mean"].any()


def test_the_affine_parameters_can_be_left_out():
  variables = BatchNorm(use_scale=False, use_bias=False).init(
    jax.random.key(0), X, True
  )
  assert "params" not in variables


@pytest.mark.parametrize(("batch", "fits"), [(48, 24), (16, 16)])
def test_a_group_that_does_not_divide_the_batch_is_named(batch, fits):
  with pytest.raises(ValueError, match=f"must divide the batch of {batch}; try {fits}"):
    run(np.zeros((batch, 5), np.float32), group_size=32)


def test_layer_norm_takes_an_example_by_itself_over_all_its_axes():
  norm = LayerNorm()
  variables = norm.init(jax.random.key(0), X, True)
  scale, bias = np.float32([1, 2, 3, 4, 5]), np.float32([5, 4, 3, 2, 1])
  y = norm.apply({"params": {"scale": scale, "bias": bias}}, X, True)
  for x, actual in zip(X.astype(np.float64), y, strict=True):
    expected = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    assert_allclose(actual, expected * scale + bias, atol=1e-4)
  assert jax.tree.map(np.shape, variables) == {"params": {"scale": (5,), "bias": (5,)}}


FAR = (3, 10, 100, 1000)  # means in deviations
GROUPS = {"whole": {}, "groups": {"group_size": 16}, "strided": {"group_size": 16}}
GROUPS["strided"]["strided"] = True


def far(offset, rows=64):
  """A batch, and running statistics such as many like it leave."""
  rng = np.random.default_rng(offset)
  x = rng.normal(offset, 1, (rows, 4, 4, 8)).astype(np.float32)
  near = rng.normal(offset, 0.1, 8).astype(np.float32)
  return x, {"mean": near, "var": np.ones(8, np.float32)}


def exact(x, group_size=0, strided=False):
  """In float64: x normalised, the mean of the groups' unbiased variances."""
  x = np.float64(x)
  n = group_size or len(x)
  groups = [x[g :: len(x) // n] if strided else x[g * n :][:n] for g in range(64 // n)]
  y = np.empty_like(x)
  for g, group in enumerate(groups):
    rows = slice(g, None, len(groups)) if strided else slice(g * n, (g + 1) * n)
    y[rows] = (group - group.mean((0, 1, 2))) / np.sqrt(group.var((0, 1, 2)) + 1e-5)
  return y, np.mean([g.reshape(-1, 8).var(0, ddof=1) for g in groups], axis=0)


@pytest.mark.parametrize("fields", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("offset", FAR)
def test_the_variance_keeps_its_digits_however_far_the_mean_is(offset, fields):
  x, stats = far(offset)
  norm = BatchNorm(momentum=0.0, **fields)
  params = {"scale": np.ones(8, np.float32), "bias": np.zeros(8, np.float32)}
  variables = {"params": params, "batch_stats": stats}
  y, new = norm.apply(variables, x, True, mutable=["batch_stats"])
  expected, var = exact(x, **fields)
  assert_allclose(new["batch_stats"]["var"], var, rtol=1e-6)
  assert_allclose(y, expected, atol=3e-7 * offset + 1e-6)  # the mean is f32 too


@pytest.mark.parametrize("offset", FAR)
def test_gradients_of_far_means_are_those_of_two_passes_in_float64(offset):
  x, stats = far(offset)
  w = np.random.default_rng(7).normal(size=x.shape).astype(np.float32)
  norm = BatchNorm(use_scale=False, use_bias=False)

  def loss(x):
    y, _ = norm.apply({"batch_stats": stats}, x, True, mutable=["batch_stats"])
    return (y * w).sum()

  hat, _ = exact(x)
  g = np.float64(w)
  centred = g - g.mean((0, 1, 2)) - hat * (g * hat).mean((0, 1, 2))
  expected = centred / np.sqrt(np.float64(x).var((0, 1, 2)) + 1e-5)
  assert_allclose(jax.grad(loss)(x), expected, atol=1e-6 * offset + 2e-6)


@pytest.mark.parametrize("fields", GROUPS.values(), ids=GROUPS)
def test_statistics_of_far_means_are_equal_on_one_and_eight_devices(fields):
  x, stats = far(1000)
  norm = BatchNorm(use_scale=False, use_bias=False, momentum=0.0, **fields)

  @jax.jit
  def run(x):
    return norm.apply({"batch_stats": stats}, x, True, mutable=["batch_stats"])

  on = sharding.by_rows(sharding.make_mesh())
  (y1, one), (y8, eight) = run(x), run(jax.device_put(x, on))
  assert_allclose(y8, y1, atol=1e-6 * 1000)
  jax.tree.map(lambda a, b: assert_allclose(b, a, rtol=1e-6), one, eight)


@pytest.mark.parametrize("offset", FAR)
def test_layer_norms_keep_their_digits_however_far_the_mean_is(offset):
  x = np.random.default_rng(0).normal(offset, 1, (5, 4, 64)).astype(np.float32)
  exact = np.float64(x)
  for norm, axes in ((LayerNorm(), (1, 2)), (ChannelNorm(epsilon=1e-5), (2,))):
    args = (x, True) if isinstance(norm, LayerNorm) else (x,)
    y = norm.apply(norm.init(jax.random.key(0), *args), *args)
    off = exact - exact.mean(axes, keepdims=True)
    expected = off / np.sqrt(exact.var(axes, keepdims=True) + 1e-5)
    assert_allclose(y, expected, atol=3e-7 * offset + 1e-6)


def plain_batch_norm(x, scale, bias, guess, group_size=0, strided=False):
  """By its definition, for autodiff -> y, mean and biased variance by group."""
  n = group_size or len(x)
  lead = (n, len(x) // n) if strided else (len(x) // n, n)
  parts, axes = x.reshape(*lead, *x.shape[1:]), (0 if strided else 1, 2, 3)
  mean = parts.mean(axes, keepdims=True)
  var = jnp.square(parts - mean).mean(axes, keepdims=True)
  y = (parts - mean) / jnp.sqrt(var + 1e-5)
  return (
    y.reshape(x.shape) * scale[None, None, None] + bias[None, None, None],
    mean,
    var,
  )


def plain_layer_norm(x, scale, bias, axes):
  off = x - x.mean(axes, keepdims=True)
  y = off / jnp.sqrt(jnp.square(off).mean(axes, keepdims=True) + 1e-5)
  like = (1,) * (x.ndim - 1) + (-1,)
  return y * scale.reshape(like) + bias.reshape(like)


def weights(dim):
  rng = np.random.default_rng(1)
  return [rng.normal(1, 0.3, dim).astype(np.float32) for _ in range(2)]


def assert_gradients(ours, plain, x, *args):
  """Of a loss that bends, in float32 and, with bfloat16 in and out, roughly."""
  w = np.random.default_rng(2).normal(size=x.shape).astype(np.float32)
  grads = lambda f, x: jax.jit(  # noqa: E731
    jax.grad(lambda x, *a: (jnp.sin(f(x, *a).astype(jnp.float32)) * w).sum(), (0, 1, 2))
  )(x, *args)
  expected = grads(plain, x)
  half = grads(ours, jnp.asarray(x, jnp.bfloat16))
  assert half[0].dtype == jnp.bfloat16
  for actual, rough, exact in zip(grads(ours, x), half, expected, strict=True):
    scale = np.abs(exact).max()
    assert_allclose(actual, exact, rtol=0, atol=3e-6 * scale)
    assert_allclose(np.float32(rough), exact, rtol=0, atol=0.03 * scale)


@pytest.mark.parametrize("fields", GROUPS.values(), ids=GROUPS)
def test_batch_norm_s_gradients_are_those_of_autodiff(fields):
  x, stats = far(1)

  def ours(x, scale, bias):
    norm = BatchNorm(**fields, dtype=x.dtype)
    variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": stats}
    return norm.apply(variables, x, True, mutable=["batch_stats"])[0]

  assert_gradients(
    ours, lambda *a: plain_batch_norm(*a, None, **fields)[0], x, *weights(8)
  )


def test_the_statistics_carry_a_gradient_too():
  x, stats = far(1)
  w = np.random.default_rng(3).normal(size=(2, 8)).astype(np.float32)

  def ours(x):
    norm = BatchNorm(use_scale=False, use_bias=False, momentum=0.0)
    _, new = norm.apply({"batch_stats": stats}, x, True, mutable=["batch_stats"])
    new = new["batch_stats"]
    return (w * jnp.stack([new["mean"], new["var"]])).sum()

  def plain(x):
    moments = jnp.stack([x.mean((0, 1, 2)), x.var((0, 1, 2), ddof=1)])
    return (w * moments).sum()

  expected = jax.grad(plain)(x)
  assert_allclose(jax.grad(ours)(x), expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("axes", [(1, 2, 3), (3,)], ids=["example", "position"])
def test_layer_norms_gradients_are_those_of_autodiff(axes):
  kind = LayerNorm if len(axes) == 3 else ChannelNorm

  def ours(x, scale, bias):
    args = (x, True) if kind is LayerNorm else (x,)
    params = {"params": {"scale": scale, "bias": bias}}
    return kind(epsilon=1e-5, dtype=x.dtype).apply(params, *args)

  x, _ = far(1, rows=4)
  assert_gradients(ours, lambda *a: plain_layer_norm(*a, axes), x, *weights(8))


@pytest.mark.parametrize(
  ("norm", "vector"),
  [
    (BatchNorm(), (1, 1, 1, 5)),
    (BatchNorm(group_size=4), (3, 1, 1, 1, 5)),
    (LayerNorm(), (12, 1, 1, 1)),
    (ChannelNorm(), (12, 2, 3, 1)),
  ],
  ids=["batch", "groups", "example", "position"],
)
def test_a_gradient_keeps_the_input_as_it_came_and_two_vectors(norm, vector):
  args = () if isinstance(norm, ChannelNorm) else (True,)
  x = jax.ShapeDtypeStruct(X.shape, jnp.bfloat16)
  variables = jax.eval_shape(lambda: norm.init(jax.random.key(0), X, *args))

  def loss(params, x):
    y, _ = norm.apply(
      variables | {"params": params[1]}, params[0] * x, *args, mutable=["batch_stats"]
    )
    return (2 * y.astype(jnp.float32)).sum()

  variables = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), dict(variables))
  _, arrays = kept.trace(loss, (jnp.bfloat16(1), variables["params"]), x)
  parts = X.shape if len(vector) < 5 else (3, 4, *X.shape[1:])
  expected = [("bfloat16", parts), ("float32", vector), ("float32", vector)]
  assert sorted((a.dtype.name, a.shape) for a in arrays) == expected


@pytest.mark.parametrize("fields", GROUPS.values(), ids=GROUPS)
def test_eight_devices_exchange_no_more_than_in_autodiff_s_form(fields):
  x, stats = far(1)
  on = sharding.by_rows(sharding.make_mesh())

  def ours(x, scale, bias):
    variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": stats}
    y, new = BatchNorm(**fields).apply(variables, x, True, mutable=["batch_stats"])
    return jnp.square(y).sum(), new

  def plain(x, scale, bias):
    y, mean, var = plain_batch_norm(x, scale, bias, None, **fields)
    return jnp.square(y).sum(), (mean.mean(), var.mean())

  def exchanged(f):
    step = jax.jit(jax.grad(f, (0, 1, 2), has_aux=True))
    placed = jax.device_put(x, on)
    return tiny.collectives(step.lower(placed, *weights(8)).compile())

  assert len(exchanged(ours)) <= len(exchanged(plain)), (
    exchanged(ours),
    exchanged(plain),
  )

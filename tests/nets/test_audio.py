import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from ssljax.nets.audio import Waveform

SMALL = Waveform(width=6)


def sound(length, batch=2):
  rng = np.random.default_rng(0)
  return rng.uniform(-1, 1, (batch, length)).astype(np.float32)


def variables(module, x):
  init = jax.jit(module.init, static_argnums=2)
  weights = init(jax.random.key(0), {"audio": x}, False)
  return jax.device_get(weights)


def apply(module, weights, x):
  forward = jax.jit(lambda w, x: module.apply(w, {"audio": x}, True))
  return forward(weights, x)["latents"]


def test_a_window_of_the_paper_gives_a_latent_every_10_ms():
  outputs = jax.eval_shape(
    lambda x: Waveform().init_with_output(jax.random.key(0), x, False)[0],
    {"audio": jnp.zeros((2, 20480))},
  )
  assert outputs.keys() == {"latents"}
  shape = outputs["latents"]
  assert (shape.shape, shape.dtype) == ((2, 128, 512), jnp.float32)


@pytest.mark.parametrize("norm", ["channel", "none"])
def test_the_latents_are_five_convolutions_written_out(norm):
  x = sound(640)
  module = SMALL.clone(norm=norm)
  weights = variables(module, x)
  actual = apply(module, weights, x)
  y = x[:, :, None].astype(np.float64)
  padding = (3, 2, 1, 1, 1)  # CPC_audio's
  for i, (kernel, stride) in enumerate([(10, 5), (8, 4), (4, 2), (4, 2), (4, 2)]):
    layer = weights["params"][f"conv{i + 1}"]
    y = np.pad(y, ((0, 0), (padding[i],) * 2, (0, 0)))
    out = []
    for start in range(0, y.shape[1] - kernel + 1, stride):
      window = y[:, start : start + kernel]
      out.append(np.tensordot(window, layer["kernel"], 2) + layer["bias"])
    y = np.stack(out, 1)
    if norm == "channel":
      y = (y - y.mean(2, keepdims=True)) / np.sqrt(y.var(2, keepdims=True) + 1e-5)
    y = np.maximum(y, 0)
  assert actual.shape == (2, 4, 6)
  assert_allclose(actual, y, atol=2e-5)


def test_a_latent_sees_465_samples_around_its_own_160():
  x = sound(1600, batch=1)
  weights = variables(SMALL, x)
  slope = jax.jit(jax.grad(lambda x: apply(SMALL, weights, x)[0, 4].sum()))(x)
  seen = np.flatnonzero(slope[0])
  assert (seen[0], seen[-1]) == (4 * 160 - 153, 4 * 160 + 311)


def test_computing_in_bfloat16_keeps_the_latents_in_float32():
  module, x = SMALL.clone(dtype=jnp.bfloat16), sound(640)
  weights = variables(module, x)
  latents = apply(module, weights, x)
  assert {w.dtype for w in jax.tree.leaves(weights)} == {latents.dtype}
  assert latents.dtype == jnp.float32
  assert_allclose(latents, apply(SMALL, weights, x), atol=0.1)


def test_an_unknown_norm_is_named():
  with pytest.raises(ValueError, match="norm='batch' must be one of channel, none"):
    variables(SMALL.clone(norm="batch"), sound(640))

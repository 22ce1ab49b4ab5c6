import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import linen as nn
from numpy.testing import assert_allclose, assert_array_equal
from oracle_file import oracle

from ssljax import core
from ssljax.methods.clip import CLIP
from ssljax.nets import MLP, TwoTowers


class Rows(nn.Module):
  """Texts that are vectors already, times a kernel."""

  @nn.compact
  def __call__(self, text, train):
    return nn.Dense(text.shape[-1], use_bias=False, name="fc1")(text)


def method(loss, dim):
  """-> CLIP of linear towers, parameters with which they change nothing."""
  projector = MLP(layers=1, out=dim, out_bias=False)
  net = TwoTowers(tiny.Encoder(), Rows(), projector)
  kernel = {"fc1": {"kernel": np.eye(dim, dtype=np.float32)}}
  return CLIP(net, loss=loss), {"projector": kernel, "text": kernel}


def state(params):
  return core.TrainState(np.int32(0), params, {}, {}, None)


@pytest.mark.usefixtures("both_forms")
@pytest.mark.parametrize(
  ("loss", "file"), [("softmax", "11_clip_0"), ("sigmoid", "11_siglip_0")]
)
def test_it_starts_and_pulls_as_open_clip_does(loss, file):
  """From the scale and bias that `init` gives, with the gradient of both towers."""
  o = oracle(file)
  clip, params = method(loss, 16)
  batch = {"image": o["in_image"][:, None], "text": o["in_text"]}
  scalars, stats, target = clip.init(jax.random.key(0), batch)
  params |= {k: v for k, v in scalars.items() if k.startswith("logit")}
  assert scalars.keys() == params.keys()
  assert (stats, target) == ({}, {})
  assert_allclose(params["logit_scale"], o["hp_log_scale"], rtol=1e-6)
  grad_fn = jax.value_and_grad(clip.loss_fn, has_aux=True)
  (value, aux), grads = grad_fn(params, state(None), batch, jax.random.key(0))
  assert_allclose(value, o["out_loss"], rtol=1e-6)
  for tower in ("image", "text"):
    x, slope = o[f"in_{tower}"], o[f"out_grad_{tower}"]
    expected = x.T @ (slope - (slope * x).sum(1, keepdims=True) * x)
    kernel = grads["projector" if tower == "image" else "text"]["fc1"]["kernel"]
    assert_allclose(kernel, expected, atol=3e-6 * np.abs(expected).max())
  assert_allclose(grads["logit_scale"], o["out_grad_log_scale"], rtol=1e-5)
  if loss == "sigmoid":
    assert_allclose(params["logit_bias"], o["hp_logit_bias"])
    assert_allclose(grads["logit_bias"], o["out_grad_bias"], rtol=1e-5)
  pair = np.stack([o["in_image"], o["in_text"]], 1)
  assert_allclose(aux.outputs["projection"], pair)
  assert_allclose(aux.outputs["features"], o["in_image"][:, None])


def test_the_scale_stays_between_1_and_100_and_all_else_as_it_is():
  clip, _ = method("softmax", 2)
  for given, kept in ((9.0, np.log(100)), (-1.0, 0.0), (3.0, 3.0)):
    params = {"text": 7.0, "logit_scale": jnp.float32(given)}
    new, target = clip.after_update(params, state(None), {})
    assert_allclose(new["logit_scale"], kept, rtol=1e-6)
    assert (new["text"], target) == (7.0, {})


def test_a_class_is_the_direction_of_its_prompts_mean_direction():
  clip, params = method("softmax", 2)
  prompts = jnp.asarray([[[3.0, 0.0], [0.0, 1.0]], [[-2.0, 0.0], [-1.0, 0.0]]])
  named = clip.name_classes(state(params), prompts)
  assert_allclose(named.target["classes"], [[0.5**0.5, 0.5**0.5], [-1, 0]], atol=1e-6)


@pytest.mark.parametrize(("loss", "bias"), [("softmax", 0.0), ("sigmoid", -2.0)])
def test_a_picture_s_logits_are_its_scaled_cosines_with_the_classes(loss, bias):
  clip, params = method(loss, 2)
  params |= {"logit_scale": jnp.log(5.0)}
  if loss == "sigmoid":
    params |= {"logit_bias": jnp.float32(bias)}
  image, classes = jnp.asarray([[0.0, 7.0], [3.0, 4.0]]), jnp.eye(2)
  assert clip.classify(state(params), image) is None
  logits = clip.classify(state(params).replace(target={"classes": classes}), image)
  assert_allclose(logits, 5 * np.array([[0, 1], [0.6, 0.8]]) + bias, atol=1e-5)


def test_features_for_evaluation_are_those_before_the_projection():
  clip, params = method("softmax", 3)
  params["projector"] = {"fc1": {"kernel": np.zeros((3, 3), np.float32)}}
  image = np.arange(6, dtype=np.float32).reshape(2, 3)
  assert_array_equal(clip.embed(state(params), image), image)


def test_a_loss_that_is_none_is_named():
  with pytest.raises(ValueError, match=r"method\.loss='sofmax' must be one of"):
    method("sofmax", 2)

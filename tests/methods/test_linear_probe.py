import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ssljax import core, nets, optim, schedules
from ssljax.fields import ConfigError
from ssljax.methods.linear_probe import LinearProbe
from ssljax.methods.simclr import SimCLR
from ssljax.methods.supervised import Supervised
from tests import tiny

PLAN = schedules.Plan(8, 8, 1, 20, num_classes=3)


def base(**encoder):
  return Supervised(net=nets.Network(encoder=nets.build(encoder)))


def resnet():
  return base(name="resnet18", stem="cifar", width=4, stage_sizes=(1,))


def probe(**fields):
  method = resnet()
  return LinearProbe(net=method.net, base=method, num_classes=3, **fields)


def batch():
  rng = np.random.default_rng(0)
  image = rng.normal(size=(8, 1, 8, 8, 3)).astype(np.float32)
  return {
    "image": image,
    "label": np.int32([0, 1, 2, 0, 1, 2, 0, -1]),
    "index": np.arange(8, dtype=np.int32),
  }


def trained(method, rate, steps=6):
  """The state after some steps of SGD on one batch."""
  tx = optim.build({"name": "sgd", "learning_rate": rate, "momentum": 0.9}, PLAN)
  views = lambda rng, batch: batch  # noqa: E731, already views
  state = core.init_state(method, tx, views, 0, batch())

  @jax.jit
  def step(state):
    return core.train_step(method, tx, views, 0, state, batch())[0]

  for _ in range(steps):
    state = step(state)
  return state


def test_each_head_is_trained_as_if_it_were_alone():
  both = trained(probe(rates=(1.0, 0.1)), rate=0.5)
  first = trained(probe(rates=(1.0, 1.0)), rate=0.5)
  second = trained(probe(rates=(1.0, 1.0)), rate=0.05)
  head = both.params["pooled"]
  assert_allclose(head["kernel"][0], first.params["pooled"]["kernel"][0], rtol=1e-5)
  assert_allclose(
    head["kernel"][1], second.params["pooled"]["kernel"][1], rtol=1e-5, atol=1e-7
  )
  assert not np.allclose(head["kernel"][0], head["kernel"][1], atol=1e-3)


def test_the_encoder_does_not_move_and_has_no_optimizer_state():
  method = probe(rates=(1.0,))
  state, before = trained(method, 0.5), trained(method, 0.5, steps=0)
  jax.tree.map(assert_array_equal, state.target, before.target)
  sizes = {x.shape for x in jax.tree.leaves(state.opt_state)}
  assert sizes <= {(1, 4, 3), (1, 3), ()}


def test_a_step_is_that_of_softmax_regression():
  method = probe(rates=(0.5,))
  state = trained(method, 1.0, steps=0)
  data = batch()
  x = np.asarray(method.embed(state, data["image"][:, 0]), np.float64)
  w = np.asarray(state.params["pooled"]["kernel"][0], np.float64)
  logits = x @ w
  p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  known = data["label"] >= 0
  error = (p - np.eye(3)[data["label"]]) * known[:, None] / known.sum()
  after = trained(method, 1.0, steps=1).params["pooled"]
  assert_allclose(after["kernel"][0], w - 0.5 * x.T @ error, rtol=1e-4, atol=1e-6)
  assert_allclose(after["bias"][0], -0.5 * error.sum(0), rtol=1e-4, atol=1e-6)


def test_a_transformer_offers_its_last_blocks():
  method = base(
    name="vit_ti", width=8, depth=5, heads=2, patch_size=4, position="sincos"
  )
  method = LinearProbe(net=method.net, base=method, num_classes=3, choices=())
  state = trained(method, 0.1, steps=0)
  widths = {name: head["kernel"].shape[1] for name, head in state.params.items()}
  assert widths == {
    "pooled": 8,
    "cls": 8,
    "cls_mean": 16,
    "cls4": 32,
    "cls4_mean": 40,
  }
  image = jnp.asarray(batch()["image"][:, 0])
  found = method.readouts(state.target["base"], image)
  assert_array_equal(found["pooled"], found["cls"])  # pool="cls"
  assert_array_equal(found["cls4"][:, -8:], found["cls"])
  assert_array_equal(found["cls4_mean"][:, :32], found["cls4"])
  columns = method.predictions(state, image)
  assert columns.shape == (8, 5)
  assert method.heads(state)[0] == "cls, rate 1"  # as JAX sorts a dict's names


def test_predictions_stand_in_the_order_of_the_heads():
  method = probe(rates=(1.0, 0.1))
  state = trained(method, 0.5)
  image = batch()["image"][:, 0]
  x, head = jax.device_get((method.embed(state, image), state.params["pooled"]))
  expected = np.argmax(x @ head["kernel"] + head["bias"][:, None], 2)
  assert_array_equal(method.predictions(state, image), expected.T)


def test_a_base_that_learned_from_captions_is_probed_without_them():
  clip = tiny.parts("clip").method
  examples = tiny.batch()
  text = "text", examples["text"].shape[1:], "int32"
  method = LinearProbe(net=clip.net, base=clip, num_classes=3, inputs=(text,))
  seen = {"image": np.zeros((4, 1, 8, 8, 3), np.float32), "label": np.zeros(4, int)}
  _, _, target = jax.eval_shape(method.init, jax.random.key(0), seen)
  own = jax.eval_shape(
    clip.init,
    jax.random.key(0),
    {**examples, "image": examples["image"][:, None] / 255},
  )
  shapes = jax.tree.map(lambda x: x.shape, target["base"]["params"])
  assert shapes == jax.tree.map(lambda x: x.shape, own[0])


def test_a_readout_that_the_encoder_does_not_have_is_named():
  with pytest.raises(ConfigError, match="'cls4', which this encoder does not give; it"):
    trained(probe(choices=("cls4",)), 0.1, steps=0)


def test_one_device_is_as_good_as_eight():
  built = tiny.parts("simclr")
  method = LinearProbe(
    net=built.method.net, base=built.method, num_classes=10, rates=(1.0, 0.3)
  )
  built = built._replace(method=method)
  first = tiny.first_state(built)
  one, eight = (tiny.step(built, first, devices) for devices in (1, 8))
  for (path, x), y in zip(
    jax.tree_util.tree_leaves_with_path(one[0].params),
    jax.tree.leaves(eight[0].params),
    strict=True,
  ):
    assert_allclose(x, y, rtol=1e-4, atol=1e-6, err_msg=str(path))
  assert isinstance(dataclasses.replace(method).base, SimCLR)

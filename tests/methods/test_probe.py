import functools

import jax
import jax.numpy as jnp
import numpy as np
import tiny
from numpy.testing import assert_allclose, assert_array_equal

from ssljax import core, nets, optim
from ssljax.methods.probe import Probed
from ssljax.methods.simclr import SimCLR
from ssljax.nets.heads import MLP

B, CLASSES = 8, 3
NET = nets.Network(
  tiny.Encoder(6, bn_group_size=0), projector=MLP(2, out=5, hidden=7, norm=False)
)
PLAIN = SimCLR(NET, temperature=0.5)
PROBED = Probed(NET, PLAIN, CLASSES)
LABEL = np.array([0, 2, -1, 1, -1, 2, 0, 1], np.int32)


def batch(label=LABEL):
  image = np.random.default_rng(0).normal(size=(B, 2, 4)).astype(np.float32)
  return {"image": image, "label": label}


@functools.cache
def states():
  """The same method's state without and with a probe, which has learned something."""
  sgd, adam = (
    optim.build({"name": name, "learning_rate": 0.1}, tiny.PLAN)
    for name in ("sgd", "adamw")
  )
  made = []
  for method, tx in ((PLAIN, sgd), (PROBED, optim.partition({"^probe/": adam}, sgd))):
    params, stats, target = jax.jit(method.init)(jax.random.key(0), batch())
    if "probe" in params:
      kernel = jax.random.normal(jax.random.key(1), (6, CLASSES))
      params["probe"] = {"kernel": kernel, "bias": jnp.arange(3.0)}
    state = core.TrainState(jnp.int32(0), params, stats, target, tx.init(params))
    made.append((method, tx, state))
  return made


def take_step(method, tx, state):
  step = functools.partial(core.train_step, method, tx, lambda rng, b: b, 0)
  return jax.device_get(jax.jit(step)(state, batch()))


def test_the_method_trains_bitwise_as_without_a_probe():
  plain, probed = (take_step(*each)[0] for each in states())
  rest = dict(probed.params)
  moved = rest.pop("probe")
  jax.tree.map(assert_array_equal, rest, plain.params)
  jax.tree.map(assert_array_equal, probed.batch_stats, plain.batch_stats)
  before = states()[1][2].params["probe"]
  assert all(np.abs(moved[k] - before[k]).max() > 0.01 for k in moved)


def test_loss_and_accuracy_are_means_over_labelled_examples():
  method, tx, state = states()[1]
  rest = dict(state.params)
  probe = jax.device_get(rest.pop("probe"))
  _, metrics = take_step(method, tx, state)
  both = batch()["image"].reshape(2 * B, 4)
  features = NET.apply(
    {"params": rest, "batch_stats": state.batch_stats},
    both,
    train=True,
    mutable=["batch_stats"],
  )[0]["features"].reshape(B, 2, 6)[:, 0]
  logits = np.float64(features) @ probe["kernel"] + probe["bias"]
  known = LABEL >= 0
  p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  loss = -np.log(p[np.arange(B), LABEL])[known].mean()
  assert_allclose(metrics["probe_loss"], loss, rtol=1e-5)
  accuracy = (logits.argmax(1) == LABEL)[known].mean()
  assert_allclose(metrics["probe_accuracy"], accuracy, rtol=1e-6)


def test_without_any_label_the_probe_rests():
  method, _, state = states()[1]
  unlabelled = batch(np.full(B, -1, np.int32))
  rest = state.replace(params=None)
  grad_fn = jax.jit(jax.grad(method.loss_fn, has_aux=True))
  grads, aux = grad_fn(state.params, rest, unlabelled, jax.random.key(0))
  assert aux.metrics["probe_loss"] == 0
  assert_array_equal(grads["probe"]["kernel"], 0)


def test_it_embeds_as_the_method_does():
  (plain, _, bare), (probed, _, state) = states()
  image = batch()["image"][:, 0]
  assert_array_equal(probed.embed(state, image), plain.embed(bare, image))

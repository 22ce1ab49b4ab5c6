import functools

import jax
import jax.numpy as jnp
import numpy as np
import tiny
from numpy.testing import assert_allclose, assert_array_equal

from ssljax import core, nets, optim
from ssljax.methods.probe import OnlineProbe
from ssljax.methods.simclr import SimCLR
from ssljax.nets.heads import MLP

B, CLASSES = 8, 3
NET = nets.Network(
  tiny.Encoder(6, bn_group_size=0), projector=MLP(2, out=5, hidden=7, norm=False)
)
METHOD = SimCLR(NET, temperature=0.5)
LABEL = np.array([0, 2, -1, 1, -1, 2, 0, 1], np.int32)


def batch(label=LABEL):
  image = np.random.default_rng(0).normal(size=(B, 2, 4)).astype(np.float32)
  return {"image": image, "label": label}


def as_they_are(rng, batch):
  return batch


@functools.cache
def runs():
  """Of the same method without and with a probe, which has learned something."""
  sgd, adam = (
    optim.build({"name": name, "learning_rate": 0.1}, tiny.PLAN)
    for name in ("sgd", "adamw")
  )
  made = []
  both = (None, sgd), (OnlineProbe(CLASSES), optim.partition({"^probe/": adam}, sgd))
  for probe, tx in both:
    init = functools.partial(core.init_state, METHOD, tx, as_they_are, 0, probe=probe)
    state = jax.jit(init)(batch())
    if probe:
      assert not state.params["probe"]["kernel"].any()
      kernel = jax.random.normal(jax.random.key(1), (6, CLASSES))
      learned = {"kernel": kernel, "bias": jnp.arange(3.0)}
      state = state.replace(params={**state.params, "probe": learned})
    made.append((probe, tx, state))
  return made


def take_step(probe, tx, state, examples=None):
  step = functools.partial(core.train_step, METHOD, tx, as_they_are, 0, probe=probe)
  return jax.device_get(jax.jit(step)(state, examples or batch()))


def test_the_method_trains_bitwise_as_without_a_probe():
  plain, probed = (take_step(*each)[0] for each in runs())
  rest = dict(probed.params)
  moved = rest.pop("probe")
  jax.tree.map(assert_array_equal, rest, plain.params)
  jax.tree.map(assert_array_equal, probed.batch_stats, plain.batch_stats)
  before = runs()[1][2].params["probe"]
  assert all(np.abs(moved[k] - before[k]).max() > 0.01 for k in moved)


def test_loss_and_accuracy_are_means_over_labelled_examples():
  probe, tx, state = runs()[1]
  rest = dict(state.params)
  learned = jax.device_get(rest.pop("probe"))
  _, metrics = take_step(probe, tx, state)
  both = batch()["image"].reshape(2 * B, 4)
  features = NET.apply(
    {"params": rest, "batch_stats": state.batch_stats},
    {"image": both},
    train=True,
    mutable=["batch_stats"],
  )[0]["features"].reshape(B, 2, 6)[:, 0]
  logits = np.float64(features) @ learned["kernel"] + learned["bias"]
  known = LABEL >= 0
  p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  loss = -np.log(p[np.arange(B), LABEL])[known].mean()
  assert_allclose(metrics["probe_loss"], loss, rtol=1e-5)
  accuracy = (logits.argmax(1) == LABEL)[known].mean()
  assert_allclose(metrics["probe_accuracy"], accuracy, rtol=1e-6)


def test_what_is_minimised_is_logged_beside_the_method_s_loss():
  (_, plain), (_, probed) = (take_step(*each) for each in runs())
  assert "objective" not in plain
  assert_allclose(probed["loss"], plain["loss"], rtol=1e-6)
  assert_allclose(probed["objective"], probed["loss"] + probed["probe_loss"], rtol=1e-6)


def test_without_any_label_the_probe_rests():
  probe, tx, state = runs()[1]
  unlabelled = batch(np.full(B, -1, np.int32))
  after, metrics = take_step(probe, tx, state, unlabelled)
  assert metrics["probe_loss"] == 0
  jax.tree.map(assert_array_equal, after.params["probe"], state.params["probe"])


def test_the_method_embeds_as_without_a_probe():
  (_, _, bare), (_, _, state) = runs()
  image = batch()["image"][:, 0]
  assert_array_equal(METHOD.embed(state, image), METHOD.embed(bare, image))

"""SwAV: the official training loop, step by step, with and without its queue."""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from numpy.testing import assert_allclose, assert_array_equal
from oracle_file import oracle

from ssljax import core, optim, recipe
from ssljax.losses import clustering
from ssljax.methods.swav import SwAV, with_unit_prototypes
from ssljax.nets.heads import Prototypes

DIM, K, B = 8, 9, 4
CLOSE = 6e-6  # twice what the official code in float32 is off
SGD = {"name": "sgd", "learning_rate": 0.03}


def unit(x, axis):
  return x / np.linalg.norm(x, axis=axis, keepdims=True)


def around(embeddings, prototypes, queue_size=0, **fields):
  """SwAV on given embeddings [B,D], with its first parameters; only [K,D] moves."""
  net, params = tiny.linear(embeddings.shape[-1])
  net = net.clone(prototypes=Prototypes(len(prototypes), weight_norm=False))
  method = SwAV(net, 0.1, 0.05, 1, queue_size, **fields)
  kernel = np.float32(unit(prototypes, 1).T)
  return method, {**params, "prototypes": {"kernel": kernel}}


def crops(embeddings, assigned):
  """[V,B,D] -> a batch whose first crops are assigned."""
  x = embeddings.swapaxes(0, 1)
  return {"image": x[:, :assigned], "local": x[:, assigned:]}


def first_state(method, params, batch, tx):
  _, stats, target = method.init(jax.random.key(0), batch)
  return core.TrainState(jnp.int32(0), params, stats, target, tx.init(params))


def stepper(method, tx):
  """step(state, batch) -> state, metrics and the gradients of parameters and crops."""

  @jax.jit
  def step(state, batch):
    def loss_fn(params, batch):
      rest = state.replace(params=None)
      return method.loss_fn(params, rest, batch, jax.random.key(0))[0]

    grads = jax.grad(loss_fn, argnums=(0, 1))(state.params, batch)
    new, metrics = core.train_step(method, tx, lambda rng, b: b, 0, state, batch)
    return new, metrics, grads

  return step


@pytest.mark.usefixtures("both_forms")
@pytest.mark.parametrize(
  "file", ["06_swav_loss_0", "06_swav_loss_3_queue", "06_swav_loss_4_queue"]
)
def test_every_step_has_the_official_loss_gradients_prototypes_and_queue(file):
  o = oracle(file)
  assigned, size = len(o["hp_crops_for_assign"]), int(o["hp_queue_length"])
  method, params = around(o["in_embeddings"], o["in_prototypes"], size)
  sgd = {"name": "sgd", "learning_rate": float(o["hp_sgd_lr"]), "momentum": 0.0}
  tx = optim.build({**sgd, "frozen": ("projector",)}, tiny.PLAN)
  state = first_state(method, params, crops(o["in_embeddings"][0], assigned), tx)
  step = stepper(method, tx)
  for i, embeddings in enumerate(o["in_embeddings"]):
    before = o["out_prototypes_normalized"][i]
    assert_allclose(state.params["prototypes"]["kernel"].T, before, atol=CLOSE)
    state, metrics, (grads, by_crop) = step(state, crops(embeddings, assigned))
    assert_allclose(metrics["loss"], o["out_loss"][i], rtol=1e-5)
    by_crop = np.concatenate([by_crop["image"], by_crop["local"]], 1).swapaxes(0, 1)
    by_prototype = grads["prototypes"]["kernel"].T
    for ours, theirs in (
      (by_crop, o["out_grad_embeddings"][i]),
      (by_prototype, o["out_grad_prototypes"][i]),
    ):
      assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())
    after = unit(o["out_prototypes_after"][i], 1)
    assert_allclose(state.params["prototypes"]["kernel"].T, after, atol=CLOSE)
    if size:
      newest_first = o["out_queue"][i].swapaxes(0, 1).reshape(-1, B, assigned, DIM)
      ring = np.roll(newest_first[::-1], i + 1, axis=0).reshape(size, assigned, DIM)
      assert_allclose(state.target["queue"], ring, atol=1e-6)


def random_steps(count):
  return np.random.default_rng(0).normal(size=(count, 4, B, DIM)).astype(np.float32)


@functools.cache
def run(queue_size, queue_epoch, freeze=0):
  """Six steps, two to an epoch -> per step: loss, prototypes, queue before it."""
  embeddings = random_steps(6)
  method, params = around(embeddings, random_steps(4).reshape(-1, DIM)[:K])
  method = dataclasses.replace(
    method, queue_size=queue_size, queue_epoch=queue_epoch, steps_per_epoch=2
  )
  plan = tiny.PLAN._replace(steps_per_epoch=2)
  config = {"name": "larc", "learning_rate": 10.0, "frozen": ("projector",)}
  tx = optim.build({**config, "freeze_until": {"prototypes": freeze}}, plan)
  state = first_state(method, params, crops(embeddings[0], 2), tx)
  step, history = stepper(method, tx), []
  for x in embeddings:
    before, (state, metrics, _) = state, step(state, crops(x, 2))
    prototypes = before.params["prototypes"]["kernel"]
    history.append((metrics["loss"], prototypes, before.target.get("queue")))
  return history


def test_the_queue_takes_part_once_it_is_full_of_embeddings_since_its_epoch():
  without, at_once, later = run(0, 0), run(2 * B, 0), run(2 * B, 1)
  same_as_without = [
    [bool(np.isclose(x[0], y[0], rtol=1e-6)) for x, y in pairs]
    for pairs in (zip(h, without, strict=True) for h in (at_once, later))
  ]
  assert same_as_without[0] == [True, True, False, False, False, False]
  assert same_as_without[1] == [True, True, True, True, False, False]
  earlier = unit(random_steps(6)[2:4, :2].swapaxes(1, 2), -1)  # of steps 2 and 3
  assert_allclose(later[4][2], earlier.reshape(2 * B, 2, DIM), atol=1e-6)


def test_prototypes_rest_while_frozen_and_never_leave_the_sphere():
  history = run(0, 0, freeze=1.5)  # epochs: three steps
  prototypes = [x for _, x, _ in history]
  for x in prototypes:
    assert_allclose(np.linalg.norm(x, axis=0), 1, rtol=1e-6)
  for x in prototypes[:4]:
    assert_allclose(x, prototypes[0], atol=1e-6)
  assert np.abs(prototypes[4] - prototypes[3]).max() > 1e-3


def test_prototypes_start_on_the_sphere():
  method, _ = around(random_steps(1), random_steps(4).reshape(-1, DIM)[:K])
  params, _, target = method.init(jax.random.key(0), crops(random_steps(1)[0], 2))
  norms = np.linalg.norm(params["prototypes"]["kernel"], axis=0)
  assert_allclose(norms, 1, rtol=1e-6)
  assert target == {}


def test_no_gradient_passes_through_the_assignments():
  """The gradient is that of the same loss with the assignments as constants."""
  batch = crops(random_steps(1)[0], 2)
  method, params = around(batch["image"], random_steps(4).reshape(-1, DIM)[:K])
  tx = optim.build(SGD, tiny.PLAN)
  state = first_state(method, params, batch, tx)

  def log_p(params):
    x = np.concatenate([batch["image"], batch["local"]], 1).reshape(-1, DIM)
    logits = method.forward(params, {}, {"image": x})[0]["logits"].reshape(B, -1, K)
    return logits, jax.nn.log_softmax(logits / 0.1)

  x = jnp.asarray(unit(batch["image"], -1))
  own = clustering.Prototypes(jnp.asarray(params["prototypes"]["kernel"]).T)
  shift = clustering.sinkhorn(x, own, 0.05)
  fixed = jax.nn.softmax((log_p(params)[0][:, :2] - shift[None]) / 0.05)

  def loss(params):  # of each crop's assignment with all others
    pairs = -jnp.einsum("bgk,bvk->bgv", fixed, log_p(params)[1])
    return pairs.mean(0).sum(where=~jnp.eye(2, 4, dtype=bool)) / 6

  expected = jax.jit(jax.grad(loss))(params)
  _, _, (grads, _) = stepper(method, tx)(state, batch)
  jax.tree.map(lambda x, y: assert_allclose(x, y, atol=1e-6), grads, expected)


@pytest.mark.parametrize("iterations", [1, 3, 5])
def test_the_assignments_take_as_many_iterations_as_asked(iterations):
  """Sinkhorn's own loop in NumPy, on a queue that a bias takes part in."""
  earlier, x = np.random.default_rng(0).normal(size=(2, B, 1, DIM)).astype(np.float32)
  kernel, bias = unit(random_steps(4).reshape(-1, DIM)[:K], 1).T, np.linspace(-1, 1, K)
  method, _ = around(random_steps(1), kernel.T, B, iterations=iterations)
  earlier, x = unit(earlier, -1), unit(x, -1)
  scores = np.einsum("nvd,dk->nvk", np.concatenate([earlier, x]), kernel) + bias
  q = np.exp(scores[:, 0] / 0.05)
  for _ in range(iterations):
    q /= q.sum(0, keepdims=True) * K
    q /= q.sum(1, keepdims=True) * len(q)
  state = SimpleNamespace(step=jnp.int32(9), target={"queue": earlier})
  prototypes = clustering.Prototypes(jnp.float32(kernel.T), jnp.float32(bias))
  shift = method.shift(jnp.float32(x), prototypes, state)
  ours = jax.nn.softmax((scores[B:, 0] - shift) / 0.05)
  assert_allclose(ours, q[B:] * len(q), rtol=1e-4, atol=1e-6)


def test_prototypes_keep_their_bias_on_the_sphere():
  params = {"prototypes": {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.ones(2)}}
  after = with_unit_prototypes(params)["prototypes"]
  assert_allclose(after["kernel"], np.sqrt(0.5), rtol=1e-6)
  assert_allclose(after["bias"], 1)


@pytest.fixture(scope="module")
def queued():
  """The queue's recipe around a tiny encoder, and a state whose queue is full."""
  config = tiny.configs()["swav_imagenet_small_batch"].copy_and_resolve_references()
  config.augment.update(size=tiny.SIZE)
  config.optimizer = SGD
  built = tiny.with_encoder(recipe.build(config, tiny.PLAN), stage_sizes=(1,))
  state = tiny.first_state(built)
  for _ in range(len(state.target["queue"]) // tiny.BATCH):
    state, _ = tiny.step(built, state, 8)
  return built, state


def test_a_full_queue_gives_eight_devices_the_loss_and_state_of_one(queued):
  built, state = queued
  ours, metrics = tiny.step(built, state, 8)
  expected, expected_metrics = tiny.step(built, state, 1)
  assert_allclose(metrics["loss"], expected_metrics["loss"], rtol=1e-5)
  jax.tree.map(lambda x, y: assert_allclose(x, y, atol=1e-5), ours, expected)
  assert_array_equal(ours.target["pointer"], tiny.BATCH)


def test_the_queue_costs_one_gather_of_embeddings(queued):
  built, state = queued
  moved = tiny.collectives(tiny.program(built, 8)[0])
  row = state.target["queue"][0]
  assert [x for x in moved if x[0] != "all-reduce"] == [
    ("all-gather", tiny.BATCH * row.size)
  ]

"""DINOv2: the official loss, gradients and assignments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import linen as nn
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import core
from ssljax.losses import clustering
from ssljax.methods.dinov2 import DINOv2
from ssljax.nets.heads import Prototypes


class Given(nn.Module):
  """A network whose class tokens and logits are its parameters, crop by crop.

  Rows to be scored are at right angles, so that the kernel [D,K] of the prototypes
  lists their logits.
  """

  crops: int
  patches: int
  prototypes: nn.Module | None = Prototypes(2, weight_norm=False)
  patch_prototypes: nn.Module | None = Prototypes(2, weight_norm=False)

  @nn.compact
  def __call__(self, x, train):
    number = x["image"][:, 0, 0, 0].astype(jnp.int32)
    crop = jnp.eye(self.crops)[number]
    patch = jnp.einsum("bc,np->bncp", crop, jnp.eye(self.patches))
    patch = patch.reshape(len(crop), self.patches, -1)
    tokens = self.param("tokens", nn.initializers.zeros, (self.crops, 6))
    features = tokens[number]
    return {"features": features, "projection": crop, "patch_projection": patch}


def official(o, **fields):
  """The method with the official run's numbers, on 2 global and 4 local crops."""
  constant = lambda value: lambda step: jnp.float32(value)  # noqa: E731
  numbers = {
    "student_temperature": float(o["hp_student_temp"]),
    "teacher_temperature": constant(o["hp_teacher_temp"]),
    "patch_temperature": constant(o["hp_teacher_temp"]),
    "centre_momentum": 0.9,
    "patch_centre_momentum": 0.9,
    "tau": constant(1.0),
    "class_weight": float(o["hp_dino_loss_weight"]),
    "patch_weight": constant(o["hp_ibot_loss_weight"]),
    "koleo_weight": float(o["hp_koleo_loss_weight"]),
    "koleo_group": 0,
    "sinkhorn": 0,
  }
  crops = len(o["in_student_cls"]) + len(o["in_student_local"])
  net = Given(crops, patches=o["in_student_patch"].shape[1])
  return DINOv2(net=net, **{**numbers, **fields})


def parameters(o, tokens, patches, local, network):
  """Official rows [2B,d], [2B,N,d], [L B,d] -> parameters of `Given`."""
  head, patch_head = o[f"in_{network}_dino_head"], o[f"in_{network}_dino_head"]
  every = jnp.concatenate([tokens, local])
  unused = jnp.zeros((len(local), *patches.shape[1:]))
  every_patch = jnp.concatenate([patches, unused])
  return {
    "tokens": every,
    "prototypes": {"kernel": every @ head.T},
    "patch_prototypes": {
      "kernel": (every_patch @ patch_head.T).reshape(-1, len(patch_head))
    },
  }


def step_of(o, method, network="student"):
  """-> loss and metrics as a function of the student's rows; the carry."""
  b = len(o["in_student_cls"]) // 2
  number = lambda first, crops: first + np.arange(crops * b).reshape(crops, b).T  # noqa: E731
  picture = lambda n: np.float32(n)[..., None, None, None]  # noqa: E731
  batch = {
    "image": picture(number(0, 2)),
    "local": picture(number(2 * b, len(o["in_student_local"]) // b)),
    "mask": o["in_masks"].reshape(2, b, -1).swapaxes(0, 1),
  }
  no_local = np.zeros_like(o["in_student_local"])
  slow = parameters(o, o["in_teacher_cls"], o["in_teacher_patch"], no_local, "teacher")
  k = o["in_teacher_dino_head"].shape[0]
  centres = {"centre": jnp.zeros((1, k)), "patch_centre": jnp.zeros((1, k))}
  target = {"params": slow, "batch_stats": {}, **centres}
  state = core.TrainState(jnp.int32(0), None, {}, target, None)

  def loss(rows):
    params = parameters(o, *rows, "student")
    return method.loss_fn(params, state, batch, jax.random.key(0))

  rows = tuple(
    jnp.float32(o[f"in_student_{name}"]) for name in ("cls", "patch", "local")
  )
  return jax.jit(jax.value_and_grad(loss, has_aux=True))(rows)


def test_loss_and_gradients_are_the_official_ones():
  o = oracle("12_dinov2_total_0")
  (loss, aux), grads = step_of(o, official(o))
  assert_allclose(loss, o["out_total"], rtol=1e-5)
  terms = o["out_dino_local_crops_loss"] + o["out_dino_global_crops_loss"]
  assert_allclose(aux.metrics["class_loss"], terms, rtol=1e-5)
  koleo = 2 * o["out_koleo_loss"] / o["hp_koleo_loss_weight"]  # it shows half
  assert_allclose(aux.metrics["koleo"], koleo, rtol=1e-5)
  for name, grad in zip(("cls", "patch", "local"), grads, strict=True):
    expected = o[f"out_grad_student_{name}"]
    assert_allclose(grad, expected, atol=5e-6 * np.abs(expected).max(), err_msg=name)


def scores(rows, temperature, counts=None):
  """Even assignments [N,K] of rows whose scores these are."""
  rows, eye = jnp.float32(rows)[:, None], clustering.Prototypes(jnp.eye(rows.shape[1]))
  if counts is not None:
    counts = np.float32(counts)[:, None]
  shift = clustering.sinkhorn(rows, eye, temperature, iterations=3, counts=counts)
  return jax.nn.softmax((rows[:, 0] - shift) / temperature)


def test_crops_are_assigned_as_the_official_teacher_does():
  o = oracle("12_dinov2_dinoloss_0")
  actual = scores(o["in_teacher"], float(o["hp_teacher_temp"]))
  assert_allclose(actual, o["out_sinkhorn"], atol=2e-6)


@pytest.mark.parametrize("step", [0, 1])
def test_hidden_patches_are_assigned_as_if_there_were_no_others(step):
  o = oracle("12_ibot_patch_0")
  hidden = o["in_masks"][step].reshape(-1)
  rows = np.random.default_rng(0).normal(size=(len(hidden), 12))
  rows[hidden] = o[f"in_teacher.{step}"]
  actual = scores(rows, float(o["hp_teacher_temp"]), hidden)[hidden]
  assert_allclose(actual, o[f"out_dinov2_sinkhorn.{step}"], atol=2e-6)
  assert np.isfinite(scores(rows, 0.07, np.zeros_like(hidden))).all()


def test_even_assignments_use_prototypes_alike_and_leave_no_centre():
  o = oracle("12_dinov2_total_0")
  centred, even = official(o), official(o, sinkhorn=3)
  (_, with_centre), _ = step_of(o, centred)
  (loss, aux), grads = step_of(o, even)
  assert np.isfinite(loss)
  assert all(np.isfinite(g).all() for g in grads)
  used = lambda aux: aux.metrics["teacher_information"]  # noqa: E731
  assert used(aux) > used(with_centre)
  assert {"centre", "patch_centre"} <= with_centre.carry.keys()
  assert not {"centre", "patch_centre"} & aux.carry.keys()


def test_the_centre_of_patches_follows_the_hidden_ones():
  o = oracle("12_dinov2_total_0")
  (_, aux), _ = step_of(o, official(o))
  logits = o["in_teacher_patch"] @ o["in_teacher_dino_head"].T
  expected = logits[o["in_masks"]].mean(0)
  assert_allclose(aux.carry["patch_centre"][0], expected, atol=1e-5)


def test_a_target_holds_centres_only_where_they_are_followed():
  built = tiny.parts("dinov2")
  state = tiny.first_state(built)
  assert set(state.target) == {"params", "batch_stats"}

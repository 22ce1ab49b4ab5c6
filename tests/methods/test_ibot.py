"""iBOT: the official losses, gradients, centres; heads shared or apart; what hides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import linen as nn
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import core, recipe, schedules
from ssljax.fields import ConfigError
from ssljax.losses import clustering
from ssljax.methods.ibot import IBOT
from ssljax.nets.heads import Prototypes


def softmax(x):
  e = np.exp(x - x.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def hidden_patches(student, teacher, *args):
  """The loss of logits [B,V,N,K], as scores of K prototypes at right angles."""
  eye = clustering.Prototypes(jnp.eye(student.shape[-1]))
  return clustering.hidden_patches(student, teacher, eye, eye, *args)


def test_hidden_patches_is_equation_2_of_each_picture():
  student, teacher, centre = (
    normal(0, 3, 2, 4, 5),
    normal(1, 3, 2, 4, 5),
    normal(2, 1, 5),
  )
  mask = np.random.default_rng(3).random((3, 2, 4)) < 0.5
  mask[0, 1], mask[2] = False, [[True] * 4, [False, False, True, False]]
  p = softmax((teacher.astype(np.float64) - centre) / 0.04)
  q = softmax(student.astype(np.float64) / 0.1)
  expected = np.zeros(3)
  for b in range(3):
    for v in range(2):
      hidden = [i for i in range(4) if mask[b, v, i]]
      terms = [-(p[b, v, i] * np.log(q[b, v, i])).sum() for i in hidden]
      expected[b] += (np.mean(terms) if hidden else 0) / 2
  loss = hidden_patches(student, teacher, mask, centre, 0.1, 0.04)
  assert_allclose(loss, expected, rtol=1e-5)


def test_where_nothing_is_hidden_there_is_no_loss_and_no_gradient():
  mask = np.zeros((3, 2, 4), bool)

  def loss(student):
    teacher, centre = normal(1, 3, 2, 4, 5), normal(2, 1, 5)
    return hidden_patches(student, teacher, mask, centre, 0.1, 0.04).mean()

  value, grad = jax.value_and_grad(loss)(normal(0, 3, 2, 4, 5))
  assert value == 0
  assert np.array_equal(grad, np.zeros_like(grad))


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("project", ["", "dinov2_"])
def test_lightly_and_dinov2_have_the_same_loss_of_patches(project, step):
  o = oracle("12_ibot_patch_0")
  mask = o["in_masks"][step].reshape(4, 1, -1)
  rows = np.nonzero(mask)
  centre = o["in_center"] if step == 0 else o[f"out_{project}center.0"].reshape(1, -1)

  def whole(x):
    return jnp.zeros((*mask.shape, x.shape[-1])).at[rows].set(x)

  def loss(student):
    return hidden_patches(
      whole(student),
      whole(o[f"in_teacher.{step}"]),
      mask,
      jnp.float32(centre),
      float(o["hp_student_temp"]),
      float(o["hp_teacher_temp"]),
    ).mean()

  value, grad = jax.value_and_grad(loss)(o[f"in_student.{step}"])
  expected = o[f"out_{project}grad_student.{step}"]
  assert_allclose(value, o[f"out_{project}loss.{step}"], rtol=1e-5)
  assert_allclose(grad, expected, atol=2e-6 * np.abs(expected).max())


class Given(nn.Module):
  """A network that gives the logits which are its parameters.

  The rows of all crops and patches are at right angles, so that the kernel [D,K] of the
  prototypes lists their logits.
  """

  crops: int
  patches: int
  prototypes: nn.Module | None = Prototypes(2, weight_norm=False)
  patch_prototypes: nn.Module | None = Prototypes(2, weight_norm=False)

  @nn.compact
  def __call__(self, x, train):
    crop = jnp.eye(self.crops)[x["image"][:, 0, 0, 0].astype(jnp.int32)]
    patch = jnp.einsum("bc,np->bncp", crop, jnp.eye(self.patches))
    patch = patch.reshape(len(crop), self.patches, -1)
    return {"features": crop, "projection": crop, "patch_projection": patch}


def given(logits, patch_logits, local):
  """Official rows, crop by crop, the local ones last -> parameters of `Given`."""
  unused = np.zeros((len(local), *patch_logits.shape[1:]), np.float32)
  patches = np.concatenate([patch_logits, unused])
  return {
    "prototypes": {"kernel": np.concatenate([logits, local])},
    "patch_prototypes": {"kernel": patches.reshape(-1, patches.shape[-1])},
  }


def official(o, **weights):
  """The method with the official run's numbers."""
  epochs = schedules.Plan(1, 1, 1, int(o["hp_nepochs"]))

  def warm(end):
    start, base = float(o[f"hp_warmup_{end}"]), float(o[f"hp_{end}"])
    length = int(o["hp_warmup_teacher_temp_epochs"])
    kind = {"kind": "warmup", "per": "epoch", "inclusive": True}
    spec = {**kind, "start": start, "base": base, "warmup_epochs": length}
    return schedules.build(spec, epochs)

  weights = {"class_weight": 1.0, "patch_weight": 1.0, **weights}
  weights["patch_weight"] = schedules.build(weights["patch_weight"], epochs)
  return IBOT(
    net=Given(
      crops=o["in_student_cls"].shape[1] + o["in_student_local_cls"].shape[1],
      patches=o["in_student_patch"].shape[2],
    ),
    student_temperature=float(o["hp_student_temp"]),
    teacher_temperature=warm("teacher_temp"),
    patch_temperature=warm("teacher_temp2"),
    centre_momentum=float(o["hp_center_momentum"]),
    patch_centre_momentum=float(o["hp_center_momentum"]),
    tau=schedules.build(1.0, epochs),
    **weights,
  )


def step_of(o, method, i, centres):
  """Step i of the official run -> (loss, aux), gradients, the target after it."""
  n, local = o["in_mask"].shape[2], o["in_student_local_cls"][i]
  numbers = np.arange(2 * n + len(local), dtype=np.float32).reshape(-1, n).T
  numbers = numbers[:, :, None, None, None]
  mask = o["in_mask"][i].reshape(2, n, -1).swapaxes(0, 1)
  batch = {"image": numbers[:, :2], "local": numbers[:, 2:], "mask": mask}
  teacher = given(o["in_teacher_cls"][i], o["in_teacher_patch"][i], 0 * local)
  target = {"params": teacher, "batch_stats": {}, **centres}
  state = core.TrainState(np.int32(o["hp_first_epoch"] + i), None, {}, target, None)
  params = given(o["in_student_cls"][i], o["in_student_patch"][i], local)
  step = jax.jit(jax.value_and_grad(method.loss_fn, has_aux=True))
  (loss, aux), grads = step(params, state, batch, jax.random.key(0))
  return (loss, aux), grads, method.after_update(params, state, aux.carry)[1]


def zeros(o):
  sizes = {"centre": o["in_student_cls"], "patch_centre": o["in_student_patch"]}
  return {k: np.zeros((1, x.shape[-1]), np.float32) for k, x in sizes.items()}


@pytest.mark.usefixtures("both_forms")
def test_two_steps_give_the_official_losses_gradients_and_centres():
  o, n = oracle("12_ibot_official_0"), 6
  method, target = official(o), zeros(oracle("12_ibot_official_0"))
  for i in range(2):
    centres = {k: target[k] for k in ("centre", "patch_centre")}
    (loss, aux), grads, target = step_of(o, method, i, centres)
    assert_allclose(aux.metrics["class_loss"], o["out_cls"][i], rtol=1e-5)
    assert_allclose(aux.metrics["patch_loss"], o["out_patch"][i], rtol=1e-5)
    assert_allclose(loss, o["out_loss"][i], rtol=1e-5)
    by_crop, by_patch = (grads[k]["kernel"] for k in ("prototypes", "patch_prototypes"))
    patches = o["out_grad_student_patch"][i]
    for ours, theirs in (
      (by_crop[:n], o["out_grad_student_cls"][i]),
      (by_crop[n:], o["out_grad_student_local"][i]),
      (by_patch[: n * patches.shape[1]].reshape(patches.shape), patches),
    ):
      assert_allclose(ours, theirs, atol=2e-6 * np.abs(theirs).max())
    assert_allclose(target["centre"], o["out_center"][i], atol=1e-6)
    assert_allclose(target["patch_centre"], o["out_center2"][i][0], atol=1e-6)


def test_temperatures_are_the_official_schedules():
  o = oracle("12_ibot_official_0")
  method, epochs = official(o), np.arange(int(o["hp_nepochs"]))
  ours = method.teacher_temperature(epochs), method.patch_temperature(epochs)
  expected = o["out_teacher_temp_schedule"], o["out_teacher_temp2_schedule"]
  assert_allclose(ours, expected, rtol=1e-6)


def test_both_weights_weigh_their_term():
  o = oracle("12_ibot_official_0")
  method = official(o, class_weight=0.5, patch_weight=3.0)
  (loss, _), _, _ = step_of(o, method, 0, zeros(o))
  assert_allclose(loss, 0.5 * o["out_cls"][0] + 3 * o["out_patch"][0], rtol=1e-5)


def test_nothing_is_hidden_before_patches_count():
  """The official `pred_start_epoch`, of its Swin transformers: here 2."""
  o = oracle("12_ibot_official_0")
  late = {"kind": "steps", "base": 1.0, "milestones": (0, 2), "factor": (0.0, 1.0)}
  method = official(o, patch_weight=late)
  (loss, aux), grads, _ = step_of(o, method, 0, zeros(o))  # epoch 1
  assert_allclose(loss, o["out_cls"][0], rtol=1e-5)
  assert aux.metrics["hidden"] == 0
  assert not np.any(grads["patch_prototypes"]["kernel"])
  (_, aux), _, _ = step_of(o, method, 1, zeros(o))
  assert_allclose(aux.metrics["hidden"], o["in_mask"][1].mean(), rtol=1e-6)


def smoke(**heads):
  """The smoke form around the tests' pictures, with these heads of patches."""
  config = tiny.configs()["ibot_cifar10"].copy_and_resolve_references()
  config.augment.update(size=tiny.SIZE, mask_p=1.0, mask_min=0.5, local_views=0)
  with config.method.ignore_type():
    config.method.update(heads)
  recipe.check(config)
  return recipe.build(config, tiny.PLAN)


def gradients_of(built, params, state):
  """Of a step's loss, by `params`, on the tests' pictures."""
  rng_views, rng = core.step_keys(0, state.step)
  batch = built.views(rng_views, tiny.batch())
  rest = state.replace(params=None)
  loss = jax.jit(jax.value_and_grad(built.method.loss_fn, has_aux=True))
  (value, _), grads = loss(params, rest, batch, rng)
  return value, grads


@pytest.mark.parametrize("roles", [("projector", "prototypes"), ("prototypes",)])
def test_a_shared_head_has_the_gradients_of_two_that_are_alike(roles):
  """All of the head apart, or its last layer alone (the official `shared_head`)."""
  shared = smoke()
  head = tiny.configs()["ibot_cifar10"].method
  apart = smoke(**{f"patch_{role}": head[role].to_dict() for role in roles})
  state = tiny.first_state(shared)
  assert state.params.keys() == {"encoder", "projector", "prototypes"}

  def twice(tree):
    return {**tree, **{f"patch_{r}": tree[r] for r in roles if r in tree}}

  slow = {k: twice(state.target[k]) for k in ("params", "batch_stats")}
  params = twice(state.params)
  shapes = jax.tree.map(np.shape, tiny.first_state(apart).params)
  assert jax.tree.map(np.shape, params) == shapes
  two = state.replace(
    batch_stats=twice(state.batch_stats), target={**state.target, **slow}
  )
  loss, expected = gradients_of(apart, params, two)
  value, grads = gradients_of(shared, state.params, state)
  assert_allclose(value, loss, rtol=1e-6)
  for role in roles:
    both = jax.tree.map(np.add, expected[role], expected.pop(f"patch_{role}"))
    expected[role] = both
  for ours, theirs in zip(
    jax.tree.leaves(grads), jax.tree.leaves(expected), strict=True
  ):
    assert_allclose(ours, theirs, atol=1e-5 * max(1, np.abs(theirs).max()))


def test_the_student_does_not_see_what_is_hidden_and_the_teacher_does():
  built = tiny.with_encoder(smoke(), drop_path=0.0)
  state = tiny.first_state(built)
  rng_views, rng = core.step_keys(0, state.step)
  batch = built.views(rng_views, tiny.batch())
  batch["mask"] = np.ones_like(batch["mask"])
  encode = jax.jit(built.method.encode)
  rows = encode(state.params, state.replace(params=None), batch, rng).rows
  features, teacher = rows["features"], rows["teacher"]
  assert_allclose(
    features, np.broadcast_to(features[:1, :1], features.shape), atol=1e-5
  )
  assert np.asarray(teacher).std(0).max() > 1e-3
  assert_allclose(rows["hidden"], 1)


def test_what_does_not_fit_is_said_with_the_way_out():
  with pytest.raises(ConfigError, match=r"projectr.*did you mean projector"):
    smoke(patch_projector="projectr")
  built, batch = smoke(), tiny.batch()
  blind = tiny.with_encoder(built, mask_token=False)
  with pytest.raises(ConfigError, match=r"encoder.mask_token must be True"):
    recipe.trace(blind, batch)


def test_a_head_of_patches_is_refused_where_the_encoder_gives_none():
  config = tiny.configs()["simclr_cifar10"].copy_and_resolve_references()
  config.method.patch_projector = "projector"
  recipe.check(config)
  with pytest.raises(ConfigError, match="patch_projector reads patches"):
    jax.eval_shape(recipe.build(config, tiny.PLAN).init, tiny.batch())

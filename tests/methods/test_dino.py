"""DINO: its official training loop, two epochs of two steps, number by number."""

import jax
import numpy as np
import pytest
import tiny
import torch_names
from flax import traverse_util
from numpy.testing import assert_allclose, assert_array_equal
from oracle_file import oracle

from ssljax import core, nets, optim, recipe, schedules
from ssljax.methods.dino import DINO
from ssljax.nets.heads import MLP, Prototypes
from ssljax.nets.vit import ViT

PLAN = schedules.Plan(batch_size=3, num_examples=6, steps_per_epoch=2, total_steps=4)
HEAD = {
  "head.mlp.0": "projector/fc1",
  "head.mlp.2": "projector/fc2",
  "head.mlp.4": "projector/fc3",
}


def rename(module):
  if module.startswith("backbone."):
    return "encoder/" + torch_names.vit(module.removeprefix("backbone."))
  return HEAD.get(module)


def params_of(o, prefix):
  state_dict = torch_names.under(o, prefix)
  params = torch_names.variables(state_dict, rename)["params"]
  params["encoder"]["cls"] = np.float32(state_dict["backbone.cls_token"])
  params["encoder"]["position"] = np.float32(state_dict["backbone.pos_embed"])
  prototypes = np.float32(state_dict["head.last_layer.weight_v"].T)
  return {**params, "prototypes": {"kernel": prototypes}}


def crops(x):
  """[V,B,C,H,W] -> [B,V,H,W,C]."""
  return x.transpose(1, 0, 3, 4, 2)


@pytest.fixture(scope="module")
def run():
  """The oracle, the metrics of each of our steps, our last state and the method."""
  o = oracle("07_dino_train_0")
  net = nets.Network(
    ViT(12, 2, 2, patch_size=8, mlp_ratio=2, position="learned", image_size=16),
    projector=MLP(3, out=8, hidden=14, norm=False, activation="gelu"),
    prototypes=Prototypes(16),
  )
  warmup = {"kind": "warmup", "base": 0.07, "start": 0.04, "warmup_epochs": 2}
  method = DINO(
    net=net,
    student_temperature=0.1,
    teacher_temperature=schedules.build(
      {**warmup, "per": "epoch", "inclusive": True}, PLAN
    ),
    centre_momentum=0.9,
    tau=schedules.build({"kind": "cosine", "base": 0.9, "end": 1.0}, PLAN),
  )
  rate = {"kind": "cosine", "base": 0.005, "end": 1e-4, "warmup_epochs": 1}
  config = {
    "name": "adamw",
    "learning_rate": {**rate, "inclusive": True},
    "weight_decay": {"kind": "cosine", "base": 0.04, "end": 0.4},
    "exclude": ("norm_and_bias",),
    "clip_per_parameter": float(o["hp_clip_grad"]),
    "freeze_until": {"prototypes": 1},
  }
  tx, rates = optim.build(config, PLAN), optim.rates(config, PLAN)
  params, teacher = params_of(o, "in_student."), params_of(o, "in_teacher.")
  target = {
    "params": teacher,
    "batch_stats": {},
    "centre": np.zeros((1, 16), np.float32),
  }
  state = core.TrainState(np.int32(0), params, {}, target, tx.init(params))

  @jax.jit
  def step(state, batch):
    new, metrics = core.train_step(method, tx, lambda rng, b: b, 0, state, batch)
    return new, {**metrics, **rates(state.step), "centre": new.target["centre"]}

  history = []
  for wide, local in zip(o["in_global"], o["in_local"], strict=True):
    batch = {"image": crops(wide), "local": crops(local)}
    state, metrics = step(state, batch)
    history.append(metrics)
  return o, jax.tree.map(lambda *xs: np.stack(xs), *history), state, method


def test_every_step_has_the_official_loss_centre_and_schedules(run):
  o, metrics, _, _ = run
  assert_allclose(metrics["learning_rate"], o["out_lr"], atol=1e-8)
  assert_allclose(metrics["weight_decay"], o["out_wd"], rtol=1e-6)
  assert_allclose(metrics["tau"], o["out_momentum"], rtol=1e-6)
  assert_allclose(metrics["loss"], o["out_loss"], rtol=1e-5)
  assert_allclose(metrics["centre"], o["out_center"], atol=1e-5)
  norm = np.sqrt((o["out_grad_norms"] ** 2).sum(1))
  assert_allclose(metrics["grad_norm"], norm, rtol=1e-4)


@pytest.mark.parametrize("who", ["student", "teacher"])
def test_student_and_teacher_end_with_the_official_weights(run, who):
  o, _, state, _ = run
  ours = state.params if who == "student" else state.target["params"]
  theirs = traverse_util.flatten_dict(params_of(o, f"out_{who}."), sep="/")
  for name, value in traverse_util.flatten_dict(ours, sep="/").items():
    expected = theirs[name]
    if name.endswith("qkv/bias"):  # the key's third has no gradient but noise
      value, expected = np.delete([value, expected], slice(12, 24), axis=1)
    assert_allclose(value, expected, atol=2e-5, err_msg=name)


def test_features_for_evaluation_are_the_teachers(run):
  o, _, state, method = run
  image = crops(o["in_global"][0])[:, 0]
  teacher = {"params": state.target["params"]}
  x, student = {"image": image}, {"params": state.params}
  expected = method.net.apply(teacher, x, train=False)["features"]
  assert_allclose(method.embed(state, image), expected)
  student = method.net.apply(student, x, train=False)["features"]
  assert np.abs(student - expected).max() > 1e-3


@pytest.mark.parametrize("fresh", [False, True])
def test_the_teachers_heads_may_be_drawn_apart(fresh):
  config = tiny.configs()["dino_cifar10"].copy_and_resolve_references()
  config.method.fresh_heads = fresh
  built = tiny.with_encoder(recipe.build(config, tiny.PLAN), stage_sizes=(1,))
  state = tiny.first_state(built)
  teacher = state.target["params"]
  jax.tree.map(assert_array_equal, teacher["encoder"], state.params["encoder"])
  for head, name in (("projector", "fc1"), ("prototypes", None)):
    one, other = teacher[head], state.params[head]
    one, other = (one[name], other[name]) if name else (one, other)
    same = np.array_equal(one["kernel"], other["kernel"])
    assert same != fresh
    assert_allclose(one["kernel"].std(), other["kernel"].std(), rtol=0.1)

"""What keeps each method from collapsing: with it no word, without it a sentence.

On vectors around one common point, whose views differ half as much as they do.
"""

import functools

import jax
import numpy as np
import pytest
import tiny

from ssljax import core, diagnostics, nets, optim, schedules
from ssljax.methods.byol import BYOL
from ssljax.methods.dino import DINO
from ssljax.methods.simsiam import SimSiam
from ssljax.nets.heads import MLP, Prototypes

BATCH, DIM, STEPS = 64, 16, 160
PLAN = schedules.Plan(BATCH, BATCH, steps_per_epoch=1, total_steps=STEPS)


def network(norm=True, **heads):
  return nets.Network(
    tiny.Encoder(32), projector=MLP(2, hidden=32, out=16, norm=norm), **heads
  )


def byol(norm=True):
  predictor = MLP(2, hidden=32, out=16, norm=norm)
  return BYOL(network(norm, predictor=predictor), tau=schedules.build(0.9, PLAN))


def simsiam(**fields):
  return SimSiam(network(predictor=MLP(2, hidden=8, out=16)), **fields)


def dino(centre_momentum=0.9, teacher_temperature=0.04):
  return DINO(
    network(prototypes=Prototypes(32)),
    student_temperature=0.1,
    teacher_temperature=schedules.build(teacher_temperature, PLAN),
    centre_momentum=centre_momentum,
    tau=schedules.build(0.9, PLAN),
  )


def trained(method):
  """Metrics of the last step."""
  rng = np.random.default_rng(0)
  point = 2 + rng.normal(size=(STEPS, BATCH, 1, DIM))
  views = np.float32(point + 0.5 * rng.normal(size=(STEPS, BATCH, 2, DIM)))
  tx = optim.build({"name": "adamw", "learning_rate": 0.01}, PLAN)

  def as_they_are(rng, batch):
    return batch

  state = core.init_state(method, tx, as_they_are, 0, {"image": views[0]})
  step = jax.jit(functools.partial(core.train_step, method, tx, as_they_are, 0))
  for image in views:
    state, metrics = step(state, {"image": image})
  return {name: float(value) for name, value in metrics.items()}


@pytest.mark.parametrize("method", [byol(), simsiam(), dino()])
def test_the_whole_method_does_not_collapse(method):
  assert diagnostics.collapse(trained(method)) is None


@pytest.mark.parametrize(
  "method", [byol(norm=False), simsiam(stop_gradient=False), simsiam(predict=False)]
)
def test_without_its_part_every_picture_has_one_embedding(method):
  metrics = trained(method)
  assert metrics["embedding_std"] < 0.1
  assert metrics["positive_similarity"] - metrics["negative_similarity"] < 0.01
  assert "nearly one embedding" in diagnostics.collapse(metrics)


@pytest.mark.parametrize(
  ("method", "entropy", "sentence"),
  [
    (dino(centre_momentum=1.0), 0.0, "few prototypes"),  # the centre stays at 0
    (dino(teacher_temperature=0.1), 1.0, "even assignment"),  # no sharper than itself
  ],
)
def test_a_teacher_without_centre_or_sharpening_says_the_same_of_all(
  method, entropy, sentence
):
  """Figure 7 of the paper: entropy to one end, divergence to 0 at either."""
  metrics = trained(method)
  assert abs(metrics["teacher_entropy"] - entropy) < 0.02
  assert metrics["teacher_student_kl"] < 0.05
  assert sentence in diagnostics.collapse(metrics)

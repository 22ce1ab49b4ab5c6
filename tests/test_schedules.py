import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import schedules
from ssljax.schedules import Plan


def run(spec, plan, count=None, factor=1.0):
  """The schedule at steps 0, 1, ... count - 1."""
  schedule = schedules.build(spec, plan, factor)
  return jax.jit(schedule)(np.arange(count or plan.total_steps, dtype=np.int32))


def plan_of(epochs, steps_per_epoch, batch_size=256):
  return Plan(
    batch_size, batch_size * steps_per_epoch, steps_per_epoch, epochs * steps_per_epoch
  )


def same(actual, expected):
  """To 1e-6 of the largest value."""
  assert_allclose(actual, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_simclr():
  o = oracle("15_lr_simclr_tf_0")
  # The official warm-up is counted in examples, 195 steps, not in whole epochs.
  plan = Plan(512, 10_000, 1, int(o["hp_total_steps"]))
  spec = {"kind": "cosine", "base": 0.3, "warmup_epochs": 195}
  factor = schedules.scale("linear", 512)
  same(run(spec, plan, len(o["out_lr"]), factor), o["out_lr"])


def test_byol_learning_rate_and_tau_also_past_the_end():
  o = oracle("15_lr_byol_0")
  plan = Plan(4096, 4096, 1, int(o["hp_total_steps"]))
  spec = {"kind": "cosine", "base": 0.2, "warmup_epochs": 40}
  count, factor = len(o["out_lr"]), schedules.scale("linear", 4096)
  same(run(spec, plan, count, factor), o["out_lr"])
  same(run({"kind": "cosine", "base": 0.996, "end": 1.0}, plan, count), o["out_tau"])


def test_moco_drops_at_epochs_120_and_160():
  o = oracle("15_lr_moco_0")
  spec = {"kind": "steps", "base": 0.03, "milestones": (120, 160), "factor": 0.1}
  same(run(spec, plan_of(200, 3)), np.repeat(o["out_lr"], 3))


def test_w_mse_warms_up_in_four_steps_and_drops_to_a_fifth_before_the_end():
  spec = {"kind": "steps", "base": 2.0, "milestones": (3, 4), "factor": 0.2}
  spec["warmup_epochs"] = 2
  rates = [0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 0.4, 0.4, 0.08, 0.08]
  assert_allclose(run(spec, plan_of(5, 2)), rates, rtol=1e-6)


def test_invaspread_drops_to_shares_of_its_base():
  """By epoch, from UEL's code: x0.1 from 120, x0.05 from 160, x0.01 from 200."""
  spec = {"kind": "steps", "base": 0.03, "milestones": (120, 160, 200)}
  rates = [0.03] * 120 + [0.003] * 40 + [0.0015] * 40 + [0.0003] * 101
  same(run({**spec, "factor": (0.1, 0.05, 0.01)}, plan_of(301, 2)), np.repeat(rates, 2))


def test_mocos_demo_counts_epochs_from_one_and_ends_at_zero():
  epoch = np.arange(1, 201)
  rates = 0.06 * 0.5 * (1 + np.cos(np.pi * epoch / 200))
  same(
    run({"kind": "epoch_cosine", "base": 0.06}, plan_of(200, 3)), np.repeat(rates, 3)
  )


@pytest.mark.parametrize("steps", [2, 5])
def test_a_run_of_one_epoch_by_epochs_from_one_is_not_at_its_end(steps):
  plan = plan_of(1, 5)._replace(total_steps=steps)
  same(run({"kind": "epoch_cosine", "base": 0.06}, plan), np.full(steps, 0.06))


def test_lightly_warms_up_from_its_first_step_and_reaches_the_end():
  o = oracle("15_sched_lightly_0")
  reach = {"kind": "cosine", "per": "epoch", "inclusive": True, "to_last": True}
  spec = {"base": 1.0, "end": 0.01, "start": 1 / 8, "warmup_epochs": 8, **reach}
  same(run(spec, plan_of(50, 2)), np.repeat(o["out_warmup_cosine"], 2))
  tau = {"base": 0.996, "end": 1.0, **reach}
  same(run(tau, plan_of(50, 2)), np.repeat(o["out_momentum"], 2))


def test_moco_v3_learning_rate_and_momentum():
  o = oracle("15_lr_mocov3_0")
  plan = plan_of(100, 5)
  spec = {"kind": "cosine", "base": 0.6, "warmup_epochs": 10}
  same(run(spec, plan, factor=schedules.scale("linear", 4096)), o["out_lr"])
  same(run({"kind": "cosine", "base": 0.99, "end": 1.0}, plan), o["out_m"])


def test_simsiam_changes_once_an_epoch():
  o = oracle("15_lr_simsiam_0")
  spec = {"kind": "cosine", "base": 0.05, "per": "epoch"}
  rates = run(spec, plan_of(100, 4), factor=schedules.scale("linear", 512))
  same(rates, np.repeat(o["out_lr"][:, 0], 4))


def test_supcon_warms_up_by_steps_to_a_cosine_by_epochs():
  o = oracle("15_lr_supcon_0")
  spec = {
    "kind": "epoch_cosine",
    "base": 0.5,
    "end": 0.5 * 0.1**3,
    "start": 0.01,
    "warmup_epochs": 10,
  }
  same(run(spec, plan_of(100, 7)), o["out_lr"])
  short = plan_of(100, 7)._replace(total_steps=35)
  same(run(spec, short), 0.01 + 0.49 * np.arange(35) / 70)


def test_swav_reaches_base_at_the_last_step_of_its_warm_up():
  o = oracle("15_lr_swav_0")
  spec = {
    "kind": "cosine",
    "base": 4.8,
    "end": 0.0048,
    "start": 0.3,
    "warmup_epochs": 10,
    "inclusive": True,
  }
  same(run(spec, plan_of(100, 5)), o["out_lr"])


def test_dino():
  o = oracle("15_sched_dino_0")
  spec = {
    "kind": "cosine",
    "base": 0.0005,
    "end": 1e-6,
    "warmup_epochs": 4,
    "inclusive": True,
  }
  same(run(spec, plan_of(20, 5)), o["out_schedule"])


def test_dino_teacher_temperature_warms_up_by_epochs_and_stays():
  o = oracle("07_dino_loss_0")
  spec = {
    "kind": "warmup",
    "base": 0.07,
    "start": 0.04,
    "warmup_epochs": 3,
    "per": "epoch",
    "inclusive": True,
  }
  same(run(spec, plan_of(10, 4)), np.repeat(o["out_teacher_temp_schedule"], 4))


def test_a_run_shorter_than_its_warm_up_only_warms_up():
  spec = {"kind": "cosine", "base": 1.0, "warmup_epochs": 10}
  plan = plan_of(100, 5)._replace(total_steps=20)
  assert_allclose(run(spec, plan), np.arange(20) / 20, atol=1e-6)


def test_a_number_is_constant():
  same(run(0.5, plan_of(2, 2)), np.full(4, 0.5))
  assert schedules.build(1, plan_of(2, 2))(3).dtype == np.float32


def test_the_square_root_rule_multiplies_by_the_root_of_the_batch():
  assert schedules.scale("sqrt", 4096) == 64
  assert schedules.scale("none", 4096) == 1


MISTAKES = {
  "schedule.kind='cosin' must be one of cosine, epoch_cosine, linear, warmup,": {
    "kind": "cosin"
  },
  "schedule.kind='0.1' must be one of": "0.1",
  "schedule 'cosine' has no field warmup=10; it has kind, base, end,": {
    "kind": "cosine",
    "base": 1.0,
    "warmup": 10,
  },
  "schedule 'steps' needs the field factor": {
    "kind": "steps",
    "base": 1.0,
    "milestones": (1,),
  },
  r"factor=\(0.1, 0.05\) must be one number, or one for each of the milestones=\(1": {
    "kind": "steps",
    "base": 1.0,
    "milestones": (1,),
    "factor": (0.1, 0.05),
  },
  "schedule.per='batch' must be one of step, epoch": {
    "kind": "cosine",
    "base": 1.0,
    "per": "batch",
  },
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_a_wrong_spec_is_told_what_is_allowed(sentence):
  with pytest.raises(ValueError, match="^" + sentence):
    schedules.build(MISTAKES[sentence], plan_of(2, 2))


def test_i_jepa_moves_its_teacher_in_a_line_and_is_a_step_ahead_otherwise():
  """The official T_max is 1.25 of the run here, which its released recipes have not."""
  o = oracle("15_sched_ijepa_0")
  plan = Plan(1, 1, 1, int(o["hp_T_max"]))
  line = {"kind": "linear", "base": 0.996, "end": 1.0}
  same(run(line, plan, len(o["out_momentum"])), o["out_momentum"])
  rate = {"kind": "cosine", "base": 1e-3, "start": 2e-4, "end": 1e-6}
  rate["warmup_epochs"] = 15
  same(run(rate, plan, 101)[1:], o["out_lr"])
  decay = {"kind": "cosine", "base": 0.04, "end": 0.4}
  same(run(decay, plan, 101)[1:], o["out_wd"])


@pytest.mark.parametrize("epochs", [1e9, 1e308])
def test_what_lies_behind_any_run_never_comes(epochs):
  plan = schedules.Plan(32, 1000, 31, 100)
  numbers = {"base": 1.0, "milestones": (1, epochs), "factor": 0.1}
  falls = schedules.steps(plan, **numbers)
  np.testing.assert_allclose(
    [falls(30), falls(31), falls(99)], [1, 0.1, 0.1], rtol=1e-6
  )
  for kind in (schedules.cosine, schedules.warmup):
    rises = kind(plan, base=1.0, start=0.0, warmup_epochs=epochs)
    assert 0 <= rises(99) <= 1

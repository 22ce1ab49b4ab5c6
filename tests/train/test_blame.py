"""A number that is none is blamed on what was none first."""

import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from ssljax.core import TrainState
from ssljax.train import blame

NAN = np.float32(np.nan)


@jax.custom_vjp
def steep(x):
  """The identity, whose gradient is no number."""
  return x


steep.defvjp(lambda x: (x, None), lambda _, g: (g * NAN,))


def config(temperature=0.1, dtype="float32"):
  return ConfigDict({"method": {"temperature": temperature}, "dtype": dtype})


def parts(std=1.0, loss=lambda head, x: (x @ head).sum()):
  """Two groups of parameters and a loss of the second, as the parts of a run."""

  def augmented(state, batch):
    return {"sound": batch["sound"] / std}

  def gradients(state, batch):
    views = augmented(state, batch)

    def of(params):
      return loss(params["head"], views["sound"]) + 0 * params["encoder"].sum()

    value, grads = jax.value_and_grad(of)(state.params)
    return (value, None), grads

  return types.SimpleNamespace(gradients=gradients, augmented=augmented)


def state(size=1.0):
  params = {"encoder": jnp.ones(2), "head": jnp.full(3, size)}
  return TrainState(jnp.int32(0), params, {}, {}, None)


def batch(row=0.0):
  sound = jnp.zeros((4, 3)).at[2, 1].set(row)
  return {"sound": sound, "index": jnp.arange(4) + 10}


CASES = {
  "data": (
    (config(), parts(), state(), batch(NAN)),
    (r"data had values of sound that are no numbers \(examples 12\)", "mend these"),
  ),
  "views": (
    (config(), parts(std=0.0), state(), batch(1.0)),
    ("views had values that are no numbers, of data that are", "std must not be 0"),
  ),
  "temperature": (
    (config(1e-30), parts(loss=lambda h, x: h.sum() * NAN), state(), batch()),
    (
      "the loss was no number, of parameters",
      r"method.temperature=1e-30 is very small",
    ),
  ),
  "bfloat16": (
    (
      config(dtype="bfloat16"),
      parts(loss=lambda h, x: h.sum() * NAN),
      state(),
      batch(),
    ),
    ("the loss was no number", "dtype='float32' tells"),
  ),
  "grown": (
    (config(), parts(loss=lambda h, x: h.sum() * NAN), state(1e9), batch()),
    ("the loss was no number", "a lower optimizer.learning_rate.* grown to 1e"),
  ),
  "gradient": (
    (config(), parts(loss=lambda h, x: steep(h).sum()), state(), batch()),
    ("the gradient of head was no number, of a loss that was", "a lower optimizer"),
  ),
  "update": (
    (config(), parts(), state(), batch()),
    ("the update made parameters that are no numbers", "a lower optimizer"),
  ),
}


@pytest.mark.parametrize(("given", "expected"), CASES.values(), ids=CASES)
def test_what_was_no_number_first_is_named_with_its_remedy(given, expected):
  first, remedy = blame._first(*given)
  for text, pattern in zip((first, remedy), expected, strict=True):
    assert re.search(pattern, text), text


@pytest.mark.parametrize(
  ("metric", "text"),
  [
    ("grad_norm", "gradient was too large for its norm, which overflowed"),
    ("entropy", "entropy was no number, of a loss, a gradient and parameters that we"),
  ],
)
def test_an_update_is_not_blamed_where_the_parameters_are_numbers(metric, text):
  first, _ = blame._first(config(), parts(), state(), batch(), metric)
  assert text in first


def test_weights_that_were_no_numbers_from_the_start_are_named():
  first, remedy = blame.find(
    config(), parts(), lambda: iter([(0, state(NAN), {})]), None, 1
  )
  assert first == "what it began with had parameters that are no numbers"
  assert "pretrained.checkpoint" in remedy


def steps(bad_at, start=0):
  """A run's steps again: the state counts them, from `bad_at` on it is no number."""

  def again():
    for done in range(start, 100):
      value = NAN if bad_at and done >= bad_at else 1.0
      metrics = {"a": 1.0, "loss": value} if done > start else {}
      yield done, state(), metrics

  return again


def test_the_step_is_found_by_repeating_from_the_last_checkpoint():
  asked = []

  def examples(step):
    asked.append(step)
    return batch(NAN)

  first, _ = blame.find(config(), parts(), steps(63, start=60), examples, 80)
  assert first.startswith("in step 63 the data had values")
  assert asked == [63]


def test_what_does_not_come_again_is_said_not_to():
  first, _ = blame.find(config(), parts(), steps(None), None, 5)
  assert first == "it did not come again when the steps were repeated"


def test_more_steps_than_can_be_repeated_are_not():
  first, remedy = blame.find(config(), parts(), steps(63), None, blame.MOST + 1)
  assert first == ""
  assert "learning_rate" in remedy


def test_the_loss_is_named_before_what_follows_from_it():
  metrics = {"effective_rank": NAN, "grad_norm": NAN, "loss": NAN, "tau": 1.0}
  assert blame.worst(metrics)[0] == "loss"
  assert blame.worst({"loss": 1.0, "z": np.inf, "grad_norm": NAN})[0] == "grad_norm"
  assert blame.worst({"loss": 1.0}) is None

"""Runs of a few steps, which tests break and start again."""

import importlib


def smoke(name):
  config = importlib.import_module(f"configs.{name}").get_config("smoke")
  config.evals.at_end = ()
  return config


def short(steps, **fields):
  """Digits in a few steps, at a constant rate unless `fields` say otherwise."""
  config = smoke("simclr_digits")
  config.update(steps=steps, steps_per_dispatch=1, log_every=3)
  constant = {"name": "sgd", "learning_rate": 1e-3}
  config.optimizer = fields.pop("optimizer", constant)
  config.checkpoint.update(every_steps=2, keep=3)
  config.update(fields)
  return config

"""Recipes as benchmarks/gpu.py runs them, and batches of noise for them."""

import common

from ssljax import data, recipe


def recipe_of(name, batch=0, fields=None, small=False):
  """A recipe in bfloat16, with `fields`, without a probe beside it."""
  config = common.config(name, quick=small)
  if fields and not small:
    config.update(fields)
    for field in ("stem", "start", "zero_init_gamma", "stem_start"):
      if "vit" in config.encoder.name and field in config.encoder:
        del config.encoder[field]  # ResNet's
  config.dtype = "bfloat16"
  config.batch_size = (batch if not small else 0) or config.batch_size
  config.evals.probe.learning_rate = 0.0
  return config


def prepared(config, count):
  """Parts of a run, and batches of noise as the loader gives them."""
  splits = recipe.open_data(config) if config.data.name == "digits" else None
  examples = len(splits.train) if splits else 50_000
  plan = recipe.make_plan(config, max(examples, 2 * config.batch_size), 10)
  spec = splits.train.spec(config.data.size) if splits else None
  spec = spec or data.spec(data.Pictures(config.data.size))
  blank = data.zeros(spec, config.batch_size)
  batches = [common.noise(blank, seed) for seed in range(count)]
  return recipe.build(config, plan), batches

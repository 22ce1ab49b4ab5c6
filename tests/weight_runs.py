"""Runs' folders out of small files of weights, and commands on them."""

import releases

import ssljax
from configs.weights import load
from ssljax.weights import files


def command(module, **values):
  config = module.get_config()
  with config.unlocked():
    for path, value in values.items():
      *groups, name = path.split("__")
      group = config
      for part in groups:
        group = group[part]
      group[name] = value
  return config


def loaded(folder, release, arrays=None, **values):
  """A run's folder of a release's narrow weights, of pictures of 8 pixels."""
  file = folder / f"{release}.safetensors"
  files.write(file, arrays or releases.arrays(release), {})
  run = folder / release
  small = {"size": 32, "data__size": 16, "run__batch_size": 16, **values}
  ssljax.evaluate(command(load, file=str(file), **small), run)
  return file, run

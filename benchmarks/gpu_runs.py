"""Whether all runs on a GPU: the part `runs` of benchmarks/gpu.py.

Each recipe is tried in a process of its own, several at once, for most of the time
goes by compiling: what ends one, were it a crash, leaves the others.
"""

import concurrent.futures
import os

import gpu_recipes
import jax
from apart import Apart

import ssljax

KINDS = {  # what is tried -> a recipe of it; those that compile longest first
  "rotary positions, Gram": "dinov3_cifar10",
  "masked and taught": "ibot_cifar10",
  "several crops": "dino_cifar10",
  "Sinkhorn, of crops": "swav_cifar10",
  "transformer": "moco_v3_imagenet_vit",
  "text": "clip_cifar10",
  "masked": "mae_cifar10",
  "queue": "moco_v2_cifar10",
  "bank": "instdisc_cifar10",
  "convolutions": "simclr_cifar10",
}
AT_ONCE = max(1, (os.cpu_count() or 1) - 4)


def runs(record, folder, quick):
  """Tries a recipe of every kind; notes each when it has ended."""
  with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
    for kind, name in list(KINDS.items())[-1 if quick else 0 :]:
      case = f"{kind}: {name}"
      pool.submit(record.attempt, "runs", case, apart, record, name, folder, quick)


def apart(record, name, folder, quick):
  it = Apart(Recipe, name, folder / "runs" / name, quick)
  try:
    it.make(record.left)
    return it.ask(record.left, "runs")
  finally:
    it.end()


class Recipe:
  """A recipe, small."""

  def __init__(self, name, workdir, quick):
    self.config, self.workdir = gpu_recipes.recipe_of(name, small=True), workdir
    self.config.steps_per_dispatch = 1 if jax.default_backend() == "cpu" else 2
    self.config.evals.update(every_epochs=0, at_end=("knn",))
    self.stops = (2,) if quick else (4, 6)

  def runs(self):
    """Trains, judges, goes on from the checkpoint -> kNN, and first losses."""
    for steps in self.stops:
      self.config.steps = steps
      scores = ssljax.train_and_evaluate(self.config, self.workdir)
    trained = {f"{k}_trained": v for k, v in scores["trained encoder"].items()}
    loss, on_host = self.first_loss(), self.first_loss(jax.devices("cpu")[0])
    return {**trained, "loss": loss, "loss_on_the_host": on_host}

  def first_loss(self, device=None):
    """The loss of the first step in float32, on a device."""
    config = self.config.copy_and_resolve_references()
    config.dtype = "float32"
    with jax.default_device(device):
      parts, batches = gpu_recipes.prepared(config, 1)
      state = jax.jit(parts.init)(batches[0])
      _, metrics = jax.jit(parts.step)(state, batches[0])
      return float(metrics["loss"])

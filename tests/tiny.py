"""Every method small enough to compile in seconds, from its first config's `:smoke`."""

import dataclasses
import functools
import importlib
import math
import pathlib
import re

import jax
import numpy as np
from sklearn.datasets import load_digits

from ssljax import dispatch, recipe, schedules, sharding

SHAPE = re.compile(r"\w+\[([\d,]*)\]")  # of HLO, such as f32[16,8]
ROOT = pathlib.Path(__file__).parent.parent
BATCH, SIZE = 16, 8
PLAN = schedules.Plan(BATCH, num_examples=BATCH, steps_per_epoch=1, total_steps=40)


@functools.cache
def configs() -> dict:
  """Name of the file -> its config in the smoke form, in the order of the alphabet."""
  names = [path.stem for path in sorted((ROOT / "configs").glob("*_*.py"))]
  modules = {name: importlib.import_module(f"configs.{name}") for name in names}
  return {name: module.get_config("smoke") for name, module in modules.items()}


@functools.cache
def parts(name: str) -> recipe.Recipe:
  """The method of this name, for pictures of 8 pixels: one residual block, SGD.

  SGD's momentum is the gradient itself after the first step, so that comparing
  states compares gradients too. Crops are wide: in twenty steps nobody learns more.
  """
  config = next(c for c in configs().values() if c.method.name == name)
  config = config.copy_and_resolve_references()
  config.augment.update(size=SIZE, crop_min=0.7, flip=0.0)
  config.optimizer = {"name": "sgd", "learning_rate": 0.03}
  built = recipe.build(config, PLAN, num_classes=0)
  return with_encoder(built, stage_sizes=(1,))


def with_encoder(built: recipe.Recipe, **fields) -> recipe.Recipe:
  """The same around another form of its encoder, where that has such fields."""
  encoder = built.method.net.encoder
  fields = {k: v for k, v in fields.items() if hasattr(encoder, k)}
  net = built.method.net.clone(encoder=encoder.clone(**fields))
  return built._replace(method=dataclasses.replace(built.method, net=net))


@functools.cache
def batch() -> dict[str, np.ndarray]:
  """Sixteen digits, as the host hands them over."""
  grey, label = load_digits(return_X_y=True)
  image = np.uint8(grey[:BATCH] * (255 / 16)).reshape(BATCH, SIZE, SIZE, 1)
  return {
    "image": np.repeat(image, 3, axis=3),
    "aspect": np.ones(BATCH, np.float32),
    "label": np.int32(label[:BATCH]),
    "index": np.int32(3 * np.arange(BATCH) % BATCH),
  }


@functools.cache
def first_state(built: recipe.Recipe):
  """The state at step 0, in NumPy."""
  return jax.device_get(jax.jit(built.init)(batch()))


@functools.cache
def program(built: recipe.Recipe, devices: int):
  """The step as `train` runs it -> compiled, its layout, its mesh."""
  mesh = sharding.make_mesh(jax.devices()[:devices])
  state = jax.eval_shape(built.init, batch())
  layout = sharding.state_sharding(state, mesh)
  stacked = jax.tree.map(lambda x: x[None], batch())
  count = np.int32(1)
  steps = dispatch.compile_steps(built.step, layout, mesh, 1)
  return steps.lower(state, stacked, count).compile(), layout, mesh


def step(built: recipe.Recipe, state, devices: int, examples=None):
  """One step from and to NumPy -> state, metrics."""
  compiled, layout, mesh = program(built, devices)
  stacked = jax.tree.map(lambda x: x[None], examples or batch())
  state = jax.device_put(state, layout)
  return jax.device_get(compiled(state, *dispatch.put(1, stacked, mesh)))


def collectives(built: recipe.Recipe) -> list[tuple[str, int]]:
  """What 8 devices exchange in a step: kind, elements of the largest array."""
  text = program(built, 8)[0].as_text()
  kinds = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
  found = re.findall(rf" = (.*?) ({kinds})(?:-start)?\(", text)
  return [(kind, max(map(_elements, SHAPE.findall(arrays)))) for arrays, kind in found]


def _elements(shape: str) -> int:
  return math.prod(int(n) for n in shape.split(",") if n)

"""Small things: every method, by its first config's `:smoke`, and stand-in networks."""

import dataclasses
import functools
import importlib
import math
import pathlib
import re

import jax
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict
from sklearn.datasets import load_digits

from ssljax import methods, nets, recipe, schedules, sharding
from ssljax.data import tones
from ssljax.nets.heads import MLP
from ssljax.nets.norm import BatchNorm
from ssljax.train import dispatch

SHAPE = re.compile(r"\w+\[([\d,]*)\]")  # of HLO, such as f32[16,8]
ROOT = pathlib.Path(__file__).parent.parent
BATCH, SIZE, SOUND = 16, 8, 960
PLAN = schedules.Plan(
  BATCH, num_examples=BATCH, steps_per_epoch=1, total_steps=40, num_classes=10
)


@functools.cache
def configs() -> dict:
  """Name of the file -> its config in the smoke form, in the order of the alphabet."""
  names = [path.stem for path in sorted((ROOT / "configs").glob("*_*.py"))]
  modules = {name: importlib.import_module(f"configs.{name}") for name in names}
  return {name: module.get_config("smoke") for name, module in modules.items()}


@functools.cache
def parts(name: str, size: int = BATCH, group: int = 0) -> recipe.Parts:
  """The method of this name, for what `batch` holds: one residual block, SGD.

  SGD's momentum is the gradient itself after the first step, so that comparing
  states compares gradients too. Crops are wide, and the block does not start as the
  identity: in twenty steps nobody learns more. BatchNorm has groups of `group`.
  """
  config = next(c for c in configs().values() if c.method.name == name)
  config = config.copy_and_resolve_references()
  if group:
    grouped(config, group)
  if "queue_size" in config.method:
    config.method.queue_size = max(config.method.queue_size, 2 * size)
  mild = {
    "image": {"size": SIZE, "crop_min": 0.7, "flip": 0.0},
    "audio": {"size": SOUND},
    "text": {},
  }
  config.augment.update(mild[methods.METHODS[name].input])
  config.optimizer = {"name": "sgd", "learning_rate": 0.03}
  config.evals.probe.learning_rate = 0.0
  built = recipe.build(config, PLAN._replace(batch_size=size, num_examples=size))
  return with_encoder(built, stage_sizes=(1,), zero_init_gamma=False)


def grouped(config, group: int) -> None:
  """Every BatchNorm of a config in groups of so many rows."""
  if "bn_shuffle" in config.method:
    config.method.bn_shuffle = "strided"
  if config.encoder.name.startswith("resnet"):
    config.encoder.bn_group_size = group
  for role, head in nets.HEADS.items():
    if head is MLP and isinstance(config.method.get(role), ConfigDict):
      config.method[role].bn_group_size = group


def with_encoder(built: recipe.Parts, **fields) -> recipe.Parts:
  """The same around another form of its encoder, where that has such fields."""
  encoder = built.method.net.encoder
  fields = {k: v for k, v in fields.items() if hasattr(encoder, k)}
  net = built.method.net.clone(encoder=encoder.clone(**fields))
  return built._replace(method=dataclasses.replace(built.method, net=net))


@functools.cache
def batch(input: str = "image", size: int = BATCH) -> dict[str, np.ndarray]:
  """Examples as the host hands them over: named digits, tones or passages."""
  grey, label = load_digits(return_X_y=True)
  image = np.uint8(grey[:size] * (255 / 16)).reshape(size, SIZE, SIZE, 1)
  word = label[:size, None, None]
  passage = [[[1, 3, 13, 2, 0], [1, 14, 3, 15, 2], [1, 3, 2, 0, 0], [1, 16, 3, 3, 2]]]
  inputs = {
    "image": {
      "image": np.repeat(image, 3, axis=3),
      "aspect": np.ones(size, np.float32),
      "text": np.int32([[1, 3 + n, 2, 0] for n in label[:size]]),
    },
    "audio": {
      "audio": np.stack([tones.Tones(0, size)[i]["audio"] for i in range(size)])
    },
    "text": {"text": np.int32(np.where(np.equal(passage, 3), 3 + word, passage))},
  }
  return inputs[input] | {
    "label": np.int32(label[:size]),
    "index": np.int32(3 * np.arange(size) % size),
  }


@functools.cache
def first_state(built: recipe.Parts):
  """The state at step 0, in NumPy."""
  return jax.device_get(jax.jit(built.init)(batch(built.method.input)))


def shapes(built: recipe.Parts):
  """What `first_state` holds, by shape and dtype alone."""
  return jax.tree.map(_shape, first_state(built))


def _shape(x: np.ndarray) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(x.shape, x.dtype)


@functools.cache
def traced(built: recipe.Parts):
  """Its step, which several programs share: it is traced once, and inlined."""
  return jax.jit(built.step, inline=True)


@functools.cache
def program(built: recipe.Parts, devices: int):
  """The step as `train` runs it -> compiled, its layout, its mesh."""
  mesh = sharding.make_mesh(jax.devices()[:devices])
  examples = batch(built.method.input)
  state = shapes(built)
  layout = sharding.state_sharding(state, mesh, built.method.by_row)
  stacked = jax.tree.map(lambda x: x[None], examples)
  count = np.int32(1)
  steps = dispatch.compile_steps(traced(built), layout, mesh, 1)
  return steps.lower(state, stacked, count, {}).compile(), layout, mesh


def step(built: recipe.Parts, state, devices: int, examples=None):
  """One step from and to NumPy -> state, metrics."""
  compiled, layout, mesh = program(built, devices)
  stacked = jax.tree.map(lambda x: x[None], examples or batch(built.method.input))
  state = jax.device_put(state, layout)
  return jax.device_get(compiled(state, *dispatch.put(1, stacked, mesh)))


def collectives(compiled) -> list[tuple[str, int]]:
  """What devices exchange in a program: kind, elements of the largest array."""
  kinds = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
  found = re.findall(rf" = (.*?) ({kinds})(?:-start)?\(", compiled.as_text())
  return [(kind, max(map(_elements, SHAPE.findall(arrays)))) for arrays, kind in found]


def _elements(shape: str) -> int:
  return math.prod(int(n) for n in shape.split(",") if n)


class Encoder(nn.Module):
  """The stand-in of several oracles: a linear map and tanh, of vectors [B,D].

  `bn_group_size` puts BatchNorm between them; `width=0` is the identity.
  """

  width: int = 0
  bn_group_size: int | None = None
  bn_strided: bool = False

  @nn.compact
  def __call__(self, x: dict[str, jax.Array], train: bool) -> dict[str, jax.Array]:
    x = x["image"]
    if not self.width:
      return {"features": x}
    x = nn.Dense(self.width, name="body")(x)
    if self.bn_group_size is not None:
      x = BatchNorm(group_size=self.bn_group_size, strided=self.bn_strided)(x, train)
    return {"features": nn.tanh(x)}


def linear(dim: int) -> tuple[nets.Network, dict]:
  """A network whose projection is x @ kernel, and parameters that make it x.

  The gradient of a loss by the kernel is then the sum of x times that by x.
  """
  net = nets.Network(Encoder(), projector=MLP(layers=1, out=dim))
  fc1 = {"kernel": np.eye(dim, dtype=np.float32), "bias": np.zeros(dim, np.float32)}
  return net, {"projector": {"fc1": fc1}}

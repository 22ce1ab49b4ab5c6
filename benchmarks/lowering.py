"""What a step of every recipe computes and keeps, counted on its traced program.

    python benchmarks/lowering.py
    python benchmarks/lowering.py --only dino_imagenet --set encoder.remat=True

No device is asked and nothing is compiled: shapes are those of the published batch, the
choices those of a GPU without cuDNN's attention. A row a recipe, in Markdown:
operations of loss and gradient a picture (`ssljax/train/flops.py`), the share of them
whose factors are float32, and the MiB a picture that the gradient keeps of the forward
pass (`ssljax/train/kept.py`). `--quick` is one recipe.
"""

import argparse
import ast
import importlib
import pathlib
import sys
from typing import Any, NamedTuple
from unittest import mock

import jax

from ssljax import data, recipe
from ssljax.data.arrays import Stacked
from ssljax.data.audio import Waveforms
from ssljax.parts import Parts
from ssljax.train import flops, kept

ROOT = pathlib.Path(__file__).parent.parent
sys.path.append(str(ROOT))  # where configs/ is
FOLDER = ROOT / "configs"
NAMES = [path.stem for path in sorted(FOLDER.glob("*_*.py"))]
EXAMPLES = {  # data.name -> training pictures; else many
  "cifar10": 50_000,
  "imagenet2012": 1_281_167,
  "imagenette/160px-v2": 9469,
  "imagenet2012_subset/10pct": 128_116,
}
HEAD = "| recipe | GFLOP | of them float32 | MiB kept |\n|---|---|---|---|"


class Figures(NamedTuple):
  """What a picture costs."""

  giga: float  # operations of loss and gradient, by 10^9
  wide: float  # the share of them whose factors are float32
  mebi: float  # kept for the gradient, by 2^20 bytes


class Program(NamedTuple):
  """A recipe's step, traced on shapes."""

  name: str
  config: Any
  parts: Parts
  state: Any  # shapes, as those below
  views: Any
  gradient: Any  # jaxpr of loss and gradient, from views drawn
  kept: int  # bytes that the gradient keeps of the forward pass
  step: Any  # jax.stages.Traced: views, loss, gradient, optimizer

  def figures(self) -> Figures:
    """Counts what the program costs a picture."""
    count, size = flops.count(self.gradient), self.config.batch_size
    operations = flops.total(count)
    wide = count.get("float32", 0) / operations
    return Figures(operations / size / 1e9, wide, self.kept / size / 2**20)


def load(name: str) -> Any:
  """Loads the config of the recipe of this file."""
  return importlib.import_module(f"configs.{name}").get_config()


def trace(name: str, fields: tuple[str, ...] = ()) -> Program:
  """Traces the step of the recipe of this file at its published size.

  `fields` are such as "encoder.remat=True". The network is traced once.
  """
  config = load(name)
  for field in fields:
    path, value = field.split("=")
    group, _, last = path.rpartition(".")
    owner = config[group] if group else config
    owner[last] = ast.literal_eval(value)
  with mock.patch.object(jax, "default_backend", return_value="gpu"):
    plan = recipe.make_plan(config, EXAMPLES.get(config.data.name, 3_000_000), 1000)
    parts = recipe.build(config, plan)
    batch = shapes(config)
    state = jax.eval_shape(parts.init, batch)
    once = jax.jit(parts.method.loss_fn, inline=True)
    object.__setattr__(parts.method, "loss_fn", once)
    views = jax.eval_shape(parts.augmented, state, batch)
    rng = jax.eval_shape(lambda: jax.random.key(0))
    bare = state.replace(params=None)
    params = {k: v for k, v in state.params.items() if k != "probe"}
    gradient, arrays = kept.trace(once, params, bare, views, rng, has_aux=True)
    step = jax.jit(parts.step).trace(state, batch)
  return Program(name, config, parts, state, views, gradient, kept.size(arrays), step)


def shapes(config: Any) -> dict[str, jax.ShapeDtypeStruct]:
  """Makes the shapes of a batch as the host hands it over."""
  return {
    name: jax.ShapeDtypeStruct((config.batch_size, *shape), dtype)
    for name, (shape, dtype) in spec(config).items()
  }


def spec(config: Any) -> data.Spec:
  """Describes the batches of a config's data, which is not looked at."""
  size = config.data.size
  codec = data.Pictures(size)
  if config.augment.recipe == "audio":
    codec = Waveforms(size, 16000)
  elif "planes" in config.data:
    codec = Stacked(size, config.data.planes)
  entries = data.spec(codec)
  if "context" in config.data:
    sentences = (config.data.sentences,) if "sentences" in config.data else ()
    entries["text"] = (*sentences, config.data.context), "int32"
  return entries


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--quick", action="store_true", help="one recipe: it runs")
  parser.add_argument("--only", nargs="+", default=NAMES, help="recipes; default: all")
  parser.add_argument("--set", nargs="+", default=(), help="fields, path=value")
  args = parser.parse_args()
  print(HEAD)
  for name in ["mae_cifar10"] if args.quick else args.only:
    giga, wide, mebi = trace(name, args.set).figures()
    giga, mebi = (float(f"{number:.3g}") for number in (giga, mebi))  # 1230, not 1.23e3
    print(f"| `{name}` | {giga:g} | {wide:.2%} | {mebi:g} |", flush=True)


if __name__ == "__main__":
  main()

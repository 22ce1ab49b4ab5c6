"""Segmentation and depth of scenes that are made here, by patches of one run.

    python benchmarks/dense.py --folder runs/dense

Scikit-learn's digits, light and of several sizes, stand on dark and noisy ground: the
classes of a mask are the digits and the ground, without their blurred edges, and the
larger a digit the nearer it is. A run learns from the pictures alone, and `segment` and
`depth` ask it beside a random encoder and raw patches. What is there is not made again.
`--quick` is a few scenes and steps.
"""

import contextlib
import importlib
import json
import pathlib
import sys
import tempfile

import common
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import ssljax

SIDE = 64  # pixels of a scene
SIZES = (24, 28, 32, 40)  # of a digit
GROUND, EDGE = 0, 255  # in a mask; digit d is class d + 1
FAR = 4.0  # the ground's depth; a digit of 40 pixels is at 1
MILLI = 1000  # of a depth file
CLASSES = 11


def scene(rng, images, labels):
  """Draws a picture uint8 [S,S,3], its mask uint8 [S,S] and depth f32 [S,S]."""
  picture = rng.normal(rng.uniform(0, 90, 3), 20, (SIDE, SIDE, 3))
  mask = np.full((SIDE, SIDE), GROUND, np.uint8)
  depth = np.full((SIDE, SIDE), FAR, np.float32)
  for size in sorted(rng.choice(SIZES, rng.integers(3, 6))):  # the near hide the far
    number = rng.integers(len(images))
    ink = Image.fromarray(images[number]).resize((size, size), Image.BICUBIC)
    ink = np.asarray(ink, np.float32) / 255
    top, left = rng.integers(0, SIDE - size + 1, 2)
    place = slice(top, top + size), slice(left, left + size)
    colour = rng.uniform(165, 255, 3)
    picture[place] += ink[..., None] * (colour - picture[place])
    mask[place] = np.where(ink > 0.5, labels[number] + 1, mask[place])
    mask[place] = np.where((ink > 0.2) & (ink <= 0.5), EDGE, mask[place])
    depth[place] = np.where(ink > 0.5, 40 / size, depth[place])
    depth[place] = np.where((ink > 0.2) & (ink <= 0.5), 0, depth[place])
  return np.clip(picture, 0, 255).astype(np.uint8), mask, depth


def write(folder, train, val, seed=0):
  """Writes images/, masks/ and depth/, each with train/ and val/, of other digits."""
  digits = load_digits()
  images = np.uint8(digits.images * (255 / 16))
  rng = np.random.default_rng(seed)
  cut = int(0.8 * len(images))
  parts = {"train": (train, slice(0, cut)), "val": (val, slice(cut, None))}
  for split, (count, rows) in parts.items():
    for name in ("images", "masks", "depth"):
      (folder / name / split).mkdir(parents=True, exist_ok=True)
    for i in range(count):
      picture, mask, depth = scene(rng, images[rows], digits.target[rows])
      file = f"{split}/{i:04d}.png"
      Image.fromarray(picture).save(folder / "images" / file)
      Image.fromarray(mask).save(folder / "masks" / file)
      depth = np.round(MILLI * depth).astype(np.uint16)
      Image.fromarray(depth).save(folder / "depth" / file)


def learn(folder, scenes, steps, quick):
  """Trains a run on the pictures, without a label, unless it is there."""
  if (folder / "done").exists():
    return
  config = common.config("simclr_folder")
  config.update_from_flattened_dict(
    {
      "data.dir": str(scenes / "images"),
      "data.size": SIDE,
      "data.in_memory": True,
      "augment.size": 16 if quick else 32,
      "batch_size": 16 if quick else 64,
      "log_every": 20,
      "steps": steps,
      "encoder.stem": "imagenet" if quick else "cifar",
      "encoder.stage_sizes": (1,) if quick else (2, 2, 2, 2),
      "encoder.width": 4 if quick else 8,
      "evals.every_epochs": 0,
      "evals.at_end": (),
    }
  )
  config.optimizer = {"name": "adamw", "learning_rate": 0.002, "weight_decay": 0.01}
  ssljax.train_and_evaluate(config, folder)
  (folder / "done").touch()


def judge(run, scenes, name, **numbers):
  """Asks a protocol of the run -> its rows."""
  config = importlib.import_module(f"configs.eval.{name}").get_config()
  config.checkpoint = str(run)
  config.data.dir = str(scenes)
  config[name].update(size=SIDE, **numbers)
  return ssljax.evaluate(config)


def main():
  args = common.arguments(
    __doc__,
    scenes=(500, 20, "scenes to learn from"),
    steps=(300, 2, "steps of SimCLR"),
    head=(500, 5, "steps of each head"),
    folder=("runs/dense", "", "where it is kept; else it is made anew"),
  )
  with contextlib.ExitStack() as stack:
    stack.enter_context(contextlib.redirect_stdout(sys.stderr))
    folder = args.folder or stack.enter_context(tempfile.TemporaryDirectory())
    folder = pathlib.Path(folder).absolute()
    scenes = folder / "scenes"
    if not scenes.exists():
      write(scenes, args.scenes, max(10, args.scenes // 5))
    learn(folder / "simclr", scenes, args.steps, args.quick)
    asked = {
      "segment": dict(steps=args.head, learning_rate=0.01),
      "depth": dict(steps=args.head, learning_rate=0.01, scale=1 / MILLI),
    }
    told = {
      name: judge(folder / "simclr", scenes, name, **numbers)
      for name, numbers in asked.items()
    }
  for name, rows in told.items():
    print(json.dumps({"protocol": name, **rows}))


if __name__ == "__main__":
  main()

"""A run that goes on from given weights, beside the same run from random ones.

    python benchmarks/continued.py --folder runs/continued

Three runs of `dino_folder`: one on the pictures of CIFAR-10's first five classes; its
`:continue` form on those of the other five, from where the first ended; and the first's
form on these, from random weights, for as many steps. All are judged on the second five
classes, which the first never saw. A ViT for 32 pixels, and rates for few steps.
A run that is there is not run again, one that was stopped goes on. `--quick` is a few
steps, on digits.
"""

import contextlib
import json
import pathlib
import sys
import tempfile

import common
from PIL import Image

import ssljax
from ssljax import data

SHARED = {  # small networks, and what lets DINO learn within minutes
  "batch_size": 64,
  "dtype": "float32",
  "data.size": 32,
  "data.in_memory": True,
  "augment.size": 32,
  "augment.local_views": 0,
  "augment.crop_min": 0.5,
  "encoder.patch_size": 8,
  "encoder.width": 96,
  "encoder.depth": 4,
  "encoder.heads": 3,
  "encoder.drop_path": 0.0,
  "method.tau.base": 0.9,
  "method.tau.end": 0.9,
  "method.teacher_temperature": 0.07,
  "method.projector.norm": True,
  "method.projector.hidden_bias": False,
  "method.projector.hidden": 512,
  "method.projector.out": 128,
  "method.projector.last_norm": "plain",
  "method.prototypes.num": 512,
  "optimizer.learning_rate.base": 4e-3,
  "optimizer.learning_rate.warmup_epochs": 0.2,
  "optimizer.freeze_until": {"^prototypes/": 1000},  # they stay as they were drawn
  "log_every": 20,
  "evals.crop": 1.0,
  "evals.every_epochs": 0,
  "evals.at_end": ("knn",),
}
GOES_ON = {  # heads come along and need no time ahead; half of the rate, not a tenth
  "pretrained.take": (".*",),
  "optimizer.groups": {},
  "optimizer.layer_decay": 0.9,
  "optimizer.learning_rate.base": 2e-3,
}
QUICK = SHARED | {
  "batch_size": 16,
  "augment.size": 16,
  "encoder.width": 24,
  "encoder.depth": 1,
  "method.projector.hidden": 32,
  "method.prototypes.num": 32,
}


def write(folder, config, classes):
  """Writes the pictures of these classes as trees `train/CLASS/` and `val/CLASS/`."""
  for split, source in zip(("train", "val"), data.build(config), strict=True):
    codec = data.Pictures(config.size)
    for name in (source.class_names[number] for number in classes):
      (folder / split / name).mkdir(parents=True, exist_ok=True)
    for index in range(len(source)):
      example = source[index]
      if example["label"] in classes:
        decoded = codec.decode(example)
        height, width = decoded["extent"]
        name = source.class_names[example["label"]]
        picture = Image.fromarray(decoded["image"][:height, :width])
        picture.save(folder / split / name / f"{index}.png")


def halves(folder, config):
  """Writes the first and the second half of the classes, unless they are there."""
  for half in ("first", "second"):
    written = folder / half / "written"
    if not written.exists():
      classes = range(10)[:5] if half == "first" else range(10)[5:]
      write(folder / half, config, classes)
      written.touch()


def train(folder, name, half, fields, variant=""):
  """Trains one run, unless that was done -> {row of its table: {"knn", ...}}."""
  workdir = folder / name
  done = workdir / "done.json"
  if not done.exists():
    config = common.config("dino_folder", variant)
    with config.ignore_type():
      config.update_from_flattened_dict({**fields, "data.dir": str(folder / half)})
    rows = ssljax.train_and_evaluate(config, workdir)
    if not rows:
      sys.exit("stopped; the same line goes on")
    done.write_text(json.dumps(rows))
  return json.loads(done.read_text())


def measure(folder, source, shared, steps):
  """The three runs -> {what was judged: its kNN on the second half of the classes}."""
  halves(folder, source)
  first, second = steps
  train(folder, "start", "first", {**shared, "steps": first})
  fields = {**shared, **GOES_ON, "steps": second}
  fields["pretrained.checkpoint"] = str(folder / "start")
  continued = train(folder, "continued", "second", fields, "continue")
  alone = train(folder, "alone", "second", {**shared, "steps": second})
  return {
    "random encoder": alone["random encoder"],
    f"after {first} steps on the first half": continued["where it started"],
    f"{second} steps on the second half, from there": continued["trained encoder"],
    f"{second} steps on the second half, from random": alone["trained encoder"],
  }


def main():
  sizes = {"steps": ((1000, 200), (4, 2), "steps on each half of the classes")}
  folder = "runs/continued", "", "where the runs are kept; else they are made anew"
  args = common.arguments(__doc__, **sizes, folder=folder)
  source = common.config("simclr_digits" if args.quick else "dino_cifar10").data
  shared = QUICK if args.quick else SHARED
  with contextlib.ExitStack() as stack:
    stack.enter_context(contextlib.redirect_stdout(sys.stderr))
    folder = args.folder or stack.enter_context(tempfile.TemporaryDirectory())
    rows = measure(pathlib.Path(folder).absolute(), source, shared, args.steps)
  print("| weights | kNN |\n|---|---|")
  for row, scores in rows.items():
    print(f"| {row} | {scores['knn']:.1f} |")


if __name__ == "__main__":
  main()

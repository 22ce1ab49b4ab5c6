"""What every pre-training config has, and how `:smoke` shrinks one.

A config is a recipe: `get_config(variant)` fills `base()` and returns
`finish(c, variant)`. On the command line the variant follows a colon.
"""

from ml_collections import ConfigDict, config_dict


def base() -> ConfigDict:
  """Fields and defaults that all recipes share; they fill the empty groups."""
  c = ConfigDict()
  c.seed = 0
  c.batch_size = 256  # global, whatever the machine
  c.epochs = 100
  c.steps = config_dict.placeholder(int)  # optimizer steps; when set, wins over epochs
  c.dtype = "float32"  # of compute; parameters, and all of it on CPUs, are float32
  c.microbatch = 0  # examples that pass the networks at once; 0: the whole batch
  c.split_state = 0  # numbers from which an array is split over devices; 0: none
  c.resolution = ()  # ((0.5, 112),): until half of the run views have so many pixels
  c.steps_per_dispatch = 0  # 0: as measured, by accelerators; CPUs loop slowly
  c.log_every = 50  # steps
  c.profile = None  # (100, 5): a trace of the five steps after the 100th

  c.data = ConfigDict()
  c.data.name = ""  # digits | folder | any TFDS name
  c.data.dir = ""  # pictures, or prepared TFDS data; "": TFDS_DATA_DIR
  c.data.train_split = ""  # "": the data set's own, usually "train"
  c.data.eval_split = ""  # "": "validation" or "test", where it has one
  c.data.size = 32  # most pixels of a side: docs/canvas.md
  c.data.in_memory = False
  c.data.on_device = "auto"  # of what is in memory: where it fits an accelerator's
  c.data.workers = 0  # threads that decode; 0: as many as cores

  c.augment = ConfigDict()
  c.encoder = ConfigDict()
  c.method = ConfigDict()
  c.optimizer = ConfigDict()
  c.watch = ()  # paths of parameters whose gradient's norm is logged

  c.pretrained = ConfigDict()
  c.pretrained.checkpoint = ""  # a run's folder to start from
  c.pretrained.step = 0  # of its checkpoint; 0: the newest
  c.pretrained.into = "params"  # or "teacher" or "base", of a method that has one
  c.pretrained.take = ("^encoder/",)  # paths of the parameters taken

  c.checkpoint = ConfigDict()
  c.checkpoint.every_steps = 1000
  c.checkpoint.keep = 2

  c.evals = ConfigDict()
  c.evals.every_epochs = 10  # kNN during the run; 0: only at the end
  c.evals.at_end = ("knn",)  # knn | linear | few_label; (): nothing is judged
  c.evals.crop = 1.0  # the central square's share of the shorter side
  c.evals.interpolation = ""  # the filter of its resizing; "": that of the views
  c.evals.knn = ConfigDict({"k": 200, "temperature": 0.1})
  c.evals.probe = ConfigDict({"learning_rate": 0.0})  # 0: no online probe
  c.evals.few_label = ConfigDict({"labels_per_class": (1, 5, 20), "draws": 20})
  return c


def cifar10(c: ConfigDict) -> None:
  """CIFAR-10 from TFDS, in memory."""
  c.data.name = "cifar10"
  c.data.size = 32
  c.data.in_memory = True


def cifar10_statistics(c: ConfigDict) -> None:
  """Normalises by CIFAR-10's own mean and deviation, as some official codes do."""
  c.augment.mean = (0.4914, 0.4822, 0.4465)
  c.augment.std = (0.2023, 0.1994, 0.2010)


BACKBONES = {  # variant -> an encoder of pictures of 32 pixels
  "convnext": {"name": "convnext_atto", "patch_size": 2},
  "swin": {"name": "swin_t", "patch_size": 2, "window": 4, "drop_path": 0.1},
  "wide": {"name": "wide_resnet28x2"},
}


def lightly_resnet18(c: ConfigDict) -> None:
  """ResNet-18 as lightly's CIFAR-10 benchmark has it.

  It leaves convolutions at PyTorch's start, and behind the stem's norm no ReLU: a
  network made of its children loses the one that is no module.
  """
  c.encoder.name = "resnet18"
  c.encoder.update(stem="cifar", stem_relu=False, start="torch")


def simclr_pictures(c: ConfigDict, recipe: str = "simclr") -> None:
  """A recipe's views by the operations of SimCLR's code, which does not normalise."""
  c.augment.recipe = recipe
  c.augment.update(interpolation="bicubic", ops="simclr", mean=(0.0,), std=(1.0,))


def imagenet(c: ConfigDict) -> None:
  """ImageNet from TFDS (or `--config.data.name=folder --config.data.dir=...`).

  Pictures of up to 512 pixels a side, which most are, are handed over as they are, so
  that crops are those of the papers' code; a longer side is squeezed to 512. A quarter
  of the bytes, and half of the detail: `--config.data.size=256` (docs/canvas.md).
  """
  c.data.name = "imagenet2012"
  c.data.size = 512
  c.dtype = "bfloat16"
  c.checkpoint.every_steps = 5000
  c.evals.crop = 0.875  # 224 pixels where the shorter side has 256
  c.evals.knn.temperature = 0.07


def vit_folder(c: ConfigDict) -> None:
  """Own pictures, and a ViT-S/16 that learns from them in bfloat16."""
  c.batch_size = 256
  c.epochs = 300
  c.dtype = "bfloat16"
  c.data.name = "folder"
  c.data.size = 448  # twice the views' side: docs/canvas.md
  c.encoder.update(name="vit_s", patch_size=16)
  c.evals.crop = 0.875
  c.evals.knn.update(k=20, temperature=0.07)


def few(c: ConfigDict) -> None:
  """Some hundred to twenty thousand own pictures, from nothing: many epochs.

  lightly-train advises 200 to 2000 of them, in batches of 128, a tenth to warm up.
  """
  c.batch_size = 128
  c.epochs = 1000
  c.optimizer.learning_rate.warmup_epochs = 100


def continued(c: ConfigDict, *heads: str) -> None:
  """From given weights: heads, which are new, learn first, the encoder a tenth as fast.

  `heads`: their paths. Why, and after whom: docs/weights.md.
  """
  c.pretrained.checkpoint = "runs/start"
  c.batch_size = 128  # hundreds of pictures fill it
  c.epochs = 50
  rate = c.optimizer.learning_rate
  fresh = {**rate.to_dict(), "warmup_epochs": 1}
  rate.update(base=rate.base / 10, warmup_epochs=5)
  c.optimizer.groups = {path: {"learning_rate": fresh} for path in heads}
  c.optimizer.freeze_until = {"^encoder/": 1}  # epochs
  c.optimizer.layer_decay = 0.75


def frozen_patches(c: ConfigDict, *more: str) -> None:
  """A given ViT whose patch projection, and what else `more` names, stays as it is."""
  c.encoder.update(position="learned", stop_grad_patch=True)  # files hold a table
  c.optimizer.frozen = (f"^encoder/({'|'.join(('patch/', *more))})",)


def finish(c: ConfigDict, variant: str, *known: str) -> ConfigDict:
  """Applies `:smoke`; ValueError for a variant the config does not know."""
  if variant == "smoke":
    smoke(c)
  elif variant and variant not in known:
    choices = ", ".join(("smoke", *known))
    raise ValueError(f"config variant ':{variant}' must be one of: {choices}")
  return c


def cpu(c: ConfigDict, batch_size: int, epochs: int) -> None:
  """A quarter of the width for a few epochs: half an hour on two CPU cores."""
  c.batch_size = batch_size
  c.epochs = epochs
  c.log_every = 10
  c.encoder.width = 16
  for name in ("start", "stem_start", "stem_relu", "zero_init_gamma"):
    if name in c.encoder:
      del c.encoder[name]  # torchvision's, from which short runs were tried
  if "ops" in c.augment:  # the same of views
    for name in ("interpolation", "ops", "mean", "std"):
      del c.augment[name]
  c.optimizer = ConfigDict()  # Adam gets further than SGD or LARS in a thousand steps
  c.optimizer.name = "adamw"
  warmup = min(0.5, epochs / 10)
  c.optimizer.learning_rate = dict(kind="cosine", base=2e-3, warmup_epochs=warmup)
  c.optimizer.weight_decay = 1e-4
  c.evals.every_epochs = 2


SMOKE = {  # field -> its most in a smoke run, in whatever group it stands
  "width": 8,
  "stem_width": 8,
  "depth": 2,
  "hidden": 32,
  "out": 32,
  "num": 32,
  "patch_size": 4,
  "patch_stride": 2,
  "patch_crop": 3,
  "horizon": 2,
  "embedding": 8,
  "local_size": 8,
  "larger": 32,
  "local_views": 2,
  "queue_size": 64,
  "queue_epoch": 0,
  "bn_group_size": 8,
  "heads": 2,
  "negatives": 16,
  "vocabulary": 300,
  "context": 24,
  "sub_batch": 8,
  "slices": 32,
  "mask_unit": 4,
  "koleo_group": 16,
}


def smoke(c: ConfigDict) -> None:
  """The same path in a minute on a laptop, on data that needs no download."""
  c.batch_size = 32
  c.steps = 6
  c.log_every = 2
  c.dtype = "float32"
  c.data.update(name="digits", size=16, in_memory=True)
  c.data.update(dir="", train_split="", eval_split="")
  if c.augment.recipe == "audio":
    c.data.update(name="tones", size=2000)  # samples
    c.augment.size = 1600
  elif c.augment.recipe == "text":
    c.data.update(name="descriptions", sentences=4)
  else:
    c.augment.size = 16
  c.pretrained.checkpoint = ""  # nothing to start from
  if c.encoder.name.startswith("vit"):
    c.encoder.update(width=32, heads=2, depth=2)
  elif c.encoder.name.startswith("resnet"):
    name = "resnet50" if "sk_ratio" in c.encoder else "resnet18"  # bottlenecks alone
    c.encoder.update(name=name, stem="cifar", width=8, stage_sizes=(1, 1))
  c.checkpoint.every_steps = 3
  c.evals.every_epochs = 0
  c.evals.knn.k = 20
  c.evals.few_label.draws = 2
  _shrink(c)


def _shrink(group: ConfigDict) -> None:
  for name, value in group.items():
    if isinstance(value, ConfigDict):
      _shrink(value)
    elif name in SMOKE and value:  # 0 switches a thing off and stays
      group[name] = min(value, SMOKE[name])

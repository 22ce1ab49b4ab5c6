"""Fine-tuning of the whole encoder, on all labels or on few.

    python run.py --config configs/eval/finetune.py --config.checkpoint=runs/dino
    python run.py --config configs/eval/finetune.py:mae --config.checkpoint=runs/mae
    python run.py --config configs/eval/finetune.py:10pct --config.checkpoint=...
    python run.py --config configs/eval/finetune.py --config.checkpoint=... \
--config.data.per_class=13 --config.training.batch_size=128

AdamW with a learning rate that falls by `layer_decay` from block to block towards the
input (MAE: He et al. 2022, table 9: ViT-B, 100 epochs, decay 0.65), on crops and flips.
`:mae`, for transformers, is MAE's own: the mean of patches and a fresh norm, drop path,
random erasing, bicubic crops and no decay on class token and positions. Not here: its
label smoothing, mixup, cutmix and random augmentation. Five of the 100 epochs warm up;
with few of them lower
`--config.training.optimizer.learning_rate.warmup_epochs` too. `:1pct` and `:10pct` are
shares of a TFDS split, in batches of 128; the published lists of SimCLR are
`--config.data.name=imagenet2012_subset/1pct` and `/10pct`.
"""

from configs.eval import common

SHARES = {"1pct": "train[:1%]", "10pct": "train[:10%]"}


def get_config(variant: str = ""):
  if variant not in ("", "mae", *SHARES):
    raise ValueError(f"config variant ':{variant}' must be one of: mae, 1pct, 10pct")
  c = common.training(f"finetune_{variant}" if variant else "finetune")
  c.data.train_split = SHARES.get(variant, "")
  t = c.training
  t.batch_size = 128 if variant in SHARES else 1024
  t.epochs = 100
  t.encoder.drop_path = 0.0  # of transformers; 0: the run's own
  t.method.name = "supervised"
  t.method.classifier = dict(init_std=0.01)
  t.optimizer.name = "adamw"
  t.optimizer.learning_rate = dict(
    kind="cosine", base=5e-4, end=1e-6, warmup_epochs=5.0
  )
  t.optimizer.scaling = "linear"
  t.optimizer.layer_decay = 0.65
  t.optimizer.b2 = 0.999
  t.optimizer.weight_decay = 0.05
  t.optimizer.exclude = ("norm_and_bias",)
  if variant == "mae":
    t.encoder.update(pool="raw_mean", drop_path=0.1)
    t.method.classifier.update(norm=True, init_std=2e-5)
    t.optimizer.exclude = ("norm_and_bias", "^encoder/(cls|position)$")
    t.augment.update(interpolation="bicubic", erase_p=0.25)
  return c

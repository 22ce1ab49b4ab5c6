"""SimCLR on unlabelled scenes, for a detector of what is in them: minutes on a CPU.

    python run.py --config examples/detection/pretrain.py \
--config.data.dir=scenes/unlabelled

Not from a paper: `simclr_folder` for pictures of 64 pixels, in a quarter of the width.
Figures are in README.md beside it.
"""

from configs import simclr_folder


def get_config(variant: str = ""):
  c = simclr_folder.get_config(variant)
  c.batch_size = 128
  c.steps = 500
  c.log_every = 20
  c.data.update(size=64, in_memory=True)
  c.augment.update(size=48, crop_min=0.4, flip=0.0, gray_p=0.3)
  c.augment.jitter = (0.8, 0.8, 0.8, 0.5)  # or the paper tells one scene from another
  c.encoder.width = 16
  c.method.projector.update(hidden=128, out=64)
  c.optimizer = {"name": "adamw", "weight_decay": 1e-4}
  c.optimizer.learning_rate = dict(kind="cosine", base=2e-3, warmup_epochs=2)
  c.evals.update(every_epochs=0, at_end=())
  return c

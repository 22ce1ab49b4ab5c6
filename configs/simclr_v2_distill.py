"""SimCLR v2's third stage (Chen et al. 2020b): a student learns from unlabelled images.

    python run.py --config configs/simclr_v2_distill.py          # self-distillation
    python run.py --config configs/simclr_v2_distill.py:small    # to a ResNet-18
    python run.py --config configs/simclr_v2_distill.py:cpu      # on CIFAR-10
    python run.py --config configs/simclr_v2_distill.py:cpu_small

The teacher is what `simclr_v2_finetune.py` (`:cpu`) left in its default folder;
another: `--config.pretrained.checkpoint=...`. All pictures are shown, without labels,
with the learning rate, decay and batch of the pre-training; temperature 0.1 for a
student like its teacher, 1 for a smaller one.

Paper: accuracy 73.9 from 1 % of the labels, 77.5 from 10 % (ResNet-50 taught by
152-layer networks: 400 epochs). Ours: docs/weights.md has the table of the
three stages.
"""

from configs import common, simclr_v2_cifar10, simclr_v2_finetune, simclr_v2_imagenet


def get_config(variant: str = ""):
  on_cpu, small = variant.startswith("cpu"), variant.endswith("small")
  if on_cpu:
    before = simclr_v2_cifar10.get_config("cpu")
    teacher = simclr_v2_finetune.get_config("cpu")
  else:
    before = simclr_v2_imagenet.get_config("r50")
    teacher = simclr_v2_finetune.get_config("smoke" if variant == "smoke" else "")
  c = common.base()
  if on_cpu:
    common.cifar10(c)
  else:
    common.imagenet(c)
  c.pretrained.checkpoint = "runs/simclr_v2_finetune"
  c.pretrained.into = "teacher"
  c.batch_size = before.batch_size
  c.epochs = 3 if on_cpu else 400

  c.augment = teacher.augment.copy_and_resolve_references()
  c.augment.size = before.augment.size

  c.encoder = before.encoder.copy_and_resolve_references()
  if small:
    c.encoder.name = "resnet18"
    if on_cpu:
      c.encoder.width = 8

  c.method.name = "distill"
  c.method.temperature = 1.0 if small else 0.1
  c.method.classifier = dict(init_std=0.01)
  c.method.teacher = dict(
    encoder=teacher.encoder,
    projector=teacher.method.projector,
    classifier=teacher.method.classifier,
  )

  c.optimizer = before.optimizer
  if not on_cpu:
    c.optimizer.learning_rate.warmup_epochs = 20
  return common.finish(c, variant, "small", "cpu", "cpu_small")

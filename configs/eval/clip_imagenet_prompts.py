"""Zero-shot on ImageNet: what a run that learned from captions knows by name alone.

    python run.py --config configs/eval/clip_imagenet_prompts.py \
--config.checkpoint=runs/clip_folder --config.zero_shot.names=names.txt

The protocol of CLIP (Radford et al. 2021, section 3.1), with a few templates of our own
where the paper has eighty. TFDS knows ImageNet's classes by number, so `names` is a
file with their names, a line each, in the order of the labels. Any labelled data will
do, mostly by its own names: --config.data.name=cifar10.
"""

from configs.eval import common


def get_config():
  c = common.base(
    "zero_shot",
    names="",  # "": the data's own
    templates=(
      "a photo of a {}.",
      "a close picture of a {}.",
      "a {} seen from far away.",
      "several of the kind {}.",
      "a drawing of a {}.",
      "a dark photo of a {}.",
      "{}",
    ),
  )
  c.data.name = "imagenet2012"
  return c

"""Features of every picture of a folder, or of any data, for other tools.

    python run.py --config configs/eval/embed.py --config.checkpoint=runs/dino \
--config.data.name=folder --config.data.dir=~/photos --workdir=features

Writes features.npz, or .parquet with the extra `parquet`: features, labels, paths and
splits of all pictures that can be read. Stopped, the same line goes on.

    python run.py --config configs/eval/embed.py --config.checkpoint=runs/dino \
--config.embed.tokens=True --config.embed.dtype=float16 --workdir=features

writes features of patches as well, to tokens.npy [N,h,w,D] in the order of
features.npz, `rows` pictures at a time; np.load(..., mmap_mode="r") maps it. They are
the last block's, or those after `embed.block`: block5 of a transformer, layer3_1 of a
ResNet, layer3 for the last of that stage.
"""

from configs.eval import common


def get_config():
  return common.base(
    "embed",
    format="npz",
    rows=4096,  # pictures of a part
    tokens=False,
    block="",
    dtype="float32",  # of tokens.npy; or float16
  )

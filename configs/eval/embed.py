"""Features of every picture of a folder, or of any data, for other tools.

    python run.py --config configs/eval/embed.py --config.checkpoint=runs/dino \
--config.data.name=folder --config.data.dir=~/photos --workdir=features

Writes features.npz, or .parquet with the extra `parquet`: features, labels, paths and
splits of all pictures that can be read. Stopped, the same line goes on.
"""

from configs.eval import common


def get_config():
  return common.base("embed", format="npz", rows=4096)

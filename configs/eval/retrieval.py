"""Retrieval: whether a test picture finds those of its own class first.

    python run.py --config configs/eval/retrieval.py --config.checkpoint=runs/dino

Recall at k as in metric learning (Oh Song et al. 2016: each test picture asks the rest
of the test split, k = 1, 10, 100, 1000 on Stanford Online Products) and mean average
precision over the whole ranking by cosine. `--config.retrieval.gallery=train` asks the
training split instead.
"""

from configs.eval import common


def get_config():
  return common.base("retrieval", ks=(1, 5, 10, 100), gallery="test")

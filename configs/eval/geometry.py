"""How the embeddings of a test split lie in their space, without a label.

    python run.py --config configs/eval/geometry.py --config.checkpoint=runs/dino

Alignment and uniformity (Wang and Isola 2020), RankMe (Garrido et al. 2023) and LiDAR
(Thilak et al. 2023). Alignment and LiDAR compare `draws` random views of each picture,
of the kind that the run learned from; raw pixels have none. Of runs with prototypes
(SwAV, DINO) it says how many are the best of some picture.
"""

from configs.eval import common


def get_config():
  return common.base("geometry", draws=8)

"""What a run's encoder sees: the pictures of its report, drawn from a checkpoint.

    python run.py --config configs/eval/pictures.py --config.checkpoint=runs/dino

Nearest neighbours, confusions, similarities of pairs, spectra of the features and,
where the network has such, attention by head, patches in colour and the filters of the
first layer. They go to evals/pictures/ in the run's folder, and its report.html is
written anew.
"""

from configs.eval import common


def get_config():
  return common.base("pictures", shown=8, neighbours=8)

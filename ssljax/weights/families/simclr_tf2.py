"""SimCLR v1 and v2 (google-research/simclr, tf2/), checkpoints of TensorFlow 2.

Variables are called by the objects that own them, parts of lists by their number there;
what has no variables (a pool, an identity) counts too. So a shortcut's convolution is
the first of its list, with selective kernels the second, or third where it strides.
"""

from ssljax.weights.families import simclr
from ssljax.weights.tables import Family, Form, Row

SHORTCUT = ("downsample_conv", "downsample_bn")
HEAD = "_projection_head/linear_layers/{-1}/"
FIRST = "initial_conv_relu_max_pool"


def _conv(ours: str, theirs: str) -> Row:
  return Row(f"{ours}/kernel", f"{theirs}/conv2d/kernel")


def _norm(ours: str, theirs: str) -> list[Row]:
  return simclr.norm(ours, f"{theirs}/bn")


def _pairs(ours: str, theirs: str, numbers: dict[int, int]) -> list[Row]:
  """Makes the rows of convolutions i of ours, the numbers-th of a list of theirs.

  The norm of each stands right behind it.
  """
  rows = []
  for i, number in numbers.items():
    rows.append(_conv(f"{ours}conv{i}", f"{theirs}/{number}"))
    rows += _norm(f"{ours}bn{i}", f"{theirs}/{number + 1}")
  return rows


def _shortcut(ours: str, theirs: str, first: int) -> list[Row]:
  conv, bn = (f"{ours}{name}" for name in SHORTCUT)
  return [_conv(conv, f"{theirs}/{first}"), *_norm(bn, f"{theirs}/{first + 1}")]


def _stem(conv: int) -> list[Row]:
  """Makes the rows of the last convolution of the stem; an identity is behind it."""
  return [_conv("conv1", f"{FIRST}/{conv}"), *_norm("bn1", f"{FIRST}/{conv + 2}")]


BLOCK = "layer{}_{}/", "block_groups/{-1}/layers/{}/"
INNER = f"{BLOCK[1]}conv_relu_dropblock_layers"
FIRSTS = "layer{}_0/", "block_groups/{-1}/layers/0/projection_layers"
PLAIN = (
  *_stem(0),
  *_pairs(BLOCK[0], INNER, {1: 0, 2: 3, 3: 6}),
  *_shortcut(*FIRSTS, 0),
)
SELECTIVE = (
  _conv("stem_conv1", f"{FIRST}/0"),
  *_norm("stem_bn1", f"{FIRST}/1"),
  _conv("stem_conv2", f"{FIRST}/2"),
  *_norm("stem_bn2", f"{FIRST}/3"),
  *_stem(4),
  *_pairs(BLOCK[0], INNER, {1: 0, 3: 5}),
  _conv("layer{}_{}/sk/conv", f"{INNER}/3/conv2d_fixed_padding"),
  *_norm("layer{}_{}/sk/bn", f"{INNER}/3/batch_norm_relu"),
  Row("layer{}_{}/sk/fc1/kernel", f"{INNER}/3/conv2d_0/kernel"),
  *_norm("layer{}_{}/sk/bn1", f"{INNER}/3/batch_norm_relu_1"),
  Row("layer{}_{}/sk/fc2/kernel", f"{INNER}/3/conv2d_1/kernel"),
  *_shortcut("layer1_0/", FIRSTS[1].replace("{-1}", "0"), 1),
  *(
    row
    for i in (2, 3, 4)
    for row in _shortcut(f"layer{i}_0/", FIRSTS[1].replace("{-1}", str(i - 1)), 2)
  ),
)
BASIC = (  # ResNet-18 and 34
  *_stem(0),
  *_pairs(BLOCK[0], f"{BLOCK[1]}conv2d_bn_layers", {1: 0, 2: 2}),
  *_shortcut(FIRSTS[0], "block_groups/{-1}/layers/0/shortcut_layers", 0),
)
HEADS = (
  Row("projector/fc{}/kernel", f"{HEAD}dense/kernel"),
  *_norm("projector/bn{}", f"{HEAD}bn_relu"),
)

FAMILY = Family(
  "SimCLR v1, v2 of TensorFlow 2: ResNet, wide ones, selective kernels",
  tuple(
    Form(rows, {"padding": "fixed", "sk_ratio": ratio}, heads=HEADS)
    for rows, ratio in ((PLAIN, 0.0), (SELECTIVE, simclr.SK_RATIO), (BASIC, 0.0))
  ),
  simclr.FAMILY.pictures,
  prefixes=("model/resnet_model/", "resnet_model/"),
  inside="resnet_model/",
  beside=(
    *("*supervised_head/*", "optimizer/*", "*.OPTIMIZER_SLOT*"),
    *("global_step", "save_counter"),
  ),
)

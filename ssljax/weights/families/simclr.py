"""SimCLR v1 and v2 (google-research/simclr), TensorFlow's variables of the first code.

Layers are numbered in the order in which they were built: a block's shortcut before the
rest of it. Pictures are not normalised; the max-pool is padded behind alone.
"""

from collections.abc import Iterator

from ssljax.weights.tables import Family, Form, Pictures, Row

NORM = {
  **{"scale": "gamma", "bias": "beta"},
  **{"mean": "moving_mean", "var": "moving_variance"},
}
SIZES = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
SK_RATIO = 0.0625  # of its models with selective kernels
HEAD = "head_contrastive/nl_{-1}/"


def layers(sizes: tuple[int, ...], selective: bool) -> Iterator[str]:
  """Yields the paths of layers as they were built; those of norms have bn in them."""
  if selective:
    yield from ("stem_conv1", "stem_bn1", "stem_conv2", "stem_bn2")
  yield from ("conv1", "bn1")
  middle = ("sk/conv", "sk/bn", "sk/fc1", "sk/bn1", "sk/fc2")
  for i, size in enumerate(sizes, 1):
    for j in range(size):
      parts = ("downsample_conv", "downsample_bn") * (j == 0)
      parts += ("conv1", "bn1", *(middle if selective else ("conv2", "bn2")))
      yield from (f"layer{i}_{j}/{part}" for part in (*parts, "conv3", "bn3"))


def norm(ours: str, theirs: str) -> list[Row]:
  """Makes the rows of a BatchNorm."""
  return [Row(f"{ours}/{a}", f"{theirs}/{b}") for a, b in NORM.items()]


def _rows(depth: int, selective: bool) -> tuple[Row, ...]:
  rows, built = [], {"conv2d": 0, "batch_normalization": 0}
  for path in layers(SIZES[depth], selective):
    is_norm = "bn" in path.split("/")[-1]
    kind = "batch_normalization" if is_norm else "conv2d"
    number = f"_{built[kind]}" * (built[kind] > 0)
    built[kind] += 1
    if is_norm:
      rows += norm(path, f"{kind}{number}")
    else:
      rows.append(Row(f"{path}/kernel", f"{kind}{number}/kernel"))
  return tuple(rows)


def _form(depth: int, selective: bool) -> Form:
  fields = {"padding": "fixed", "sk_ratio": SK_RATIO * selective}
  heads = [Row("projector/fc{}/kernel", f"{HEAD}dense/kernel")]
  heads += norm("projector/bn{}", f"{HEAD}batch_normalization")
  return Form(_rows(depth, selective), fields, heads=tuple(heads))


FAMILY = Family(
  "SimCLR v1, v2: ResNet-50 to 152, wide ones, selective kernels; `base_model/`",
  tuple(  # by how many layers they have: where all names have a place the first is it
    _form(*which)
    for which in (
      *((50, False), (50, True), (101, False)),
      *((152, False), (101, True), (152, True)),
    )
  ),
  Pictures((0.0,) * 3, (1.0,) * 3, interpolation="bicubic"),
  prefixes=("base_model/",),
  inside="base_model/",
  beside=("global_step", "*/Momentum*", "*/LARS*", "head_supervised/*"),
)

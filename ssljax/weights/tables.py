"""Names of weights: tables of rows, read from theirs to ours and back.

A row is (ours, theirs, layout). `{}` in a name is a number, `{-1}` one that is written
less one there; the numbers of both sides are in one order. Ours are paths below
"params" or "batch_stats" of an encoder; theirs may be several, whose arrays are one of
ours: query, key and value.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

NUMBER = re.compile(r"\{([+-]\d+)?\}")


class Row(NamedTuple):
  """One array of ours, or one a number, by its name there."""

  ours: str
  theirs: str | tuple[str, ...]
  layout: str = "as_is"  # one of LAYOUTS


class Pictures(NamedTuple):
  """How pictures are prepared for weights, as the group `augment` has it."""

  mean: tuple[float, ...] = (0.485, 0.456, 0.406)  # ImageNet's
  std: tuple[float, ...] = (0.229, 0.224, 0.225)
  size: int = 224  # pixels; 0: as many as its positions are for
  crop: float = 0.875  # the central square's share of the shorter side
  interpolation: str = "bilinear"


class Form(NamedTuple):
  """One architecture under one naming; rows of the encoder, and of heads on it.

  Paths of ours in `heads` begin with a head's role, `projector/fc1/kernel`. `method`
  is the group of the run's config, but for what shapes tell: its name, and by role
  the fields of heads that stand in no shape. `buffers` makes what theirs hold besides
  and an encoder's fields tell, by name below its prefix; nothing else may stand there.
  """

  rows: tuple[Row, ...]
  fields: Mapping[str, Any] = MappingProxyType({})  # of the encoder, not in any shape
  adapt: Callable[[dict], dict] = lambda found: {}  # by fields that shapes gave
  always: tuple[str, ...] = ()  # arrays of ours without which it is never written
  buffers: Callable[[Mapping], dict[str, np.ndarray]] = lambda encoder: {}
  heads: tuple[Row, ...] = ()
  method: Callable[[Mapping], dict] = lambda encoder: {"name": "given"}

  def place(self, ours: str, prefix: str, inside: str) -> "Place | None":
    """Finds where an array of ours lies below an encoder's `prefix`; None: nowhere.

    `ours` is a path of the whole network, "encoder/bn1/scale"; heads lie below the
    prefix without what is `inside` it.
    """
    if ours.startswith(ENCODER):
      return there(ours.removeprefix(ENCODER), self.rows, prefix)
    return there(ours, self.heads, prefix.removesuffix(inside))

  def places(self, names: Iterable[str], prefix: str, inside: str) -> "Places":
    """Finds where arrays of ours lie among `names` of theirs, by path."""
    encoder = find(names, self.rows, prefix)
    heads = find(names, self.heads, prefix.removesuffix(inside))
    return {f"{ENCODER}{k}": place for k, place in encoder.items()} | heads


class Family(NamedTuple):
  """Weights that somebody releases: their names, and what else has to be known."""

  about: str  # what they are; first in the table of docs/weights.md
  forms: tuple[Form, ...]
  pictures: Pictures = Pictures()
  prefixes: tuple[str, ...] = ("",)  # of the encoder's names, the preferred first
  inside: str = ""  # the end of a prefix that heads' names do not have
  beside: tuple[str, ...] = ()  # names that are no part of the encoder, with * and ?
  refused: Mapping[str, str] = MappingProxyType({})  # names like these -> why


class Place(NamedTuple):
  """Where an array of ours is found: the names of its parts, and their layout."""

  theirs: tuple[str, ...]
  layout: str


Places = dict[str, Place]  # path of ours, "encoder/..." or "projector/..." -> theirs
ENCODER = "encoder/"
LAYOUTS = {  # theirs -> ours, ours -> theirs
  "as_is": (lambda x: x, lambda x: x),
  "conv": (lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1)),
  "dense": (lambda x: x.T, lambda x: x.T),  # [out,in] -> [in,out]
  "pointwise": (lambda x: x[:, :, 0, 0].T, lambda x: x.T[:, :, None, None]),  # 1x1
  "of_maps": (lambda x: x[:, 0, 0], lambda x: x[:, None, None]),  # [C,1,1] -> [C]
  "rows": (lambda x: x[None], lambda x: x[0]),  # [N,D] -> [1,N,D]
  "vector": (lambda x: x[None, None], lambda x: x[0, 0]),  # [D] -> [1,1,D]
  "of_rows": (lambda x: x[0], lambda x: x[None]),  # [1,C] -> [C], Haiku's norms
  "of_pictures": (lambda x: x[0, 0, 0], lambda x: x[None, None, None]),  # [1,1,1,C]
  "scalar": (lambda x: x[0], lambda x: x[None]),  # [1] -> []
  "no_class": (  # positions of patches alone [1,N,D] -> [1,1+N,D]
    lambda x: np.concatenate([np.zeros_like(x[:, :1]), x], axis=1),
    lambda x: x[:, 1:],
  ),
  "no_keys": (  # biases of queries and values [2D] -> of all three [3D]
    lambda x: np.insert(x, [len(x) // 2] * (len(x) // 2), 0),
    lambda x: np.delete(x, np.s_[len(x) // 3 : 2 * len(x) // 3]),
  ),
}
SHARES = {"q_kv": (1, 2), "dense_q_kv": (1, 2)}  # of parts that differ in length
LAYOUTS |= {"q_kv": LAYOUTS["as_is"], "dense_q_kv": LAYOUTS["dense"]}
RANKS = {
  "conv": 4,
  "dense": 2,
  "pointwise": 4,
  "of_maps": 3,
  "dense_q_kv": 2,
  "q_kv": 1,
  "rows": 2,
  "vector": 1,
  "scalar": 1,
  "of_rows": 2,
  "of_pictures": 4,
  "no_class": 3,
  "no_keys": 1,
}  # of theirs


def conv(ours: str, theirs: str, bias: bool = False) -> list[Row]:
  """Makes the rows of a convolution, ours below `ours`, theirs below `theirs`."""
  rows = [Row(f"{ours}/kernel", f"{theirs}.weight", "conv")]
  return rows + [Row(f"{ours}/bias", f"{theirs}.bias")] * bias


def dense(ours: str, *theirs: str) -> list[Row]:
  """Makes the rows of a linear map, whose outputs several of theirs may share."""
  weights, biases = (
    tuple(f"{name}.{x}" for name in theirs) for x in ("weight", "bias")
  )
  return [Row(f"{ours}/kernel", weights, "dense"), Row(f"{ours}/bias", biases)]


def norm(ours: str, theirs: str, running: bool = False) -> list[Row]:
  """Makes the rows of a norm, with `running` statistics or none."""
  names = {"scale": "weight", "bias": "bias"}
  names |= {"mean": "running_mean", "var": "running_var"} if running else {}
  return [Row(f"{ours}/{a}", f"{theirs}.{b}") for a, b in names.items()]


def below(rows: Iterable[Row], ours: str = "", theirs: str = "") -> list[Row]:
  """Puts rows below a path of ours, and below names of theirs."""
  return [
    Row(ours + row.ours, tuple(theirs + part for part in parts(row)), row.layout)
    for row in rows
  ]


def find(names: Iterable[str], rows: Iterable[Row], prefix: str = "") -> Places:
  """Finds where arrays of ours lie among `names` of theirs below a prefix."""
  inside = {n[len(prefix) :] for n in names if n.startswith(prefix)}
  places = {}
  for row in rows:
    first, *_ = templates = parts(row)
    pattern, _ = _compiled(first)
    for name in inside if NUMBER.search(first) else inside & {first}:
      if match := pattern.fullmatch(name):
        numbers = _read(first, match)
        theirs = tuple(_written(part, numbers) for part in templates)
        if inside.issuperset(theirs):
          theirs = tuple(prefix + part for part in theirs)
          places[_written(row.ours, numbers)] = Place(theirs, row.layout)
  return places


def there(ours: str, rows: Iterable[Row], prefix: str = "") -> Place | None:
  """Finds how an array of ours is called there; None: no row has it."""
  for row in rows:
    if match := _compiled(row.ours)[0].fullmatch(ours):
      numbers = _read(row.ours, match)
      theirs = tuple(prefix + _written(part, numbers) for part in parts(row))
      return Place(theirs, row.layout)
  return None


def to_ours(arrays: Mapping[str, np.ndarray], place: Place) -> np.ndarray:
  """Joins the arrays of theirs that lie at a place and lays them out as ours."""
  parts = [arrays[name] for name in place.theirs]
  x = parts[0] if len(parts) == 1 else np.concatenate(parts)
  return LAYOUTS[place.layout][0](x)


def to_theirs(x: np.ndarray, place: Place) -> dict[str, np.ndarray]:
  """Lays out an array of ours as theirs and splits it into its parts, by name."""
  x = LAYOUTS[place.layout][1](x)
  if len(place.theirs) == 1:
    return {place.theirs[0]: x}
  shares = SHARES.get(place.layout, (1,) * len(place.theirs))
  cuts = np.cumsum(shares)[:-1] * len(x) // sum(shares)
  return dict(zip(place.theirs, np.split(x, cuts), strict=True))


def shapes_there(shape: tuple[int, ...], place: Place) -> dict[str, list[int]]:
  """Computes the shapes that theirs have, by name, where ours has `shape`."""
  parts = to_theirs(np.broadcast_to(np.float32(0), shape), place)
  return {name: list(x.shape) for name, x in parts.items()}


def parts(row: Row) -> tuple[str, ...]:
  """Lists the names there that a row joins to one array of ours."""
  return (row.theirs,) if isinstance(row.theirs, str) else row.theirs


@functools.cache
def _compiled(template: str) -> tuple[re.Pattern, tuple[int, ...]]:
  """Compiles a template -> its pattern, and what is added to each number there."""
  pieces = NUMBER.split(template)
  literals, added = pieces[::2], tuple(int(n or 0) for n in pieces[1::2])
  return re.compile(r"(\d+)".join(map(re.escape, literals))), added


def _read(template: str, match: re.Match) -> tuple[int, ...]:
  added = _compiled(template)[1]
  return tuple(int(n) - a for n, a in zip(match.groups(), added, strict=True))


def _written(template: str, numbers: tuple[int, ...]) -> str:
  remaining = iter(numbers)
  return NUMBER.sub(lambda m: str(next(remaining) + int(m[1] or 0)), template)

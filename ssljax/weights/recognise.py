"""What a file of weights is: by its names and shapes, which all must have a place."""

import difflib
import fnmatch
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from ssljax import nets
from ssljax.fields import ConfigError, check_choice
from ssljax.weights import infer, tables
from ssljax.weights.families import FAMILIES
from ssljax.weights.tables import Form, Place

RUNNING = ("mean", "var")  # the leaves that are no parameters
LISTED = 3  # of what does not fit


class Found(NamedTuple):
  """Weights recognised: whose they are, and where every array of ours lies."""

  family: str
  form: Form
  prefix: str
  places: dict[str, Place]  # path of ours -> theirs, with the prefix
  left: tuple[str, ...]  # names that are no part of the encoder
  fields: dict[str, Any]  # of the group `encoder`
  also: tuple[str, ...] = ()  # families whose weights are called alike


def recognise(
  arrays: Mapping[str, np.ndarray],
  format: str = "",
  told: Mapping[str, Any] | None = None,
) -> Found:
  """Finds the family of arrays by name, or where they lie in that of `format`.

  `told` are fields of the encoder laid over those that shapes tell. ConfigError names,
  tensor by tensor, what has no place, what is not there and what has another shape.
  """
  if format:
    known = members(format)
    if not known:
      check_choice("format", format, FAMILIES)
  else:
    known = list(FAMILIES)
  told = told or {}
  candidates = [c for name in known for c in _candidates(name, arrays, told)]
  if not candidates:
    some = ", ".join(sorted(arrays)[:LISTED]) or "nothing at all"
    raise ConfigError(
      f"these names are of no family that is known (the file has {some}); "
      f"docs/weights.md lists the families, and --config.format= says which to try"
    )
  for name in dict.fromkeys(found.family for found in candidates):
    _check_refused(name, arrays)
  unplaced = {id(c): len(_unplaced(c)) for c in candidates}
  candidates.sort(key=lambda c: unplaced[id(c)] - len(c.places))
  best, problems = candidates[0], []
  for found in candidates[:LISTED]:
    problems = list(_problems(found, arrays))
    if not problems:
      infer.check_whole(found.fields, told)
      alike = (
        c.family
        for c in candidates
        if c.places == found.places and c.family != found.family and not _unplaced(c)
      )
      return found._replace(also=tuple(dict.fromkeys(alike)))
  problems = list(_problems(best, arrays))
  more = f"; and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
  raise ConfigError(
    f"taken as {best.family}'s, the weights do not fit: "
    f"{'; '.join(problems[:LISTED])}{more}"
  )


def members(format: str) -> list[str]:
  """Lists the families that a format names: itself, or those called after it."""
  return [n for n in FAMILIES if n == format or n.startswith(f"{format}_")]


def shapes(fields: Mapping[str, Any], channels: int = 3) -> dict[str, tuple[int, ...]]:
  """Traces the shapes of an encoder's arrays, by path below their collection."""
  net = nets.build(fields)
  side = fields.get("image_size", 4 * fields.get("patch_size", 8))
  x = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
  variables = jax.eval_shape(
    lambda key, x: net.init(key, {"image": x}, train=False), jax.random.key(0), x
  )
  return {name: x.shape for name, x in flatten(variables).items()}


def flatten(variables: Mapping[str, Any]) -> dict[str, Any]:
  """Flattens an encoder's collections: {"bn1/scale": x, "bn1/mean": x, ...}."""
  flat = {}
  for collection in ("params", "batch_stats"):
    flat |= traverse_util.flatten_dict(variables.get(collection, {}), sep="/")
  return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
  """Puts arrays by path back into their collections, "params" and "batch_stats"."""
  running = {k: x for k, x in flat.items() if k.rpartition("/")[2] in RUNNING}
  params = {k: x for k, x in flat.items() if k not in running}
  return {
    name: traverse_util.unflatten_dict(part, sep="/")
    for name, part in (("params", params), ("batch_stats", running))
  }


def take(arrays: Mapping[str, np.ndarray], found: Found) -> dict[str, np.ndarray]:
  """Reads the arrays of ours, float32 by path; ConfigError: one is not finite."""
  ours = {}
  for name, place in found.places.items():
    x = np.ascontiguousarray(tables.to_ours(arrays, place), np.float32)
    if not np.isfinite(x).all():
      raise ConfigError(f"{place.theirs[0]} has numbers that are not finite")
    ours[name] = x
  return ours


def _candidates(
  name: str, arrays: Mapping[str, np.ndarray], told: Mapping[str, Any]
) -> Iterator[Found]:
  """Yields every form of a family that has at least a place among the names."""
  family = FAMILIES[name]
  for prefix in family.prefixes:
    inside = {n[len(prefix) :]: n for n in arrays if n.startswith(prefix)}
    for form in family.forms if inside else ():
      places, _ = tables.find(inside, form.rows)
      places = {
        ours: place
        for ours, place in places.items()
        if _has_rank(arrays, prefix, place)
      }
      if not (fields := infer.encoder(_our_shapes(arrays, prefix, places))):
        continue
      full = {
        ours: Place(tuple(prefix + n for n in place.theirs), place.layout)
        for ours, place in places.items()
      }
      fields |= {**form.fields, **form.adapt(fields), **told}
      taken = {n for place in full.values() for n in place.theirs}
      yield Found(
        name, form, prefix, full, tuple(sorted(arrays.keys() - taken)), fields
      )


def _has_rank(arrays, prefix: str, place: Place) -> bool:
  rank = tables.RANKS.get(place.layout)
  return rank is None or all(arrays[prefix + n].ndim == rank for n in place.theirs)


def _our_shapes(arrays, prefix: str, places) -> dict[str, tuple[int, ...]]:
  shapes = {}
  for ours, place in places.items():
    parts = {n: _shaped(arrays[prefix + n]) for n in place.theirs}
    if len({x.shape[1:] for x in parts.values()}) == 1:
      shapes[ours] = tables.to_ours(parts, place).shape
  return shapes


def _shaped(x: np.ndarray) -> np.ndarray:
  return np.broadcast_to(np.int8(0), x.shape)


def _unplaced(found: Found) -> list[str]:
  """Lists the names left that the family does not say are beside the encoder."""
  beside = FAMILIES[found.family].beside
  inside = {n: n.removeprefix(found.prefix) for n in found.left}
  return [
    n for n, short in inside.items() if not any(_like(x, n, short) for x in beside)
  ]


def _like(pattern: str, *names: str) -> bool:
  return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def _check_refused(name: str, arrays: Mapping[str, np.ndarray]) -> None:
  """Raises ConfigError for names by which a family's weights cannot be ours."""
  for pattern, why in FAMILIES[name].refused.items():
    for theirs in arrays:
      if _like(pattern, theirs, theirs.rpartition(".")[2]):
        raise ConfigError(f"{theirs} has no place: {why}")


def _problems(found: Found, arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
  """Yields what does not fit, tensor by tensor, with the nearest that would."""
  unplaced = _unplaced(found)
  try:
    channels = _channels(arrays, found)
    expected = shapes(found.fields, channels)
  except ConfigError as error:
    yield str(error)
    return
  missing = []
  for ours, shape in expected.items():
    place = found.places.get(ours) or _there(ours, found)
    if place is None:
      yield f"our {ours} has no row in the table of {found.family}"
    elif ours not in found.places:
      missing += [
        (n, tables.shape_there(shape, place)) for n in place.theirs if n not in arrays
      ] or [(place.theirs[0], tables.shape_there(shape, place))]
    else:
      wanted = tables.shape_there(shape, place)
      for theirs in place.theirs:
        if (given := list(arrays[theirs].shape)) != wanted:
          turned = sorted(given) == sorted(wanted) and len(given) > 1
          word = ", which is it transposed" if turned else ""
          yield f"{theirs} is {given} and must be {wanted}{word}"
  for theirs, shape in missing:
    if theirs in arrays:
      yield f"{theirs} is {list(arrays[theirs].shape)} and must be {shape}"
      continue
    near = [n for n in unplaced if list(arrays[n].shape) == shape]
    near = difflib.get_close_matches(theirs, near, n=1, cutoff=0.5)
    hint = f" ({near[0]} would fit)" if near else ""
    yield f"{theirs} {shape} is not there{hint}"
  wanted = {n for n, _ in missing}
  for theirs in unplaced:
    if theirs not in wanted:
      near = difflib.get_close_matches(theirs, wanted, n=1, cutoff=0.5)
      hint = f"; {near[0]} is asked for" if near else ""
      yield f"{theirs} {list(arrays[theirs].shape)} has no place{hint}"
  for ours in found.places.keys() - expected.keys():
    yield f"{found.places[ours].theirs[0]} has no place in an encoder of these fields"


def _there(ours: str, found: Found) -> Place | None:
  place = tables.there(ours, found.form.rows)
  if place is None:
    return None
  return Place(tuple(found.prefix + n for n in place.theirs), place.layout)


def _channels(arrays: Mapping[str, np.ndarray], found: Found) -> int:
  first: Callable = lambda name: found.places[name].theirs[0]  # noqa: E731
  name = "patch/kernel" if "patch/kernel" in found.places else "conv1/kernel"
  return arrays[first(name)].shape[1]

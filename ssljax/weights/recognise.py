"""What a file of weights is: by its names and shapes, which all must have a place."""

import difflib
import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ssljax.fields import ConfigError, check_choice
from ssljax.weights import infer, networks, tables
from ssljax.weights.families import FAMILIES
from ssljax.weights.tables import ENCODER, Form, Places

GIVEN = "given"  # the method of an encoder with any heads or none
LISTED = 3  # of what does not fit


class Found(NamedTuple):
  """Weights recognised: whose they are, and where every array of ours lies."""

  family: str
  form: Form
  prefix: str
  places: Places
  left: tuple[str, ...]  # names that are no part of the network
  fields: dict[str, Any]  # of the group `encoder`
  method: dict[str, Any]  # the group `method`: its name, and heads by role
  also: tuple[str, ...] = ()  # families whose weights are called alike


def recognise(
  arrays: Mapping[str, np.ndarray],
  format: str = "",
  told: Mapping[str, Any] | None = None,
  heads: Mapping[str, Mapping[str, Any]] | None = None,
) -> Found:
  """Finds the family of arrays by name, or where they lie in that of `format`.

  `told` are fields of the encoder laid over those that shapes tell, `heads` those of
  heads by role. ConfigError names, tensor by tensor, what has no place, what is not
  there and what has another shape.
  """
  if format:
    known = members(format)
    if not known:
      check_choice("format", format, FAMILIES)
  else:
    known = list(FAMILIES)
  told = told or {}
  candidates = [
    c for name in known for c in _candidates(name, arrays, told, heads or {})
  ]
  if not candidates:
    for name in known:
      _check_refused(name, arrays)
    some = ", ".join(sorted(arrays)[:LISTED]) or "nothing at all"
    raise ConfigError(
      f"these names are of no family that is known (the file has {some}); "
      f"docs/weights.md lists the families, and --config.format= says which to try"
    )
  for name in dict.fromkeys(found.family for found in candidates):
    _check_refused(name, arrays)
  unplaced = {id(c): len(_unplaced(c)) for c in candidates}
  candidates.sort(key=lambda c: (unplaced[id(c)] - len(c.places), _absent(c)))
  best, problems, traced = candidates[0], [], {}
  for found in candidates[:LISTED]:
    problems.append([*_problems(found, arrays, traced)])
    if not problems[-1]:
      infer.check_whole(found.fields, told)
      alike = (
        c.family
        for c in candidates
        if c.places == found.places and c.family != found.family and not _unplaced(c)
      )
      return found._replace(also=tuple(dict.fromkeys(alike)))
  if not _unplaced(best):
    infer.check_whole(best.fields, told)
  of_best = problems[0]
  more = f"; and {len(of_best) - LISTED} more" if len(of_best) > LISTED else ""
  raise ConfigError(
    f"taken as {best.family}'s, the weights do not fit: "
    f"{'; '.join(of_best[:LISTED])}{more}"
  )


def members(format: str) -> list[str]:
  """Lists the families that a format names: itself, or those called after it."""
  return [n for n in FAMILIES if n == format or n.startswith(f"{format}_")]


def take(arrays: Mapping[str, np.ndarray], found: Found) -> dict[str, np.ndarray]:
  """Reads the arrays of ours, float32 by path; ConfigError: one is not finite."""
  ours = {}
  for name, place in found.places.items():
    x = np.array(tables.to_ours(arrays, place), np.float32, order="C")
    if not np.isfinite(x).all():
      raise ConfigError(f"{place.theirs[0]} has numbers that are not finite")
    ours[name] = x
  for short, x in found.form.buffers(found.fields).items():
    name = found.prefix + short
    if name in arrays and not _alike(arrays[name], x):
      raise ConfigError(f"{name} has other numbers than {found.family}'s always has")
  return ours


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
  """Whether numbers are the same but for rounding to bfloat16."""
  a = np.asarray(a, np.float32)
  return a.shape == b.shape and np.allclose(a, b, rtol=2**-8, atol=0)


def _candidates(
  name: str,
  arrays: Mapping[str, np.ndarray],
  told: Mapping[str, Any],
  heads: Mapping[str, Any],
) -> Iterator[Found]:
  """Yields every form of a family that has at least a place among the names."""
  family = FAMILIES[name]
  for prefix in family.prefixes:
    for form in family.forms if any(n.startswith(prefix) for n in arrays) else ():
      places = form.places(arrays, prefix, family.inside)
      places = {k: place for k, place in places.items() if _has_rank(arrays, place)}
      given = _our_shapes(arrays, places)
      of_encoder = [k for k in given if k.startswith(ENCODER)]
      found = {k.removeprefix(ENCODER): given.pop(k) for k in of_encoder}
      if not (fields := infer.encoder(found)):
        continue
      fields |= {**form.fields, **form.adapt(fields), **told}
      method = infer.method(given, form.method(fields), heads)
      taken = {n for place in places.values() for n in place.theirs}
      left = tuple(sorted(arrays.keys() - taken))
      yield Found(name, form, prefix, places, left, fields, method)


def _has_rank(arrays: Mapping[str, np.ndarray], place: tables.Place) -> bool:
  rank = tables.RANKS.get(place.layout)
  return rank is None or all(arrays[n].ndim == rank for n in place.theirs)


def _our_shapes(arrays, places: Places) -> dict[str, tuple[int, ...]]:
  shapes = {}
  for ours, place in places.items():
    parts = {n: _shaped(arrays[n]) for n in place.theirs}
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


def _absent(found: Found) -> int:
  """Counts what an encoder has once, by its form's rows, and has no place here."""
  once = (row.ours for row in found.form.rows if not tables.NUMBER.search(row.ours))
  return sum(ENCODER + ours not in found.places for ours in once)


def _like(pattern: str, *names: str) -> bool:
  return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def _check_refused(name: str, arrays: Mapping[str, np.ndarray]) -> None:
  """Raises ConfigError for names by which a family's weights cannot be ours."""
  for pattern, why in FAMILIES[name].refused.items():
    for theirs in arrays:
      if _like(pattern, theirs, theirs.rpartition(".")[2]):
        raise ConfigError(f"{theirs} has no place: {why}")


def _problems(
  found: Found, arrays: Mapping[str, np.ndarray], traced: dict[str, dict]
) -> Iterator[str]:
  """Yields what does not fit, tensor by tensor, with the nearest that would.

  `traced` keeps the shapes of networks that several candidates are.
  """
  unplaced = _unplaced(found)
  known = found.form.method(found.fields)
  needed = known.keys() - found.method.keys()
  if (
    needed and known["name"] != GIVEN
  ):  # without them there is no network whose shapes could be told
    root = found.prefix.removesuffix(FAMILIES[found.family].inside)
    rows = (row for row in found.form.heads if row.ours.split("/")[0] in needed)
    yield from (f"{root}{tables.parts(row)[0]} is not there" for row in rows)
    return
  try:
    sizes = networks.sizes(_our_shapes(arrays, found.places))
    which = repr((found.fields, found.method, sizes))
    if which not in traced:
      traced[which] = networks.shapes(found.fields, found.method, *sizes)
    expected = dict(traced[which])
    # What a loss learns besides the network: numbers, none of them in a head.
    expected |= {row.ours: () for row in found.form.heads if "/" not in row.ours}
  except ConfigError as error:
    yield str(error)
    return
  missing, inside = [], FAMILIES[found.family].inside
  for ours, shape in expected.items():
    place = found.places.get(ours) or found.form.place(ours, found.prefix, inside)
    if place is None:
      yield f"our {ours} has no row in the table of {found.family}"
      continue
    of_theirs = tables.shapes_there(shape, place)
    if ours not in found.places:
      absent = [(n, s) for n, s in of_theirs.items() if n not in arrays]
      missing += absent or [*of_theirs.items()][:1]
    else:
      for theirs, wanted in of_theirs.items():
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

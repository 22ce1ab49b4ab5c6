"""BYOL's checkpoint: a pickle of classes of its code and Haiku's, never imported."""

import pickle
import sys
import types
from typing import NamedTuple

import numpy as np
import pytest
import releases

from ssljax.fields import ConfigError
from ssljax.weights import files, recognise, take
from ssljax.weights.families import byol


class State(NamedTuple):
  online_params: dict
  target_params: dict
  online_state: dict
  target_state: dict
  opt_state: tuple


class ByCall:
  """A mapping of Haiku's that is made anew out of a dict."""

  def __init__(self, content):
    self.content = content

  def __reduce__(self):
    return type(self), (self.content,)


class ByState:
  """A mapping of Haiku's whose attributes are put back."""

  def __init__(self, content):
    self._mapping, self._hash = content, 1


class Hostile:
  """What pickle would run as it is opened."""

  def __init__(self, mark):
    self.mark = mark

  def __reduce__(self):
    return exec, (f"open({str(self.mark)!r}, 'w')",)


def write(path, mapping, arrays, extra=None):
  """Pickles arrays as BYOL does, of classes that nobody has when it is read."""
  frozen = type("frozendict", (mapping,), {"__module__": "haiku._src.data_structures"})
  state = type("_ByolExperimentState", (State,), {"__module__": "byol.byol_experiment"})
  trees = {name: {} for name in State._fields}
  for name, x in arrays.items():
    tree, _, rest = name.partition("/")
    module, _, leaf = rest.rpartition("/")
    trees[tree].setdefault(module, {})[leaf] = x
  held = state(
    **{k: frozen({m: frozen(x) for m, x in t.items()}) for k, t in trees.items()}
  )
  parents = ("haiku", "haiku._src", "byol")
  modules = {name: types.ModuleType(name) for name in parents}
  for cls in (frozen, state):
    modules[cls.__module__] = types.ModuleType(cls.__module__)
    setattr(modules[cls.__module__], cls.__name__, cls)
  sys.modules |= modules
  try:
    found = {"step": 3, "rng": np.zeros(2, np.uint32), "experiment_state": held}
    path.write_bytes(pickle.dumps({**found, **(extra or {})}))
  finally:
    for name in modules:
      del sys.modules[name]


@pytest.mark.parametrize("mapping", [ByCall, ByState])
def test_its_arrays_are_read_by_module_and_name(tmp_path, mapping):
  arrays = releases.arrays("byol_pretrain_res50x1")
  write(tmp_path / "x.pkl", mapping, arrays)
  read, _ = files.read(tmp_path / "x.pkl")
  assert read.keys() == arrays.keys()
  for name, x in arrays.items():
    np.testing.assert_array_equal(read[name], x)
  found = recognise(read)
  assert found.family == "byol"
  assert found.method["projector"]["hidden"] == 256
  assert take(read, found)["encoder/bn1/mean"].shape == (4,)
  assert "haiku" not in sys.modules


def test_what_would_run_something_inside_it_is_refused(tmp_path):
  mark = tmp_path / "it_ran"
  write(tmp_path / "x.pkl", ByCall, {}, {"more": Hostile(mark)})
  with pytest.raises(ConfigError, match=r"would call builtins\.exec"):
    files.read(tmp_path / "x.pkl")
  assert not mark.exists()


def test_an_npz_of_the_same_names_is_read_too(tmp_path):
  arrays = releases.arrays("byol_pretrain_res50x1")
  files.write(tmp_path / "x.npz", arrays, {})
  assert recognise(files.read(tmp_path / "x.npz")[0]).family == "byol"


@pytest.mark.parametrize(
  ("change", "sentence"),
  [
    (
      lambda x: x.pop("online_params/projector/linear_1/w"),
      r"linear_1/w.*is not there",
    ),
    (lambda x: x.pop("online_params/res_net50/~/initial_conv/w"), "of no family"),
    (
      lambda x: [x.pop(k) for k in [*x] if "block_group_3" in k],
      r"stages have \(3, 4, 6\)|has no place",
    ),
    (
      lambda x: x.update(
        {"online_params/projector/linear/w": x["online_params/projector/linear/w"].T}
      ),
      "projector/linear/w is .* which is it transposed",
    ),
  ],
)
def test_what_does_not_fit_is_named(change, sentence):
  arrays = releases.arrays("byol_pretrain_res50x1")
  change(arrays)
  with pytest.raises(ConfigError, match=sentence):
    recognise(arrays)


def test_a_resnet_200_is_whole():
  """Of 3, 24, 36 and 3 blocks, which no family of PyTorch's has."""
  names = {row.ours for form in byol.FAMILY.forms for row in form.rows}
  assert "layer{}_{}/conv{}/kernel" in names
  arrays = {}
  for name, x in releases.arrays("byol_pretrain_res50x1").items():
    if "/res_net50/" not in name:
      arrays[name] = x
      continue
    deep = name.replace("res_net50", "res_net200")
    arrays[deep] = x
    for group, has, wants in ((1, 4, 24), (2, 6, 36)):
      if f"block_group_{group}/~/block_{has - 1}/" in name:
        for i in range(has, wants):
          arrays[deep.replace(f"/block_{has - 1}/", f"/block_{i}/")] = x
  found = recognise(arrays)
  assert found.fields["stage_sizes"] == (3, 24, 36, 3)

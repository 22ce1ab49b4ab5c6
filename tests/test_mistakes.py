"""Mistakes in a method keep Python's error and line; a user's get one sentence."""

import traceback

import pytest
import tiny

from ssljax import methods, recipe
from ssljax.fields import ConfigError

HEAD = """
import dataclasses

import jax.numpy as jnp

from ssljax.core import Aux, Method
from ssljax.losses import contrastive


@dataclasses.dataclass(frozen=True)
class Broken(Method):
  temperature: float = 0.1

  def objective(self, params, rows, state, batch, rng):
    z = rows["projection"]
"""
MISTAKES = {  # what is written, and how Python answers
  "a typo in a key": ('return z.sum() + rows["projektion"].sum(), Aux()', KeyError),
  "a wrong shape": ("return (z[:, 0] @ z[:, 1]).sum(), Aux()", TypeError),
  "a wrong axis": ("return z.mean(axis=3).sum(), Aux()", IndexError),
  "a missing head": ('return rows["prediction"].sum(), Aux()', KeyError),
  "a wrong loss": ("return contrastive.nt_xent(z), Aux()", TypeError),
  "no scalar": ("return z, Aux()", TypeError),
}


def trace(source, tmp_path, monkeypatch):
  path = tmp_path / "broken.py"
  path.write_text(source)
  names = {}
  exec(compile(source, str(path), "exec"), names)
  monkeypatch.setitem(methods.METHODS, "broken", names["Broken"])
  config = tiny.configs()["simclr_digits"].copy_and_resolve_references()
  config.method.name = "broken"
  recipe.check(config)
  built = recipe.build(config, tiny.PLAN)
  recipe.trace(built, tiny.batch())


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_method_keeps_its_traceback(mistake, tmp_path, monkeypatch):
  line, error = MISTAKES[mistake]
  with pytest.raises(error) as caught:
    trace(f"{HEAD}    {line}\n", tmp_path, monkeypatch)
  assert not isinstance(caught.value, ConfigError)
  if mistake == "no scalar":  # jax.grad says so, after the method
    return
  frames = traceback.extract_tb(caught.value.__traceback__)
  (last,) = [f for f in frames if f.filename.endswith("broken.py")][-1:]
  assert (last.lineno, last.line) == (HEAD.count("\n") + 1, line)


def test_a_wrong_import_is_python_s_own_error(tmp_path, monkeypatch):
  source = HEAD.replace("import contrastive", "import contrastiv")
  with pytest.raises(ImportError, match="contrastiv"):
    trace(f"{source}    return z.sum(), Aux()\n", tmp_path, monkeypatch)


def test_a_metric_of_the_step_s_own_name_is_refused(tmp_path, monkeypatch):
  line = 'return z.sum(), Aux(metrics={"loss": z.sum()})'
  with pytest.raises(ValueError, match=r"Broken logs \['loss'\]"):
    trace(f"{HEAD}    {line}\n", tmp_path, monkeypatch)


def test_a_head_that_a_config_lacks_is_named():
  config = tiny.configs()["byol_cifar10"].copy_and_resolve_references()
  del config.method.predictor
  with pytest.raises(ConfigError, match=r"'byol' needs the head method\.predictor"):
    recipe.build(config, tiny.PLAN)


@pytest.mark.parametrize(
  ("name", "changed", "sentence"),
  [
    (
      "ibot_cifar10",
      {"mask_p": 0.0},
      r"mask_p=0: method 'ibot' hides patches",
    ),
    ("mae_cifar10", {"mask_p": 0.5}, r"mask_p=0\.5: method 'mae' does not read 'mask'"),
    ("ibot_cifar10", {"patch_size": 8}, r"patch_size=8 must be that of the encoder, 4"),
  ],
)
def test_what_no_one_reads_of_the_views_is_refused(name, changed, sentence):
  config = tiny.configs()[name].copy_and_resolve_references()
  if "mae" in name:
    config.augment.patch_size = config.encoder.patch_size
  config.augment.update(changed)
  with pytest.raises(ConfigError, match=sentence):
    recipe.build(config, tiny.PLAN)


def test_a_step_that_changes_the_state_s_tree_is_told_before_it_compiles():
  built = tiny.parts("byol")
  forgetful = type(built.method)(**vars(built.method))
  without = lambda *a: built.method.encode(*a)._replace(target_stats=())  # noqa: E731
  object.__setattr__(forgetful, "encode", without)
  with pytest.raises(TypeError, match=r"BYOL changes the tree of state\.target"):
    recipe.trace(built._replace(method=forgetful), tiny.batch())


def test_data_without_captions_is_named():
  built = tiny.parts("clip")
  batch = {k: v for k, v in tiny.batch().items() if k != "text"}
  with pytest.raises(ConfigError, match=r"learns from 'text'.*data\.captions"):
    recipe.trace(built, batch)

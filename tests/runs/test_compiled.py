"""Compiled programs are kept in the user's cache folder, unless the user says where."""

import os

import jax
import pytest

from ssljax.runs import compiled


@pytest.fixture
def home(tmp_path, monkeypatch):
  """A user's cache folder, and JAX without one of its own; nothing compiles here."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  before = jax.config.jax_compilation_cache_dir
  jax.config.update("jax_compilation_cache_dir", None)
  monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
  yield tmp_path
  jax.config.update("jax_compilation_cache_dir", before)


def test_the_folder_is_made_and_named_to_jax(home):
  assert compiled.keep() == ""
  folder = home / "ssljax" / "compiled"
  assert jax.config.jax_compilation_cache_dir == str(folder)
  assert not list(folder.iterdir())


def test_the_folder_that_the_user_named_stays(home):
  jax.config.update("jax_compilation_cache_dir", "/elsewhere")
  assert compiled.keep() == ""
  assert jax.config.jax_compilation_cache_dir == "/elsewhere"


def test_a_home_that_takes_nothing_is_told_and_ends_nothing(home):
  (home / "ssljax").write_text("a file, where a folder should be")
  assert compiled.keep().startswith("Compiled programs are not kept for the next run: ")
  assert jax.config.jax_compilation_cache_dir is None


def test_what_was_not_read_for_longest_goes_first(home, monkeypatch):
  folder = home / "ssljax" / "compiled"
  folder.mkdir(parents=True)
  for age, name in enumerate("cab"):
    (folder / name).write_bytes(bytes(100))
    os.utime(folder / name, (1e9 - age, 1e9))
  monkeypatch.setattr(compiled, "MOST", 250)
  assert compiled.keep() == ""
  assert sorted(path.name for path in folder.iterdir()) == ["a", "c"]

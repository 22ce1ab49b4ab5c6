"""What a disk does to a run's files is noticed, named, and worked around."""

import json
import os
import pathlib
import resource
import shutil
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import run_folder
from ml_collections import ConfigDict

from ssljax import figures, html, runs, sharding
from ssljax.checkpoint import Checkpoints
from ssljax.evals.features import FeatureSet
from ssljax.fields import ConfigError
from ssljax.protocols import embed, model_card

DAMAGES = {
  "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
  "emptied": lambda path: path.write_bytes(b""),
  "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
  "flipped": lambda path: flip(path),
  "deleted": pathlib.Path.unlink,
}


def flip(path):
  text = bytearray(path.read_bytes())
  text[len(text) // 2] ^= 1
  path.write_bytes(text)


def state(step):
  """Large enough for arrays to lie in files of their own."""
  draw = np.random.default_rng(step)
  return {
    "w": jnp.asarray(draw.normal(size=(64, 64)), jnp.float32),
    "bank": jnp.asarray(draw.integers(0, 9, (64, 4)), jnp.int32),
    "step": jnp.int32(step),
  }


def restored(checkpoints, step):
  like = jax.eval_shape(lambda: state(0))
  layout = sharding.state_sharding(like, sharding.make_mesh())
  return checkpoints.restore(like, layout, step), checkpoints.read_meta(step)


def assert_is(checkpoints, step):
  found, meta = restored(checkpoints, step)
  assert meta == {"step": step}
  jax.tree.map(np.testing.assert_array_equal, found, state(step))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  """A folder of two checkpoints, of steps 3 and 6."""
  folder = tmp_path_factory.mktemp("written")
  with Checkpoints(folder, keep=2) as checkpoints:
    for step in (3, 6):
      checkpoints.save(step, state(step), {"step": step})
  return folder


def files(folder):
  return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_file_damaged_in_turn_is_named_or_changes_nothing(
  damage, written, tmp_path, caplog
):
  newest = written / "checkpoints" / "6"
  assert len(files(newest)) > 8
  noticed = set()
  for i, path in enumerate(files(newest)):
    folder = tmp_path / str(i)
    shutil.copytree(written, folder)
    victim = folder / path.relative_to(written)
    DAMAGES[damage](victim)
    before = {p: p.read_bytes() for p in files(folder)}
    caplog.clear()
    with Checkpoints(folder, keep=2) as checkpoints:
      step = checkpoints.choose()
      assert_is(checkpoints, step)
      if step == 3:
        noticed.add(path)
        (said,) = [m for m in caplog.messages if "is damaged" in m]
        assert said.startswith(f"{folder / 'checkpoints' / '6'} is damaged (")
        with pytest.raises(ConfigError, match=r"step=6: .*6 is damaged \(.* of 3, 6"):
          checkpoints.choose(6)
      else:
        assert not [m for m in caplog.messages if "is damaged" in m]
    assert before == {p: p.read_bytes() for p in files(folder)}
  arrays = {path for path in files(newest) if "ocdbt.process_0" in path.parts}
  assert arrays <= noticed
  assert newest / "meta" / "metadata" in noticed


def test_where_none_is_whole_a_sentence_says_so_and_nothing_is_touched(
  written, tmp_path
):
  shutil.copytree(written, tmp_path, dirs_exist_ok=True)
  for step in (3, 6):
    (tmp_path / "checkpoints" / str(step) / "meta" / "metadata").write_bytes(b"{")
  before = files(tmp_path)
  sentence = r"6 is damaged \(meta/metadata is not what was written\) and no checkpoint"
  refused = pytest.raises(ConfigError, match=sentence)
  with Checkpoints(tmp_path) as checkpoints, refused as raised:
    checkpoints.choose()
  assert "\n" not in str(raised.value)
  assert files(tmp_path) == before


def test_an_empty_folder_of_a_step_is_a_damaged_checkpoint(written, tmp_path):
  shutil.copytree(written, tmp_path, dirs_exist_ok=True)
  shutil.rmtree(tmp_path / "checkpoints" / "6")
  (tmp_path / "checkpoints" / "6").mkdir()
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.choose() == 3
    assert checkpoints.whole() == [3]


def test_a_damaged_step_is_written_anew_and_the_old_one_is_kept(written, tmp_path):
  shutil.copytree(written, tmp_path, dirs_exist_ok=True)
  newest = tmp_path / "checkpoints" / "6"
  (newest / "meta" / "metadata").write_bytes(b"{")
  with Checkpoints(tmp_path, keep=2) as checkpoints:
    checkpoints.set_aside(3)
    for step in (5, 6):
      checkpoints.save(step, state(step), {"step": step})
  with Checkpoints(tmp_path, keep=2) as checkpoints:
    assert checkpoints.whole() == [5, 6]
    assert_is(checkpoints, 6)
  aside = tmp_path / "checkpoints" / "damaged-6-1"
  assert (aside / "meta" / "metadata").read_bytes() == b"{"


@pytest.mark.parametrize("damage", ["cut", "emptied", "zeroed", "flipped"])
def test_kept_features_that_are_damaged_are_made_anew(damage, tmp_path, caplog):
  def features(seed):
    x = np.random.default_rng(seed).normal(size=(50, 20)).astype(np.float32)
    y = np.arange(50) % 3
    return FeatureSet(x, y, x, y, 3, train_index=y, test_index=y)

  kept = embed.Kept(tmp_path, {"checkpoint": "1"})
  kept("trained encoder", lambda: features(0))
  (path,) = tmp_path.rglob("*.npz")
  DAMAGES[damage](path)
  anew = features(1)
  assert kept("trained encoder", lambda: anew) is anew
  assert f"{path} is damaged (" in caplog.text
  found = kept("trained encoder", lambda: pytest.fail("they were kept"))
  np.testing.assert_array_equal(found.train_x, anew.train_x)


def test_features_that_cannot_be_kept_serve_all_the_same(tmp_path, caplog):
  (tmp_path / "evals").write_text("a file, where a folder should be")
  kept = embed.Kept(tmp_path, {})
  x, y = np.zeros((2, 3), np.float32), np.zeros(2, np.int32)
  seen = FeatureSet(x, y, x, y, 1, train_index=y, test_index=y)
  assert kept("row", lambda: seen) is seen
  assert "features are not kept (" in caplog.text


PAGE = dict(kind="", title="", subtitle="", facts={}, summary=[], bars=None)
WRITERS = {
  "text": lambda path: runs.write(path, "word " * 99),
  "page": lambda path: html.render(path, **PAGE, sections=[], details=[]),
  "curves": lambda path: figures.curves([{"step": 1, "loss": 2.0}], path),
  "filters": lambda path: figures.filters(np.eye(3)[None, :, :, None], path),
  "spectra": lambda path: figures.spectra({"it": np.ones(3)}, path),
  "identity": lambda path: embed._check_same(path, {"identity": {}, "rows": "9" * 99}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_the_disk_cuts_short_leaves_the_file_before(name, tmp_path):
  path = tmp_path / "it.png"
  if name != "identity":  # which is written once
    path.write_text("before")
  before = files(tmp_path)
  _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
  try:
    with pytest.raises(OSError, match="File too large"):
      WRITERS[name](path)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  assert files(tmp_path) == before
  assert name == "identity" or path.read_text() == "before"
  WRITERS[name](path)
  assert files(tmp_path) == [path]
  assert path.stat().st_size > 64


def test_of_two_that_write_a_file_at_once_both_write_it_whole(tmp_path, monkeypatch):
  path, replace = tmp_path / "it.json", pathlib.Path.replace

  def late(temporary, target):
    with monkeypatch.context() as patch:
      patch.setattr(pathlib.Path, "replace", replace)
      patch.setattr(os, "getpid", lambda: 7)
      runs.write(path, "another's")
    replace(temporary, target)

  monkeypatch.setattr(pathlib.Path, "replace", late)
  runs.write(path, "mine")
  assert path.read_text() == "mine"
  assert files(tmp_path) == [path]


def test_metrics_whose_config_is_damaged_are_nobody_s_and_left_alone(tmp_path):
  for text in ("", "{", "[]", "\0"):
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    sentence = r"no config\.json .*, or a damaged one; put back a copy of it, or name"
    with pytest.raises(ConfigError, match=sentence):
      runs.check_same_run(ConfigDict({"seed": 0}), tmp_path)
    assert len(files(tmp_path)) == len(list(tmp_path.iterdir())) == 2


def test_a_model_card_has_what_is_whole(tmp_path, caplog):
  run = run_folder.make(tmp_path / "it", knn=50.0, pretrained={"checkpoint": ""})
  config = ConfigDict(json.loads((run / "config.json").read_text()))
  trained = SimpleNamespace(config=config, state=SimpleNamespace(step=20))
  (run / "evals" / "embed.json").write_text('{"checkpoint": "1", "rows": 4096}')
  text = model_card.write(trained, run, {})
  assert "- results, trained encoder: knn 50.00, few_label_1 20.04" in text
  assert "- retrieval, trained encoder: map 25.00" in text
  assert not caplog.text
  (run / "results.json").write_text("")
  (run / "evals" / "retrieval.json").write_text('{"results": {"a": ')
  text = model_card.write(trained, run, {})
  assert "trained encoder" not in text
  for name in ("results.json", "retrieval.json"):
    assert f"{name} is left out: it is damaged" in caplog.text

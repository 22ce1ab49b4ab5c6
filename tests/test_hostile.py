"""Nothing of what others hand over is executed, believed about its size, or a page."""

import io
import json
import zipfile
import zlib

import numpy as np
import pytest
import run_folder
from ml_collections import ConfigDict
from PIL import Image

import ssljax
from ssljax import command_line, data, html
from ssljax.command_line import listing
from ssljax.fields import ConfigError
from ssljax.weights import files

TAG = "<img src=x onerror=alert(1)><script>alert(1)</script>"


def run(path, text, folder):
  """What `run.py --config.PATH=TEXT --fields`, then without --fields, comes to."""
  _, config = command_line.load("simclr_digits")
  command_line.override(config, path, text)
  listing.fields_text(config)
  return ssljax.train_and_evaluate(config, folder)


@pytest.mark.parametrize(
  "path", ["seed", "batch_size", "data.dir", "evals.at_end", "optimizer.learning_rate"]
)
def test_a_field_s_value_is_never_run(path, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  text = "__import__('pathlib').Path('it_ran').touch()"
  with pytest.raises(ConfigError, match="__import__"):
    run(path, text, tmp_path / "run")
  assert not (tmp_path / "it_ran").exists()


def test_a_report_shows_tags_as_text(tmp_path):
  """Of a config, a row, a protocol's file, a class and a picture's name."""
  run = run_folder.make(tmp_path / "it", data={"name": TAG, "dir": TAG, "workers": 0})
  results = {"protocol": TAG, "results": {TAG: {"knn": 1.0, TAG: 2.0}}}
  (run / "evals" / "retrieval.json").write_text(
    json.dumps(run_folder.retrieval(3.0) | results)
  )
  picture = Image.new("RGB", (2, 2))
  picture.save(run / "figures" / "<script>alert(1)<script>.png".replace("/", ""))
  text = html.write(run).read_text("utf-8")
  assert "<script" not in text
  assert "<img src=x" not in text
  assert "&lt;script&gt;" in text


def bomb(path, side):
  """A PNG of a few hundred bytes that says it is `side` pixels wide and high."""
  file = io.BytesIO()
  Image.new("1", (8, 8)).save(file, "PNG")
  raw = bytearray(file.getvalue())
  raw[16:24] = side.to_bytes(4, "big") * 2
  raw[29:33] = zlib.crc32(bytes(raw[12:29])).to_bytes(4, "big")
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(raw)


def test_a_picture_that_unpacks_to_gigabytes_is_left_out(tmp_path, caplog):
  rng = np.random.default_rng(0)
  for i in range(20):
    file = tmp_path / f"{i % 2}" / f"{i}.png"
    file.parent.mkdir(exist_ok=True)
    Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(file)
  bomb(tmp_path / "0" / "bomb.png", 100_000)
  sources = data.build(ConfigDict({"name": "folder", "dir": str(tmp_path), "size": 8}))
  assert sum(map(len, sources)) == 20
  assert "'0/bomb.png: DecompressionBombError" in caplog.text


def test_an_archive_that_unpacks_to_terabytes_is_a_sentence(tmp_path):
  path = tmp_path / "x.npz"
  header = io.BytesIO()
  np.lib.format.write_array_header_1_0(
    header, {"descr": "<f4", "fortran_order": False, "shape": (10**13,)}
  )
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
    file.writestr("a.npy", header.getvalue() + bytes(1000))
  with pytest.raises(ConfigError, match=r"no whole \.npz file of numbers"):
    files.read(path)


def test_an_index_of_weights_names_files_of_its_own_folder_alone(tmp_path):
  outside = tmp_path / "secret.safetensors"
  outside.write_bytes(b"")
  folder = tmp_path / "model"
  folder.mkdir()
  weight_map = {"weight_map": {"a": "../secret.safetensors", "b": str(outside)}}
  (folder / "model.safetensors.index.json").write_text(json.dumps(weight_map))
  with pytest.raises(ConfigError, match=r"holds no \.safetensors file"):
    files.read(folder)


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "..", "a/../../b"])
def test_a_data_set_s_name_is_no_path(name):
  with pytest.raises(ConfigError, match=r"data\.name"):
    data.build(ConfigDict({"name": name, "size": 8}))

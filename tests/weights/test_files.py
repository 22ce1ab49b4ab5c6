"""Files of weights: whole ones are read, others answered in a sentence, none run."""

import json
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest

from ssljax.fields import ConfigError
from ssljax.weights import files, pickles

ARRAYS = {
  "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
  "b": np.int64(7),
  "c": np.zeros((0, 4), np.float16),
  "d": np.ones((3, 1), ml_dtypes.bfloat16),
}


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
def test_what_is_written_is_read_to_the_bit(tmp_path, ending):
  path = tmp_path / f"x{ending}"
  arrays = ARRAYS if ending == ".safetensors" else {k: ARRAYS[k] for k in "bc"}
  files.write(path, arrays, {"ssljax": "{}"})
  read, texts = files.read(path)
  assert read.keys() == arrays.keys()
  for name, x in arrays.items():
    assert read[name].dtype == x.dtype
    np.testing.assert_array_equal(read[name], x)
  assert texts == ({"format": "pt", "ssljax": "{}"} if len(arrays) == 4 else {})
  assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_safetensors_itself_reads_what_is_written(tmp_path):
  library = pytest.importorskip("safetensors.numpy")
  path = tmp_path / "x.safetensors"
  arrays = {k: ARRAYS[k] for k in ("a.weight", "c")}
  files.write(path, arrays, {})
  np.testing.assert_equal(library.load_file(path), arrays)
  library.save_file(arrays, path)
  np.testing.assert_equal(files.read(path)[0], arrays)


def test_a_folder_s_files_are_read_together(tmp_path):
  for name in ("a.weight", "b"):
    files.write(tmp_path / f"model-{name}.safetensors", {name: ARRAYS[name]}, {})
  assert files.read(tmp_path)[0].keys() == {"a.weight", "b"}


def written(tmp_path, data, name="x.safetensors"):
  path = tmp_path / name
  path.write_bytes(data)
  return path


def whole(tmp_path):
  path = tmp_path / "whole.safetensors"
  files.write(path, ARRAYS, {})
  return path.read_bytes()


@pytest.mark.parametrize(
  ("cut", "sentence"),
  [
    (lambda x: b"", "is no whole .safetensors file.*the file has 0"),
    (lambda x: x[:40], "is no whole .safetensors file"),
    (lambda x: x[:-1], "is cut off: its tensors end at byte .*; fetch it again"),
    (lambda x: x[:8] + b"[" + x[9:], "its header does not say what it holds"),
    (lambda x: x.replace(b"[2, 3]", b"[2, 4]"), r"is damaged: a.weight \[2, 4\] needs"),
    (lambda x: x.replace(b"[2, 3]", b"[-2,3]"), "is damaged: a.weight"),
    (lambda x: x.replace(b"[0, 24]", b'["a",2]'), "its header does not say.*'a'"),
    (lambda x: x.replace(b'"F32"', b'"F99"'), "its header does not say.*F99"),
  ],
)
def test_a_file_that_is_not_whole_is_answered_in_a_sentence(tmp_path, cut, sentence):
  path = written(tmp_path, cut(whole(tmp_path)))
  with pytest.raises(ConfigError, match=sentence) as raised:
    files.read(path)
  assert "\n" not in str(raised.value)


def test_an_npz_that_is_cut_or_holds_objects_is_answered_in_a_sentence(tmp_path):
  path = tmp_path / "x.npz"
  np.savez(path, a=np.array([{}], object))
  with pytest.raises(ConfigError, match=r"no whole \.npz file of numbers"):
    files.read(path)
  path.write_bytes(path.read_bytes()[:50])
  with pytest.raises(ConfigError, match=r"no whole \.npz file of numbers"):
    files.read(path)


class Hostile:
  """What pickle would run as it is opened."""

  def __init__(self, mark):
    self.mark = mark

  def __reduce__(self):
    return exec, (f"open({str(self.mark)!r}, 'w')",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("ending", [".pth", ".pkl", ".tar"])
def test_a_pickle_that_would_run_something_is_refused_by_name(
  tmp_path, ending, protocol
):
  mark = tmp_path / "it_ran"
  data = pickle.dumps({"state_dict": {"a": Hostile(mark)}}, protocol)
  with pytest.raises(ConfigError, match=r"would call (__)?builtin(s|__).exec as it"):
    files.read(written(tmp_path, data, f"x{ending}"))
  assert not mark.exists()


def test_a_hostile_pickle_behind_a_harmless_one_is_seen(tmp_path):
  data = pickle.dumps(1) + pickle.dumps(Hostile(tmp_path / "it_ran"))
  assert "builtins exec" in files.called_by(data)


def test_a_call_that_is_not_seen_beforehand_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(files, "called_by", lambda data: set())
  mark = tmp_path / "it_ran"
  path = written(tmp_path, pickle.dumps({"a": Hostile(mark)}), "x.pkl")
  with pytest.raises(ConfigError, match=r"arrays alone.*it would call builtins\.exec"):
    files.read(path)
  assert not mark.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_of_arrays_is_read_without_pytorch(tmp_path, protocol):
  """As MoCo's converter writes it; what is no array is left."""
  arrays = {k: ARRAYS[k] for k in ("a.weight", "c")}
  data = {"model": arrays, "__author__": "MOCO", "matching_heuristics": True}
  path = written(tmp_path, pickle.dumps(data, protocol), "x.pkl")
  np.testing.assert_equal(files.read(path), (arrays, {}))


def test_detectron2_s_pickle_needs_no_version_of_numpy(tmp_path):
  path = tmp_path / "x.pkl"
  arrays = {"a": ARRAYS["a.weight"], "n": np.asarray(7)}
  files.write(path, arrays, {})
  assert files.called_by(path.read_bytes()) == {"numpy ndarray", "builtins bytearray"}
  found = pickle.loads(path.read_bytes(), encoding="latin1")
  np.testing.assert_equal(found["model"], arrays)
  assert found["model"]["a"].flags.writeable
  assert (found["__author__"], found["matching_heuristics"]) == ("ssljax", True)
  np.testing.assert_equal(files.read(path)[0], arrays)


def test_a_program_is_refused_with_the_way_to_its_weights(tmp_path):
  with zipfile.ZipFile(tmp_path / "clip.pt", "w") as file:
    file.writestr("clip/code/__torch__.py", "")
    file.writestr("clip/data.pkl", pickle.dumps(1))
  with pytest.raises(ConfigError, match=r"is a program \(TorchScript\).*state_dict"):
    files.read(tmp_path / "clip.pt")


def test_what_is_no_pickle_is_answered_in_a_sentence(tmp_path):
  with pytest.raises(ConfigError, match="no whole file of PyTorch's"):
    files.read(written(tmp_path, b"\xff\xfe hello", "x.pth"))


def test_without_pytorch_a_sentence_says_what_to_do(tmp_path, monkeypatch):
  monkeypatch.setattr(files.importlib.util, "find_spec", lambda name: None)
  path = written(tmp_path, pickle.dumps(pickles.TORCH), "x.pth")
  with pytest.raises(ConfigError, match="PyTorch, which is not installed"):
    files.read(path)


def test_a_name_that_is_no_file_and_an_ending_that_says_nothing(tmp_path):
  with pytest.raises(ConfigError, match="is no file"):
    files.read(tmp_path / "none.safetensors")
  with pytest.raises(ConfigError, match=r"ends in none of \.safetensors"):
    files.read(written(tmp_path, b"", "x.json"))
  with pytest.raises(ConfigError, match="must end in one of"):
    files.write(tmp_path / "x.h5", {}, {})
  with pytest.raises(ConfigError, match=r"holds no \.safetensors file"):
    files.read(tmp_path)


def test_the_header_is_as_the_format_says(tmp_path):
  data = whole(tmp_path)
  length = int.from_bytes(data[:8], "little")
  assert length % 8 == 0
  header = json.loads(data[8 : 8 + length])
  assert header["a.weight"] == {
    "dtype": "F32",
    "shape": [2, 3],
    "data_offsets": [0, 24],
  }

"""Checkpoints of TensorFlow: what it wrote is read without it."""

import base64

import numpy as np
import pytest
import releases

from ssljax.fields import ConfigError
from ssljax.weights import files, recognise, take

# Written by TensorFlow 2.21's tf.compat.v1.train.Saver; of its variables one is text.
INDEX = base64.b64decode(
  "AAAGCAEaAggBABgbYmFzZV9tb2RlbC9jb252MmQva2VybmVsCAESEBICCAESAggCEgIIAxICCAEoGDXA"
  "2z0XEQkVXzEva2VybmVsCAESCBICCAESAggCIBgoCDU9M8j0AAsNZ2xvYmFsX3N0ZXAICRIAICAoCDW7"
  "158RAAQRaGFsZggOEgQSAggCICgoBDXkQdHCAAURd29yZHMIBxIEEgIIAiAsKA41bqokAwAAAAABAAAA"
  "ADsr9mMAAAAAAQAAAADA8qGwAAEDeAC0AQAAAAABAAAAAI/ZItS5AQjGAQ8AAAAAAAAAAAAAAAAAAAAA"
  "AAAAAAAAAAAAAAAAAAAAAAAAV/uAiyR1R9s="
)
DATA = base64.b64decode(
  "AAAAAAAAgD8AAABAAABAQAAAgEAAAKBAAADAPwAAAMAHAAAAAAAAAIA/AL8CBgKf8Fdub251bWJlcg=="
)
NAME = "model.ckpt-7"


def written(folder, index=INDEX, data=DATA):
  (folder / f"{NAME}.data-00000-of-00001").write_bytes(data)
  path = folder / f"{NAME}.index"
  path.write_bytes(index)
  return path


def test_variables_are_what_tensorflow_wrote(tmp_path):
  arrays, _ = files.read(written(tmp_path))
  kernel = np.arange(6, dtype=np.float32).reshape(1, 2, 3, 1)
  expected = {
    "base_model/conv2d/kernel": kernel,
    "base_model/conv2d_1/kernel": np.float32([[1.5, -2]]),
    "global_step": np.int64(7),
    "half": np.float32([1, -0.5]),
  }
  assert arrays.keys() == expected.keys()
  for name, x in expected.items():
    np.testing.assert_array_equal(arrays[name].astype(x.dtype), x)
    assert arrays[name].shape == x.shape
  assert arrays["half"].dtype.name == "bfloat16"


def test_its_digest_is_of_the_numbers_too(tmp_path):
  path = written(tmp_path)
  first = files.digest(path)
  written(tmp_path, data=DATA[:-1] + b"!")
  assert files.digest(path) != first


@pytest.mark.parametrize(
  ("index", "data", "sentence"),
  [
    (b"", DATA, "does not end as an index"),
    (INDEX[:-9], DATA, "does not end as an index"),
    (INDEX[100:], DATA, "is no whole checkpoint of TensorFlow's: it is"),
    (INDEX[:-48] + b"\xff" * 40 + INDEX[-8:], DATA, "it is damaged"),
    (INDEX, DATA[:30], "conv2d_1/kernel ends at byte 32, and its file at 30"),
    (INDEX, b"", "ends at byte .*, and its file at 0"),
    (INDEX.replace(b"\x28\x18", b"\x28\x17"), DATA, "does not have 23 bytes"),
  ],
)
def test_what_is_not_whole_is_answered_in_a_sentence(tmp_path, index, data, sentence):
  with pytest.raises(ConfigError, match=sentence) as raised:
    files.read(written(tmp_path, index, data))
  assert "\n" not in str(raised.value)


def test_numbers_that_are_not_beside_it_are_named(tmp_path):
  path = written(tmp_path)
  (tmp_path / f"{NAME}.data-00000-of-00001").unlink()
  with pytest.raises(
    ConfigError, match=r"data-00000-of-00001, which holds its numbers"
  ):
    files.read(path)


@pytest.mark.parametrize(
  ("change", "sentence"),
  [
    (lambda x: x.pop("base_model/conv2d_7/kernel"), r"conv2d_7/kernel .* is not there"),
    (
      lambda x: x.update(
        {"base_model/conv2d_8/kernel": x["base_model/conv2d_8/kernel"].T}
      ),
      r"conv2d_8/kernel is .* and must be",
    ),
    (
      lambda x: [x.pop(k) for k in [*x] if any(f"_{i}/" in k for i in range(30, 53))],
      "simclr's, the weights do not fit|is the file whole",
    ),
    (lambda x: x["base_model/conv2d/kernel"].fill(np.inf), "that are not finite"),
  ],
)
def test_what_does_not_fit_is_named(change, sentence):
  arrays = releases.arrays("simclr_v1_1x")
  change(arrays)
  with pytest.raises(ConfigError, match=sentence):
    take(arrays, recognise(arrays))

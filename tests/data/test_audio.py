import os
import pathlib

import numpy as np
import pytest
import soundfile
from pictures import config

from ssljax import data

RATE = 8000


def sine(hz, samples, rate=RATE):
  return 0.5 * np.sin(2 * np.pi * hz * np.arange(samples) / rate)


def write(path, samples, rate=RATE):
  path.parent.mkdir(parents=True, exist_ok=True)
  soundfile.write(path, samples, rate)


def recordings(folder, size, **fields):
  fields = {"name": "audio", "dir": str(folder), "sample_rate": RATE} | fields
  return data.build(config(size=size, **fields))


def batch_of(source, size):
  (batch,) = data.eval_batches(
    source, len(source), size=size, in_memory=False, workers=1
  )
  return batch


def test_a_recording_comes_sample_by_sample_and_zeros_follow(tmp_path):
  ramp = np.arange(-50, 50, dtype=np.int16) * 300
  write(tmp_path / "a" / "0.wav", ramp)
  write(tmp_path / "b" / "0.flac", np.stack([ramp, -ramp + 2], 1))  # two channels
  train, _ = recordings(tmp_path, 128)
  batch = batch_of(train, 128)
  assert batch["audio"].dtype == np.int16
  np.testing.assert_array_equal(batch["audio"][0], np.pad(ramp, (0, 28)))
  np.testing.assert_array_equal(batch["audio"][1], np.pad(np.ones(100), (0, 28)))
  np.testing.assert_array_equal(batch["length"], [100, 100])
  np.testing.assert_array_equal(batch["label"], [0, 1])


def test_long_recordings_come_in_pieces_and_lose_no_whole_one(tmp_path):
  write(tmp_path / "long.wav", np.arange(70, dtype=np.int16))
  write(tmp_path / "short.wav", np.arange(5, dtype=np.int16))
  train, _ = recordings(tmp_path, 20)
  batch = batch_of(train, 20)
  np.testing.assert_array_equal(batch["audio"][:, 1], [1, 21, 41, 1])
  np.testing.assert_array_equal(batch["length"], [20, 20, 20, 5])


@pytest.mark.parametrize("rate", [16000, 12000])
def test_other_rates_are_resampled_to_the_one_asked_for(tmp_path, rate):
  write(tmp_path / "tone.wav", sine(440, rate, rate), rate)
  train, _ = recordings(tmp_path, 4000)
  assert len(train) == 2
  batch = batch_of(train, 4000)
  expected = 32768 * sine(440, 2 * 4000)
  for piece, samples in enumerate(batch["audio"]):
    middle = slice(200, -200)  # resampling rings at the cuts
    wanted = expected[4000 * piece :][:4000]
    np.testing.assert_allclose(samples[middle], wanted[middle], atol=150)


def test_a_file_that_is_no_recording_is_left_out(tmp_path, caplog):
  write(tmp_path / "good.wav", sine(440, 100))
  (tmp_path / "bad.flac").write_bytes(b"no sound")
  (tmp_path / "notes.txt").write_text("neither")
  train, evaluate = recordings(tmp_path, 50)
  assert (len(train), evaluate) == (2, None)
  assert "bad.flac" in caplog.text


def test_an_empty_folder_says_what_is_read(tmp_path):
  with pytest.raises(ValueError, match=r"no recordings under .* endings that are read"):
    recordings(tmp_path, 50)


def test_tones_have_the_pitch_of_their_class():
  train, evaluate = data.build(config(name="tones", size=2000))
  assert (len(train), len(evaluate), train.num_classes) == (800, 200, 10)
  batch = batch_of(evaluate, 2000)
  spectrum = np.abs(np.fft.rfft(batch["audio"] * np.hanning(2000)[None]))
  multiples = spectrum[:, : 4 * 220]
  for label, row in zip(batch["label"], multiples, strict=True):
    pitch = 220 * 2 ** (label / 5)
    peak = row.argmax() * RATE / 2000
    overtone = max(1, round(peak / pitch))
    assert abs(peak / overtone - pitch) < 5


@pytest.mark.skipif(
  "SPOKEN_DIGIT_DIR" not in os.environ, reason="SPOKEN_DIGIT_DIR is not set"
)
def test_spoken_digits_are_ten_classes_of_half_a_second():
  folder = pathlib.Path(os.environ["SPOKEN_DIGIT_DIR"])
  train, evaluate = recordings(folder, 8192)
  assert train.class_names == tuple("0123456789")
  assert len(train) + len(evaluate) >= 3000
  batch = batch_of(evaluate, 8192)
  assert 2000 < np.median(batch["length"]) < 5000


@pytest.mark.parametrize("ending", ["WAV", "oga", "aifc", "au", "caf", "w64", "voc"])
def test_every_common_ending_is_a_recording(tmp_path, ending):
  kinds = {"oga": "OGG", "aifc": "AIFF"}
  for name in "ab":
    file = tmp_path / f"{name}.{ending}"
    soundfile.write(
      file, sine(440, 100), RATE, format=kinds.get(ending, ending.upper())
    )
  assert len(recordings(tmp_path, 100).train) == 2


def test_recordings_of_nothing_are_left_out_aloud(tmp_path, caplog):
  write(tmp_path / "a.wav", sine(440, 100))
  write(tmp_path / "b.wav", sine(440, 0))
  assert len(recordings(tmp_path, 64).train) == 1
  assert "1 recordings: 'b.wav'" in caplog.text
  (tmp_path / "a.wav").unlink()
  with pytest.raises(ValueError, match=r"no recording of .* holds a sample"):
    recordings(tmp_path, 64)


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3"])
def test_a_recording_that_is_cut_short_is_never_silence(tmp_path, ending):
  for name in "abc":
    write(tmp_path / f"{name}.{ending}", sine(440, 3 * RATE))
  train = recordings(tmp_path, RATE).train  # pieces of a second
  assert len(train) == 9
  file = tmp_path / f"b.{ending}"
  os.truncate(file, file.stat().st_size // 2)
  loader = data.make_loader(train, 3, 0, size=RATE, in_memory=True, workers=1)
  assert 5 in loader.unreadable
  assert f"b.{ending}" in loader.unreadable[5]
  arrays = loader._reader.arrays
  assert (np.abs(arrays["audio"].astype(int)).max(axis=1) > 1000).all()
  assert (arrays["index"][[5, 8]] == [6, 8]).all()

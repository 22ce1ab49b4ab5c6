"""Recordings (wav, flac, ogg, mp3, ...) in folders, as `tree.splits` sorts them."""

import math
import pathlib

import numpy as np
from absl import logging

from ssljax.data import tree
from ssljax.data.codec import Codec, Example, UnreadableError
from ssljax.data.places import listed, printable
from ssljax.data.source import Source, Splits
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count

Recording = tuple[pathlib.Path, int] | np.ndarray  # file and first sample, or int16 [L]


ENDINGS = frozenset(
  (
    *(".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"),
    *(".aifc", ".au", ".snd", ".caf", ".w64", ".rf64", ".voc"),
  )
)


class Waveforms(Codec):
  """An example's "audio", a `Recording`, as `size` samples: cut off, or zeros after it.

  `rate` is the sampling rate in Hz; files of others are resampled, several channels
  averaged.
  """

  def __init__(self, size: int, rate: int):
    self.size, self.rate = size, rate

  @property
  def spec(self):
    """Describes 16-bit samples, and how many of them the recording has."""
    return {"audio": ((self.size,), "int16"), "length": ((), "int32")}

  def decode(self, example):
    """Decodes a recording -> "audio" int16 [size], "length"."""
    recording = example["audio"]
    if not isinstance(recording, np.ndarray):
      recording = self._read(*recording)
    samples = recording[: self.size]
    audio = np.zeros(self.size, np.int16)
    audio[: len(samples)] = samples
    return {"audio": audio, "length": len(samples)}

  def _read(self, file: pathlib.Path, start: int) -> np.ndarray:
    soundfile = _soundfile()
    try:
      with soundfile.SoundFile(file) as f:
        rate = f.samplerate
        f.seek(round(start * rate / self.rate))
        samples = f.read(math.ceil(self.size * rate / self.rate), always_2d=True)
    except soundfile.SoundFileError as error:
      raise UnreadableError(f"{printable(str(file))}: {error}") from error
    if not len(samples):  # an MP3 that is cut short claims to be whole
      raise UnreadableError(
        f"{printable(str(file))}: it ends before sample {start + 1}"
      )
    samples = samples.mean(1)
    if rate != self.rate:
      from scipy import signal  # a second that other data need not wait for

      divisor = math.gcd(rate, self.rate)
      samples = signal.resample_poly(samples, self.rate // divisor, rate // divisor)
    return np.int16(np.clip(np.round(32768 * samples), -32768, 32767))


class Pieces(Source):
  """Cuts recordings into pieces of `size` samples; a short rest counts where alone."""

  def __init__(self, files: tree.Folder, size: int, rate: int):
    self.files, self.rate = files, rate
    self.name, self.root, self.class_names = files.name, files.root, files.class_names
    self.starts: list[tuple[int, int]] = []
    empty = []
    for i, example in enumerate(files):
      frames = _frames(example["audio"], rate)
      if not frames:
        empty.append(files.path(i))
        continue
      pieces = max(1, frames // size)
      self.starts += [(i, size * k) for k in range(pieces)]
    if empty:
      logging.warning(
        "Left out of %s, as they are empty or cannot be read: %d recordings: %s",
        *(self.name, len(empty), listed(empty)),
      )
    if not self.starts:
      raise ConfigError(f"data.dir: no recording of {self.name!r} holds a sample")

  def __len__(self) -> int:
    return len(self.starts)

  def __getitem__(self, index: int) -> Example:
    file, start = self.starts[index]
    example = self.files[file]
    return {**example, "audio": (example["audio"], start)}

  def known_labels(self):
    """Returns the label of each piece's file."""
    return [self.files.labels[i] for i, _ in self.starts]

  def facts(self):
    """Returns the facts of the files, and where they are cut."""
    return {**self.files.facts(), "pieces": self.starts}

  def codecs(self, size: int):
    """Returns the codec that reads samples at the common rate."""
    return (Waveforms(size, self.rate),)


def _frames(file: pathlib.Path, rate: int) -> int:
  """Counts a recording's samples at `rate`; 0 where it cannot be read."""
  soundfile = _soundfile()
  try:
    info = soundfile.info(file)
  except soundfile.SoundFileError:
    return 0
  return round(info.frames * rate / info.samplerate)


def splits(
  *,
  size: Count,
  sample_rate: Count = 16000,
  dir: str = "",
  train_split: str = "",
  eval_split: str = "",
) -> Splits:
  """Opens recordings in the tree `dir`, at `sample_rate` Hz, in pieces of `size`."""
  kind = tree.Kind(
    "audio",
    "recordings",
    ENDINGS,
    _soundfile().info,
  )
  train, evaluate = tree.splits(kind, dir, train_split, eval_split)
  return Splits(
    Pieces(train, size, sample_rate),
    Pieces(evaluate, size, sample_rate) if evaluate else None,
  )


def _soundfile():
  try:
    import soundfile
  except ImportError as error:
    raise ConfigError(
      "data.name='audio' reads files with soundfile: pip install 'ssljax[audio]'"
    ) from error
  return soundfile

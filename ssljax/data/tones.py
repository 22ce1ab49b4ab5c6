"""Short synthetic tones of ten pitches: sound that needs no download."""

import numpy as np

from ssljax.data.audio import Waveforms
from ssljax.data.codec import Example
from ssljax.data.source import Source, Splits

RATE = 8000  # Hz
LENGTH = 2000  # samples
NUM_TRAIN, NUM_EVAL = 800, 200
PITCHES = 220.0 * 2 ** (np.arange(10) / 5)  # Hz, one for each class


class Tones(Source):
  """Synthesises examples `start` to `stop`, pitched by their number's last digit.

  Each has its own phase, loudness, overtones and noise, and swells and fades.
  """

  name = "tones"
  class_names = tuple(f"{pitch:.0f} Hz" for pitch in PITCHES)

  def __init__(self, start: int, stop: int):
    self.numbers = range(start, stop)

  def facts(self):
    """Returns the numbers alone: a sine's last bit may depend on the machine."""
    return {"contents": f"tones {self.numbers.start} to {self.numbers.stop}"}

  def __len__(self) -> int:
    return len(self.numbers)

  def __getitem__(self, index: int) -> Example:
    number = self.numbers[index]
    label = number % len(PITCHES)
    rng = np.random.default_rng(number)
    turns = PITCHES[label] * np.arange(LENGTH) / RATE + rng.random()
    overtones = rng.random(4) / np.arange(1, 5)
    sound = sum(a * np.sin(2 * np.pi * k * turns) for k, a in enumerate(overtones, 1))
    sound = sound * np.sin(np.pi * np.arange(LENGTH) / LENGTH) / overtones.sum()
    sound = rng.uniform(0.2, 0.8) * sound + 0.02 * rng.standard_normal(LENGTH)
    return {"audio": np.int16(32767 * np.clip(sound, -1, 1)), "label": label}

  def codecs(self, size: int):
    """Returns the codec of 16-bit samples."""
    return (Waveforms(size, RATE),)


def splits() -> Splits:
  """Splits the tones: 800 to train, 200 to evaluate; always the same ones."""
  return Splits(Tones(0, NUM_TRAIN), Tones(NUM_TRAIN, NUM_TRAIN + NUM_EVAL))

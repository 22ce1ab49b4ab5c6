"""What people call the parts of data, and how names are printed."""

import codecs
import pathlib
import re
import unicodedata
from collections.abc import Iterable, Sequence

from ssljax.fields import ConfigError

Groups = Sequence[Sequence[str]]  # words for one thing; a first group goes first

TRAIN = (("train", "training"),)
EVAL = (
  ("val", "valid", "validation", "dev", "eval", "evaluation"),
  ("test", "testing"),
)
UNLABELLED = ("unlabelled", "unlabeled", "unsup", "unsupervised")
WORDS = tuple(word for group in (*TRAIN, *EVAL) for word in group)
LIKE_A_SPLIT = re.compile(rf"({'|'.join(WORDS)})([\W\d_].*)?", re.IGNORECASE)


def printable(name: str) -> str:
  r"""Writes a file's name so that every terminal, table and page can hold it.

  Composed as NFC, so that one name written in two ways is one; bytes that are no UTF-8
  and signs that break a line are written out, as in "caf\xe9".
  """
  name = unicodedata.normalize("NFC", name)
  if name.isprintable():
    return name
  return "".join(map(_printable, name))


def _printable(sign: str) -> str:
  kind = unicodedata.category(sign)
  if kind == "Cs":  # how Python keeps a byte that is no UTF-8
    return f"\\x{ord(sign) & 0xFF:02x}"
  if kind in ("Cc", "Zl", "Zp"):
    return sign.encode("unicode_escape").decode()
  return sign


def encoding(file: pathlib.Path) -> str:
  """Finds a text's encoding: UTF-8, unless its first two bytes say UTF-16."""
  with file.open("rb") as f:
    marks = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE
    return "utf-16" if f.read(2) in marks else "utf-8-sig"


def listed(names: Iterable[str], most: int = 5) -> str:
  """Lists names for a sentence: the first few, and how many more there are."""
  names = list(names)
  first_names = ", ".join(f"'{printable(name)}'" for name in names[:most])
  return first_names + (f" and {len(names) - most:,} more" if len(names) > most else "")


def word(entry: pathlib.Path) -> str:
  """Spells a folder or a file as it is called, its ending apart, in small letters."""
  return (entry.stem if entry.is_file() else entry.name).casefold()


def pick(entries: Iterable[pathlib.Path], groups: Groups, field: str):
  """Picks the one of `entries` called like the split `field`, in any case, or None.

  Words of an earlier group win; two of one group are refused by a ValueError.
  """
  entries = sorted(entries)
  for words in groups:
    fitting = [entry for entry in entries if word(entry) in words]
    if len(fitting) > 1:
      first, second = (printable(entry.name) for entry in fitting[:2])
      raise ConfigError(
        f"data.dir={str(fitting[0].parent)!r} has both {first!r} and {second!r}; say "
        f"which is meant: --config.data.{field}={first}"
      )
    if fitting:
      return fitting[0]
  return None

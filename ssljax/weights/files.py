"""Files of weights, read and written without executing anything that they hold.

.safetensors is read by `safetensors.py` here. What PyTorch
saves is a pickle, which may hold calls: every function that it names is looked at
first, and then it is read by `torch.load(weights_only=True)`, which knows arrays alone,
or, where it is none of PyTorch's, by `pickles.py`.
"""

import hashlib
import importlib.util
import pathlib
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ssljax.fields import ConfigError
from ssljax.weights import bundles, pickles, safetensors

Arrays = dict[str, np.ndarray]
PICKLES = (".pth", ".pt", ".pkl", ".bin", ".tar", ".ckpt")
ENDINGS = (".safetensors", ".npz", bundles.ENDING, *PICKLES)
WRAPPERS = ("state_dict", "model", "model_state_dict", "teacher", "student")
WRAPPERS += ("experiment_state",)  # BYOL's
HARMLESS = ("torch", "numpy", "collections", "_codecs")  # the rest is torch.load's
NUMBERS = np.ndarray, np.generic
NAMESPACE = "argparse Namespace"  # options beside the weights, in SupCon's and MAE's


def read(path: pathlib.Path) -> tuple[Arrays, dict[str, str]]:
  """Reads a file's arrays by name, and the texts that a .safetensors holds beside them.

  A folder is Hugging Face's, its model.safetensors in one file or in several, or a
  SavedModel of TensorFlow's.
  ConfigError, in a sentence, for what is no such file or is not whole.
  """
  if path.is_dir() and not (path / bundles.INSIDE).is_file():
    return _read_folder(path)
  path = _inside(path)
  if not path.is_file():
    raise ConfigError(
      f"file={str(path)!r} is no file; name one of weights: --config.file"
    )
  readers = {".safetensors": safetensors.read, ".npz": _read_npz}
  readers[bundles.ENDING] = _read_bundle
  if path.suffix not in ENDINGS:
    raise ConfigError(
      f"{path} ends in none of {', '.join(ENDINGS)}, which tells how it is read"
    )
  try:
    return readers.get(path.suffix, _read_pickle)(path)
  except OSError as error:
    raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error


def _inside(path: pathlib.Path) -> pathlib.Path:
  """Returns the variables' index of a SavedModel's folder; else what was given."""
  return path / bundles.INSIDE if (path / bundles.INSIDE).is_file() else path


def digest(path: pathlib.Path) -> str:
  """Computes the SHA-256 of a file, in hexadecimal; of several that of theirs."""
  path = _inside(path)
  if path.is_dir():
    parts = sorted(path.glob("*.safetensors"))
  else:
    parts = bundles.files(path) if path.suffix == bundles.ENDING else [path]
  digests = []
  for file in parts:
    with file.open("rb") as opened:
      digests.append(hashlib.file_digest(opened, "sha256"))
  if len(parts) == 1 and not path.is_dir():
    return digests[0].hexdigest()
  return hashlib.sha256(b"".join(x.digest() for x in digests)).hexdigest()


def write(path: pathlib.Path, arrays: Mapping[str, np.ndarray], texts: Mapping) -> None:
  """Writes arrays by name, and in a .safetensors texts, whole or not at all.

  ConfigError for an ending that nobody can write here.
  """
  if path.suffix not in WRITERS:
    raise ConfigError(f"{path} must end in one of {', '.join(WRITERS)}")
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f"{path.stem}.tmp{path.suffix}")
  try:
    WRITERS[path.suffix](temporary, arrays, texts)
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)


def _write_npz(path, arrays, texts):
  np.savez(path, **arrays)


def _write_torch(path, arrays, texts):
  torch = _torch(path, "written")
  tensors = {k: torch.from_numpy(np.array(x, order="C")) for k, x in arrays.items()}
  torch.save(tensors, path)


def _write_pickle(path, arrays, texts):
  pickles.write(path, arrays)


WRITERS = {
  ".safetensors": safetensors.write,
  ".npz": _write_npz,
  **dict.fromkeys((".pth", ".pt", ".bin"), _write_torch),
  ".pkl": _write_pickle,  # Detectron2's
}


def _read_folder(path: pathlib.Path) -> tuple[Arrays, dict[str, str]]:
  files = sorted(path.glob("*.safetensors"))
  if not files:
    raise ConfigError(
      f"{path} holds no .safetensors file, as a folder of Hugging Face's does; name a "
      "file of weights: --config.file"
    )
  arrays, texts = {}, {}
  for file in files:
    more, texts = safetensors.read(file)
    arrays |= more
  return arrays, texts


def _read_npz(path: pathlib.Path) -> tuple[Arrays, dict[str, str]]:
  try:
    with np.load(path, allow_pickle=False) as file:
      return {name: file[name] for name in file}, {}
  except (
    *(ValueError, EOFError, zipfile.BadZipFile, TypeError),
    MemoryError,  # a few bytes may say that they unpack to terabytes
  ) as error:
    raise ConfigError(
      f"{path} is no whole .npz file of numbers: {' '.join(str(error).split())}"
    ) from error


def _read_bundle(path: pathlib.Path) -> tuple[Arrays, dict[str, str]]:
  try:
    return bundles.read(path), {}
  except (ValueError, KeyError, TypeError) as error:
    raise ConfigError(
      f"{path} is no whole checkpoint of TensorFlow's: {error or 'it is damaged'}"
    ) from error


def _read_pickle(path: pathlib.Path) -> tuple[Arrays, dict[str, str]]:
  try:
    if is_program(path):
      raise ConfigError(
        f"{path} is a program (TorchScript), which is not run: where it may be, torch."
        f"save(torch.jit.load({path.name!r}, 'cpu').float().state_dict(), 'clip.pth')"
      )
    called = {name for data in _pickles(path) for name in called_by(data)}
  except ConfigError:
    raise
  except Exception as error:
    raise ConfigError(
      f"{path} is no whole file of PyTorch's ({type(error).__name__}: {error})"
    ) from error
  for name in sorted(called - {NAMESPACE} - {" ".join(pair) for pair in pickles.KNOWN}):
    module, _, last = name.rpartition(" ")
    if module.split(".")[0] not in HARMLESS and last not in pickles.HOLDERS:
      raise ConfigError(
        f"{path} would call {name.replace(' ', '.')} as it is opened: it is refused. A "
        "file of weights holds arrays alone; ask for it as .safetensors"
      )
  if not zipfile.is_zipfile(path):
    try:
      found = pickles.read(path)
    except Exception as error:
      raise ConfigError(
        f"{path} cannot be read as arrays alone ({type(error).__name__}: {error})"
      ) from error
    if found != pickles.TORCH:
      flat = ((k, x) for k, x in _flat(found, "/") if isinstance(x, NUMBERS))
      return {k: np.asarray(x) for k, x in flat}, {}
  torch = _torch(path, "read")
  import argparse

  try:
    with torch.serialization.safe_globals([argparse.Namespace]):
      found = torch.load(path, map_location="cpu", weights_only=True)
  except Exception as error:
    said = re.search(r"WeightsUnpickler error: (.*)", str(error))
    line = (said[1] if said else str(error).strip().partition("\n")[0])[:200]
    raise ConfigError(
      f"{path} cannot be read as weights alone ({type(error).__name__}: {line})"
    ) from error
  return {k: _numpy(x) for k, x in _flat(found) if isinstance(x, torch.Tensor)}, {}


def _numpy(x: Any) -> np.ndarray:
  if str(x.dtype) == "torch.bfloat16":
    x = x.float()
  return x.detach().cpu().numpy()


def _flat(tree: Any, between: str = "") -> Iterator[tuple[str, Any]]:
  """Yields names and leaves of what holds a network's weights, of one if it has two.

  Of mappings in mappings nothing, unless there is what to put `between` names.
  """
  if isinstance(tree, Mapping):
    for wrapper in WRAPPERS:
      if isinstance(tree.get(wrapper), Mapping):
        yield from _flat(tree[wrapper], between)
        return
    for name, leaf in tree.items():
      if not isinstance(leaf, Mapping):
        yield str(name), leaf
      elif between:
        yield from ((f"{name}{between}{k}", x) for k, x in _flat(leaf, between))


def _pickles(path: pathlib.Path) -> Iterator[bytes]:
  """Yields the pickles of a file as torch.save or pickle.dump wrote it."""
  if zipfile.is_zipfile(path):
    with zipfile.ZipFile(path) as file:
      yield from (file.read(n) for n in file.namelist() if n.endswith(".pkl"))
    return
  yield path.read_bytes()


def is_program(path: pathlib.Path) -> bool:
  """Whether a file is TorchScript's, such as those that OpenAI hands out of CLIP."""
  if not zipfile.is_zipfile(path):
    return False
  with zipfile.ZipFile(path) as file:
    return any(n.split("/")[1:2] == ["code"] for n in file.namelist())


def called_by(data: bytes) -> set[str]:
  """Lists what a pickle calls for, "module name" each; nothing is executed.

  Several pickles one after the other, as older PyTorch wrote, are looked at until
  their numbers begin.
  """
  found, start = set(), 0
  while start < len(data):
    texts: list[str] = []
    memo: dict[int, str | None] = {}
    text = None  # what was pushed last, if it is one
    try:
      for opcode, argument, position in pickletools.genops(data[start:]):
        name = opcode.name
        if name.endswith("PUT") or name == "MEMOIZE":
          memo[len(memo) if argument is None else argument] = text
          continue
        text = memo.get(argument) if name.endswith("GET") else None
        if name in ("GLOBAL", "INST"):
          found.add(argument)
        elif name == "STACK_GLOBAL":
          found.add(" ".join(texts[-2:]))
        elif isinstance(argument, str):
          text = argument
        texts += [] if text is None else [text]
        end = position + 1
    except Exception:
      if not start:
        raise
      return found
    start += end
  return found


def _torch(path: pathlib.Path, verb: str) -> Any:
  if importlib.util.find_spec("torch") is None:
    raise ConfigError(
      f"{path} is {verb} by PyTorch, which is not installed: pip install torch, or "
      "take a .safetensors file, which needs nothing"
    )
  import torch

  return torch

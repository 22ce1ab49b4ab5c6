"""Which data a run learned from: kept with it, and compared wherever it goes on."""

import json
import pathlib
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax
from ml_collections import ConfigDict

from ssljax import data, sharding
from ssljax.fields import ConfigError, flat

OWN = ("data.dir", "data.prepared", "data.workers")  # may differ by machine
Identities = dict[str, data.Identity]  # of "train" and, where there is one, "eval"


def identify(splits: data.Splits) -> Identities:
  """Identifies the data of splits: {"train": identity, "eval": identity}.

  The answer of process 0, on every process.

  ConfigError where a process reads other data.
  """
  identities = {
    k: data.identify(s) for k, s in splits._asdict().items() if s is not None
  }
  first, *others = map(json.loads, sharding.gather_text(json.dumps(identities)))
  for process, identity in enumerate(others, 1):
    if differing := differences(first, identity):
      (split, words), *_ = differing.items()
      raise ConfigError(
        f"process {process} reads other data than process 0: its {split} split "
        f"differs in {words}; give all of them the same data.dir, or copies of it"
      )
  return first


def check_processes(config: ConfigDict) -> None:
  """Raises ConfigError where another process was started on another run than this.

  Their gradients would be averaged, and nothing would look wrong.
  """
  if jax.process_count() == 1:
    return
  fields = {k: v for k, v in flat(json.loads(config.to_json())).items() if k not in OWN}
  fields |= {name: metadata.version(name) for name in ("jax", "jaxlib")}
  sources = sorted(pathlib.Path(__file__).parent.rglob("*.py"))
  fields["ssljax"] = data.digest([path.read_text("utf-8") for path in sources])
  first, *others = map(json.loads, sharding.gather_text(json.dumps(fields)))
  for process, other in enumerate(others, 1):
    for name in sorted(first.keys() | other.keys()):
      if first.get(name) != other.get(name):
        raise ConfigError(
          f"process {process} was started with {name}={other.get(name)}, and process 0 "
          f"with {first.get(name)}; give all of them the same line and the same ssljax"
        )


def differences(before: Identities, now: Identities) -> dict[str, str]:
  """Compares two data of `identify` -> how each split differs, in words; {}: alike."""
  differing = {}
  for split in before.keys() | now.keys():
    if split not in before or split not in now:
      differing[split] = "there was none" if split in now else "there is none now"
    elif words := data.differences(before[split], now[split]):
      differing[split] = ", ".join(words)
  return differing


def check(
  meta: Mapping[str, Any], identity: Identities, workdir: pathlib.Path
) -> list[str]:
  """Says what to know of the data that a run goes on with; ConfigError: another's.

  `meta` is what its checkpoint holds besides the state, {} where the run begins.
  """
  if not meta:
    return []
  stored_identity = meta.get("identity")
  if stored_identity is None:
    return ["This run does not say on which data it is (an older ssljax wrote it)."]
  differing = differences(stored_identity, identity)
  if "train" in differing:
    raise ConfigError(
      f"{workdir} holds a run on other data: the training split differs in "
      f"{differing['train']}; set data.dir to the data it began with, all of it, or "
      "name another --workdir"
    )
  return [
    f"It is judged on other data from here on: the evaluation split differs in {words}."
    for words in differing.values()
  ]

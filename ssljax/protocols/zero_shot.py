"""Classes that are known by their names alone, where a run learned from captions."""

import re
from collections.abc import Sequence
from typing import Any

import jax

from ssljax import data, fields
from ssljax.evals import classifier
from ssljax.fields import ConfigError
from ssljax.protocols.case import Case


def zero_shot(
  case: Case, *, templates: Sequence[str], names: str = ""
) -> dict[str, Any]:
  """Classifies pictures by their classes' names, where a run learned from captions.

  A class is said in every one of `templates`. `names` is a file with a name a line,
  in the order of the labels; default: the data's own.
  """
  trained = case.trained
  if trained.parts.method.input != "image" or "text" not in trained.spec:
    raise ConfigError(
      f"checkpoint={str(case.run)!r} is of a method to which names of classes mean "
      "nothing; give a run that learned pictures from captions"
    )
  judge = case.judge()
  tokenizer, class_names = data.Tokenizer.load(case.run), judge.splits.train.class_names
  if names:
    file = fields.as_path(names)
    class_names = file.read_text("utf-8").splitlines() if file.is_file() else ()
    if len(class_names) != judge.num_classes:
      raise ConfigError(
        f"zero_shot.names={names!r} must be a file of {judge.num_classes} lines, one "
        f"for each class, and has {len(class_names)}"
      )
  elif all(re.fullmatch(r"n\d{8}", name) for name in class_names):
    raise ConfigError(
      f"the classes of data.name={judge.config.data.name} are called {class_names[0]} "
      "and so on, which says nothing; write their names, one a line, into a file: "
      "--config.zero_shot.names=names.txt"
    )
  prompts = data.prompts(tokenizer, class_names, templates)
  name_classes = jax.jit(judge.method.name_classes)
  rows = {}
  for row, state in case.states().items():
    named = name_classes(state.replace(opt_state=None), prompts)
    rows[row] = classifier.accuracies(*judge.classified(named))
  return case.found(rows)

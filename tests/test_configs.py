"""Every recipe fits its data, says where it comes from, and runs in its smoke form."""

import importlib
import inspect
import json
import pathlib
import re
import sys
import typing

import pytest
import tiny

sys.path.append(str(tiny.ROOT / "benchmarks"))
import lowering

import ssljax
from ssljax import core, data, methods, recipe
from ssljax.evals.features import RAW

FOLDER = pathlib.Path(__file__).parent.parent / "configs"
NAMES = sorted(path.stem for path in FOLDER.glob("*_*.py"))
PROTOCOLS = sorted(f"eval/{p.stem}" for p in FOLDER.glob("eval/*.py"))
PROTOCOLS.remove("eval/common")


def kind(method):
  """What tells runs of methods apart: network, input, functions of their own."""
  cls = methods.METHODS[method]
  shared = dict(inspect.getmembers(core.Method, inspect.isfunction))
  own = (k for k, v in shared.items() if getattr(cls, k) is not v)
  return typing.get_type_hints(cls)["net"], str(cls.input), frozenset(own)


# Of each kind the last; `test_contract.py` holds every method to the laws.
ONE_EACH = list({kind(c.method.name): n for n, c in tiny.configs().items()}.values())
SHALLOW = {"resnet": {"stage_sizes": (1, 1, 1, 1)}, "vit": {"depth": 1}}
DATA = {  # data.name -> training pictures, classes
  "cifar10": (50_000, 10),
  "cifar100": (50_000, 100),
  "stl10": (100_000, 10),
  "imagenet2012": (1_281_167, 1000),
  "imagenet2012_subset/1pct": (12_811, 1000),
  "imagenet2012_subset/10pct": (128_116, 1000),
  "imagenette/160px-v2": (9469, 10),
  "digits": (1437, 10),
  "folder": (3000, 0),
  "captions": (3_000_000, 0),
  "audio": (140_000, 251),
  "text": (9_000_000, 0),
  "arrays": (1449, 0),
}


def module(name):
  return importlib.import_module(f"configs.{name}")


def variants(name):
  """The recipe itself, and the variants that its docstring names."""
  return ["", *re.findall(rf"{name}\.py:(\w+)", module(name).__doc__)]


@pytest.mark.slow
@pytest.mark.parametrize(
  ("name", "variant"), [(name, v) for name in NAMES for v in variants(name)]
)
def test_a_config_fits_its_data_and_its_parts_fit_together(name, variant):
  """With a block a stage: where one fits, the next does."""
  config = module(name).get_config(variant)
  num_examples, num_classes = DATA[config.data.name]
  for prefix, fields in SHALLOW.items():
    if config.encoder.name.startswith(prefix):
      config.encoder.update(fields)
  recipe.check(config)
  plan = recipe.make_plan(config, num_examples, num_classes)
  parts = recipe.build(config, plan)
  state = recipe.trace(
    parts, data.zeros(lowering.spec(config), config.batch_size)
  ).state
  assert state.params.keys() & {"encoder", "view0"}


@pytest.mark.parametrize("name", [*NAMES, *PROTOCOLS])
def test_a_docstring_says_how_to_run_it_and_what_is_claimed(name):
  text = (FOLDER / f"{name}.py").read_text().split('"""')[1]
  assert f"    python run.py --config configs/{name}.py" in text or (
    name == "simclr_digits" and "    python run.py\n" in text
  )
  if not name.startswith("eval/"):
    assert re.search(r"\bOurs: \S", text)
    assert re.search(r"Paper|[Oo]fficial|lightly|[Dd]emo|Not from a\s+paper", text)


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_variant_is_named_beside_the_known_ones(name):
  with pytest.raises(ValueError, match=r"config variant ':smok' must be one of: smoke"):
    module(name).get_config("smok")


@pytest.mark.parametrize("name", NAMES)
def test_a_smoke_form_fits_its_data_and_its_parts_fit_together(name):
  config = module(name).get_config("smoke")
  recipe.check(config)
  source = recipe.open_data(config).train
  plan = recipe.make_plan(config, len(source), source.num_classes)
  parts = recipe.build(config, plan)
  spec = source.spec(config.data.size)
  state = recipe.trace(parts, data.zeros(spec, config.batch_size)).state
  assert state.params.keys() & {"encoder", "view0"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_EACH)
def test_a_smoke_form_runs_to_its_end_and_leaves_everything(name, tmp_path):
  config = module(name).get_config("smoke")
  rows = ssljax.train_and_evaluate(config, tmp_path)
  input = methods.METHODS[config.method.name].input
  assert list(rows) == [RAW[input][0], "random encoder", "trained encoder"]
  assert json.loads((tmp_path / "results.json").read_text()) == rows
  classifies = config.method.name in ("supervised", "distill")
  assert ("accuracy" in rows["trained encoder"]) == classifies
  assert json.loads((tmp_path / "config.json").read_text())["method"]["name"]
  steps = [json.loads(s)["step"] for s in (tmp_path / "metrics.jsonl").open()]
  assert steps == [2, 4, 6, 6]
  assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["3", "6"]
  figures = ("curves", "embedding") + (("views",) if input == "image" else ())
  for figure in figures:
    assert (tmp_path / "figures" / f"{figure}.png").stat().st_size > 1000
  assert list(tmp_path.glob("events.out.tfevents.*"))

"""Every recipe at its published size without a GPU: traced, lowered, not compiled."""

import itertools
import math
import re
import sys

import jax
import pytest
import tiny

sys.path.append(str(tiny.ROOT / "benchmarks"))
import lowering

from ssljax import augment, nets
from ssljax.nets import attention
from ssljax.nets.resnet import Bottleneck
from ssljax.train import flops

pytestmark = pytest.mark.slow  # every recipe at its full size

CONFIGS = {name: lowering.load(name) for name in lowering.NAMES}
HALF = [name for name, c in CONFIGS.items() if c.dtype == "bfloat16"]
SAME = {  # recipe -> one whose program it has, but for numbers
  "moco_v2_imagenet": "moco_v1_imagenet",
  "simclr_v2_finetune": "supervised_imagenet",
  "supcon_imagenet": "moco_v1_imagenet",
  "swav_imagenet_small_batch": "swav_imagenet",
}
KINDS = {CONFIGS[name].method.name for name in HALF}
OTHERS = {}  # of what is left, the first recipe of each method
for recipe, config in CONFIGS.items():
  if config.method.name not in KINDS and recipe != "simclr_digits":
    OTHERS.setdefault(config.method.name, recipe)

WIDE = {  # what losses multiply in float32 of all that a step multiplies; else 0.5 %
  "barlow": 0.01,  # the correlation of 8192 features with each other
  "vicreg": 0.02,  # their covariance, of either view
  "vicregl": 0.03,  # and of cells
  "ibot": 0.03,  # of assignments of patches with prototypes
  "dinov2": 0.02,
  "dinov3": 0.02,
  "densecl": 0.1,  # of every cell with the queue
  "ressl": 0.03,  # of the teacher with the queue, whose rows are read too
  "cpc_audio": 0.05,  # of every prediction with every latent
  "cpc_text": 0.15,
  "cpc_image": 0.2,
}


SHALLOW = {"resnet": "encoder.stage_sizes=(1,1,1,1)", "vit": "encoder.depth=1"}
FEW_BLOCKS = {*OTHERS.values(), "simclr_v2_imagenet"}  # 152 layers


@pytest.fixture(scope="module", params=[*sorted({*HALF} - {*SAME}), *OTHERS.values()])
def program(request):
  name, fields = request.param, ()
  if name in FEW_BLOCKS:
    encoder = CONFIGS[name].encoder.name
    fields = [field for prefix, field in SHALLOW.items() if encoder.startswith(prefix)]
  return lowering.trace(name, fields)


@pytest.fixture(autouse=True, scope="module")
def forget():
  yield
  jax.clear_caches()


def everything(jaxpr):
  """The equations of a traced program, wherever they stand."""
  for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
    yield eqn
    for part in flops.inside(eqn):
      yield from everything(part)


def test_a_step_lowers_for_gpus_and_tpus_and_calls_nothing_on_the_host(program):
  assert program.step.lower(lowering_platforms=("cuda", "tpu"))
  names = {eqn.primitive.name for eqn in everything(program.step.jaxpr)}
  assert not [n for n in names if "callback" in n or "feed" in n], names


def test_products_are_of_the_type_the_recipe_says(program):
  """All but those of losses, which ask for float32 by name."""
  method = program.config.method.name
  found = flops.products(program.gradient)
  total = sum(n for _, n in found)
  wide = [(eqn, n) for eqn, n in found if kind(eqn) == "float32"]
  if program.config.dtype == "bfloat16":
    chance = sum(n for eqn, n in wide if eqn.params["precision"] is None)
    assert chance < 1e-4 * total  # such as positions of another size
    assert sum(n for _, n in wide) <= WIDE.get(method, 0.005) * total
  else:
    assert len(wide) == len(found)


def kind(eqn):
  return max((v.aval.dtype for v in eqn.invars[:2]), key=lambda t: t.itemsize).name


# --- The networks' arithmetic, by formula: operations of a forward pass of one picture.


def resnet(net, size, channels=3):
  operations, inputs = 0, net.stem_width or net.width
  if net.stem == "imagenet":
    side = math.ceil(size / 2)
    taps = 49 * channels * inputs
    if net.sk_ratio:  # three of 3x3
      taps = 9 * (channels * inputs + inputs**2 / 2 + inputs**2) / 2
    operations += 2 * side**2 * taps
    side = math.ceil(side / 2)
  else:
    side = size
    operations += 2 * side**2 * 9 * channels * inputs
  for i, count in enumerate(net.stage_sizes):
    for j in range(count):
      width, before = net.width * 2**i, side
      side = math.ceil(side / 2) if i and not j else side
      out = width * net.block.expansion
      if net.block is Bottleneck:
        square = width * 2 * width if net.sk_ratio else width * width
        macs = before**2 * inputs * width + side**2 * (9 * square + width * out)
      else:
        macs = side**2 * 9 * (inputs * width + width * width)
      shortcut = side**2 * inputs * out if inputs != out or side != before else 0
      operations += 2 * (macs + shortcut)
      inputs = out
  return operations


def blocks(width, depth, tokens, ratio=4.0):
  return depth * 2 * tokens * ((4 + 2 * ratio) * width**2 + 2 * tokens * width)


def vit(net, size, seen=1.0):
  patches = (size // net.patch_size) ** 2
  patch = 2 * patches * 3 * net.patch_size**2 * net.width
  return patch + blocks(net.width, net.depth, 1 + net.registers + int(seen * patches))


def mlp(config, dim):
  sizes = [dim, *[config.get("hidden", 2048)] * (config.layers - 1), config.out]
  return 2 * sum(a * b for a, b in itertools.pairwise(sizes)), config.out


TARGET_VIEWS = {  # of the views, those that pass a slow copy or a teacher
  **dict.fromkeys(("byol", "moco_v3", "dino", "simclr_v2"), 2),
  **dict.fromkeys(("direct_pred", "simdino"), 2),
  **dict.fromkeys(("moco", "supcon_moco", "distill", "tico", "ressl"), 1),
}
ONLINE_VIEWS = dict.fromkeys(("moco", "supcon_moco", "tico", "ressl"), 1)


def arithmetic(config):
  """Operations of loss and gradient a picture: thrice a forward pass, once a copy's."""
  net = nets.build(config.encoder)
  one = resnet if config.encoder.name.startswith("resnet") else vit
  augmentation = augment.configure(config.augment)
  method, size = config.method, config.augment.size
  views = ONLINE_VIEWS.get(method.name, len(augmentation.views))
  local = augmentation.local_views
  dim = net.width if one is vit else 8 * net.width * net.block.expansion
  online, target = views * one(net, size), TARGET_VIEWS.get(method.name, 0)
  if local:
    online += local * one(net, augmentation.local.size)
  copies = target * one(net, size)
  for role in ("projector", "predictor", "classifier", "prototypes"):
    if role in method:
      head, width = method[role], dim
      if role in ("projector", "predictor"):
        operations, dim = mlp(head, width)
      else:
        operations = 2 * width * head.get("num", 1000)
      online += (views + local) * operations
      copies += target * operations * (role != "predictor")
  return 3 * online + copies


def masked(config):
  net, decoder = nets.build(config.encoder), config.method.decoder
  patches = (config.augment.size // net.patch_size) ** 2
  ends = patches * decoder.width * (net.width / 4 + 3 * net.patch_size**2)
  ratio = config.method.get("mask_ratio", 0.75)
  painted = blocks(decoder.width, decoder.depth, 1 + patches) + 2 * ends
  return 3 * (vit(net, config.augment.size, 1 - ratio) + painted)


def two_towers(config):
  text = config.method.text
  words = blocks(text.width, text.depth, config.data.context)
  return 3 * words + arithmetic(config)


def split_colours(config):
  net = nets.build(config.encoder)
  return 3 * sum(resnet(net, config.augment.size, channels) for channels in (1, 2))


def painted(config):
  net, size = nets.build(config.encoder), config.augment.size
  patches = (size // net.patch_size) ** 2
  return 3 * (vit(net, size) + 2 * patches * net.width * 3 * net.patch_size**2)


FORMULAS = {"mae": masked, "simmim": painted, "clip": two_towers, "cmc": split_colours}
NO_FORMULA = {  # recurrent contexts, sound and text; patches with heads of their own
  *("cpc_audio", "cpc_image", "cpc_text", "ibot", "ijepa", "dinov2", "msn", "densecl"),
  *("data2vec", "vicregl", "simdinov2", "dinov3"),
}


@pytest.mark.parametrize(
  ("name", "size", "published"),  # by torchvision and timm, 10^9 multiplications
  [
    ("resnet18", 224, 1.81),
    ("resnet50", 224, 4.09),
    ("resnet152", 224, 11.51),
    ("vit_s", 224, 4.61),
    ("vit_b", 224, 17.58),
  ],
)
def test_formulas_give_the_published_arithmetic(name, size, published):
  one = resnet if name.startswith("resnet") else vit
  giga = one(nets.build({"name": name}), size) / 2e9
  assert giga == pytest.approx(published, rel=0.01)


def test_a_step_computes_what_its_networks_do(program):
  config = program.config
  if config.method.name in NO_FORMULA:
    pytest.skip("no formula for this network")
  found = flops.products(program.gradient)
  wide = config.dtype == "bfloat16"  # then those of losses are told by their type
  operations = sum(n for eqn, n in found if not wide or kind(eqn) == "bfloat16")
  expected = FORMULAS.get(config.method.name, arithmetic)(config)
  assert operations / config.batch_size == pytest.approx(expected, rel=0.05)


TABLE = re.findall(
  r"^\| `(\w+)` \| ([\d.]+) \| ([\d.]+)% \| ([\d.]+) \|$",
  (tiny.ROOT / "docs" / "speed.md").read_text(),
  re.MULTILINE,
)


def test_the_table_has_every_recipe_that_computes_in_bfloat16():
  assert {name for name, *_ in TABLE} == {*HALF}


def test_no_more_is_kept_than_the_table_says(program):
  rows = {name: numbers for name, *numbers in TABLE}
  if program.name not in rows or program.name in FEW_BLOCKS:
    pytest.skip("not in the table, or not as deep")
  giga, percent, mebi = map(float, rows[program.name])
  found = program.figures()
  assert found.giga == pytest.approx(giga, rel=0.02)
  assert 100 * found.wide == pytest.approx(percent, rel=0.1, abs=0.02)
  assert 0.8 * mebi <= found.mebi <= 1.01 * mebi


def test_cudnn_s_attention_lowers_in_a_step(monkeypatch):
  """As on a GPU that has it; what it keeps and computes is as much as ours."""
  library = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo")
  monkeypatch.setattr(library, "check_cudnn_version", lambda: 91000)
  monkeypatch.setattr(attention, "compute_capability", lambda: 9.0)
  shallow = lowering.trace("dino_imagenet", ("encoder.depth=1",))
  assert "__cudnn$fmha" in shallow.step.lower(lowering_platforms=("cuda",)).as_text()

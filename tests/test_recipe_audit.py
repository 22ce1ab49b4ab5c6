"""Recipes hold what the official codes compute: each value here was read there.

A row is a recipe, what is asked of it, and the answer by the code that it follows
(docs/recipes.md names them). Networks are shaped, not computed, save for one kernel.
"""

import importlib

import jax
import numpy as np
import pytest
from flax import traverse_util
from numpy.testing import assert_allclose

from ssljax import augment, data, optim, recipe
from ssljax.nets import inits

CIFAR, IMAGENET = 50_000, 1_281_167


def config(name, variant=""):
  module = importlib.import_module(f"configs.{name}")
  return module.get_config(*([variant] if variant or "eval" not in name else []))


def parts(name, variant=""):
  """-> config, plan and the built recipe."""
  c = config(name, variant)
  count = CIFAR if c.data.name == "cifar10" else IMAGENET
  plan = recipe.make_plan(c, count, 10)
  return c, plan, recipe.build(c, plan)


def params(name, variant=""):
  """Path -> shape, and the names of heads."""
  c, _, built = parts(name, variant)
  batch = data.zeros(data.spec(data.Pictures(c.data.size)), 8)
  state = jax.eval_shape(built.init, batch)
  return traverse_util.flatten_dict(state.params, sep="/")


RATES = [  # recipe, epoch -> learning rate
  ("invaspread_cifar10", {119: 0.03, 120: 0.003, 160: 0.0015, 200: 0.0003, 300: 3e-4}),
  ("moco_v1_cifar10", {0: 0.03 * (1 + np.cos(np.pi / 200)), 99: 0.03, 199: 0.0}),
  ("moco_v2_cifar10", {0: 0.03 * (1 + np.cos(np.pi / 200)), 99: 0.03, 199: 0.0}),
  ("tico_cifar10", {0: 0.3 / 40, 19: 0.15, 39: 0.3, 40: 0.3, 799: 0.0}),
  ("vicreg_cifar10", {0: 0.3 / 40, 19: 0.15, 39: 0.3, 40: 0.3, 799: 0.0}),
  ("byol_cifar10", {0: 0.06, 100: 0.03}),
  ("dino_cifar10", {0: 0.06, 100: 0.03}),
  ("swav_cifar10", {0: 4e-3, 100: 2e-3}),
]


@pytest.mark.parametrize(("name", "rates"), RATES, ids=[r[0] for r in RATES])
def test_learning_rates_are_those_of_the_official_epochs(name, rates):
  c = config(name)
  plan = recipe.make_plan(c, CIFAR)
  first = {epoch: epoch * plan.steps_per_epoch for epoch in rates}
  rate = optim.rates(c.optimizer, plan)
  for epoch, expected in rates.items():
    for step in (first[epoch], first[epoch] + plan.steps_per_epoch - 1):  # all of it
      ours = rate(np.int32(step))["learning_rate"]
      assert_allclose(ours, expected, rtol=1e-4, atol=1e-9)


STARTS = [  # recipe, how convolutions start, and the stem's
  *((f"{n}_cifar10", "torch", "torch") for n in ("barlow", "byol", "dcl", "dino")),
  *((f"{n}_cifar10", "torch", "torch") for n in ("nnclr", "swav", "instdisc")),
  ("invaspread_cifar10", "torch", "torch"),
  *((f"moco_v{n}_cifar10", "he_fan_out", "torch") for n in (1, 2)),
  *((f"simclr_{n}", "lecun", "lecun") for n in ("cifar10", "imagenet", "v2_imagenet")),
  ("byol_imagenet", "haiku", "haiku"),
  *((f"{n}_imagenet", "he_fan_out", "he_fan_out") for n in ("moco_v3", "swav", "cmc")),
  *((f"{n}_cifar10", "he_fan_out", "he_fan_out") for n in ("tico", "vicreg", "supcon")),
]
LAWS = {  # variance of a kernel [k,k,i,o], times k k
  "he_fan_out": lambda i, o: 2 / o,  # torchvision
  "torch": lambda i, o: 1 / (3 * i),  # nn.Conv2d
  "lecun": lambda i, o: 1 / i,  # tf.keras VarianceScaling
  "haiku": lambda i, o: 0.7737 / i,  # hk.Conv2D
}


@pytest.mark.parametrize(("name", "block", "stem"), STARTS, ids=[s[0] for s in STARTS])
def test_convolutions_start_as_the_official_network_s(name, block, stem):
  encoder = config(name).encoder
  start = encoder.get("start", "he_fan_out")
  for asked, law in ((start, block), (encoder.get("stem_start") or start, stem)):
    kernel = inits.KERNELS[asked](jax.random.key(0), (3, 3, 64, 96))
    assert_allclose(kernel.var() * 9, LAWS[law](64, 96), rtol=0.02)


@pytest.mark.parametrize("name", ["barlow", "byol", "dcl", "dino", "nnclr", "swav"])
def test_lightlys_stem_has_no_relu(name):
  """Its backbone is a Sequential of children, and that ReLU is a function."""
  assert not config(f"{name}_cifar10").encoder.stem_relu


ZEROED = [f"simclr_{n}" for n in ("cifar10", "imagenet", "v2_cifar10", "v2_imagenet")]


@pytest.mark.parametrize("name", ZEROED)
def test_simclrs_blocks_start_as_the_identity(name):
  assert config(name).encoder.zero_init_gamma


SIZES = [  # recipe, variant, part -> parameters, as PyTorch's numel counts them
  ("cmc_imagenet", "", {"": 12_058_048}),
  ("cmc_imagenet", "ycbcr", {"": 12_058_048}),
  ("dino_imagenet", "", {"prototypes": 256 * 65536}),
  ("dino_imagenet", "boost", {"prototypes": 256 * 65536 + 65536}),
  ("swav_cifar10", "", {"prototypes": 128 * 512 + 512}),
  ("swav_imagenet", "", {"prototypes": 384_000, "projector": 4_462_720}),
  ("simclr_cifar10", "", {"projector": 2 * (512**2 + 1024) + 512 * 128 + 128}),
  ("simclr_imagenet", "", {"projector": 2048**2 + 4096 + 2048 * 128 + 128}),
]


@pytest.mark.parametrize(
  ("name", "variant", "sizes"), SIZES, ids=[f"{s[0]}:{s[1]}" for s in SIZES]
)
def test_parameters_are_as_many_as_the_official_ones(name, variant, sizes):
  leaves = params(name, variant)
  for part, expected in sizes.items():
    count = sum(x.size for k, x in leaves.items() if k.startswith(part))
    assert count == expected, part


def test_a_learned_gain_is_decayed_and_rests_with_its_layer():
  """DINO's weight_g has two axes, and main_dino.py spares what has one."""
  c = config("dino_imagenet", "boost")
  assert params("dino_imagenet", "boost")["prototypes/gain"].shape == (1, 65536)
  assert c.optimizer.exclude == ("norm_and_bias",)
  assert c.optimizer.freeze_until.to_dict() == {"prototypes": 1}
  assert (c.epochs, c.batch_size) == (300, 1024)


VIEWS = [  # recipe, filter of its crops and of evaluation, whose operations
  ("simclr_imagenet", "bicubic", "bicubic", "simclr"),
  ("simclr_cifar10", "bicubic", "bicubic", "simclr"),
  ("simclr_v2_imagenet", "bicubic", "bicubic", "simclr"),
  ("simclr_v2_finetune", "bicubic", "bicubic", "simclr"),
  ("byol_imagenet", "bicubic", "bicubic", "byol"),
  ("dino_imagenet", "bicubic", "bicubic", "torchvision"),
  ("mae_imagenet", "bicubic", "bicubic", "torchvision"),
  ("barlow_imagenet", "bicubic", "bilinear", "torchvision"),
  ("vicreg_imagenet", "bicubic", "bilinear", "torchvision"),
  ("moco_v3_imagenet", "bilinear", "bilinear", "torchvision"),
  ("swav_imagenet", "bilinear", "bilinear", "torchvision"),
  ("moco_v2_imagenet", "bilinear", "bilinear", "torchvision"),
  ("dino_cifar10", "bicubic", "bicubic", "torchvision"),
  *((f"{n}_cifar10", *2 * ("bilinear",), "torchvision") for n in ("barlow", "byol")),
  *((f"{n}_cifar10", *2 * ("bilinear",), "torchvision") for n in ("dcl", "nnclr")),
  *((f"{n}_cifar10", *2 * ("bilinear",), "torchvision") for n in ("tico", "vicreg")),
]


@pytest.mark.parametrize(
  ("name", "crops", "centre", "ops"), VIEWS, ids=[v[0] for v in VIEWS]
)
def test_pictures_are_resized_and_coloured_as_in_the_official_code(
  name, crops, centre, ops
):
  c = config(name)
  seen = augment.evaluation(c.augment, c.evals.crop, c.evals.interpolation)
  shown = augment.configure(seen).views[0]
  assert shown.interpolation == centre
  for view in (*augment.configure(c.augment).views, shown):
    assert view.ops == ops
    if view is not shown:
      assert view.interpolation == crops


def test_simclrs_pictures_are_not_normalised():
  for name in ("simclr_imagenet", "simclr_cifar10", "simclr_v2_finetune"):
    pictures = augment.configure(config(name).augment)
    assert (pictures.mean, pictures.std) == ((0,), (1,))


def test_single_numbers_are_the_official_ones():
  assert config("dcl_cifar10").augment.jitter == (0.4, 0.4, 0.4, 0.1)
  assert not config("instdisc_cifar10").augment.gray_first
  assert config("dino_cifar10").method.fresh_heads
  assert config("barlow_imagenet").method.world_size == 16
  assert config("simclr_v2_finetune").method.classifier.start == "zeros"
  assert config("supcon_imagenet").batch_size == 256  # the paper
  assert config("supcon_imagenet", "batch1024").batch_size == 1024  # its author
  assert not config("tico_cifar10").method.covariance_gradient
  assert config("tico_cifar10", "flowing").method.covariance_gradient


def test_swavs_larc_gives_its_last_bias_a_step_that_is_not_the_plain_one():
  """Biases start uniform, not at 0, where LARC would not scale the first step."""
  c, plan, _ = parts("swav_imagenet")
  tx = optim.build({**c.optimizer, "freeze_until": {}}, plan)
  limit = 1 / np.sqrt(2048)
  start = inits.bias("torch", 2048)(jax.random.key(0), (128,))
  grad, weights = np.full(128, 0.01, np.float32), {"bias": start}
  update, _ = tx.update({"bias": grad}, tx.init(weights), weights, step=np.int32(0))
  norm, g = np.linalg.norm(start), np.linalg.norm(grad)
  trust = 1e-3 * norm / (g + 1e-6 * norm)
  expected = -0.3 * trust * (grad + 1e-6 * np.asarray(start))
  assert_allclose(update["bias"], expected, rtol=1e-4)
  assert 0.9 * limit < np.abs(start).max() <= limit


def test_probes_see_pictures_as_their_codes_do():
  resized = {
    name: config(f"eval.{name}").training.augment
    for name in ("linear_moco", "linear_simclr", "linear_grid", "finetune")
  }
  mae = config("eval.finetune", "mae").training.augment
  filters = {k: v.get("interpolation", "bilinear") for k, v in resized.items()}
  assert filters == {
    "linear_moco": "bilinear",
    "linear_simclr": "bicubic",
    "linear_grid": "bicubic",
    "finetune": "bilinear",
  }
  assert resized["linear_simclr"].ops == "simclr"
  assert (mae.interpolation, mae.erase_p) == ("bicubic", 0.25)

"""Heads that are released with an encoder are those of our recipes, array by array."""

import importlib
import json

import jax
import numpy as np
import pytest
import releases
from weight_runs import loaded

from ssljax import encoder, nets, recipe, schedules, sharding
from ssljax.fields import ConfigError
from ssljax.weights import flatten, pretrained, recognise, tables

RECIPES = {  # release -> the config whose heads it has, and which those are
  "moco_v2_800ep_pretrain": ("moco_v2_imagenet", ("projector",)),
  "moco_v3_resnet50": ("moco_v3_imagenet", ("projector", "predictor")),
  "moco_v3_vit_small": ("moco_v3_imagenet_vit", ("projector", "predictor")),
  "simsiam_resnet50": ("simsiam_imagenet", ("predictor",)),
  "barlow_checkpoint": ("barlow_imagenet", ("projector",)),
  "vicreg_resnet50_fullckpt": ("vicreg_imagenet", ("projector",)),
  "dino_deitsmall16_teacher": ("dino_imagenet", ("projector", "prototypes")),
  "byol_pretrain_res50x1": ("byol_imagenet", ("projector", "predictor")),
  "simclr_v1_1x": ("simclr_imagenet", ("projector",)),
}


@pytest.mark.parametrize("release", RECIPES)
def test_a_released_head_has_the_arrays_of_our_recipe_s(release):
  """At full size; no number is computed."""
  module, roles = RECIPES[release]
  own = importlib.import_module(f"configs.{module}").get_config().method.to_dict()
  is_vit = "vit" in release or "deit" in release
  full = releases.shapes(release, deepest=1 if is_vit else 10**9)
  arrays = {k: np.broadcast_to(np.float32(1), shape) for k, shape in full.items()}
  found = recognise(arrays)
  for role in roles:
    theirs = {
      k.removeprefix(f"{role}/"): tables.to_ours(arrays, place).shape
      for k, place in found.places.items()
      if k.startswith(f"{role}/")
    }
    theirs.pop("gain", None)  # ours has one where it is learned
    head = nets.build_head(role, own[role])
    first = theirs["kernel" if role == "prototypes" else "fc1/kernel"]
    x = jax.ShapeDtypeStruct((1, first[0]), np.float32)

    def init(key, x, head=head):
      return head.init(key, x, False)

    variables = jax.eval_shape(init, jax.random.key(0), x)
    assert {k: x.shape for k, x in flatten(variables).items()} == theirs


def test_a_run_of_the_method_starts_from_encoder_and_heads(tmp_path):
  """All arrays of a MoCo v3 checkpoint, and its slow copy has them too."""
  _, run = loaded(tmp_path, "moco_v3_vit_small")
  config = importlib.import_module("configs.moco_v3_imagenet_vit").get_config()
  config.encoder = json.loads((run / "config.json").read_text())["encoder"]
  for role in ("projector", "predictor"):
    config.method[role].update(hidden=256, out=16)
  config.pretrained.update(checkpoint=str(run), take=(".*",))
  parts = recipe.build(config, schedules.Plan(2, 2, 1, 9))
  batch = {"image": np.zeros((2, 32, 32, 3), np.uint8), "index": np.zeros(2, np.int32)}
  state = recipe.shapes(parts, batch)
  started = pretrained.start(config, state, sharding.make_mesh())
  given = encoder.restore(run, sharding.make_mesh()).state
  for name in ("params", "batch_stats"):
    tree = getattr(given, name)
    jax.tree.map(np.testing.assert_array_equal, getattr(started, name), tree)
    slow = {k: tree[k] for k in started.target[name]}
    jax.tree.map(np.testing.assert_array_equal, started.target[name], slow)


@pytest.mark.parametrize(
  ("release", "lost", "sentence"),
  [
    (
      "barlow_checkpoint",
      "module.projector.3.weight",
      r"projector\.3\.weight .* is not",
    ),
    (
      "moco_v3_resnet50",
      "module.predictor.0.weight",
      r"predictor\.0\.weight .* is not",
    ),
    (
      "dino_deitsmall16_teacher",
      "head.mlp.2.weight",
      r"head\.mlp\.2\.weight .* is not",
    ),
    (
      "simclr_v1_1x",
      "head_contrastive/nl_0/dense/kernel",
      "nl_0/dense/kernel .* is not",
    ),
  ],
)
def test_a_head_that_lacks_an_array_is_named(release, lost, sentence):
  arrays = releases.arrays(release)
  del arrays[lost]
  with pytest.raises(ConfigError, match=sentence):
    recognise(arrays)


def test_the_order_in_which_simclr_s_layers_were_built_is_told_apart():
  """Of ResNet-50 and deeper ones with the same first layers."""
  assert recognise(releases.arrays("simclr_v1_1x")).fields["name"] == "resnet50"

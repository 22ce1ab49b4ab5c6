"""ConvNeXt, Swin and wide ResNets learn under methods of pictures and of cells."""

import jax
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict

from ssljax import nets, recipe
from ssljax.fields import ConfigError

SMALL = {
  "convnext": {
    **{"name": "convnext_atto", "width": 8, "patch_size": 1, "drop_path": 0.2},
    "layer_scale": 1.0,  # or what a step moves is less than float32 can tell
  },
  "swin": {
    **{"name": "swin_t", "width": 8, "head_width": 4, "patch_size": 1, "window": 3},
    "drop_path": 0.2,
  },
  "wide": {"name": "wide_resnet28x2", "width": 4},
}


def build(recipe_name, encoder):
  c = tiny.configs()[recipe_name].copy_and_resolve_references()
  c.data.update(name="digits", size=8)
  c.augment.update(size=8)
  c.encoder = ConfigDict({**SMALL[encoder], "stage_sizes": (1, 2)})
  c.optimizer = {"name": "sgd", "learning_rate": 0.03}
  c.evals.probe.learning_rate = 0.0
  recipe.check(c)
  return recipe.build(c, tiny.PLAN)


@pytest.mark.parametrize("encoder", SMALL)
@pytest.mark.parametrize("name", ["densecl_cifar10", "vicregl_cifar10"])
def test_a_step_of_pictures_and_of_cells_moves_every_part(name, encoder):
  built, batch = build(name, encoder), tiny.batch()
  state = jax.jit(built.init)(batch)
  after, metrics = jax.jit(built.step)(state, batch)
  assert np.isfinite(float(metrics["loss"]))
  moved = jax.tree.map(
    lambda a, b: bool((np.asarray(a) != np.asarray(b)).any()),
    state.params["encoder"],
    after.params["encoder"],
  )
  still = [
    jax.tree_util.keystr(k) for k, x in jax.tree.leaves_with_path(moved) if not x
  ]
  assert not still
  patches = jax.jit(built.patches)(state, batch)
  assert patches.shape == (tiny.BATCH, 4, 4, state_width(built))


def state_width(built):
  outputs = built.method.net.encoder
  return 2 * outputs.width * getattr(outputs, "widen", 1)


@pytest.mark.parametrize("encoder", SMALL)
def test_the_first_stage_s_cells_are_to_be_had(encoder):
  built, batch = build("densecl_cifar10", encoder), tiny.batch()
  state = jax.jit(built.init)(batch)
  first = jax.jit(lambda s, b: built.patches(s, b, "layer1"))(state, batch)
  assert first.shape == (tiny.BATCH, 8, 8, state_width(built) // 2)


def test_what_hides_patches_says_that_it_wants_a_vision_transformer():
  with pytest.raises(ConfigError, match="must be a vision transformer"):
    recipe.trace(build("mae_folder", "swin"), tiny.batch())


@pytest.mark.parametrize("name", ["vit_h", "vit_hplus", "vit_g", "vit_7b"])
def test_the_large_vision_transformers_have_the_published_parameters(name):
  """Dosovitskiy et al., table 1; DINOv3, table 2, and DINOv2's model card."""
  millions = {"vit_h": 632, "vit_hplus": 840, "vit_g": 1136, "vit_7b": 6716}
  patch = 14 if name == "vit_g" else 16
  net = nets.build({"name": name, "patch_size": patch, "position": "rope"})
  x = {"image": jax.ShapeDtypeStruct((1, 4 * patch, 4 * patch, 3), np.float32)}
  shapes = jax.eval_shape(lambda key, x: net.init(key, x, False), jax.random.key(0), x)
  count = sum(x.size for x in jax.tree.leaves(shapes["params"]))
  assert abs(count / 1e6 / millions[name] - 1) < 0.01

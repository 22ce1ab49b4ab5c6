"""Features of patches: what they are of each network, and how they lie on the disk."""

import importlib

import jax
import numpy as np
import pytest
import tiny
from PIL import Image

import ssljax
from ssljax.protocols import tokens


def of_patches(name, block=""):
  """The patches of a smoke run's first state, the network's outputs, and its view."""
  built = tiny.parts(name)
  state, x = tiny.first_state(built), built.seen(tiny.batch())
  patches = jax.jit(built.method.patches, static_argnums=2)(state, x, block)
  return patches, jax.jit(built.method.apply)(state, x)


def test_patches_of_a_transformer_are_its_tokens_in_the_rows_of_their_grid():
  patches, outputs = of_patches("mae")
  tokens = outputs["patches"]
  side = round(tokens.shape[1] ** 0.5)
  assert patches.shape == (tiny.BATCH, side, side, tokens.shape[2])
  np.testing.assert_allclose(patches[:, 1, 0], tokens[:, side], rtol=1e-5, atol=1e-6)


def test_patches_of_a_residual_network_are_what_it_pools():
  patches, outputs = of_patches("simclr")
  np.testing.assert_allclose(patches, outputs["map"], rtol=1e-5, atol=1e-6)
  pooled = patches.mean((1, 2))
  np.testing.assert_allclose(pooled, outputs["features"], rtol=1e-4, atol=1e-5)


def test_a_stage_is_its_last_block():
  built = tiny.with_encoder(tiny.parts("simclr"), stage_sizes=(2, 1))
  state, x = tiny.first_state(built), built.seen(tiny.batch())
  shapes = {
    block: jax.eval_shape(
      lambda state, block=block: built.method.patches(state, x, block), state
    ).shape[1:]
    for block in ("layer1_0", "layer1", "layer2", "")
  }
  width = built.method.net.encoder.width
  side = shapes["layer1"][0]
  assert shapes["layer1"] == shapes["layer1_0"] == (side, side, width)
  assert shapes["layer2"] == shapes[""] == (-(-side // 2), -(-side // 2), 2 * width)
  first, second = (
    jax.jit(built.method.patches, static_argnums=2)(state, x, block)
    for block in ("layer1_0", "layer1")
  )
  assert np.abs(first - second).max() > 1e-3
  with pytest.raises(
    ssljax.ConfigError, match=r"block='layer3' is none .* it has layer1_0, layer1_1, la"
  ):
    built.method.patches(state, x, "layer3")


def test_two_networks_patches_stand_side_by_side_and_a_patch_s_own_has_none():
  patches, outputs = of_patches("cmc")
  first, second = np.split(np.asarray(patches), 2, axis=-1)
  np.testing.assert_allclose(first, outputs["map"][:, 0], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(second, outputs["map"][:, 1], rtol=1e-5, atol=1e-6)
  with pytest.raises(
    ssljax.ConfigError, match="ImageCPC gives no features of patches; ask"
  ):
    of_patches("cpc_image")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("run")
  config = importlib.import_module("configs.mae_cifar10").get_config("smoke")
  config.evals.at_end = ()
  config.steps = 1
  ssljax.train_and_evaluate(config, folder)
  return folder


def protocol(run, pictures, **numbers):
  config = importlib.import_module("configs.eval.embed").get_config()
  config.checkpoint = str(run)
  config.data.update(name="folder", dir=str(pictures))
  config.embed.update(**numbers)
  return config


def write_pictures(folder, names):
  rng = np.random.default_rng(0)
  for name in names:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / name)
  return folder


def test_patches_lie_in_one_file_in_the_order_of_the_features(run, tmp_path):
  pictures = write_pictures(tmp_path / "p", [f"{i}.png" for i in range(5)])
  whole = pictures / "3.png"
  whole.write_bytes(whole.read_bytes()[:60])  # its header says nothing of that
  out = tmp_path / "out"
  config = protocol(run, pictures, tokens=True, rows=2)
  ssljax.evaluate(config, out)
  features = np.load(out / "features.npz")
  patches = np.load(out / "tokens.npy", mmap_mode="r")
  assert isinstance(patches, np.memmap)
  assert list(features["path"]) == ["0.png", "1.png", "2.png", "4.png"]
  assert patches.shape[0] == 4
  assert (out / "tokens.npy").stat().st_size == patches.offset + patches.nbytes
  pooled = np.asarray(patches).mean((1, 2))  # as this run pools its patches
  np.testing.assert_allclose(pooled, features["feature"], rtol=1e-4, atol=1e-5)
  # Stopped after the first part, it goes on behind it, whatever is there.
  before = np.array(patches)
  for part in sorted(out.glob("parts/*.npz"))[1:]:
    part.unlink()
  file = np.load(out / "tokens.npy", mmap_mode="r+")
  file[2:] = 0
  file.flush()
  kept = sorted(out.glob("parts/*.npz"))[0].stat().st_mtime_ns
  ssljax.evaluate(config, out)
  assert sorted(out.glob("parts/*.npz"))[0].stat().st_mtime_ns == kept
  np.testing.assert_array_equal(np.load(out / "tokens.npy"), before)
  (out / "tokens.npy").unlink()
  with pytest.raises(
    ssljax.ConfigError, match=r"tokens\.npy lacks what .*parts/00000.npz"
  ):
    ssljax.evaluate(config, out)
  # Half as long, and of the block before.
  half = protocol(run, pictures, tokens=True, dtype="float16", block="block0")
  ssljax.evaluate(half, tmp_path / "half")
  half = np.load(tmp_path / "half" / "tokens.npy", mmap_mode="r")
  assert (half.dtype, half.shape) == (np.float16, patches.shape)
  assert np.abs(half - before).max() > 0.01
  other = protocol(run, pictures, tokens=True, block="block0")
  with pytest.raises(ssljax.ConfigError, match="holds features of other dtype; name"):
    ssljax.evaluate(other, tmp_path / "half")


def test_what_cannot_be_written_is_said(run, tmp_path):
  pictures = write_pictures(tmp_path / "p", ["0.png"])
  with pytest.raises(ssljax.ConfigError, match=r"embed\.block='block0' .* are: set --"):
    ssljax.evaluate(protocol(run, pictures, block="block0"), tmp_path / "out")
  file = tokens.Tokens(tmp_path / "tokens.npy", "float16", 2)
  with pytest.raises(ssljax.ConfigError, match=r"up to 65504, and .* of 70000; set"):
    file.append(np.full((1, 2, 2, 3), 7e4, np.float32))

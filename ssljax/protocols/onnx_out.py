"""A run's encoder as an ONNX graph: pictures in, the features of `load_encoder` out."""

import functools
import importlib.metadata
import importlib.util
import logging
import pathlib
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from ssljax import augment, recipe
from ssljax.encoder import Trained
from ssljax.fields import ConfigError

INPUTS = ("uint8", "float")
OPSET = 17  # ONNX Runtime 1.12 and later
MOST = 2**31 - 1  # bytes of a protocol buffer
NEAR = 1e-4  # of the features' scale


def write(
  path: pathlib.Path, trained: Trained, kind: str, texts: Mapping[str, str]
) -> float:
  """Writes the graph of a run's encoder -> how far ONNX Runtime is from `load_encoder`.

  That is the largest difference, as a share of the largest feature. kind="uint8" takes
  "image" uint8 [N,H,W,3] of any N, H and W, and crops, resizes and normalises as the
  run's evaluation does; "float" takes it f32 [N,size,size,3], normalised. It gives
  "features" f32 [N,D]. `texts` become the model's metadata. ConfigError where jax2onnx
  is not installed or does not hold the encoder, and then nothing is written.
  """
  if path.suffix != ".onnx":
    raise ConfigError(f"file={str(path)!r} must end in .onnx, as format='onnx' says")
  for name in ("jax2onnx", "onnx", "onnxruntime"):
    if importlib.util.find_spec(name) is None:
      raise ConfigError(
        f"format='onnx' needs {name}, which is not installed: "
        "pip install 'ssljax[onnx]'"
      )
  import onnx
  import onnxruntime

  config = trained.config.copy_and_resolve_references()
  config.dtype = "float32"
  parts = recipe.build(config, trained.plan)
  state = trained.state.replace(opt_state=None)
  crop_and_filter = config.evals.crop, config.evals.get("interpolation", "")
  view = augment.configure(augment.evaluation(config.augment, *crop_and_filter))
  size = view.views[0].size

  def features(x: jax.Array) -> jax.Array:
    pool = mock.patch.object(nn, "max_pool", functools.partial(_padded, nn.max_pool))
    with pool, mock.patch.object(jnp, "arange", _up_to):
      return parts.method.embed(state, _seen(view, x) if kind == "uint8" else x)

  spec = {
    "uint8": jax.ShapeDtypeStruct(("N", "H", "W", 3), np.uint8),
    "float": jax.ShapeDtypeStruct(("N", size, size, 3), np.float32),
  }[kind]
  model = _convert(features, spec)
  if model.ByteSize() > MOST:
    raise ConfigError(
      f"format='onnx': the encoder has {model.ByteSize()} bytes, and a file of ONNX at "
      f"most {MOST}; take format='safetensors'"
    )
  for name, text in texts.items():
    model.metadata_props.add(key=name, value=text)
  onnx.checker.check_model(model)
  content = model.SerializeToString()
  session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
  off, rng = 0.0, np.random.default_rng(0)
  for shape in ((1, size + 9, size + 16, 3), (3, size, size, 3)):
    image = rng.integers(0, 256, shape, np.uint8)
    batch = {"image": image, "index": np.zeros(len(image), np.int32)}
    with jax.default_matmul_precision("highest"):
      want = np.asarray(jax.jit(parts.embed)(state, batch))
      x = image if kind == "uint8" else np.asarray(parts.seen(batch))
    (got,) = session.run(["features"], {"image": x})
    off = max(off, float(np.abs(got - want).max() / np.abs(want).max()))
  if not off < NEAR:
    raise ConfigError(
      f"format='onnx': ONNX Runtime's features are {off:.1e} of their scale from those "
      f"of load_encoder, with jax2onnx {importlib.metadata.version('jax2onnx')}; take "
      "format='safetensors'"
    )
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f"{path.stem}.tmp.onnx")
  try:
    temporary.write_bytes(content)
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)
  return off


def _seen(recipe: augment.Augmentation, image: jax.Array) -> jax.Array:
  """Computes what the network sees of pictures uint8 [N,H,W,3], all of one shape.

  As `Parts.seen`, with the crop computed once and no key: every size may be unknown.
  """
  (view,) = recipe.views
  height, width = (jnp.asarray(n, jnp.float32) for n in image.shape[1:3])
  extent = height, width, width / height
  x = jax.vmap(lambda one: view.draw(None, one, extent)["image"])(image)
  return recipe.finish(x[:, None], normalise=True)[:, 0]


def _convert(features: Callable, spec: jax.ShapeDtypeStruct) -> Any:
  import jax2onnx

  logger = logging.getLogger("onnx_ir")
  level = logger.level
  logger.setLevel(logging.ERROR)  # it warns of each shape inside that has no type
  try:
    return jax2onnx.to_onnx(
      features,
      [spec],
      model_name="encoder",
      opset=OPSET,
      input_names=["image"],
      output_names=["features"],
    )
  except Exception as error:
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    raise ConfigError(
      f"format='onnx': jax2onnx {importlib.metadata.version('jax2onnx')} does not "
      f"convert this encoder ({said})"
    ) from error
  finally:
    logger.setLevel(level)


# jax2onnx 0.17.1 has functions of its own for these while it traces: that of Flax's
# pooling takes padding by name alone and leaves it out, that of arange no unknown size.


def _padded(pool: Callable, x: jax.Array, window_shape, strides, padding) -> jax.Array:
  x = jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=-jnp.inf)
  return pool(x, window_shape=window_shape, strides=strides, padding="VALID")


def _up_to(stop: int, dtype: Any = jnp.int32) -> jax.Array:
  return jax.lax.iota(dtype, stop)

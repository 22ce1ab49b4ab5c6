"""A run's encoder as an ONNX graph: pictures in, the features of `load_encoder` out."""

import functools
import importlib.metadata
import importlib.util
import logging
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from ssljax import augment, data, recipe
from ssljax.core import TrainState
from ssljax.encoder import Trained
from ssljax.fields import ConfigError
from ssljax.parts import Parts

INPUTS = ("uint8", "float", "text")
OPSET = 17  # ONNX Runtime 1.12 and later
MOST = 2**31 - 1  # bytes of a protocol buffer
NEAR = 1e-4  # of the features' scale


class Graph(NamedTuple):
  """What is to be converted, and what it is held to."""

  input: str
  spec: jax.ShapeDtypeStruct  # of it, a name for what may be of any size
  outputs: tuple[str, ...]
  compute: Callable[[jax.Array], tuple[jax.Array, ...]]
  trials: list[tuple[np.ndarray, tuple[jax.Array, ...]]]  # inputs, and what they give


def write(
  path: pathlib.Path, trained: Trained, kind: str, texts: Mapping[str, str]
) -> float:
  """Writes the graph of a run's encoder -> how far ONNX Runtime is from `load_encoder`.

  That is the largest difference, as a share of the largest feature. kind="uint8" takes
  "image" uint8 [N,H,W,3] of any N, H and W, and crops, resizes and normalises as the
  run's evaluation does; "float" takes it f32 [N,size,size,3], normalised. It gives
  "features" f32 [N,D] and, of a run that knows texts, their "projection" [N,out], as
  kind="text" does of "text" i32 [N,T]. `texts` become the model's metadata. ConfigError
  where jax2onnx is not installed or does not hold the encoder: nothing is written.
  """
  if path.suffix != ".onnx":
    raise ConfigError(f"file={str(path)!r} must end in .onnx, as format='onnx' says")
  for name in ("jax2onnx", "onnx", "onnxruntime"):
    if importlib.util.find_spec(name) is None:
      raise ConfigError(
        f"format='onnx' needs {name}, which is not installed: "
        "pip install 'ssljax[onnx]'"
      )
  config = trained.config.copy_and_resolve_references()
  config.dtype = "float32"
  parts = recipe.build(config, trained.plan)
  state = trained.state.replace(opt_state=None)
  with jax.default_matmul_precision("highest"):
    if kind == "text":
      graph = _of_texts(parts, state, trained.spec)
    else:
      graph = _of_pictures(parts, state, config, kind)
  content, off = _convert(graph, texts), 0.0
  import onnxruntime

  session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
  for x, wants in graph.trials:
    gots = session.run(graph.outputs, {graph.input: x})
    for got, want in zip(gots, map(np.asarray, wants), strict=True):
      off = max(off, float(np.abs(got - want).max() / np.abs(want).max()))
  if not off < NEAR:
    raise ConfigError(
      f"format='onnx': ONNX Runtime's features are {off:.1e} of their scale from those "
      f"of load_encoder, with {_version()}; take format='safetensors'"
    )
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f"{path.stem}.tmp.onnx")
  try:
    temporary.write_bytes(content)
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)
  return off


def _of_pictures(
  parts: Parts, state: TrainState, config: ConfigDict, kind: str
) -> Graph:
  crop_and_filter = config.evals.crop, config.evals.get("interpolation", "")
  view = augment.configure(augment.evaluation(config.augment, *crop_and_filter))
  size, method = view.views[0].size, parts.method
  outputs = ("features", "projection") if hasattr(method.net, "text") else ("features",)

  def give(x):
    if len(outputs) == 1:
      return (method.embed(state, x),)
    found = method.apply(state, x)
    return tuple(found[name] for name in outputs)

  rng, trials = np.random.default_rng(0), []
  for shape in ((1, size + 9, size + 16, 3), (3, size, size, 3)):
    image = rng.integers(0, 256, shape, np.uint8)
    batch = {"image": image, "index": np.zeros(len(image), np.int32)}
    x = image if kind == "uint8" else np.asarray(parts.seen(batch))
    trials.append((x, jax.jit(lambda batch: give(parts.seen(batch)))(batch)))
  if kind == "float":
    spec = jax.ShapeDtypeStruct(("N", size, size, 3), np.float32)
    return Graph("image", spec, outputs, give, trials)
  spec = jax.ShapeDtypeStruct(("N", "H", "W", 3), np.uint8)
  return Graph("image", spec, outputs, lambda x: give(_seen(view, x)), trials)


def _of_texts(parts: Parts, state: TrainState, spec: data.Spec) -> Graph:
  tower = getattr(parts.method.net, "text", None)
  if tower is None:
    raise ConfigError("input='text' is of runs that know texts, and this one has none")

  def read(text):
    return (parts.method.read(state, text),)

  length, rng, trials = spec["text"][0][-1], np.random.default_rng(0), []
  for count in (1, 3):
    text = rng.integers(1, tower.vocabulary, (count, length), np.int32)
    text[:, rng.integers(1, length) :] = 0  # as shorter texts end
    trials.append((text, jax.jit(read)(text)))
  shape = jax.ShapeDtypeStruct(("N", length), np.int32)
  return Graph("text", shape, ("projection",), read, trials)


def _seen(recipe: augment.Augmentation, image: jax.Array) -> jax.Array:
  """Computes what the network sees of pictures uint8 [N,H,W,3], all of one shape.

  As `Parts.seen`, with the crop computed once and no key: every size may be unknown.
  """
  (view,) = recipe.views
  height, width = (jnp.asarray(n, jnp.float32) for n in image.shape[1:3])
  extent = height, width, width / height
  x = jax.vmap(lambda one: view.draw(None, one, extent)["image"])(image)
  return recipe.finish(x[:, None], normalise=True)[:, 0]


def _convert(graph: Graph, texts: Mapping[str, str]) -> bytes:
  """Converts a graph, with `texts` for its metadata."""
  import jax2onnx
  import onnx

  def compute(x):
    pool = mock.patch.object(nn, "max_pool", functools.partial(_padded, nn.max_pool))
    with pool, mock.patch.object(jnp, "arange", _up_to):
      return graph.compute(x)

  logger = logging.getLogger("onnx_ir")
  level = logger.level
  logger.setLevel(logging.ERROR)  # it warns of each shape inside that has no type
  try:
    model = jax2onnx.to_onnx(
      compute,
      [graph.spec],
      model_name="encoder",
      opset=OPSET,
      input_names=[graph.input],
      output_names=list(graph.outputs),
    )
  except Exception as error:
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    raise ConfigError(
      f"format='onnx': {_version()} does not convert this encoder ({said})"
    ) from error
  finally:
    logger.setLevel(level)
  if model.ByteSize() > MOST:
    raise ConfigError(
      f"format='onnx': the encoder has {model.ByteSize()} bytes, and a file of ONNX at "
      f"most {MOST}; take format='safetensors'"
    )
  for name, text in texts.items():
    model.metadata_props.add(key=name, value=text)
  onnx.checker.check_model(model)
  return model.SerializeToString()


def _version() -> str:
  return f"jax2onnx {importlib.metadata.version('jax2onnx')}"


# jax2onnx 0.17.1 has functions of its own for these while it traces: that of Flax's
# pooling takes padding by name alone and leaves it out, that of arange no unknown size.


def _padded(pool: Callable, x: jax.Array, window_shape, strides, padding) -> jax.Array:
  if not isinstance(padding, str):
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=-jnp.inf)
    padding = "VALID"
  return pool(x, window_shape=window_shape, strides=strides, padding=padding)


def _up_to(stop: int, dtype: Any = jnp.int32) -> jax.Array:
  return jax.lax.iota(dtype, stop)

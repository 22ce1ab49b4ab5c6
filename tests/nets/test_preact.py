import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from numpy.testing import assert_allclose

from ssljax import nets
from ssljax.nets.preact import PreActResNet


def test_resnet20_v2_has_the_kernels_of_keras():
  encoder = nets.build({"name": "resnet20v2"})
  image = {"image": jnp.zeros((1, 32, 32, 3))}
  shapes = jax.eval_shape(lambda: encoder.init(jax.random.key(0), image, train=False))
  flat = traverse_util.flatten_dict(shapes["params"], sep="/")
  kernels = {k.removesuffix("/kernel"): v.shape for k, v in flat.items() if v.ndim == 4}
  expected = {"conv1": (3, 3, 3, 16)}
  widths = [(16, 16, 64), (64, 64, 128), (128, 128, 256)]
  for stage, (given, inside, out) in enumerate(widths):
    for block, wide in enumerate((given, out)):
      name = f"layer{stage + 1}_{block}"
      expected[f"{name}/conv1"] = (1, 1, wide, inside)
      expected[f"{name}/conv2"] = (3, 3, inside, inside)
      expected[f"{name}/conv3"] = (1, 1, inside, out)
    expected[f"layer{stage + 1}_0/downsample_conv"] = (1, 1, given, out)
  assert kernels == expected


def convolved(x, kernel, stride=1):
  """[H,W,C] by [k,k,C,D], zeros around, one pixel of the output after the other."""
  k, (height, width) = len(kernel), x.shape[:2]
  x = np.pad(x, ((k // 2, k // 2), (k // 2, k // 2), (0, 0)))
  out = [
    [np.tensordot(x[i : i + k, j : j + k], kernel, 3) for j in range(0, width, stride)]
    for i in range(0, height, stride)
  ]
  return np.array(out)


def test_features_are_those_of_figure_4e_in_numpy():
  net = PreActResNet(stage_sizes=(2, 1), width=2)
  rng = np.random.default_rng(0)
  image = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)
  shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), {"image": image}, False))
  variables = jax.tree.map(
    lambda x: rng.uniform(-0.5 if x.ndim == 4 else 0.5, 1, x.shape).astype(np.float32),
    shapes,
  )
  flat = {
    k: np.float64(v) for k, v in traverse_util.flatten_dict(variables, sep="/").items()
  }

  def active(x, name):
    mean, var = (flat[f"batch_stats/{name}/{s}"] for s in ("mean", "var"))
    scale, bias = (flat[f"params/{name}/{s}"] for s in ("scale", "bias"))
    return np.maximum((x - mean) / np.sqrt(var + 1e-5) * scale + bias, 0)

  def conv(x, name, stride=1):
    return convolved(x, flat[f"params/{name}/kernel"], stride)

  outputs = net.apply(variables, {"image": image}, False)
  assert_allclose(outputs["map"].mean((1, 2)), outputs["features"], rtol=1e-6)
  for ours, x in zip(outputs["features"], image, strict=True):
    x = active(conv(np.float64(x), "conv1"), "bn1")
    for block, stride, changes in (
      ("layer1_0", 1, True),
      ("layer1_1", 1, False),
      ("layer2_0", 2, True),
    ):
      y = conv(active(x, f"{block}/bn1"), f"{block}/conv1")
      y = conv(active(y, f"{block}/bn2"), f"{block}/conv2", stride)
      y = conv(active(y, f"{block}/bn3"), f"{block}/conv3")
      x = y + (conv(x, f"{block}/downsample_conv", stride) if changes else x)
    expected = active(x, "bn_last").mean((0, 1))
    assert_allclose(ours, expected, rtol=1e-4, atol=1e-4 * expected.max())

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from numpy.testing import assert_allclose

from ssljax import nets
from ssljax.nets.preact import PreActResNet, WideResNet


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


@pytest.mark.parametrize(
  ("name", "millions"), [("wide_resnet28x2", 1.47), ("wide_resnet28x10", 36.5)]
)
def test_a_wide_resnet_has_the_paper_s_parameters(name, millions):
  """Table 4 of Zagoruyko & Komodakis, and MixMatch's, with ten classes."""
  net = nets.build({"name": name})
  image = {"image": jnp.zeros((1, 32, 32, 3))}
  shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), image, train=False))
  count = sum(x.size for x in jax.tree.leaves(shapes["params"]))
  features = 64 * net.widen
  assert round((count + 10 * features + 10) / 1e6, 2 if count < 1e7 else 1) == millions
  assert {name for names in net.layers for name in names} | {"bn_last"} == set(
    shapes["params"]
  )


@pytest.mark.parametrize("size", [16, 13])
def test_a_wide_resnet_is_that_of_torch(size):
  """Blocks as `resnet.py` of the official code: a shortcut sees what is active."""
  torch = pytest.importorskip("torch", reason="needs the extra interop-test: torch")
  net = WideResNet(stage_sizes=(2, 1), widen=2, width=3)
  rng = np.random.default_rng(0)
  image = rng.normal(size=(2, size, size, 3)).astype(np.float32)
  shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), {"image": image}, False))
  variables = jax.tree.map(
    lambda x: rng.uniform(0.5 if x.ndim == 1 else -0.5, 1, x.shape).astype(np.float32),
    shapes,
  )
  flat = {
    k: torch.from_numpy(v)
    for k, v in traverse_util.flatten_dict(variables, sep="/").items()
  }

  def active(x, name):
    mean, var = (flat[f"batch_stats/{name}/{s}"] for s in ("mean", "var"))
    scale, bias = (flat[f"params/{name}/{s}"] for s in ("scale", "bias"))
    return torch.relu(torch.nn.functional.batch_norm(x, mean, var, scale, bias))

  def conv(x, name, stride=1):
    kernel = flat[f"params/{name}/kernel"].permute(3, 2, 0, 1)
    return torch.nn.functional.conv2d(
      x, kernel, stride=stride, padding=kernel.shape[-1] // 2
    )

  x = conv(torch.from_numpy(image).permute(0, 3, 1, 2), "conv1")
  for name, stride in (("layer1_0", 1), ("layer1_1", 1), ("layer2_0", 2)):
    seen = active(x, f"{name}/bn1")
    y = conv(seen, f"{name}/conv1", stride)
    y = conv(active(y, f"{name}/bn2"), f"{name}/conv2")
    if f"params/{name}/downsample_conv/kernel" in flat:
      x = conv(seen, f"{name}/downsample_conv", stride)
    x = x + y
  expected = active(x, "bn_last")
  outputs = net.apply(variables, {"image": image}, False)
  scale = float(expected.max())
  assert_allclose(
    outputs["map"], expected.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-5 * scale
  )
  assert_allclose(outputs["features"], expected.mean((2, 3)), rtol=1e-4)

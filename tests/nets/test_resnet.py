"""ResNets against torchvision's and SupContrast's own outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_names
from jax.sharding import Mesh
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import sharding
from ssljax.nets.resnet import ResNet18, ResNet50

CASES = {
  "13_resnet18_narrow": ResNet18(width=4),
  "13_resnet50_narrow": ResNet50(width=4),
  "13_supcon_cifar_resnet18_narrow": ResNet18(width=4, stem="cifar"),
  "13_supcon_cifar_resnet50_narrow": ResNet50(width=4, stem="cifar"),
}


def load(name):
  data = oracle(name)
  state_dict = torch_names.under(data, "in_sd.")
  variables = torch_names.variables(state_dict, torch_names.resnet)
  image = data["in_x"].astype(np.float32).transpose(0, 2, 3, 1)
  return data, variables, {"image": image}


@pytest.mark.parametrize("name", CASES)
def test_features_are_those_of_the_official_code(name):
  data, variables, x = load(name)
  outputs = jax.jit(CASES[name].apply, static_argnums=2)(variables, x, False)
  scale = np.abs(data["out_features"]).max()
  for features in (outputs["features"], outputs["map"].mean((1, 2))):
    assert_allclose(features, data["out_features"], atol=2e-5 * scale)


def test_gradients_are_those_of_the_official_code():
  data, variables, x = load("13_resnet18_narrow")

  def score(params, x):
    outputs = CASES["13_resnet18_narrow"].apply(
      {**variables, "params": params}, x, False
    )
    return (outputs["features"] * data["in_cotangent"]).sum()

  grads, by_input = jax.jit(jax.grad(score, (0, 1)))(variables["params"], x)
  for ours, theirs in (
    (grads["conv1"]["kernel"], data["out_grad_conv1"].transpose(2, 3, 1, 0)),
    (by_input["image"], data["out_grad_x"].transpose(0, 2, 3, 1)),
  ):
    assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_a_training_pass_moves_the_running_statistics_as_torch_does():
  data, variables, x = load("13_resnet18_narrow")
  net = CASES["13_resnet18_narrow"]

  @jax.jit
  def forward(variables, x):
    return net.apply(variables, x, True, mutable=["batch_stats"])

  outputs, new = forward(variables, x)
  assert_allclose(outputs["features"], data["out_train_features"], rtol=1e-4, atol=1e-4)
  theirs = torch_names.variables(
    torch_names.under(data, "out_train_sd."), torch_names.resnet
  )
  jax.tree.map(
    lambda a, b: assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    new["batch_stats"],
    theirs["batch_stats"],
  )


def test_a_training_pass_in_bfloat16_is_the_same_on_one_and_eight_devices():
  net = ResNet18(
    stage_sizes=(1, 1), width=4, stem="cifar", bn_group_size=4, dtype=jnp.bfloat16
  )
  x = {"image": np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype(np.float32)}
  variables = jax.jit(net.init, static_argnums=2)(jax.random.key(0), x, False)
  assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}

  @jax.jit
  def forward(variables, x):
    return net.apply(variables, x, True, mutable=["batch_stats"])

  results = []
  for devices in (jax.devices()[:1], jax.devices()):
    mesh: Mesh = sharding.make_mesh(devices)
    batch = jax.device_put(x, sharding.by_rows(mesh))
    state = jax.device_put(variables, sharding.replicated(mesh))
    results.append(jax.device_get(forward(state, batch)))
  assert results[0][0]["features"].dtype == np.float32
  jax.tree.map(lambda a, b: assert_allclose(a, b, atol=0.05, rtol=0.05), *results)


def test_zero_init_gamma_starts_every_block_as_its_shortcut():
  net = ResNet18(stage_sizes=(1,), width=4, stem="cifar", zero_init_gamma=True)
  image = {"image": jnp.zeros((1, 8, 8, 3))}
  variables = jax.jit(net.init, static_argnums=2)(jax.random.key(0), image, False)
  params = variables["params"]
  assert not params["layer1_0"]["bn2"]["scale"].any()
  assert params["layer1_0"]["bn1"]["scale"].all()


@pytest.mark.parametrize("relu", [True, False])
def test_a_stem_may_have_no_relu(relu):
  """Seen without blocks."""
  net = ResNet18(stage_sizes=(), width=4, stem="cifar", stem_relu=relu)
  image = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
  init = jax.jit(net.init, static_argnums=2)
  variables = init(jax.random.key(0), {"image": image}, False)
  kernel = np.asarray(variables["params"]["conv1"]["kernel"])
  x = np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
  y = sum(
    x[:, i : i + 8, j : j + 8] @ kernel[i, j] for i in range(3) for j in range(3)
  ) / np.sqrt(1 + 1e-5)
  expected = (np.maximum(y, 0) if relu else y).mean((1, 2))
  outputs = net.apply(variables, {"image": image}, False)
  assert_allclose(outputs["features"], expected, atol=1e-5)


def test_with_layer_norm_a_picture_s_features_do_not_depend_on_the_batch():
  net = ResNet18(stage_sizes=(1, 1), width=4, stem="cifar", norm="layer")
  image = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
  init = jax.jit(net.init, static_argnums=2)
  variables = init(jax.random.key(0), {"image": image}, False)
  apply = jax.jit(
    lambda image: net.apply(variables, {"image": image}, True)["features"]
  )
  alone = apply(image[:1])
  assert variables.keys() == {"params"}
  assert_allclose(apply(image)[:1], alone, atol=1e-5)
  assert np.abs(alone).max() > 0.1


def test_an_unknown_stem_is_named():
  with pytest.raises(ValueError, match="stem='stl' must be one of imagenet, cifar"):
    ResNet18(stem="stl").init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), False)


def test_same_padding_is_torch_s_where_it_is_padded_by_hand():
  """An even side is seen one pixel earlier; a side of 17 as torch sees it."""
  net, same, fixed = (
    ResNet18(width=4, stage_sizes=(1, 1), padding=p) for p in ("torch", "same", "fixed")
  )
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 17, 17, 3)).astype(np.float32)
  variables = jax.jit(lambda k: net.init(k, {"image": x}, False))(jax.random.key(0))
  one, two, three = (
    n.apply(variables, {"image": x}, False)["map"] for n in (net, same, fixed)
  )
  assert_allclose(one, two, atol=1e-5)  # of odd sides all three are alike
  assert_allclose(one, three, atol=1e-5)
  x = x[:, :16, :16]
  maps = [n.apply(variables, {"image": x}, False)["map"] for n in (net, same, fixed)]
  for a, b in ((0, 1), (0, 2), (1, 2)):
    assert np.abs(maps[a] - maps[b]).max() > 1e-3

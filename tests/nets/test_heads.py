"""Heads against the official ones, and how a network is put together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_names
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import nets
from ssljax.nets.heads import MLP, Classifier, Prototypes


def test_dino_head_and_its_gradients_are_those_of_the_official_code():
  data = oracle("07_dino_head_0")
  mlp = MLP(layers=3, hidden=16, out=8, norm=False, activation="gelu")
  names = {"mlp.0": "mlp/fc1", "mlp.2": "mlp/fc2", "mlp.4": "mlp/fc3"}
  state_dict = torch_names.under(data, "in_sd.")
  params = torch_names.variables(state_dict, names.get)["params"]
  gain = data["in_sd.last_layer.weight_g"].T
  params["prototypes"] = {
    "kernel": data["in_sd.last_layer.weight_v"].T,
    "gain": np.float32(gain),
  }

  def score(params, x):
    x = mlp.apply({"params": params["mlp"]}, x, True)
    y = Prototypes(20, gain=True).apply({"params": params["prototypes"]}, x, True)
    return (y * data["in_cotangent"]).sum(), y

  grads, y = jax.jit(jax.grad(score, (0, 1), has_aux=True))(params, data["in_x"])
  theirs = torch_names.under(data, "out_grad.")
  expected = torch_names.variables(theirs, names.get)["params"]
  by_gain = (data["in_cotangent"] * data["out_y"]).sum(0) / gain  # y is linear in it
  expected["prototypes"] = {
    "kernel": theirs["last_layer.weight_v"].T,
    "gain": by_gain,
  }
  assert_allclose(y, data["out_y"], atol=1e-5)
  assert_allclose(grads[1], data["out_grad_x"], atol=2e-5)
  jax.tree.map(lambda a, b: assert_allclose(a, b, atol=2e-5), grads[0], expected)


def test_a_classifier_may_normalise_its_input_first():
  x = np.random.default_rng(0).normal(2, 3, size=(4, 6)).astype(np.float32)
  net = Classifier(5, norm=True, init_std=0.1)
  params = net.init(jax.random.key(0), x, False)["params"]
  unit = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
  expected = unit @ np.asarray(params["Dense_0"]["kernel"])
  assert_allclose(net.apply({"params": params}, x, False), expected, atol=1e-5)


def test_fixed_prototypes_are_those_whose_gain_is_one():
  x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
  params = Prototypes(3, gain=True).init(jax.random.key(0), x, False)["params"]
  assert_allclose(params["gain"], 1)
  y = Prototypes(3).apply({"params": {"kernel": params["kernel"]}}, x, False)
  assert_allclose(Prototypes(3, gain=True).apply({"params": params}, x, False), y)


def test_prototypes_may_have_a_bias_that_starts_as_pytorchs():
  x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
  biased = Prototypes(300, use_bias=True)
  params = biased.init(jax.random.key(0), x, False)["params"]
  y = biased.apply({"params": params}, x, False)
  plain = Prototypes(300).apply({"params": {"kernel": params["kernel"]}}, x, False)
  assert_allclose(y - plain, np.stack(2 * [params["bias"]]), atol=1e-6)
  assert_allclose(np.abs(params["bias"]).max(), 1 / 2, rtol=0.02)


def test_prototypes_give_a_finite_gradient_at_zero():
  x = jnp.zeros((2, 4))
  params = Prototypes(3).init(jax.random.key(0), x, False)
  grad = jax.grad(lambda x: Prototypes(3).apply(params, x, False).sum())(x)
  assert jnp.isfinite(grad).all()


@pytest.mark.parametrize(
  ("fields", "leaves"),
  [
    ({"layers": 1, "out": 4}, "fc1: bias kernel"),
    ({"layers": 2, "out": 4, "norm": False}, "fc1: bias kernel, fc2: bias kernel"),
    (
      {"layers": 2, "out": 4, "out_bias": False},
      "bn1: bias scale, fc1: bias kernel, fc2: kernel",
    ),
    (
      {"layers": 2, "out": 4, "out_bias": False, "last_norm": "scale"},
      "bn1: bias scale, bn2: scale, fc1: bias kernel, fc2: kernel",
    ),
    (
      {"layers": 2, "out": 4, "hidden_bias": False, "last_norm": "plain"},
      "bn1: bias scale, fc1: kernel, fc2: bias kernel",
    ),
  ],
)
def test_mlp_holds_the_parameters_its_fields_say(fields, leaves):
  mlp = MLP(hidden=8, **fields)
  params = mlp.init(jax.random.key(0), jnp.zeros((2, 3)), False)["params"]
  found = [f"{k}: {' '.join(sorted(v))}" for k, v in sorted(params.items())]
  assert ", ".join(found) == leaves


SIMCLR = {"hidden_bias": False, "out_bias": False, "init_std": 0.01}


@pytest.mark.parametrize("kept", [1, 2])
def test_simclr_v2s_head_may_be_cut_behind_any_of_its_hidden_layers(kept):
  x = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)
  whole = MLP(layers=3, hidden=6, out=4, last_norm="scale", **SIMCLR)
  cut = MLP(
    layers=kept, hidden=6, out=6, last_norm="affine", last_activation=True, **SIMCLR
  )
  variables = whole.init(jax.random.key(0), x, False)
  layers = [f"{kind}{i + 1}" for kind in ("fc", "bn") for i in range(kept)]
  shared = {
    collection: {name: group[name] for name in layers if name in group}
    for collection, group in variables.items()
  }
  assert jax.tree.map(jnp.shape, shared) == jax.tree.map(
    jnp.shape, cut.init(jax.random.key(1), x, False)
  )

  hidden = [x.astype(np.float64)]  # the official head, without learned scale and bias
  for i in range(3):
    y = hidden[-1] @ np.asarray(variables["params"][f"fc{i + 1}"]["kernel"])
    y = (y - y.mean(0)) / np.sqrt(y.var(0) + 1e-5)
    hidden.append(np.maximum(y, 0) if i < 2 else y)
  for mlp, given, expected in ((whole, variables, 3), (cut, shared, kept)):
    y, _ = mlp.apply(given, x, True, mutable=["batch_stats"])
    assert_allclose(y, hidden[expected], atol=2e-4)


def test_network_gives_float32_and_only_the_heads_it_has():
  small = {"name": "resnet18", "width": 4, "stem": "cifar", "stage_sizes": (1,)}
  encoder = nets.build(small, jnp.bfloat16)
  projector = nets.build_head("projector", {"layers": 1, "out": 6}, jnp.bfloat16)
  prototypes = nets.build_head("prototypes", {"num": 7}, jnp.bfloat16)
  net = nets.Network(encoder, projector, prototypes=prototypes)
  x = {"image": jnp.zeros((2, 8, 8, 3))}
  outputs, _ = jax.eval_shape(lambda: net.init_with_output(jax.random.key(0), x, False))
  shapes = {name: value.shape for name, value in outputs.items()}
  assert shapes == {
    **{"features": (2, 4), "map": (2, 8, 8, 4)},
    **{"projection": (2, 6), "logits": (2, 7)},
  }
  assert {value.dtype for value in outputs.values()} == {jnp.dtype("float32")}


def test_an_unknown_field_is_named_with_its_neighbour():
  with pytest.raises(ValueError, match=r"no field widht=4; .*; did you mean width"):
    nets.build({"name": "resnet18", "widht": 4})


def test_an_unknown_encoder_is_named():
  with pytest.raises(ValueError, match="name='resnet19' must be one of resnet18"):
    nets.build({"name": "resnet19"})


def test_an_unknown_last_norm_is_named():
  with pytest.raises(ValueError, match="last_norm='bn' must be one of none, affine"):
    MLP(1, 4, last_norm="bn").init(jax.random.key(0), np.zeros((2, 3)), False)

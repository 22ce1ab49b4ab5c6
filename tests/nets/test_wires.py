"""How heads stand on an encoder: what each reads, and heads that are one head."""

import jax
import numpy as np
import pytest
import tiny
from flax import linen as nn
from numpy.testing import assert_allclose, assert_array_equal

from ssljax import nets
from ssljax.fields import ConfigError
from ssljax.nets.heads import MLP, Classifier, Prototypes

B, N, D = 3, 5, 4
WHOLE, PATCHES = (
  np.random.default_rng(seed).normal(size=shape).astype(np.float32)
  for seed, shape in ((0, (B, D)), (1, (B, N, D)))
)
HEADS = {"projector": MLP(2, out=6, hidden=7, norm=False), "prototypes": Prototypes(8)}
SHARED = {"patch_projector": "projector", "patch_prototypes": "prototypes"}


class Given(nn.Module):
  """An encoder whose outputs are its inputs."""

  def __call__(self, x, train):
    return x


def run(net, x=None, params=None):
  """-> parameters, outputs."""
  x = {"features": WHOLE, "patches": PATCHES} if x is None else x
  params = params or net.init(jax.random.key(0), x, False)["params"]
  return params, net.apply({"params": params}, x, False)


def test_a_head_that_names_another_is_that_head_on_its_own_input():
  alone, plain = run(nets.Network(Given(), **HEADS))
  params, outputs = run(nets.Network(Given(), **HEADS, **SHARED))
  jax.tree.map(assert_array_equal, params, alone)  # none of its own
  for name in ("projection", "logits"):
    assert_array_equal(outputs[name], plain[name])
  rows = {"features": PATCHES.reshape(B * N, D)}
  _, by_row = run(nets.Network(Given(), **HEADS), rows, params)
  for name, row in (("patch_projection", "projection"), ("patch_logits", "logits")):
    expected = by_row[row].reshape(B, N, -1)
    assert_allclose(outputs[name], expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_of_a_shared_head_is_the_sum_of_its_uses():
  net = nets.Network(Given(), **HEADS, **SHARED)
  params, _ = run(net)

  def grad(*names):
    loss = lambda p: sum((run(net, None, p)[1][name] ** 3).sum() for name in names)  # noqa: E731
    return jax.grad(loss)(params)

  both, one, other = (
    grad("logits", "patch_logits"),
    grad("logits"),
    grad("patch_logits"),
  )
  jax.tree.map(
    lambda x, y, z: assert_allclose(x, y + z, rtol=1e-4, atol=1e-5), both, one, other
  )
  assert np.abs(other["projector"]["fc1"]["kernel"]).max() > 1e-3


def test_patches_may_have_heads_of_their_own():
  own = {f"patch_{name}": head.copy() for name, head in HEADS.items()}
  params, outputs = run(nets.Network(Given(), **HEADS, **own))
  assert params.keys() == {*HEADS, *own}
  params = {name.removeprefix("patch_"): params[name] for name in own}
  rows = {"features": PATCHES.reshape(B * N, D)}
  _, by_row = run(nets.Network(Given(), **HEADS), rows, params)
  expected = by_row["logits"].reshape(B, N, -1)
  assert_allclose(outputs["patch_logits"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  "head", [Prototypes(8, gain=True, use_bias=True), Classifier(3, norm=True)]
)
def test_scores_of_tokens_are_those_of_rows(head):
  variables = head.init(jax.random.key(0), WHOLE, False)
  tokens = head.apply(variables, PATCHES, False)
  rows = head.apply(variables, PATCHES.reshape(B * N, D), False)
  assert_allclose(tokens, rows.reshape(B, N, -1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  ("heads", "source"),
  [
    (("predictor",), "features"),
    (("prototypes",), "features"),
    (("classifier",), "features"),
    (("projector", "predictor"), "projection"),
    (("projector", "prototypes"), "projection"),
    (("projector", "classifier"), "projection"),
    (("projector", "predictor", "prototypes"), "projection"),
  ],
)
def test_a_head_reads_the_projection_where_there_is_one(heads, source):
  made = {
    "projector": MLP(1, out=6),
    "predictor": MLP(1, out=5),
    "prototypes": Prototypes(8),
    "classifier": Classifier(3),
  }
  gives = {"predictor": "prediction", "prototypes": "logits", "classifier": "logits"}
  net = nets.Network(tiny.Encoder(D), **{name: made[name] for name in heads})
  x = {"image": WHOLE}
  params, outputs = run(net, x)
  last = heads[-1]
  alone = made[last].apply({"params": params[last]}, outputs[source], False)
  assert_allclose(outputs[gives[last]], alone, rtol=1e-6)


def test_what_else_an_encoder_gives_passes_through():
  x = {"features": WHOLE, "patches": PATCHES, "cls": WHOLE + 1}
  _, outputs = run(nets.Network(Given(), projector=MLP(1, out=2)), x)
  assert outputs.keys() == {*x, "projection"}
  for name, value in x.items():
    assert_array_equal(outputs[name], value)


def test_a_head_without_its_source_and_one_that_names_no_head_are_refused():
  def init(**heads):
    net, x = nets.Network(Given(), **heads), {"features": WHOLE}
    jax.eval_shape(lambda: net.init(jax.random.key(0), x, False))

  with pytest.raises(ConfigError, match=r"method\.patch_projector reads patches"):
    init(patch_projector=MLP(layers=1, out=3))
  for name in ("projector", "projektor"):
    with pytest.raises(ConfigError, match=f"patch_projector='{name}' names no head"):
      init(patch_projector=name)

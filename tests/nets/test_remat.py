"""Blocks computed once more for the gradient keep less, and nothing else differs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from ssljax.nets.convnext import ConvNeXt
from ssljax.nets.preact import WideResNet
from ssljax.nets.resnet import BasicBlock, Bottleneck, ResNet
from ssljax.nets.swin import Swin
from ssljax.nets.vit import ViT
from ssljax.train import kept

IMAGE = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
KEYS = jax.random.split(jax.random.key(3), 4)
NETS = {
  "vit": ViT(width=12, depth=2, heads=2, patch_size=4, drop_path=0.5),
  "convnext": ConvNeXt((1, 1), width=4, patch_size=2, drop_path=0.5),
  "swin": Swin((1, 2), 4, patch_size=1, window=3, head_width=2, drop_path=0.5),
  "wide": WideResNet((1, 1), widen=1, width=4),
  "basic": ResNet((1, 1), BasicBlock, width=4, stem="cifar"),
  "bottleneck": ResNet((2,), Bottleneck, width=4, stem="cifar", bn_group_size=2),
  "selective": ResNet((1,), Bottleneck, width=4, stem="cifar", sk_ratio=0.5),
}
DRAW = "vit", "convnext", "swin"
every_net = pytest.mark.parametrize("name", NETS)


def inputs(name):
  return {"image": IMAGE, **({"keys": KEYS} if name in DRAW else {})}


def start(net, x):
  return jax.jit(lambda x: net.init(jax.random.key(1), x, False))(x)


def loss(net, variables):
  def f(params, x):
    outputs, new = net.apply(
      {**variables, "params": params}, x, True, mutable=["batch_stats"]
    )
    weight = jnp.cos(jnp.arange(outputs["features"].size, dtype=jnp.float32))
    return (outputs["features"].ravel() * weight).sum(), (outputs, new)

  return f


@every_net
def test_values_statistics_and_gradients_are_those_of_one_pass(name):
  """Drop path drops the same again, and statistics move once."""
  net, x = NETS[name], inputs(name)
  again = net.clone(remat=True)
  variables = start(net, x)
  names = lambda tree: jax.tree.map(np.shape, tree)  # noqa: E731
  assert names(jax.eval_shape(lambda: start(again, x))) == names(variables)
  found = [
    jax.jit(jax.value_and_grad(loss(net, variables), has_aux=True))(
      variables["params"], x
    )
    for net in (net, again)
  ]
  scale = max(np.abs(g).max() for g in jax.tree.leaves(found[0][1]))
  close = lambda a, b: assert_allclose(a, b, rtol=1e-5, atol=1e-6 * scale)  # noqa: E731
  jax.tree.map(close, *found)


@every_net
def test_a_block_keeps_its_input_alone(name):
  net, x = NETS[name], inputs(name)
  variables = start(net, x)
  sizes = []
  for remat in (False, True):
    f = loss(net.clone(remat=remat), variables)
    sizes.append(kept.size(kept.trace(f, variables["params"], x, has_aux=True)[1]))
  assert sizes[1] < (0.5 if name in DRAW else 0.7) * sizes[0]

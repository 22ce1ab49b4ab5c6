import jax
import numpy as np
import tiny
from numpy.testing import assert_allclose

from ssljax import nets
from ssljax.nets.heads import MLP
from ssljax.nets.multicrop import MultiCrop

B = 4


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def run(net, variables, x):
  return net.apply(variables, x, train=True, mutable=["batch_stats"])


def standardised(rows):
  return (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)


def test_each_resolution_is_normalised_alone_in_the_encoder_and_all_in_the_head():
  encoder = nets.build({"name": "resnet18", "stem": "cifar", "width": 4})
  encoder = encoder.clone(stage_sizes=(1,))
  head = MLP(layers=1, out=3, last_norm="plain")
  net = nets.Network(encoder, projector=head)
  wide, local = normal(0, B, 2, 8, 8, 3), normal(1, B, 3, 4, 4, 3)
  variables = jax.jit(lambda: net.init(jax.random.key(0), wide[:, 0], train=False))()
  crops = net.clone(encoder=MultiCrop(encoder))
  outputs, new = jax.jit(lambda: run(crops, variables, [wide, local]))()

  alone = {k: v["encoder"] for k, v in variables.items()}
  features = []
  for x in (wide, local):
    rows, changed = run(encoder, alone, x.reshape(-1, *x.shape[2:]))
    alone = {**alone, **changed}
    features.append(rows.reshape(B, x.shape[1], -1))
  features = np.concatenate(features, 1).reshape(B * 5, -1)
  assert_allclose(outputs["features"], features, atol=1e-5)
  kernel = np.asarray(variables["params"]["projector"]["fc1"]["kernel"])
  projection = standardised(features @ kernel)  # a bias would not show
  assert_allclose(outputs["projection"], projection, atol=1e-4)
  kept = new["batch_stats"]["encoder"]
  jax.tree.map(
    lambda x, y: assert_allclose(x, y, atol=1e-6), kept, alone["batch_stats"]
  )


def test_one_resolution_passes_as_its_merged_rows():
  net = nets.Network(tiny.Encoder(5, bn_group_size=0))
  x = normal(0, B, 2, 3)
  variables = net.init(jax.random.key(0), x[:, 0], train=False)
  outputs, _ = run(net.clone(encoder=MultiCrop(net.encoder)), variables, [x])
  expected, _ = run(net, variables, x.reshape(-1, 3))
  assert_allclose(outputs["features"], expected["features"])

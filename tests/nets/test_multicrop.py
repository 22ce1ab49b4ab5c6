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
  variables = jax.jit(
    lambda: net.init(jax.random.key(0), {"image": wide[:, 0]}, False)
  )()
  crops = net.clone(encoder=MultiCrop(encoder))
  outputs, new = jax.jit(
    lambda: run(crops, variables, {"image": wide, "local": local})
  )()

  alone = {k: v["encoder"] for k, v in variables.items()}
  features = []
  for x in (wide, local):
    outs, changed = run(encoder, alone, {"image": x.reshape(-1, *x.shape[2:])})
    alone = {**alone, **changed}
    features.append(outs["features"].reshape(B, x.shape[1], -1))
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
  variables = net.init(jax.random.key(0), {"image": x[:, 0]}, train=False)
  crops = net.clone(encoder=MultiCrop(net.encoder))
  outputs, _ = run(crops, variables, {"image": x})
  expected, _ = run(net, variables, {"image": x.reshape(-1, 3)})
  assert_allclose(outputs["features"], expected["features"])


def test_every_crop_drops_paths_by_its_example_s_key_and_its_own_place():
  """Seen on an example whose crops are all alike, in another batch and alone."""
  encoder = nets.build({"name": "vit_ti", "width": 8, "heads": 2, "patch_size": 4})
  encoder = encoder.clone(depth=4, drop_path=0.8)
  image = np.repeat(normal(0, B, 1, 8, 8, 3), 6, 1)
  variables = encoder.init(jax.random.key(0), {"image": image[:, 0]}, train=False)
  crops = MultiCrop(encoder)
  apply = jax.jit(lambda x: crops.apply(variables, x, train=True)["features"])

  def features(rows):
    keys = jax.random.split(jax.random.key(1), B)[rows]
    x = {"image": image[rows], "local": image[rows][:, :, :4, :4], "keys": keys}
    return np.asarray(apply(x)).reshape(len(rows), 12, -1)

  whole, order = features(np.arange(B)), np.array([2, 0, 3, 1])
  assert_allclose(features(order), whole[order], atol=1e-5)
  assert_allclose(features(order[:1]), whole[order[:1]], atol=1e-5)
  kinds = [len(np.unique(x.round(3), axis=0)) for x in (whole[2, :6], whole[2, 6:])]
  assert min(kinds) > 2

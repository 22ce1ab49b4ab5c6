import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf, softmax

from ssljax.evals import attentive
from ssljax.evals.features import FeatureSet
from ssljax.fields import ConfigError


def norm(params, x):
  x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
  return x * params["scale"] + params["bias"]


def map_(params, x):
  return x @ params["kernel"] + params["bias"]


def test_a_query_attends_as_in_v_jepa_s_block():
  """AttentiveClassifier of its code in NumPy, and the output map it defines."""
  rng = np.random.default_rng(0)
  params = attentive.init(jax.random.key(0), 128, 3)
  noise = lambda x: np.asarray(x + rng.normal(0, 0.1, x.shape), np.float64)  # noqa: E731
  params = jax.tree.map(noise, params)
  x = rng.normal(size=(2, 3, 2, 128))
  assert attentive.heads_of(128) == 2
  for picture, scores in zip(x, attentive.logits(params, jnp.float32(x)), strict=True):
    tokens = norm(params["norm1"], picture.reshape(6, 128))
    q = map_(params["q"], params["query"])[0]
    k, v = np.split(map_(params["kv"], tokens), 2, axis=1)
    seen = []
    for head in (slice(0, 64), slice(64, 128)):
      weights = softmax(k[:, head] @ q[head] / 8)
      seen.append(weights @ v[:, head])
    z = params["query"][0] + map_(params["proj"], np.concatenate(seen))
    hidden = map_(params["fc1"], norm(params["norm2"], z))
    gelu = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
    z = z + map_(params["fc2"], gelu)
    np.testing.assert_allclose(scores, map_(params["head"], z), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(("dim", "heads"), [(16, 1), (384, 6), (768, 12), (200, 2)])
def test_heads_are_of_64_features_or_more(dim, heads):
  assert attentive.heads_of(dim) == heads


def test_one_patch_among_many_is_found_where_their_mean_drowns_it():
  rng = np.random.default_rng(0)

  def draw(count):
    x, y = rng.normal(0, 1, (count, 4, 4, 16)), rng.integers(0, 3, count)
    place = rng.integers(0, 16, count)
    x.reshape(count, 16, 16)[np.arange(count), place] = 0
    x.reshape(count, 16, 16)[np.arange(count), place, y] = 6  # one loud patch
    return x.astype(np.float32), y.astype(np.int32)

  (train_x, train_y), (test_x, test_y) = draw(400), draw(200)
  pooled = train_x.mean((1, 2)), train_y, test_x.mean((1, 2)), test_y
  patches = lambda block: iter((train_x, test_x))  # noqa: E731
  features = FeatureSet(*pooled, 3, patches=patches)
  found = attentive.evaluate(features, steps=150, batch=64, learning_rate=3e-3)
  assert list(found) == ["attentive"]
  assert found["attentive"] > 90  # by chance 33
  with pytest.raises(ConfigError, match="attentive asks patches of pictures, and this"):
    attentive.evaluate(features._replace(patches=None))

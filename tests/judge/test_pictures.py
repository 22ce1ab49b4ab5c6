"""Whose attention a report shows: the one whose features the encoder is judged by."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssljax.core import TrainState
from ssljax.data.source import Source
from ssljax.judge import pictures

PATCHES = 4


class Two(Source):
  """Two examples that nobody opens."""

  name, class_names = "two", ()

  def __len__(self):
    return 2

  def __getitem__(self, index):
    raise AssertionError(index)


def inside(names, attention):
  """-> what is shown of a network with these tokens before its patches, and maps."""
  tokens = {name: jnp.zeros((2, 1, 8)) for name in names}
  tokens["patches"] = jnp.zeros((2, PATCHES, 8))
  layers = {"tokens": (tokens,), "attention": (attention,)}
  method = SimpleNamespace(
    net=SimpleNamespace(encoder=SimpleNamespace(layers=())),
    layers=lambda state, x: layers,
    weights=lambda state: {"params": {}},
  )
  judge = SimpleNamespace(
    method=method,
    parts=SimpleNamespace(seen=lambda batch: batch),
    splits=SimpleNamespace(eval=Two()),
    batches=lambda source, size: iter([jnp.zeros(())]),
  )
  state = TrainState(jnp.zeros(()), {}, {}, {}, None)
  return pictures._inside(judge, state, [0, 1])


@pytest.mark.parametrize(
  ("names", "queries", "query", "rows"),
  [
    (["cls"], 5, "the class token", slice(0, 1)),
    ([], 4, "all tokens, their mean", slice(None)),  # I-JEPA's, averaged at the end
    ([], 1, "the query that pools", slice(0, 1)),
  ],
)
def test_the_attention_shown_is_what_the_features_rest_on(names, queries, query, rows):
  count = PATCHES + len(names)
  maps = jax.random.uniform(jax.random.key(0), (2, 3, queries, count))
  shown = inside(names, maps)
  assert shown["query"] == query
  expected = np.asarray(maps)[:, :, rows, -PATCHES:].mean(2)
  np.testing.assert_allclose(shown["attention"], expected, rtol=1e-6)

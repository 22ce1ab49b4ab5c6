"""Another run's weights go where they are asked for, and nowhere else."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict

from ssljax import encoder, methods
from ssljax.weights import pretrained

KEPT = ("teacher",)  # networks in `target` that are no copy of this one


def start(monkeypatch, name, state, other, take):
  fields = ConfigDict({"name": "vit_ti"})
  trained = SimpleNamespace(
    state=other, judged=other, config=ConfigDict({"encoder": fields})
  )
  monkeypatch.setattr(encoder, "restore", lambda *_: trained)
  group = {"checkpoint": "runs/other", "step": 0, "into": "params", "take": take}
  config = ConfigDict({"pretrained": group, "method": {"name": name}})
  config.encoder = fields
  return pretrained.start(config, state, None)


def other_run(state):
  """A state of other weights and statistics, in the same shapes."""
  changed = jax.tree.map(np.negative, (state.params, state.batch_stats))
  return state.replace(params=changed[0], batch_stats=changed[1])


def assert_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def networks(target, like):
  """The paths in `target` of what is shaped as the tree `like`, however it is named."""
  left, found = [((), target)], []
  while left:
    path, tree = left.pop()
    if path and jax.tree.map(np.shape, tree) == jax.tree.map(np.shape, like):
      found.append(path)
    elif isinstance(tree, dict) and path not in [(name,) for name in KEPT]:
      left += [((*path, name), child) for name, child in tree.items()]
  return found


@pytest.mark.parametrize("name", methods.METHODS)
def test_what_is_taken_reaches_the_target_network_too(name, monkeypatch):
  state = tiny.first_state(tiny.parts(name))
  other = other_run(state)
  started = start(monkeypatch, name, state, other, (".*",))
  assert_equal(started.params, other.params)
  assert_equal(started.batch_stats, other.batch_stats)
  target = dict(started.target)
  buffers = [id(leaf) for leaf in jax.tree.leaves((started.params, target))]
  assert len(set(buffers)) == len(buffers)  # the step gives each back once
  part = state.target.get("params", state.params)  # I-JEPA's is of the encoder alone
  if slow := networks(state.target, {k: state.params[k] for k in part}):
    assert slow == [("params",)]
    assert_equal(target.pop("params"), {k: other.params[k] for k in part})
    assert_equal(target.pop("batch_stats"), other.batch_stats)
  if name == "dinov3":  # what anchors is the encoder that it starts from
    gram = target.pop("gram")
    assert_equal(gram["params"], {"encoder": other.params["encoder"]})
  for key, value in target.items():  # queues, banks, centres, a distilled teacher
    assert_equal(value, state.target[key])


def test_a_target_network_keeps_its_own_of_what_is_not_taken(monkeypatch):
  state = tiny.first_state(tiny.parts("byol"))
  other = other_run(state)
  started = start(monkeypatch, "byol", state, other, ("^encoder/",))
  slow, before = started.target["params"], state.target["params"]
  for after, own in ((started.params, state.params), (slow, before)):
    assert_equal(after["encoder"], other.params["encoder"])
    assert_equal(after["projector"], own["projector"])


def test_a_target_network_gets_weights_beside_an_online_probe(monkeypatch):
  state = tiny.first_state(tiny.parts("moco"))
  probe = {"probe": {"kernel": np.zeros((2, 2))}}
  probed = state.replace(params=state.params | probe)
  other = other_run(state)
  started = start(monkeypatch, "moco", probed, other, ("^encoder/",))
  assert_equal(started.params["probe"], probe["probe"])
  assert_equal(started.target["params"]["encoder"], other.params["encoder"])

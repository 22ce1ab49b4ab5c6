"""The online linear probe: a method that wraps a method."""

import dataclasses

import jax
import jax.numpy as jnp

from ssljax import core
from ssljax.core import Method
from ssljax.losses import classification


@dataclasses.dataclass(frozen=True)
class Probed(Method):
  """Trains a linear classifier on features that carry no gradient, in the same step.

  SimCLR and BYOL report such a head while pre-training. It never touches the method:
  its weights live under params["probe"], which the method is not shown. Examples
  with label -1 do not count.
  """

  method: Method
  num_classes: int

  @property
  def input(self):
    """The method's."""
    return self.method.input

  def init(self, rng, batch):
    """The method's own state; params gains "probe" with zero logits."""
    params, stats, target = self.method.init(rng, batch)
    state = core.TrainState(jnp.zeros((), jnp.int32), None, stats, target, None)
    _, aux = jax.eval_shape(self.method.loss_fn, params, state, batch, rng)
    dim = aux.outputs["features"].shape[-1]
    probe = {
      "kernel": jnp.zeros((dim, self.num_classes)),
      "bias": jnp.zeros(self.num_classes),
    }
    return {**params, "probe": probe}, stats, target

  def loss_fn(self, params, state, batch, rng):
    """The method's loss plus cross-entropy; metrics gain "probe_accuracy"."""
    probe, inner = split(params)
    loss, aux = self.method.loss_fn(inner, state, batch, rng)
    features = jax.lax.stop_gradient(aux.outputs["features"][:, 0])
    logits = features.astype(jnp.float32) @ probe["kernel"] + probe["bias"][None]
    probe_loss = classification.cross_entropy(logits, batch["label"])
    metrics = {
      **aux.metrics,
      "loss": loss,  # the method's alone, as without a probe
      "probe_loss": probe_loss,
      "probe_accuracy": classification.accuracy(logits, batch["label"]),
    }
    return loss + probe_loss, aux._replace(metrics=metrics)

  def after_update(self, params, state, carry):
    """The method's own update, then the probe put back."""
    probe, inner = split(params)
    inner, target = self.method.after_update(inner, state, carry)
    return {**inner, "probe": probe}, target

  def judged(self, state, x):
    """What the method judges."""
    return self.method.judged(without_probe(state), x)

  def embed(self, state, x):
    """The method's features."""
    return self.method.embed(without_probe(state), x)

  def classify(self, state, x):
    """The method's own classes, if any: the probe's are `probe_accuracy`."""
    return self.method.classify(without_probe(state), x)

  def name_classes(self, state, prompts):
    """As the method names them, where it can."""
    named = self.method.name_classes(without_probe(state), prompts)
    return state.replace(target=named.target)

  def show(self, state, batch, rng):
    """The method's pictures."""
    return self.method.show(without_probe(state), batch, rng)


def without_probe(state):
  """The state as the method knows it."""
  params = None if state.params is None else split(state.params)[1]
  return state.replace(params=params)


def split(params):
  """Params with a probe -> the probe's, the method's."""
  return params["probe"], {k: v for k, v in params.items() if k != "probe"}

"""The linear probe: linear classifiers on an encoder that does not move."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from ssljax.core import Aux, Encoded, Method, TrainState
from ssljax.fields import ConfigError
from ssljax.fields.ranges import NotNegative, Positive
from ssljax.losses import classification
from ssljax.nets.readouts import readouts

POOLED = "pooled"  # the features that the method itself is judged by


@dataclasses.dataclass(frozen=True)
class LinearProbe(Method):
  """A grid of linear classifiers, one for each readout and rate, trained in one pass.

  The encoder is seen once, without gradient and with its running statistics; each
  head is trained as if it were alone. `rates` multiply the learning rate: a head's
  loss is scaled by its rate, which under SGD without decay is the same. `choices` name
  readouts: "pooled", those of a transformer (`nets.readouts`), or () for all.
  Kernels start normal with deviation `init_std`. `inputs` is what the base's batches
  held beside pictures, as (name, shape of one, dtype): it is built on zeros of them.
  """

  base: Method  # of the run that is judged
  num_classes: int
  rates: tuple[Positive, ...] = (1.0,)
  choices: tuple[str, ...] = (POOLED,)
  init_std: NotNegative = 0.01  # He et al. 2020
  inputs: tuple[tuple[str, tuple[int, ...], str], ...] = ()
  num_views: ClassVar[int] = 1
  least_batch: ClassVar[int] = 1
  needs_heads: ClassVar[tuple[str, ...]] = ()

  @property
  def input(self):
    """The entry of a batch, [B,V,...], that the base method sees."""
    return self.base.input

  @property
  def by_row(self):
    """The entries of the base's `target` that are split over the devices."""
    return self.base.by_row

  def init(self, rng, batch):
    """Initialises params {choice: {"kernel" [R,D,C], "bias" [R,C]}}, target {"base"}.

    The base is new here: whoever starts a probe puts the run's own weights there.
    """
    rng_base, rng = jax.random.split(rng)
    rows = len(batch["label"])
    zeros = {name: jnp.zeros((rows, *shape), t) for name, shape, t in self.inputs}
    params, stats, target = self.base.init(rng_base, {**zeros, **batch})
    base = {"params": params, "batch_stats": stats, "target": target}
    shapes = jax.eval_shape(self.readouts, base, batch[self.input][:, 0])
    heads = {}
    for key, (name, x) in zip(
      jax.random.split(rng, len(shapes)), shapes.items(), strict=True
    ):
      shape = len(self.rates), x.shape[-1], self.num_classes
      heads[name] = {
        "kernel": self.init_std * jax.random.normal(key, shape),
        "bias": jnp.zeros((shape[0], shape[2])),
      }
    return heads, {}, {"base": base}

  def readouts(self, base, x):
    """Computes the readouts {choice: features [B,D] f32} of one view [B,...]."""
    state = _state(base)
    choices = {POOLED: self.base.embed(state, x)}
    if "tokens" in (layers := self.base.layers(state, x)):
      choices |= readouts(layers["tokens"])
    for name in self.choices:
      if name not in choices:
        raise ConfigError(
          f"method.choices has {name!r}, which this encoder does not give; it gives "
          f"{', '.join(choices)}"
        )
    return {name: choices[name] for name in self.choices or choices}

  def logits(self, params, features):
    """Scores the classes by one view's readouts -> {choice: logits [R,B,C] f32}."""
    return {
      name: jnp.einsum("bd,rdc->rbc", features[name], head["kernel"])
      + head["bias"][:, None]
      for name, head in params.items()
    }

  def encode(self, params, state, batch, rng):
    """Computes every readout of one view by the base, which does not move."""
    readouts = self.readouts(state.target["base"], batch[self.input][:, 0])
    readouts = jax.lax.stop_gradient(readouts)
    x = next(iter(readouts.values()))[:, None]
    return Encoded({"features": x, "projection": x, "readouts": readouts}, {})

  def objective(self, params, rows, state, batch, rng):
    """Sums every head's cross-entropy, times its rate.

    What is logged is the loss of the head that fits best: the sum is that of the worst.
    """
    label = batch["label"]
    logits = self.logits(params, rows["readouts"])
    rates = jnp.asarray(self.rates)
    losses = {
      name: jax.vmap(classification.cross_entropy, (0, None))(x, label)
      for name, x in logits.items()
    }
    best = jnp.min(jnp.stack([x.min() for x in losses.values()]))
    loss = sum(jnp.sum(rates * x) for x in losses.values())
    return loss, Aux(loss=best)

  def embed(self, state, x):
    """Computes the base method's features [B,D] f32 of one view [B,...]."""
    return self.base.embed(_state(state.target["base"]), x)

  def predictions(self, state, x):
    """Classifies a view [B,...] by every head, choice by choice -> i32 [B,heads]."""
    logits = self.logits(state.params, self.readouts(state.target["base"], x))
    return jnp.concatenate([x.argmax(2) for x in logits.values()]).T

  def heads(self, state):
    """Names the columns of `predictions`: "cls4, rate 0.5", ..."""
    return [f"{name}, rate {rate:g}" for name in state.params for rate in self.rates]


def _state(base):
  """Makes the state that the base method is shown, from `target["base"]`."""
  return TrainState(jnp.zeros((), jnp.int32), opt_state=None, **base)

"""The whole idea: a state, a pure method, one step. Read this file first.

Arrays are global: B is the whole batch whatever the number of devices, and the code
reads as if there were one. `sharding.py` lays the arrays over the machine.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import flax
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from ssljax import diagnostics, fields

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


@flax.struct.dataclass
class TrainState:
  """Exactly what a checkpoint holds."""

  step: jax.Array  # i32[], optimizer steps taken; the only clock
  params: Any  # what the optimizer moves, nothing else
  batch_stats: Any  # running statistics of the online network
  target: Any  # what the method remembers: EMA network, queue, bank, centre
  opt_state: Any


class Aux(NamedTuple):
  """What `loss_fn` hands on besides the loss."""

  batch_stats: Any  # the online network's new running statistics
  carry: Any  # what this batch leaves for `after_update`
  outputs: dict[str, jax.Array]  # "features", "projection" [B,V,D]: watched, probed
  metrics: Metrics  # name -> f32[]


@dataclasses.dataclass(frozen=True)
class Method(abc.ABC):
  """Pure functions around one network. Write `loss_fn`; the rest has defaults.

  A method is a frozen dataclass that owns no arrays. Its fields are the recipe's
  numbers; `net` maps its input x, mostly pictures [B,H,W,C], to a dict of outputs:
  "features" [B,D], "projection" [B,D], and what its other heads give ("prediction",
  "logits"). A method whose network is none of encoder and heads types the field
  `net` as the one it has.
  """

  net: nn.Module
  input: ClassVar[str] = "image"  # the entry of a batch, [B,V,...], that `net` sees
  views: ClassVar[int] = 2  # V; 0: any number
  least_batch: ClassVar[int] = 2  # examples without which there is nothing to compare

  def __post_init__(self):
    """Raises ConfigError on a field outside its range."""
    fields.check_instance("method", self)

  def init(self, rng: jax.Array, batch: Batch) -> tuple[Any, Any, Any]:
    """`batch` as after augment -> params, batch_stats, target (`{}`: no memory).

    A slow copy of the network stands in `target` under "params" and "batch_stats".
    """
    params, batch_stats = self.init_net(rng, batch[self.input][:, 0])
    return params, batch_stats, {}

  @abc.abstractmethod
  def loss_fn(
    self, params: Any, state: TrainState, batch: Batch, rng: jax.Array
  ) -> tuple[jax.Array, Aux]:
    """-> loss f32[], Aux. `state.params` is None: only `params` carry gradients."""

  def after_update(self, params: Any, state: TrainState, carry: Any) -> tuple[Any, Any]:
    """-> params, target; once a step, after the optimizer. Default: unchanged.

    `params` are the new ones, `state` is the one before the step.
    """
    return params, state.target

  def judged(self, state: TrainState, x: jax.Array) -> tuple[TrainState, Any]:
    """Whose weights are judged, and what `net` is given of one view [B,...].

    Default: both as they come.
    """
    return state, x

  def embed(self, state: TrainState, x: jax.Array) -> jax.Array:
    """One view [B,...] of `input`, nothing random -> features [B,D] f32, to judge."""
    return self.apply(*self.judged(state, x))["features"].astype(jnp.float32)

  @property
  def needs_labels(self) -> bool:
    """Whether it learns from labels: data without any is refused."""
    return False

  def layers(self, state: TrainState, x: jax.Array) -> dict[str, tuple]:
    """One view [B,...] -> what the judged network shows of its inside, layer by layer.

    A vision transformer gives "tokens" and "attention" (see `nets.vit.ViT`); {} where
    there is nothing to show.
    """
    state, x = self.judged(state, x)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    _, shown = self.net.apply(variables, x, train=False, mutable=["intermediates"])
    shown = flax.traverse_util.flatten_dict(shown.get("intermediates", {}))
    return {path[-1]: layers for path, layers in shown.items()}

  def classify(self, state: TrainState, x: jax.Array) -> jax.Array | None:
    """One view [B,...] -> scores of classes [B,C] f32; None where there are none."""
    return None

  def name_classes(self, state: TrainState, prompts: jax.Array) -> TrainState:
    """Prompts i32 [C,P,T] -> the state that `classify`s by them. Default: unchanged."""
    return state

  def show(self, state: TrainState, batch: Batch, rng: jax.Array) -> Metrics:
    """Pictures that tell how it works: title -> [B,H,W,C], normalised as its views.

    `batch` has one view, nothing in it random. Default: none.
    """
    return {}

  def init_net(self, rng: jax.Array, x: Any) -> tuple[Any, Any]:
    """Input [B,...] -> params, batch_stats (`{}` where the network keeps none)."""
    variables = self.net.init({"params": rng}, x, train=False)
    return variables["params"], variables.get("batch_stats", {})

  def apply(self, state: TrainState, x: Any) -> dict[str, jax.Array]:
    """The network as it is judged: input [B,...] -> outputs, nothing random."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return self.net.apply(variables, x, train=False)

  def output_shapes(self, params: Any, batch_stats: Any, x: Any) -> Any:
    """Shapes of the network's outputs for input [B,...], without computing them."""
    variables = {"params": params, "batch_stats": batch_stats}
    return jax.eval_shape(lambda x: self.net.apply(variables, x, train=False), x)

  def forward(
    self,
    params: Any,
    batch_stats: Any,
    x: Any,
    rng: jax.Array | None = None,
    net: nn.Module | None = None,
  ) -> tuple[dict[str, jax.Array], Any]:
    """The training pass: input [B,...] -> outputs, new batch_stats.

    A target network is the same pass on other weights. `rng` feeds drop path;
    without one the pass is deterministic. `net` replaces `self.net` by a variant
    that shares its parameters.
    """
    outputs, new = (net or self.net).apply(
      {"params": params, "batch_stats": batch_stats},
      x,
      train=True,
      rngs=None if rng is None else {"drop_path": rng},
      mutable=["batch_stats"],
    )
    return outputs, new.get("batch_stats", {})

  def forward_views(
    self,
    params: Any,
    batch_stats: Any,
    x: jax.Array,
    rng: jax.Array | None = None,
    together: bool = True,
  ) -> tuple[dict[str, jax.Array], Any]:
    """The training pass of all views: [B,V,...] -> outputs [B,V,...], batch_stats.

    `together` gives the views one BatchNorm, as SimCLR's code does; without, each
    passes alone and in turn, as in BYOL, SimSiam and Barlow Twins. Views are merged
    by reshape, never concatenated on the batch: an example's stay on its device.
    """
    b, v = x.shape[:2]
    if together:
      merged = x.reshape(b * v, *x.shape[2:])
      outputs, batch_stats = self.forward(params, batch_stats, merged, rng)
      split = jax.tree.map(lambda x: x.reshape(b, v, *x.shape[1:]), outputs)
      return split, batch_stats
    each = []
    for i in range(v):
      own = None if rng is None else jax.random.fold_in(rng, i)
      outputs, batch_stats = self.forward(params, batch_stats, x[:, i], own)
      each.append(outputs)
    return jax.tree.map(lambda *x: jnp.stack(x, 1), *each), batch_stats


def keys(rng: jax.Array, index: jax.Array) -> jax.Array:
  """A key for each example [B], by its index i32 [B] alone.

  What is drawn with it depends neither on the batch around an example nor on devices.
  """
  return jax.vmap(lambda i: jax.random.fold_in(rng, i))(index)


Views = Callable[[jax.Array, Batch], Batch]
Watch = Callable[[Any], Metrics]  # gradients -> what a recipe wants logged of them


def init_state(
  method: Method,
  tx: optax.GradientTransformation,
  views: Views,
  seed: int,
  batch: Batch,
) -> TrainState:
  """The state at step 0; `batch` gives the shapes, its pictures do not matter."""
  rng_views, rng_net = jax.random.split(jax.random.key(seed))
  params, batch_stats, target = method.init(rng_net, views(rng_views, batch))
  step = jnp.zeros((), jnp.int32)
  return TrainState(step, params, batch_stats, target, tx.init(params))


def gradients(
  method: Method, views: Views, seed: int, state: TrainState, batch: Batch
) -> tuple[tuple[jax.Array, Aux], Any, Batch]:
  """(Loss f32[], Aux), the parameters' gradients and the views, of a step's examples.

  Randomness is a function of (seed, step), then of each example's index.
  """
  rng_views, rng_loss = jax.random.split(
    jax.random.fold_in(jax.random.key(seed), state.step)
  )
  batch = views(rng_views, batch)
  grad_fn = jax.value_and_grad(method.loss_fn, has_aux=True)
  rest = state.replace(params=None)  # `loss_fn` cannot read the wrong params
  return *grad_fn(state.params, rest, batch, rng_loss), batch


def train_step(
  method: Method,
  tx: optax.GradientTransformationExtraArgs,
  views: Views,
  seed: int,
  state: TrainState,
  batch: Batch,
  watch: Watch = lambda grads: {},
) -> tuple[TrainState, Metrics]:
  """One optimizer step from examples to new state.

  `batch` as it left the host: "image" [B,H,W,C] uint8, "label" [B], "index" [B].
  """
  (loss, aux), grads, _ = gradients(method, views, seed, state, batch)
  updates, opt_state = tx.update(grads, state.opt_state, state.params, step=state.step)
  params = optax.apply_updates(state.params, updates)
  params, target = method.after_update(params, state, aux.carry)
  metrics = {
    "loss": loss,
    "grad_norm": optax.tree.norm(grads),
    **watch(grads),
    **diagnostics.spread(aux.outputs["projection"]),
    **aux.metrics,
  }
  return (
    TrainState(state.step + 1, params, aux.batch_stats, target, opt_state),
    metrics,
  )

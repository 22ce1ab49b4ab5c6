"""How a network learns: the one interface that every method is written against."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax import fields
from ssljax.core.representation import Representation
from ssljax.core.state import Aux, Batch, Encoded, Inputs, Outputs, TrainState

KNOWN = ("label", "index")  # the entries of a batch that say what examples are


@dataclasses.dataclass(frozen=True)
class Method(Representation):
  """How a network learns, as pure functions. Write `objective`; the rest has defaults.

  A method is a frozen dataclass that owns no arrays; its fields are the recipe's
  numbers. A method whose network is none of encoder and heads types the field `net` as
  the one it has. One that cannot be parted writes `loss_fn` alone, and takes no
  `microbatch`.
  """

  num_views: ClassVar[int] = 2  # V; 0: any number
  least_batch: ClassVar[int] = 2  # examples without which there is nothing to compare
  together: ClassVar[bool] = True  # whether views share a BatchNorm (`forward_views`)
  reads: ClassVar[tuple[str, ...]] = ()  # of views: "local", "mask"
  needs_entries: ClassVar[tuple[str, ...]] = ()  # that the host gives besides `input`
  by_row: ClassVar[tuple[str, ...]] = ()  # entries of `target` split over the devices
  keyed: ClassVar[bool] = True  # whether networks that learn get "keys" to draw by
  needs_heads: ClassVar[tuple[str, ...]] = ("projector",)  # those it cannot do without

  def __post_init__(self):
    """Raises ConfigError on a field outside its range."""
    fields.check_instance("method", self)

  @property
  def needs_labels(self) -> bool:
    """Whether the method learns from labels: data without any is refused."""
    return False

  @property
  def undivided(self) -> str:
    """Says why a batch must be encoded as a whole, and the way out; "": it need not."""
    if type(self).loss_fn is not Method.loss_fn:
      return "it does not part the encoding of examples from their comparison"
    return ""

  def init(self, rng: jax.Array, batch: Batch) -> tuple[Any, Any, Any]:
    """Initialises from an augmented batch -> params, batch_stats, target (`{}`: none).

    A slow copy of the network stands in `target` under "params" and "batch_stats".
    """
    params, batch_stats = self.init_net(rng, self.see(batch[self.input][:, 0]))
    return params, batch_stats, {}

  def encode(
    self, params: Any, state: TrainState, batch: Batch, rng: jax.Array
  ) -> Encoded:
    """Passes examples through the networks -> their rows, each from its example alone.

    What is random is drawn by each example's index. `state.params` is None: only
    `params` carry gradients. Among the rows are "projection" [b,V,D], which the step
    watches, and "features" [b,V,F], which a probe learns from; what is long for an
    example, such as logits of patches, is compared here and handed on as a number.
    Default: all views pass the network, `together` or not.
    """
    views = {self.input: batch[self.input]}
    keys = draws(rng, batch)
    return Encoded(
      *self.forward_views(params, state.batch_stats, views, keys, self.together)
    )

  def objective(
    self,
    params: Any,
    rows: dict[str, jax.Array],
    state: TrainState,
    batch: Batch,
    rng: jax.Array,
  ) -> tuple[jax.Array, Aux]:
    """Compares the rows [B,...] of the global batch -> loss f32[], Aux.

    `batch` has no pictures here, only "label" [B] and "index" [B]; `rng` is that of
    `encode`, of which this draws what that does not.
    """
    raise NotImplementedError(f"{type(self).__name__} writes no objective")

  def loss_fn(
    self, params: Any, state: TrainState, batch: Batch, rng: jax.Array
  ) -> tuple[jax.Array, Aux]:
    """Computes a whole batch's loss f32[] and Aux: `objective` after `encode`."""
    encoded = self.encode(params, state, batch, rng)
    return self.compare(params, encoded, state, batch, rng)

  def compare(
    self,
    params: Any,
    encoded: Encoded,
    state: TrainState,
    batch: Batch,
    rng: jax.Array,
  ) -> tuple[jax.Array, Aux]:
    """Computes the loss f32[] of encoded examples, and Aux with all its fields."""
    facts = {name: batch[name] for name in KNOWN if name in batch}
    loss, aux = self.objective(params, encoded.rows, state, facts, rng)
    carry = {**aux.carry, "target_stats": encoded.target_stats}
    outputs = {**encoded.rows, **aux.outputs}
    batch_stats = encoded.batch_stats
    return loss, aux.replace(carry=carry, outputs=outputs, batch_stats=batch_stats)

  def after_update(
    self, params: Any, state: TrainState, carry: dict[str, Any]
  ) -> tuple[Any, Any]:
    """Returns params and target after an optimizer step. Default: both unchanged.

    `params` are the new ones, `state` is the one before the step; `carry` is the
    objective's, with the "target_stats" that were encoded.
    """
    return params, state.target

  def init_net(self, rng: jax.Array, x: Inputs) -> tuple[Any, Any]:
    """Initialises the network on inputs [B,...] -> params, batch_stats (`{}`: none)."""
    variables = self.net.init({"params": rng}, x, train=False)
    return variables["params"], variables.get("batch_stats", {})

  def output_shapes(self, params: Any, batch_stats: Any, batch: Batch) -> Outputs:
    """Infers the network's output shapes for one view of `batch`, computing nothing."""
    variables = {"params": params, "batch_stats": batch_stats}
    x = self.see(batch[self.input][:, 0])
    return jax.eval_shape(lambda x: self.net.apply(variables, x, train=False), x)

  def forward(
    self,
    params: Any,
    batch_stats: Any,
    x: Inputs,
    keys: jax.Array | None = None,
    net: nn.Module | None = None,
  ) -> tuple[Outputs, Any]:
    """Runs the network in training mode: inputs [B,...] -> outputs [B,...], new stats.

    A target network is the same pass on other weights. `keys` [B], one an example,
    feed drop path; without them the pass is deterministic. `net` replaces `self.net`
    by a variant that shares its parameters.
    """
    outputs, new = (net or self.net).apply(
      {"params": params, "batch_stats": batch_stats},
      x if keys is None else {**x, "keys": keys},
      train=True,
      mutable=["batch_stats"],
    )
    return outputs, new.get("batch_stats", {})

  def forward_views(
    self,
    params: Any,
    batch_stats: Any,
    x: Inputs,
    keys: jax.Array | None = None,
    together: bool = True,
    net: nn.Module | None = None,
  ) -> tuple[Outputs, Any]:
    """Runs `forward` on all views: inputs [B,V,...] -> outputs [B,V,...], batch_stats.

    `together` gives the views one BatchNorm; without, each passes alone and in turn, as
    its statistics do: papers part over it, and their codes say which. Views are merged
    by reshape, never concatenated on the batch: an example's stay on its device.
    """
    b, v = jax.tree.leaves(x)[0].shape[:2]
    if keys is not None:
      x = {**x, "keys": jax.vmap(lambda key: jax.random.split(key, v))(keys)}
    if together:
      merged = jax.tree.map(lambda x: x.reshape(b * v, *x.shape[2:]), x)
      outputs, batch_stats = self.forward(params, batch_stats, merged, net=net)
      split = jax.tree.map(lambda x: x.reshape(b, v, *x.shape[1:]), outputs)
      return split, batch_stats
    per_view = []
    for i in range(v):
      view = jax.tree.map(lambda x: x[:, i], x)  # noqa: B023
      outputs, batch_stats = self.forward(params, batch_stats, view, net=net)
      per_view.append(outputs)
    return jax.tree.map(lambda *x: jnp.stack(x, 1), *per_view), batch_stats

  def target_views(
    self, state: TrainState, x: Inputs, net: nn.Module | None = None
  ) -> tuple[Outputs, Any]:
    """Passes all views through the slow copy: `forward_views` without gradient.

    `state.target` holds the copy's "params" and "batch_stats".
    """
    params, batch_stats = state.target["params"], state.target["batch_stats"]
    outputs, batch_stats = self.forward_views(
      params, batch_stats, x, together=self.together, net=net
    )
    return jax.lax.stop_gradient(outputs), batch_stats


def keys(rng: jax.Array, index: jax.Array) -> jax.Array:
  """Derives a key for each example [B] from `rng` and its index i32 [B] alone.

  What is drawn with it depends neither on the batch around an example nor on devices.
  """
  return jax.vmap(lambda i: jax.random.fold_in(rng, i))(index)


def draws(rng: jax.Array | None, batch: Batch) -> jax.Array | None:
  """Returns the keys [B] by which networks draw for examples; None: they do not."""
  return None if rng is None or "index" not in batch else keys(rng, batch["index"])

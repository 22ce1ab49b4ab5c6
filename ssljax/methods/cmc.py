"""CMC (Tian et al. 2019): what an example's views have in common."""

import dataclasses
import functools
import itertools
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ssljax import core, memory
from ssljax.core import Aux, Encoded, Method
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, Number, OneOf, Positive, Share
from ssljax.losses import contrastive
from ssljax.nets import MultiView

GRAPHS = ("core", "full")


@dataclasses.dataclass(frozen=True)
class CMC(Method):
  """CMC, section 3: a picture's channels are its views, each with a network and a bank.

  `channels` says how many each view has, in their order: (1, 2) of Lab are L and ab.
  View i is told apart in the bank of view j: with `graph="core"` view 0 and each other
  one both ways, with "full" any two (section 3.3). As in the official code the loss
  is the sum over the ways and all of them share their noise. It is noise-contrastive,
  with a constant Z a way estimated once, on the first batch, and kept in `target`;
  with `softmax` it is the cross-entropy over the same rows.
  """

  net: MultiView
  channels: tuple[Count, ...]
  temperature: Positive
  bank_momentum: Share
  negatives: Number
  num_examples: int
  graph: Annotated[str, OneOf(GRAPHS)] = "core"
  softmax: bool = False
  num_views: ClassVar[int] = 1
  least_batch: ClassVar[int] = 1
  keyed: ClassVar[bool] = False

  def __post_init__(self):
    """Raises ConfigError on a lone view."""
    super().__post_init__()
    if len(self.channels) < 2:
      raise ConfigError(
        f"method.channels={self.channels} is one view and CMC takes two or more; try "
        "(1, 2)"
      )

  @property
  def ways(self) -> list[tuple[int, int]]:
    """Lists the pairs of a view and another view, in whose bank it is told apart."""
    pairs = itertools.combinations(range(len(self.channels)), 2)
    used_pairs = [(i, j) for i, j in pairs if i == 0 or self.graph == "full"]
    return [way for i, j in used_pairs for way in ((i, j), (j, i))]

  def split(self, image):
    """Splits pictures [B,H,W,C] by channels into the networks' views [B,H,W,C_v]."""
    if sum(self.channels) != image.shape[-1]:
      raise ConfigError(
        f"method.channels={self.channels} are {sum(self.channels)} in all and the "
        f"pictures have {image.shape[-1]} channels"
      )
    return jnp.split(image, np.cumsum(self.channels)[:-1], axis=-1)

  def init(self, rng, batch):
    """Initialises params, batch_stats, target "memory" [N,V,D], and "z" [ways] if NCE.

    Every device holds all banks: of a split one, whose rows are sampled by the thousand
    for each example, all of these would travel.
    """
    rng_net, rng_bank = jax.random.split(rng)
    params, stats, _ = super().init(rng_net, batch)
    _, count, dim = self.output_shapes(params, stats, batch)["projection"].shape
    banks = [
      memory.init_bank(key, self.num_examples, dim)
      for key in jax.random.split(rng_bank, count)
    ]
    target = {"memory": jnp.stack(banks, 1)}
    if not self.softmax:
      target["z"] = jnp.zeros(len(self.ways))
    return params, stats, target

  def encode(self, params, state, batch, rng):
    """Encodes each network's channels -> features and unit embeddings [B,V,...]."""
    x = self.see(batch["image"][:, 0])
    online, stats = self.forward(params, state.batch_stats, x)
    unit = contrastive.unit(online["projection"])
    return Encoded({"features": online["features"], "projection": unit}, stats)

  def objective(self, params, rows, state, batch, rng):
    """Sums the loss over `ways` of embeddings [B,V,D], by batch["index"] [B]."""
    z = rows["projection"]
    bank_rows = self.draw_rows(state.target["memory"], batch["index"], rng)
    carry, metrics = {"index": batch["index"], "embedding": z}, {}
    if self.softmax:
      loss = sum(
        contrastive.sampled_softmax(z[:, i], bank_rows[:, :, j], self.temperature)
        for i, j in self.ways
      )
    else:
      numbers = self.temperature, self.num_examples
      first = [
        contrastive.nce_constant(z[:, i], bank_rows[:, :, j], *numbers)
        for i, j in self.ways
      ]
      first = jax.lax.stop_gradient(jnp.stack(first))
      constants = jnp.where(state.step == 0, first, state.target["z"])
      loss = sum(
        contrastive.nce(z[:, i], bank_rows[:, :, j], *numbers, constants[n])
        for n, (i, j) in enumerate(self.ways)
      )
      carry["z"], metrics["nce_z"] = constants, constants.mean()
    return loss, Aux(jax.lax.stop_gradient(carry), metrics)

  def draw_rows(self, banks, index, rng):
    """Gathers each example's row of banks [N,V,D], then negatives: [B,1+K,V,D]."""
    keys = core.keys(rng, index)
    draw = functools.partial(
      jax.random.randint, shape=(self.negatives,), minval=0, maxval=self.num_examples
    )
    return banks[jnp.concatenate([index[:, None], jax.vmap(draw)(keys)], 1)]

  def after_update(self, params, state, carry):
    """Moves the batch's rows of every bank towards their views' embeddings."""
    banks = memory.bank_write(
      state.target["memory"], carry["index"], carry["embedding"], self.bank_momentum
    )
    target = {"memory": banks}
    if not self.softmax:
      target["z"] = carry["z"]
    return params, target

  def see(self, image):
    """Splits pictures [B,H,W,C] by network: {"view0": [B,H,W,C_0], ...}."""
    return {f"view{i}": x for i, x in enumerate(self.split(image))}

  def embed(self, state, image):
    """Computes the features of all views, side by side: [B,V D'] f32."""
    return super().embed(state, image).reshape(len(image), -1)

"""InstDisc (Wu et al. 2018): every picture is a class of its own, kept in a bank."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from ssljax import memory
from ssljax.core import Aux, Method
from ssljax.losses import contrastive
from ssljax.ranges import NotNegative, Number, Positive, Share


@dataclasses.dataclass(frozen=True)
class InstDisc(Method):
  """Sections 3.1 to 3.3. `negatives=0` is the full softmax over all N pictures.

  With `negatives` > 0 the loss is noise-contrastive, its constant Z estimated once,
  on the first batch, and kept in `target`, as the official code does. `proximal` is
  the weight of the paper's regularisation towards the bank, which that code lacks.
  """

  temperature: Positive
  bank_momentum: Share
  negatives: Number
  num_examples: int
  proximal: NotNegative = 0.0
  views: ClassVar[int] = 1
  least_batch: ClassVar[int] = 1

  def init(self, rng, batch):
    """-> params, batch_stats, target with "bank" [N,D] and, under NCE, "z" f32[]."""
    rng_net, rng_bank = jax.random.split(rng)
    params, stats, _ = super().init(rng_net, batch)
    row = self.output_shapes(params, stats, batch["image"][:, 0])["projection"]
    target = {"bank": memory.init_bank(rng_bank, self.num_examples, row.shape[-1])}
    if self.negatives:
      target["z"] = jnp.zeros(())
    return params, stats, target

  def loss_fn(self, params, state, batch, rng):
    """Eq. 2 or eq. 7 for view 0 of batch["image"], by batch["index"] [B]."""
    online, stats = self.forward(params, state.batch_stats, batch["image"][:, 0])
    embedding = contrastive.unit(online["projection"])
    bank, index = state.target["bank"], batch["index"]
    carry, metrics = {"index": index, "embedding": embedding}, {}
    if self.negatives:
      shape = (index.shape[0], self.negatives)
      noise = jax.random.randint(rng, shape, 0, self.num_examples)
      rows = bank[jnp.concatenate([index[:, None], noise], 1)]
      first = contrastive.nce_constant(
        embedding, rows, self.temperature, self.num_examples
      )
      z = jnp.where(state.step == 0, jax.lax.stop_gradient(first), state.target["z"])
      loss = contrastive.nce(embedding, rows, self.temperature, self.num_examples, z)
      carry["z"] = metrics["nce_z"] = z
    else:
      loss = contrastive.instance_softmax(
        embedding, bank, index, self.temperature, self.num_examples
      )
    if self.proximal:
      loss += self.proximal * contrastive.proximal(embedding, bank[index])
    outputs = {
      "features": online["features"][:, None],
      "projection": jnp.stack([embedding, bank[index]], 1),
    }
    return loss, Aux(stats, jax.lax.stop_gradient(carry), outputs, metrics)

  def after_update(self, params, state, carry):
    """The batch's rows of the bank move towards its embeddings."""
    target = {
      "bank": memory.bank_write(
        state.target["bank"], carry["index"], carry["embedding"], self.bank_momentum
      )
    }
    if self.negatives:
      target["z"] = carry["z"]
    return params, target

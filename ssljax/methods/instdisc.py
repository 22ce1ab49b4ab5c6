"""InstDisc (Wu et al. 2018): every picture is a class of its own, kept in a bank."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from ssljax import memory
from ssljax.core import Aux, Encoded, Method
from ssljax.fields.ranges import NotNegative, Number, Positive, Share
from ssljax.losses import contrastive


@dataclasses.dataclass(frozen=True)
class InstDisc(Method):
  """InstDisc, sections 3.1 to 3.3. `negatives=0` is the softmax over all N pictures.

  With `negatives` > 0 the loss is noise-contrastive, its constant Z estimated once,
  on the first batch, and kept in `target`, as the official code does. `proximal` is
  the weight of the paper's regularisation towards the bank, which that code lacks.
  """

  temperature: Positive
  bank_momentum: Share
  negatives: Number
  num_examples: int
  proximal: NotNegative = 0.0
  num_views: ClassVar[int] = 1
  least_batch: ClassVar[int] = 1
  keyed: ClassVar[bool] = False
  by_row: ClassVar[tuple[str, ...]] = ("bank",)

  def init(self, rng, batch):
    """Initialises params, batch_stats, target "bank" [N,D], and "z" f32[] if NCE."""
    rng_net, rng_bank = jax.random.split(rng)
    params, stats, _ = super().init(rng_net, batch)
    row = self.output_shapes(params, stats, batch)["projection"]
    target = {"bank": memory.init_bank(rng_bank, self.num_examples, row.shape[-1])}
    if self.negatives:
      target["z"] = jnp.zeros(())
    return params, stats, target

  def encode(self, params, state, batch, rng):
    """Encodes view 0 -> features [B,1,D'] and unit embeddings [B,1,D]."""
    x = {"image": batch["image"][:, 0]}
    online, stats = self.forward(params, state.batch_stats, x)
    embedding = contrastive.unit(online["projection"])[:, None]
    rows = {"features": online["features"][:, None], "projection": embedding}
    return Encoded(rows, stats)

  def objective(self, params, rows, state, batch, rng):
    """Computes eq. 2 or eq. 7 over the embeddings, by batch["index"] [B]."""
    embedding = rows["projection"][:, 0]
    bank, index = state.target["bank"], batch["index"]
    carry, metrics = {"index": index, "embedding": embedding}, {}
    if self.negatives:
      shape = (index.shape[0], self.negatives)
      noise = jax.random.randint(rng, shape, 0, self.num_examples)
      bank_rows = bank[jnp.concatenate([index[:, None], noise], 1)]
      numbers = self.temperature, self.num_examples
      first = contrastive.nce_constant(embedding, bank_rows, *numbers)
      z = jnp.where(state.step == 0, jax.lax.stop_gradient(first), state.target["z"])
      loss = contrastive.nce(embedding, bank_rows, *numbers, z)
      carry["z"] = metrics["nce_z"] = z
    else:
      loss = contrastive.instance_softmax(
        embedding, bank, index, self.temperature, self.num_examples
      )
    if self.proximal:
      loss += self.proximal * contrastive.proximal(embedding, bank[index])
    outputs = {"projection": jnp.stack([embedding, bank[index]], 1)}
    return loss, Aux(jax.lax.stop_gradient(carry), metrics, outputs)

  def after_update(self, params, state, carry):
    """Moves the batch's rows of the bank towards its embeddings."""
    target = {
      "bank": memory.bank_write(
        state.target["bank"], carry["index"], carry["embedding"], self.bank_momentum
      )
    }
    if self.negatives:
      target["z"] = carry["z"]
    return params, target

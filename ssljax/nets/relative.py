"""A bias of attention by where a key lies from a query, which all blocks share."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from ssljax.nets import positions


class RelativeBias(nn.Module):
  """BEiT's bias of relative positions (Bao et al. 2022), shared as in SimMIM's code.

  Two patches of a grid of `side` x `side` are told apart by rows and columns between
  them, a number a head for each; three more are for what a token in front of patches
  (class token, registers) gives, what it is given by patches, and what among such.
  All start at 0. Of another grid the numbers between patches are resized as `resize`
  says, one of `positions.RESIZES`, as a map of its own.
  """

  heads: int
  side: int
  first: int  # tokens in front of patches
  resize: str

  @nn.compact
  def __call__(
    self, height: int, width: int, keep: jax.Array | None = None
  ) -> jax.Array:
    """Makes the biases f32 [1 or B,heads,T,T] of a grid's tokens, those of `keep`.

    `keep` i32 [B,n] are the patches that are there.
    """
    extent = 2 * self.side - 1
    shape = (extent**2 + 3, self.heads)
    table = self.param("table", nn.initializers.zeros, shape)
    between, others = table[: extent**2], table[extent**2 :]
    if (height, width) != (self.side, self.side):
      between = between.reshape(extent, extent, -1)
      sides = 2 * height - 1, 2 * width - 1
      between = positions.resize_positions(between, *sides, self.resize)
    table = jnp.concatenate([between.reshape(-1, self.heads), others])
    index = np.full((self.first + height * width,) * 2, len(table) - 1)
    index[: self.first, self.first :] = len(table) - 3
    index[self.first :, : self.first] = len(table) - 2
    index[self.first :, self.first :] = positions.relative_index(height, width)
    bias = table[index].transpose(2, 0, 1)[None]
    if keep is None:
      return bias
    first = jnp.broadcast_to(jnp.arange(self.first), (len(keep), self.first))
    seen = jnp.concatenate([first.astype(keep.dtype), keep + self.first], axis=1)
    return jax.vmap(lambda i: bias[0][:, i][:, :, i])(seen)

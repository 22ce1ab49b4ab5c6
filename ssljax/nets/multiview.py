"""One network for each view of an example."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.nets.heads import Network


class MultiView(nn.Module):
  """A network a view, built alike with parameters of its own (Tian et al. 2019).

  `encoder` and `projector` are what each is a copy of; their parameters are "view0",
  "view1", and so on.
  """

  encoder: nn.Module
  projector: nn.Module | None = None

  @nn.compact
  def __call__(self, views: Sequence[jax.Array], train: bool) -> dict[str, jax.Array]:
    """Views [B,H,W,C_v] -> "features" [B,V,D'], "projection" [B,V,D] float32."""
    model = Network(self.encoder, self.projector, parent=None)
    each = [model.copy(name=f"view{i}")(x, train) for i, x in enumerate(views)]
    return jax.tree.map(lambda *x: jnp.stack(x, 1), *each)

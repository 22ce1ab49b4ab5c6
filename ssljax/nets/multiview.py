"""One network for each view of an example."""

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
  def __call__(self, x: dict[str, jax.Array], train: bool) -> dict[str, jax.Array]:
    """Encodes "view0" [B,H,W,C_0], ... -> "features" [B,V,D'], "projection" [B,V,D]."""
    model = Network(self.encoder, self.projector, parent=None)
    outputs = [
      model.copy(name=name)({"image": view}, train) for name, view in x.items()
    ]
    return jax.tree.map(lambda *x: jnp.stack(x, 1), *outputs)

"""DINOv2 (Oquab et al. 2023): iBOT with even assignments and spread class tokens."""

import dataclasses
from typing import Annotated

import jax.numpy as jnp

from ssljax.core import Aux
from ssljax.fields.ranges import NotNegative, Number, Range
from ssljax.losses import clustering, spread
from ssljax.methods.dino import compare_crops, prototypes, unit
from ssljax.methods.ibot import IBOT


@dataclasses.dataclass(frozen=True)
class DINOv2(IBOT):
  """DINOv2, section 4: iBOT's two losses and KoLeo's of the encoder's class tokens.

  With `sinkhorn` the teacher's assignments are so many iterations of Sinkhorn and
  Knopp's: of both crops of all pictures together, and of all hidden patches; there is
  nothing to follow then, and centres' momenta are unused. 0: centres, that of patches
  the mean of the hidden ones. Each global crop has its KoLeo, among `koleo_group`
  pictures (0: the batch; in the official code those of a GPU), and the two are summed.
  """

  koleo_weight: NotNegative
  koleo_group: Annotated[int, Range(2, and_zero=True)]
  sinkhorn: Number  # iterations; 0: centres

  def init(self, rng, batch):
    """Initialises params, batch_stats, target, with centres where they are used."""
    params, stats, target = super().init(rng, batch)
    if self.sinkhorn:
      del target["centre"], target["patch_centre"]
    return params, stats, target

  def encode(self, params, state, batch, rng):
    """Encodes class tokens as iBOT; patches [B,2,N,D] are rows if evenly assigned."""
    student, teacher, mask, encoded = self.crops(params, state, batch, rng)
    patches, slow_patches = self.patches(student), self.patches(teacher)
    if self.sinkhorn:
      rows = {"patches": patches, "slow_patches": slow_patches, "mask": mask}
    else:
      centre = state.target["patch_centre"]
      hidden = slow_patches.astype(jnp.float32) * mask[..., None].astype(jnp.float32)
      rows = {
        "patch_loss": self.hidden(params, state, patches, slow_patches, mask, centre),
        "patch_sum": hidden.sum((1, 2)),
      }
    count = mask.sum((1, 2), dtype=jnp.float32)
    return encoded._replace(rows={**encoded.rows, **rows, "count": count})

  def objective(self, params, rows, state, batch, rng):
    """Computes the losses of class tokens, of hidden patches, and KoLeo's, weighted."""
    head, step, means = self.net.prototypes, state.step, {}
    temperature = self.teacher_temperature(step)
    target, slow_params = state.target, state.target["params"]
    slow_patches = self.patch_prototypes(slow_params)
    if self.sinkhorn:
      teacher = unit(head, rows["teacher"])
      own = prototypes(head, slow_params["prototypes"])
      centre = self.even(teacher, own, temperature)
      target = {**target, "centre": centre}
      patches = rows["slow_patches"]
      shift = self.even(
        patches, slow_patches, self.patch_temperature(step), rows["mask"]
      )
      patch_rows = rows["patches"], patches, rows["mask"], shift
      patch_loss = self.hidden(params, state, *patch_rows).mean()
    else:
      patch_loss = rows["patch_loss"].mean()
      mean = rows["patch_sum"].sum(0) / jnp.maximum(rows["count"].sum(), 1)
      means["patch_centre"] = clustering.mean_scores(mean[None, None], slow_patches)
    class_loss, assigned, mean = compare_crops(
      head, params, target, rows, self.student_temperature, temperature
    )
    if not self.sinkhorn:
      means["centre"] = mean
    crops = rows["features"].swapaxes(0, 1)
    koleo = sum(spread.koleo(crop, self.koleo_group) for crop in crops)
    metrics = {
      "tau": self.tau(step),
      "teacher_temperature": temperature,
      "patch_temperature": self.patch_temperature(step),
      "teacher_entropy": clustering.entropy(assigned),
      "teacher_information": clustering.information(assigned),
      "class_loss": class_loss,
      "patch_loss": patch_loss,
      "koleo": koleo,
      "hidden": rows["hidden"].mean(),  # share of the patches
    }
    loss = self.class_weight * class_loss + self.patch_weight(step) * patch_loss
    return loss + self.koleo_weight * koleo, Aux(means, metrics)

  def even(self, rows, own, temperature, counts=None):
    """Shifts scores of rows [B,...,D] with prototypes so that these are used evenly.

    -> [1,K]. Rows of which `counts` [B,...] is 0 or False take no part.
    """
    rows = rows.reshape(-1, 1, rows.shape[-1])
    if counts is not None:
      counts = counts.reshape(-1, 1).astype(jnp.float32)
    return clustering.sinkhorn(
      rows, own, temperature, iterations=self.sinkhorn, counts=counts
    )

"""Has the representation collapsed? Numbers from the step, a sentence for people."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ssljax import paths
from ssljax.losses.contrastive import unit


def spread(z: jax.Array) -> dict[str, jax.Array]:
  """Measures how embeddings z [B,V,D] fill the sphere -> f32 scalars, no gradient.

  "embedding_std": root of the summed variances of the unit vectors; 1 where they
  have no common direction, 0 where all agree. SimSiam's std times sqrt(D), almost.
  "effective_rank": (tr C)^2 / |C|_F^2 of their covariance C [D,D], the participation
  ratio: 1 on a line, D where all directions vary alike, 0 where nothing varies.
  "negative_similarity": mean cosine of views of different examples, exact.
  "positive_similarity": of different views of one example; absent where V = 1.
  """
  if z.ndim != 3:
    raise ValueError(f'Aux.outputs["projection"] is {list(z.shape)}, not [B,V,D]')
  batch, views, dim = z.shape
  count = batch * views
  z = unit(jax.lax.stop_gradient(z))
  rows = z.reshape(count, dim)
  centred = rows - rows.mean(0)[None]
  variance = jnp.square(centred).sum() / count
  covariance = centred.T @ centred / count
  # |sum of vectors|^2 is the sum of all their products; likewise within an example.
  total = jnp.square(rows.sum(0)).sum()
  within = jnp.square(z.sum(1)).sum()
  pairs = float(max(count**2 - batch * views**2, 1))  # may be more than an i32
  metrics = {
    "embedding_std": jnp.sqrt(variance),
    "effective_rank": variance**2 / jnp.maximum(jnp.square(covariance).sum(), 1e-12),
    "negative_similarity": (total - within) / pairs,
  }
  if views > 1:
    squares = jnp.square(z).sum()
    metrics["positive_similarity"] = (within - squares) / (count * (views - 1))
  return metrics


def watch(patterns: tuple[str, ...]) -> Callable[[Any], dict[str, jax.Array]]:
  """Makes a function of the gradients: for each path the norm of those that have it.

  MoCo v3 (Chen et al. 2021, section 4.1) sees a ViT's instability in its first layer.
  """

  def norms(grads):
    paths.check("watch", patterns, grads)
    leaves = jax.tree_util.tree_leaves_with_path(grads)
    return {
      f"grad_norm/{pattern.strip('^/')}": optax.tree.norm(
        [leaf for at, leaf in leaves if paths.matches((pattern,), at, leaf)]
      )
      for pattern in patterns
    }

  return norms


def collapse(metrics: dict[str, float]) -> str | None:
  """Says in a plain sentence where metrics, of `spread` and others, tell of collapse.

  "teacher_entropy", "teacher_information" (DINO) and "assignment_entropy" (SwAV) are
  shares of their maximum, as in losses.clustering. A teacher may be certain without
  harm: it has collapsed where its assignment does not depend on the picture.
  Metrics that are absent are not judged.
  """
  std = metrics.get("embedding_std", 1.0)
  rank = metrics.get("effective_rank", 2.0)
  entropy = metrics.get("teacher_entropy", 0.5)
  information = metrics.get("teacher_information", 1.0)
  even = metrics.get("assignment_entropy", 0.5)
  if std < 0.05:
    return (
      f"Collapsed: all pictures have nearly one embedding (embedding_std {std:.3f}, "
      "1 is full spread)."
    )
  if rank < 1.5:
    return (
      f"Collapsed: embeddings vary along a single line (effective_rank {rank:.2f})."
    )
  if information < 0.01:
    assignment = "even assignment" if entropy > 0.5 else "few prototypes"
    return (
      f"Collapsed: the teacher gives every picture the same {assignment} "
      f"(teacher_information {information:.4f}, teacher_entropy {entropy:.4f} of 1)."
    )
  if even > 0.999:
    return (
      "Collapsed: every picture belongs to all prototypes alike "
      f"(assignment_entropy {even:.4f} of 1)."
    )
  return None

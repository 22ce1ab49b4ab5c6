"""How far away each pixel is, from the frozen features of patches."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssljax import fields
from ssljax.evals import dense
from ssljax.evals.dense import Maps
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, NotNegative, Positive, Seed

UPSAMPLE = 4  # of the map, before depths are told
MIN_DEPTH = 1e-3
LEAST = 0.1  # added to each bin's score
EPSILON = 1e-3
MEAN_SHARE = 0.15  # of the squared mean in the loss
MEAN_FIRST = 100  # steps in which the loss is that of the mean alone
WARM_UP = 0.0375  # of the steps

Predict = Callable[[jax.Array], jax.Array]  # [B,h,w,D] -> depths f32 [B,S,S]


@fields.checked("depth")
def predictor(
  maps: Maps,
  *,
  min_depth: Positive = MIN_DEPTH,
  max_depth: NotNegative = 0.0,
  bins: Count = 256,
  steps: Count = 4000,
  batch: Count = 16,
  learning_rate: Positive = 1e-3,
  weight_decay: NotNegative = 0.01,
  seed: Seed = 0,
) -> Predict:
  """Trains DINOv2's linear depth head (Oquab et al. 2023, section 7.4) -> predict.

  A 1x1 convolution of the map, upsampled four times, scores `bins` depths spread evenly
  from `min_depth` to `max_depth`; scores go through ReLU, get 0.1 more and are divided
  by their sum (AdaBins' linear normalisation; Bhat et al. 2021), and the depth is their
  mean. It is resized to the truth, and the loss is scale invariant (Eigen et al. 2014)
  in logarithms, with 0.15 of the squared mean, over pixels whose depth is known. Two
  things are not its code's: features are standardised, and there is no gradient loss.
  """
  if not min_depth < max_depth:
    raise ConfigError(
      f"depth.max_depth={max_depth} must be more than depth.min_depth={min_depth}"
    )
  mean, std = dense.moments(maps.train_x)
  centres = np.linspace(min_depth, max_depth, bins, dtype=np.float32)
  width = maps.train_x.shape[-1]
  bound = width**-0.5
  params = {
    "kernel": jax.random.uniform(
      jax.random.key(seed), (width, bins), minval=-bound, maxval=bound
    ),
    "bias": jnp.zeros(bins),
  }
  decay = optax.linear_schedule(learning_rate, 0.0, steps)

  def schedule(step):
    return decay(step) * jnp.minimum(1.0, (step + 1) / max(1, int(WARM_UP * steps)))

  def depths(params, patches, side):
    patches = (patches - mean[None, None, None]) / std[None, None, None]
    x = jnp.einsum("bhwd,dk->bhwk", patches, params["kernel"], precision="highest")
    x = dense.resize(x + params["bias"][None, None, None], UPSAMPLE * patches.shape[1])
    return dense.resize(of_bins(x, centres)[..., None], side)[..., 0]

  def loss(params, rows, step):
    patches, truth = rows
    known = is_known(truth, min_depth, max_depth)
    return scale_invariant(depths(params, patches, truth.shape[1]), truth, known, step)

  params = dense.train(
    loss,
    params,
    (maps.train_x, maps.train_y),
    steps=steps,
    batch=batch,
    schedule=schedule,
    weight_decay=weight_decay,
    seed=seed,
  )
  side = maps.test_y.shape[1]
  return jax.jit(lambda x: jnp.clip(depths(params, x, side), min_depth, max_depth))


def of_bins(x: jax.Array, centres: jax.Array) -> jax.Array:
  """Computes depths [...] from the scores [...,K] of bins with these centres [K]."""
  shares = jax.nn.relu(x) + LEAST
  shares = shares / shares.sum(-1, keepdims=True)
  return jnp.matmul(shares, centres, precision="highest")


def scale_invariant(
  predicted: jax.Array, truth: jax.Array, known: jax.Array, step: jax.Array
) -> jax.Array:
  """Computes sqrt(var(g) + 0.15 mean(g)^2), g = log predicted - log truth, if known.

  For a hundred steps of the mean alone, as DINOv2's code warms up.
  """
  known = known.astype(jnp.float32)
  count = jnp.maximum(known.sum(), 2.0)
  g = jnp.log(predicted + EPSILON) - jnp.log(jnp.maximum(truth, 0.0) + EPSILON)
  mean = jnp.sum(known * g) / count
  variance = jnp.sum(known * (g - mean[None, None, None]) ** 2) / (count - 1)
  square = MEAN_SHARE * mean**2 + jnp.where(step < MEAN_FIRST, 0.0, variance)
  return jnp.sqrt(square + 1e-12)  # whose gradient is finite


def is_known(truth, min_depth: float, max_depth: float):
  """Marks the pixels that count: those with a depth in between."""
  return (truth > min_depth) & (truth <= max_depth)


def errors(
  predict: Predict, x: np.ndarray, truths: np.ndarray, range_of: tuple[float, float]
) -> dict[str, float]:
  """Measures depths of pictures [M,h,w,D] -> {"rmse", "abs_rel", "delta1"}.

  Each of a picture's pixels of known depth, then the mean over pictures, as the
  Monocular Depth Estimation Toolbox has it; `delta1` is in %.
  """
  rows = []
  for places, predicted in dense.in_batches(predict, x):
    for truth, guess in zip(truths[places], predicted, strict=True):
      known = is_known(truth, *range_of)
      if known.any():
        rows.append(of_picture(guess[known], truth[known]))
  if not rows:
    raise ConfigError(
      f"no pixel of the evaluation split has a depth between {range_of[0]:g} and "
      f"{range_of[1]:g}; set --config.depth.scale or --config.depth.max_depth"
    )
  return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def of_picture(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
  """Measures depths [P] against true ones [P].

  "rmse" in their unit, "abs_rel" the mean |difference| in shares of the truth, "delta1"
  the % of pixels whose ratio to the truth, or its inverse, is below 1.25.
  """
  predicted, truth = predicted.astype(np.float64), truth.astype(np.float64)
  ratio = np.maximum(predicted / truth, truth / predicted)
  return {
    "rmse": float(np.sqrt(np.mean((predicted - truth) ** 2))),
    "abs_rel": float(np.mean(np.abs(predicted - truth) / truth)),
    "delta1": 100 * float(np.mean(ratio < 1.25)),
  }

"""Attention, NT-Xent and views alone, for the part `speed` of benchmarks/gpu.py."""

import statistics
import time

import gpu_recipes
import jax
import jax.numpy as jnp

from ssljax.losses import contrastive, pairwise
from ssljax.nets.attention import attend
from ssljax.train import peaks

PRECISIONS = (
  "TF32_TF32_F32",
  "TF32_TF32_F32_X3",
  "BF16_BF16_F32_X3",
  "BF16_BF16_F32_X6",
)


class Alone:
  """Programs of a case of CASES, compiled."""

  def __init__(self, case, quick):
    self.quick, self.failed, self.programs = quick, {}, {}
    make, self.tell = CASES[case]
    for name, program, arguments in make(quick):
      try:
        compiled = jax.jit(program).lower(*arguments).compile()
        self.programs[name] = compiled, arguments
      except Exception as error:  # one may fail where the other does not
        self.failed[name] = f"{type(error).__name__}: {error}"[:300]

  def times(self):
    """Times each -> milliseconds, the median of five rounds, and what `tell` says."""
    figures, first = {}, None
    for name, (program, arguments) in self.programs.items():
      out = jax.block_until_ready(program(*arguments))
      first = out if first is None else first
      rounds, count = [], 1 if self.quick else 4
      for _ in range(5):
        start = time.perf_counter()
        for _ in range(count):
          again = program(*arguments)
        jax.block_until_ready(again)
        rounds.append((time.perf_counter() - start) / count)
      took = statistics.median(rounds)
      figures[name] = {"ms": round(1e3 * took, 4)}
      figures[name] |= self.tell(took, out, first, arguments)
    return {**figures, **self.failed}


def attention(quick):
  """Attention by XLA, by cuDNN and ours by either: gradients."""
  for tokens, rows in ((37, 4096), (50, 4096), (197, 512))[: 1 if quick else 3]:
    shape = (2 if quick else rows), tokens, 6, 64
    arrays = [jax.random.normal(jax.random.key(i), shape, jnp.bfloat16) for i in (0, 1)]
    for how, by in {
      "xla": (jax.nn.dot_product_attention, "xla"),
      "cudnn": (jax.nn.dot_product_attention, "cudnn"),
      "ours": (attend, "xla"),
      "ours_auto": (attend, "auto"),
    }.items():
      if how == "cudnn" and jax.default_backend() != "gpu":
        continue

      def loss(q, k, by=by):
        attention, implementation = by
        out = attention(q, k, k, implementation=implementation)
        return out.astype(jnp.float32).sum()

      yield f"{how}_{tokens}", jax.grad(loss, (0, 1)), arrays


def nt_xent(quick):
  """NT-Xent of 32,768 pictures, two views each, by precision: value and gradient."""
  rows = jax.random.normal(jax.random.key(0), (64 if quick else 32_768, 2, 128))
  precisions = {"ours": pairwise.PRECISION}
  if jax.default_backend() == "gpu":
    presets = jax.lax.DotAlgorithmPreset
    precisions |= {name: getattr(presets, name) for name in PRECISIONS}
  kept = pairwise.PRECISION
  for name, precision in precisions.items():
    pairwise.PRECISION = precision
    try:
      yield name, jax.value_and_grad(lambda z: contrastive.nt_xent(z, 0.1)), [rows]
    finally:
      pairwise.PRECISION = kept


def of_products(took, out, first, arguments):
  """Says how far a gradient is from ours, of its largest number; the share of peak."""
  exact = jnp.abs(first[1]).max()
  told = {"error": float(f"{float(jnp.abs(out[1] - first[1]).max() / exact):.2g}")}
  # Scores, these again, and their gradients.
  products = 4 * 2 * (2 * len(arguments[0])) ** 2 * arguments[0].shape[-1]
  if peak := peaks.peak(jax.devices()[0].device_kind):
    told["of_four_products_at_peak"] = round(took / (products / peak), 2)
  return told


def views(quick):
  """Two SimCLR views of 224 pixels of 512 pictures."""
  config = gpu_recipes.recipe_of("simclr_imagenet", 512, small=quick)
  parts, (batch,) = gpu_recipes.prepared(config, 1)
  arguments = [jnp.int32(0), jax.device_put(batch)]
  yield "drawn", lambda i, batch: parts.views(jax.random.key(i), batch), arguments


def nothing(*_):
  return {}


CASES = {
  "attention": (attention, nothing),
  "NT-Xent": (nt_xent, of_products),
  "views alone": (views, nothing),
}

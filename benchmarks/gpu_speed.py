"""How fast recipes go on a GPU, beside PyTorch: the part `speed` of benchmarks/gpu.py.

Steps from uint8 pictures, views drawn in them; from views that are ready, as a peer's;
attention, NT-Xent and views alone.
"""

import statistics
import time

import common
import jax
import jax.numpy as jnp
import numpy as np

from ssljax import data, recipe
from ssljax.losses import contrastive
from ssljax.nets.attention import attend
from ssljax.train import flops, peaks

VIT_S = {"encoder": {"name": "vit_s", "patch_size": 16}}
SPEED = {  # case -> recipe, batch, fields, peer, pictures a second to aim at on an H100
  "SimCLR ResNet-18 at 32": ("simclr_cifar10", 512, {}, "simclr_resnet18", 33_000),
  "SimCLR ResNet-50 at 224": ("simclr_imagenet", 256, {}, "simclr_resnet50", 3_300),
  "DINO ViT-S/16": ("dino_imagenet", 128, {}, "dino_vit_s", 3_400),
  "SimCLR ViT-S/16 at 224": ("simclr_imagenet", 512, VIT_S, "simclr_vit_s", 7_000),
  "MAE ViT-B/16": ("mae_imagenet", 512, {}, "", 7_600),  # 45 % of peak
}


def configured(name, batch=0, fields=None, small=False):
  """A recipe in bfloat16, with `fields`, without a probe beside it."""
  config = common.config(name, quick=small)
  if fields and not small:
    config.update(fields)
    for field in ("stem", "start", "zero_init_gamma", "stem_start"):
      if "vit" in config.encoder.name and field in config.encoder:
        del config.encoder[field]  # ResNet's
  config.dtype = "bfloat16"
  config.batch_size = (batch if not small else 0) or config.batch_size
  config.evals.probe.learning_rate = 0.0
  return config


def prepared(config, count):
  """Parts of a run, and batches of noise as the loader gives them."""
  splits = recipe.open_data(config) if config.data.name == "digits" else None
  examples = len(splits.train) if splits else 50_000
  plan = recipe.make_plan(config, max(examples, 2 * config.batch_size), 10)
  spec = splits.train.spec(config.data.size) if splits else None
  spec = spec or data.spec(data.Pictures(config.data.size))
  blank = data.zeros(spec, config.batch_size)
  batches = [common.noise(blank, seed) for seed in range(count)]
  return recipe.build(config, plan), batches


def measure(record, quick, seconds):
  """Measures recipes beside their peers; attention, NT-Xent and views alone."""
  peers = common.peer("torch_gpu")
  found = {}
  for case, (name, batch, fields, peer, aim) in SPEED.items():
    config = configured(name, batch, fields, small=quick)
    theirs = peer and peers and getattr(peers, peer)
    figures = record.attempt(
      "speed", case, recipe_speed, config, theirs, aim, seconds, quick
    )
    if figures and not quick:
      found[case] = figures["ours"]["pictures_per_second"] / aim
    jax.clear_caches()
    if quick:
      break
  record.attempt("speed", "attention", attention, quick)
  record.attempt("speed", "NT-Xent", nt_xent, quick)
  record.attempt("speed", "views alone", views_alone, quick)
  return min(found, key=found.get, default="")


def recipe_speed(config, theirs, aim, seconds, quick):
  """Times a step with views drawn, with views ready, and a peer's with views ready."""
  parts, batches = prepared(config, 1 if quick else 3)
  step, facts = compiled(parts, batches)
  sizes = shown_sizes(parts, batches[0])
  ready = parts._replace(views=lambda rng, batch: batch)
  drawn = jax.jit(parts.augmented)(parts_state(parts, batches[0]), batches[0])
  ready_step, _ = compiled(ready, [drawn])
  runs = {"ours": step, "ours_views_ready": ready_step}
  if theirs and jax.default_backend() == "gpu":
    runs["theirs_views_ready"] = theirs(config.batch_size, sizes)
  rounds = 1 if quick else 5
  times = {name: [] for name in runs}
  for _ in range(rounds):  # in turn, so that the card's mood meets all alike
    for name, run in runs.items():
      times[name].append(timed(run, seconds / rounds / len(runs)))
  figures = {}
  for name, each in times.items():
    per_step = statistics.median(each)
    figures[name] = {
      "pictures_per_second": round(config.batch_size / per_step, 1),
      "step_ms": round(1e3 * per_step, 3),
    }
  figures["ours"] |= facts
  if peak := peaks.peak(jax.devices()[0].device_kind):
    rate = facts["gflop_per_picture"] * 1e9 * figures["ours"]["pictures_per_second"]
    figures["ours"]["share_of_peak"] = round(rate / peak, 4)
  if "theirs_views_ready" in runs:
    a, b = figures["ours_views_ready"], figures["theirs_views_ready"]
    figures["ratio_views_ready"] = round(a["step_ms"] / b["step_ms"], 3)
  return {**figures, "batch": config.batch_size, "aim": aim}


def parts_state(parts, batch):
  return jax.jit(parts.init)(batch)


def shown_sizes(parts, batch):
  """Views and pixels that a method is shown of a picture: [(views, size), ...]."""
  shapes = jax.eval_shape(parts.views, jax.random.key(0), batch)
  entries = (shapes[name] for name in ("image", "local") if name in shapes)
  return [(x.shape[1], x.shape[2]) for x in entries]


def compiled(parts, batches):
  """Compiles a step -> a function that takes n of them and waits, facts of it."""
  batches = [jax.device_put(batch) for batch in batches]
  state = parts_state(parts, batches[0])
  start = time.time()
  traced = jax.jit(parts.step, donate_argnums=0).trace(state, batches[0])
  program = traced.lower().compile()
  size = len(batches[0]["index"])
  facts = {
    "compile_s": round(time.time() - start, 1),
    "gflop_per_picture": round(flops.total(flops.count(traced.jaxpr)) / size / 1e9, 3),
    "temporary_gib": round(program.memory_analysis().temp_size_in_bytes / 2**30, 3),
  }

  def steps(count):
    nonlocal state
    for i in range(count):
      state, metrics = program(state, batches[i % len(batches)])
    loss = float(metrics["loss"])
    if not np.isfinite(loss):
      raise FloatingPointError(f"the loss is {loss}")

  return steps, facts


def timed(steps, seconds):
  """Seconds a step, over as many as fit; two warm up."""
  steps(2)
  start = time.perf_counter()
  steps(2)
  count = max(2, min(200, int(seconds / max(1e-6, (time.perf_counter() - start) / 2))))
  start = time.perf_counter()
  steps(count)
  return (time.perf_counter() - start) / count


def milliseconds(function, *arguments, count=10):
  """The median of five rounds; what is compiled is compiled before."""
  jax.block_until_ready(function(*arguments))
  rounds = []
  for _ in range(5):
    start = time.perf_counter()
    for _ in range(count):
      out = function(*arguments)
    jax.block_until_ready(out)
    rounds.append(1e3 * (time.perf_counter() - start) / count)
  return round(statistics.median(rounds), 4)


def attention(quick):
  """Times attention by XLA, by cuDNN and ours by either, value and gradient."""
  figures = {}
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

      name = f"{how}_{tokens}_ms"
      try:
        gradient = jax.jit(jax.grad(loss, (0, 1)))
        figures[name] = milliseconds(gradient, *arrays, count=1 if quick else 10)
      except Exception as error:  # one may fail where the other does not
        figures[name.removesuffix("_ms")] = f"{type(error).__name__}: {error}"[:300]
  return figures


def nt_xent(quick):
  """NT-Xent of 32,768 pictures, two views each: value and gradient."""
  rows = jax.random.normal(jax.random.key(0), (64 if quick else 32_768, 2, 128))
  gradient = jax.jit(jax.value_and_grad(lambda z: contrastive.nt_xent(z, 0.1)))
  took = milliseconds(gradient, rows, count=1 if quick else 3)
  products = 4 * 2 * (2 * len(rows)) ** 2 * 128  # scores, again, and their gradients
  figures = {"ms": took}
  if peak := peaks.peak(jax.devices()[0].device_kind):
    figures["of_four_products_at_peak"] = round(took / 1e3 / (products / peak), 2)
  return figures


def views_alone(quick):
  """Two SimCLR views of 224 pixels of 512 pictures."""
  config = configured("simclr_imagenet", 512, small=quick)
  parts, (batch,) = prepared(config, 1)
  batch = jax.device_put(batch)
  draw = jax.jit(lambda i, batch: parts.views(jax.random.key(i), batch))
  took = milliseconds(draw, 0, batch, count=1 if quick else 5)
  return {"ms": took, "pictures": config.batch_size}

"""What a GPU must show: that all runs on it, how fast, how good, and where time goes.

    python benchmarks/gpu.py --parts runs speed --seconds 500
    python benchmarks/gpu.py --parts quality profile --seconds 500 --folder runs/gpu

`runs`: a recipe of every kind takes four steps in bfloat16, two a dispatch, is judged,
and goes on from its checkpoint; its first loss in float32 stands beside the CPU's.
`speed`: recipes from uint8 pictures on the host's side of the step, views drawn in it,
and from views that are ready, beside PyTorch (torch.compile, bfloat16, channels last)
on the same card in the same run; attention, NT-Xent and views alone. `quality`: kNN
against minutes of a CIFAR-10 recipe, to the end of the time, going on where it stopped.
`profile`: a trace that xprof opens, and the operations that cost most.

Each figure is written to `--folder` when it is there: whatever ends the program leaves
those before. What fails is written down with its error and the rest goes on, and what
no time is left for is said. Figures to keep go into benchmarks/results/.
"""

import argparse
import datetime
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time
import traceback

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leaves PyTorch some

import common
import jax
import jax.numpy as jnp
import numpy as np

import ssljax
from ssljax import data, recipe
from ssljax.losses import contrastive
from ssljax.nets.attention import attend
from ssljax.train import flops, peaks

ROOT = pathlib.Path(__file__).parent.parent
KINDS = {  # what is tried -> a recipe of it
  "convolutions": "simclr_cifar10",
  "transformer": "moco_v3_imagenet_vit",
  "several crops": "dino_imagenet",
  "queue": "moco_v2_cifar10",
  "bank": "instdisc_cifar10",
  "Sinkhorn": "swav_cifar10",
  "masked": "mae_cifar10",
  "masked and taught": "ibot_cifar10",
  "text": "clip_cifar10",
}
VIT_S = {"encoder": {"name": "vit_s", "patch_size": 16}}
SPEED = {  # case -> recipe, batch, fields, peer, pictures a second to aim at on an H100
  "SimCLR ResNet-18 at 32": ("simclr_cifar10", 512, {}, "simclr_resnet18", 33_000),
  "SimCLR ResNet-50 at 224": ("simclr_imagenet", 256, {}, "simclr_resnet50", 3_300),
  "DINO ViT-S/16": ("dino_imagenet", 128, {}, "dino_vit_s", 3_400),
  "SimCLR ViT-S/16 at 224": ("simclr_imagenet", 512, VIT_S, "simclr_vit_s", 7_000),
  "MAE ViT-B/16": ("mae_imagenet", 512, {}, "", 7_600),  # 45 % of peak
}
SLOWEST = "DINO ViT-S/16"  # in the profile, where no other was found slower
RESERVE = 20  # seconds in which a case is not begun


class Record:
  """The figures so far, in a file of JSON that is whole after each of them."""

  def __init__(self, folder, seconds):
    device = jax.devices()[0].device_kind
    self.facts = {
      "device": device,
      "devices": jax.device_count(),
      "date": datetime.datetime.now().isoformat(timespec="seconds"),
      "versions": common.versions(),
      "python": sys.version.split()[0],
    }
    self.lines = []
    self.end = time.time() + seconds
    stamp = self.facts["date"].replace(":", "").replace("-", "")
    self.path = folder / f"gpu_{device.replace(' ', '_')}_{stamp}.json"
    folder.mkdir(parents=True, exist_ok=True)

  @property
  def left(self):
    """The seconds that are left."""
    return self.end - time.time()

  def note(self, **line):
    """Prints a line, and writes all of them."""
    self.lines.append(line)
    print(json.dumps(line), flush=True)
    told = json.dumps({**self.facts, "figures": self.lines}, indent=1)
    half = self.path.with_suffix(".half")
    half.write_text(told)
    half.replace(self.path)

  def attempt(self, part, case, function, *arguments):
    """Notes what `function` returns, or why it did not -> it, or None."""
    if self.left < RESERVE:
      self.note(part=part, case=case, skipped="no time left")
      return None
    start = time.time()
    try:
      figures = function(*arguments)
    except Exception as error:  # whatever it is: the rest is worth as much
      frames = traceback.extract_tb(error.__traceback__)
      where = [f for f in frames if str(ROOT) in f.filename] or frames
      file = pathlib.Path(where[-1].filename).name
      text = f"{type(error).__name__}: {str(error)[:600]}"
      self.note(part=part, case=case, error=text, at=f"{file}:{where[-1].lineno}")
      return None
    self.note(part=part, case=case, **figures, took_s=round(time.time() - start, 1))
    return figures


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


# --- runs ---------------------------------------------------------------------


def runs(record, folder, quick):
  """Tries a recipe of every kind; then what the loss is beside the CPU's."""
  for kind, name in list(KINDS.items())[: 1 if quick else None]:
    workdir = folder / "runs" / name
    record.attempt("runs", f"{kind}: {name}", it_runs, name, workdir, quick)


def it_runs(name, workdir, quick):
  """Trains, judges, goes on from the checkpoint -> kNN, and first losses."""
  config = configured(name, small=True)
  config.steps_per_dispatch = 1 if jax.default_backend() == "cpu" else 2
  config.evals.update(every_epochs=0, at_end=("knn",))
  for steps in (2,) if quick else (4, 6):
    config.steps = steps
    scores = ssljax.train_and_evaluate(config, workdir)
  loss, on_host = first_loss(config), first_loss(config, jax.devices("cpu")[0])
  trained = {f"{k}_trained": v for k, v in scores["trained encoder"].items()}
  return {**trained, "loss": loss, "loss_on_the_host": on_host}


def first_loss(config, device=None):
  """The loss of the first step in float32, on a device."""
  config = config.copy_and_resolve_references()
  config.dtype = "float32"
  with jax.default_device(device):
    parts, batches = prepared(config, 1)
    state = jax.jit(parts.init)(batches[0])
    _, metrics = jax.jit(parts.step)(state, batches[0])
    return float(metrics["loss"])


# --- speed --------------------------------------------------------------------


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


def speed(record, quick, seconds):
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


# --- quality ------------------------------------------------------------------


def quality(record, folder, name, seconds, quick):
  """Trains until the time is over, from where an earlier call stopped."""
  record.attempt("quality", name, trained, name, folder / name, seconds, quick)


def trained(name, workdir, seconds, quick):
  """Runs `python run.py` for so long -> kNN against minutes of training."""
  line = [sys.executable, "run.py", "--workdir", str(workdir.absolute())]
  line += ["--config", f"configs/{name}.py" + ":smoke" * quick]
  line += ["--config.dtype=bfloat16", "--config.checkpoint.keep=1"]
  line += ["--config.steps=2"] * quick
  start = time.time()
  env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
  quiet, errors = subprocess.DEVNULL, subprocess.PIPE
  process = subprocess.Popen(
    line, cwd=ROOT, env=env, stdout=quiet, stderr=errors, text=True
  )
  try:
    _, said = process.communicate(timeout=seconds)
  except subprocess.TimeoutExpired:
    process.send_signal(signal.SIGTERM)  # it saves, and the same line continues
    _, said = process.communicate(timeout=120)
  if not (workdir / "metrics.jsonl").exists():
    raise RuntimeError(said[-500:])
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  curve = [[row["step"], row["knn"]] for row in rows if "knn" in row]
  speeds = [row["images_per_second"] for row in rows if "images_per_second" in row]
  figures = {
    "exit": process.returncode,
    "step": max((row["step"] for row in rows), default=0),
    "minutes_of_this_call": round((time.time() - start) / 60, 2),
    "knn_by_step": curve,
  }
  if speeds:
    figures["pictures_per_second"] = round(statistics.median(speeds), 1)
  return figures


# --- profile ------------------------------------------------------------------


def profile(record, folder, case, quick):
  """Traces three steps of a recipe."""
  record.attempt("profile", case, traced, folder / "profile", case, quick)


def traced(folder, case, quick):
  """Writes a trace -> the operations of the device that cost most, in ms a step."""
  name, batch, fields, *_ = SPEED[case]
  parts, batches = prepared(configured(name, batch, fields, small=quick), 1)
  steps, _ = compiled(parts, batches)
  steps(3)
  with jax.profiler.trace(folder):
    steps(3)
  newest = max(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
  costs = {}
  for plane in jax.profiler.ProfileData.from_file(str(newest)).planes:
    if "/device:GPU" not in plane.name and "/device:TPU" not in plane.name:
      continue
    for row in plane.lines:
      for event in row.events:
        costs[event.name] = costs.get(event.name, 0) + event.duration_ns / 3e6
  costly = sorted(costs.items(), key=lambda item: -item[1])[:10]
  return {
    "operations_ms": {name[:120]: round(ms, 3) for name, ms in costly},
    "trace": newest.name,
  }


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parts = "runs", "speed", "quality", "profile"
  parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
  parser.add_argument("--seconds", type=float, default=500, help="for all of it")
  parser.add_argument("--each", type=float, default=8, help="seconds a recipe's speed")
  parser.add_argument("--recipe", default="simclr_cifar10_90", help="of `quality`")
  parser.add_argument("--folder", type=pathlib.Path, default="runs/gpu")
  parser.add_argument("--quick", action="store_true", help="once and small: it runs")
  args = parser.parse_args()
  folder = args.folder.absolute()
  record = Record(folder, args.seconds)
  cache = folder / "compiled"
  jax.config.update("jax_compilation_cache_dir", str(cache))
  slowest = SLOWEST
  if args.quick:
    slowest, *_ = SPEED
    jax.config.update("jax_disable_most_optimizations", True)
  if "runs" in args.parts:
    runs(record, folder, args.quick)
  if "speed" in args.parts:
    slowest = speed(record, args.quick, 1 if args.quick else args.each) or slowest
  if "quality" in args.parts:
    kept = 45 if "profile" in args.parts else 0
    quality(record, folder, args.recipe, record.left - kept - 30, args.quick)
  if "profile" in args.parts:
    profile(record, folder, slowest, args.quick)


if __name__ == "__main__":
  main()

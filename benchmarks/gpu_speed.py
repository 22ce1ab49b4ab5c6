"""How fast recipes go on a GPU, beside PyTorch: the part `speed` of benchmarks/gpu.py.

Steps from uint8 pictures, views drawn in them; from views that are ready, as a peer's;
attention, NT-Xent and views alone. Each is a process of its own: some compile at once,
then they are timed in turn, while the others wait, and say what was most in memory.
"""

import concurrent.futures
import pathlib
import statistics
import time

import common
import gpu_alone
import gpu_recipes
import jax
import numpy as np
from apart import Apart

from ssljax.train import flops, peaks

AT_ONCE = 4  # that compile: XLA tries many kernels of each product, on all cores
VIT_S = {"encoder": {"name": "vit_s", "patch_size": 16}}
SPEED = {  # case -> recipe, batch, fields, peer, pictures a second to aim at on an H100
  "SimCLR ResNet-18 at 32": ("simclr_cifar10", 512, {}, "simclr_resnet18", 33_000),
  "SimCLR ResNet-50 at 224": ("simclr_imagenet", 256, {}, "simclr_resnet50", 3_300),
  "DINO ViT-S/16": ("dino_imagenet", 128, {}, "dino_vit_s", 3_400),
  "SimCLR ViT-S/16 at 224": ("simclr_imagenet", 512, VIT_S, "simclr_vit_s", 7_000),
  "MAE ViT-B/16": ("mae_imagenet", 512, {}, "", 7_600),  # 45 % of peak
}


def configured(case, small=False):
  """The config of a case of SPEED."""
  name, batch, fields, *_ = SPEED[case]
  return gpu_recipes.recipe_of(name, batch, fields, small)


def measure(record, folder, parts, cases, quick, seconds):
  """Times recipes, each beside its peer; attention and so on; and traces recipes."""
  ours = {case: Apart(Ours, case, quick) for case in cases}
  theirs, alone = {}, {}
  if "speed" in parts:
    on_gpu = jax.default_backend() == "gpu"
    peers = {case: SPEED[case][3] for case in cases if on_gpu and SPEED[case][3]}
    theirs = {case: Apart(Theirs, case, peer) for case, peer in peers.items()}
    alone = {case: Apart(gpu_alone.Alone, case, quick) for case in gpu_alone.CASES}
  pairs = [one[case] for case in cases for one in (ours, theirs) if case in one]
  timing = (seconds + 8) * len(cases) + 15
  with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
    # All are made before one is timed, or ended: compiling takes the card's time too.
    for one in [*alone.values(), *pairs]:
      pool.submit(lambda one: one.make(max(1, record.left - timing)), one)
  for case, one in alone.items():
    record.attempt("speed", case, one.ask, record.left, "times")
    one.end()
  for case in cases:
    told = ours[case], theirs.get(case), case, seconds
    if "speed" in parts:
      record.attempt("speed", case, recipe_speed, record, *told)
    if "profile" in parts:
      told = record.left, "profile", folder / "profile"
      record.attempt("profile", case, ours[case].ask, *told)
    for one in (ours, theirs):
      if case in one:
        one[case].end()


def recipe_speed(record, ours, theirs, case, seconds):
  """Times a step with views drawn and with views ready, and a peer's, in turn."""
  *_, aim = SPEED[case]
  runs = {"ours": (ours, "drawn"), "ours_views_ready": (ours, "ready")}
  if theirs:
    runs["theirs_views_ready"] = theirs, "ready"
  times, failed = {name: [] for name in runs}, {}
  for _ in range(5):  # in turn, so that the card's mood meets all alike
    for name, (one, how) in runs.items():
      if name in failed:
        continue
      try:
        took = one.ask(record.left, "timed", how, seconds / 5 / len(runs))
      except RuntimeError as error:
        if one is ours:
          raise
        failed[name] = str(error)[-600:]
      else:
        times[name].append(took)
  facts = ours.ask(record.left, "facts")
  whole = {name: each for name, each in times.items() if name not in failed}
  figures = {name: figure(each, facts["batch"]) for name, each in whole.items()}
  if "theirs_views_ready" in figures:
    a, b = figures["ours_views_ready"], figures["theirs_views_ready"]
    figures["ratio_views_ready"] = round(a["step_ms"] / b["step_ms"], 3)
    b |= theirs.ask(record.left, "facts")
  if peak := peaks.peak(jax.devices()[0].device_kind):
    rate = facts["gflop_per_picture"] * figures["ours"]["pictures_per_second"]
    facts["share_of_peak"] = round(rate * 1e9 / peak, 4)
  return {**figures, **facts, "aim": aim, **failed}


def figure(times, batch):
  per_step = statistics.median(times)
  rate = round(batch / per_step, 1)
  return {"pictures_per_second": rate, "step_ms": round(1e3 * per_step, 3)}


class Ours:
  """A recipe's step, compiled: with views drawn in it, and with views ready."""

  def __init__(self, case, quick):
    config = configured(case, quick)
    parts, self.batches = gpu_recipes.prepared(config, 1 if quick else 3)
    batch = self.batches[0]
    self.init = jax.jit(parts.init).lower(batch).compile()
    state = jax.eval_shape(parts.init, batch)
    start = time.time()
    traced = jax.jit(parts.step, donate_argnums=0).trace(state, batch)
    program = traced.lower().compile()
    took = time.time() - start
    total = flops.total(flops.count(traced.jaxpr))
    self.told = {
      "batch": config.batch_size,
      "compile_s": round(took, 1),
      "gflop_per_picture": round(total / config.batch_size / 1e9, 3),
      "temporary_gib": gib(program.memory_analysis().temp_size_in_bytes),
    }
    self.draw = jax.jit(parts.augmented).lower(state, batch).compile()
    drawn = jax.eval_shape(parts.augmented, state, batch)
    ready = parts._replace(views=lambda rng, batch: batch)
    step = jax.jit(ready.step, donate_argnums=0)
    self.programs = {"drawn": program, "ready": step.lower(state, drawn).compile()}
    self.state = None

  def facts(self):
    """Returns what was counted, and GiB that lay on the device at most."""
    held = jax.local_devices()[0].memory_stats() or {}
    return {**self.told, "peak_gib": gib(held.get("peak_bytes_in_use", 0))}

  def timed(self, how, seconds):
    """Seconds a step, over as many as fit; two warm up."""
    if self.state is None:
      self.batches = [jax.device_put(batch) for batch in self.batches]
      self.state = self.init(self.batches[0])
      drawn = [self.draw(self.state, self.batches[0])]
      self.shown = {"drawn": self.batches, "ready": drawn}
    return timed(lambda count: self.steps(how, count), seconds)

  def steps(self, how, count):
    """Takes so many steps, and waits for the last."""
    batches = self.shown[how]
    for i in range(count):
      batch = batches[i % len(batches)]
      self.state, metrics = self.programs[how](self.state, batch)
    loss = float(metrics["loss"])
    if not np.isfinite(loss):
      raise FloatingPointError(f"the loss is {loss}")

  def profile(self, folder: pathlib.Path):
    """Traces three steps -> the operations of the device that cost most, ms a step."""
    self.timed("drawn", 0)
    with jax.profiler.trace(folder):
      self.steps("drawn", 3)
    newest = max(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    costs, whence = {}, {}
    for plane in jax.profiler.ProfileData.from_file(str(newest)).planes:
      if "/device:GPU" not in plane.name and "/device:TPU" not in plane.name:
        continue
      # A stream's events are what ran; other lines sum them up by name and by module.
      rows = list(plane.lines)
      rows = [row for row in rows if "Stream" in row.name] or rows
      for event in (event for row in rows for event in row.events):
        costs[event.name] = costs.get(event.name, 0) + event.duration_ns / 3e6
        told = dict(event.stats)
        whence.setdefault(event.name, str(told.get("name", told.get("hlo_op", ""))))
    costly = sorted(costs.items(), key=lambda item: -item[1])[:20]
    return {
      "all_ms": round(sum(costs.values()), 3),
      "kernels": len(costs),
      "operations_ms": [
        [round(ms, 3), name[:80], whence[name][-150:]] for name, ms in costly
      ],
      "trace": newest.name,
    }


class Theirs:
  """A peer's step, compiled by a first one."""

  def __init__(self, case, peer):
    config = configured(case)
    parts, (batch,) = gpu_recipes.prepared(config, 1)
    shapes = jax.eval_shape(parts.views, jax.random.key(0), batch)
    entries = (shapes[name] for name in ("image", "local") if name in shapes)
    sizes = [(x.shape[1], x.shape[2]) for x in entries]  # views and pixels of a picture
    self.module = common.peer("torch_gpu")
    if self.module is None:
      raise RuntimeError("PyTorch, torchvision or timm cannot be imported")
    start = time.time()
    self.steps = getattr(self.module, peer)(config.batch_size, sizes)
    self.steps(2)
    self.compile_s = round(time.time() - start, 1)
    self.module.release()

  def facts(self):
    """Returns how long it compiled, and GiB that lay on the card at most."""
    return {"compile_s": self.compile_s, "peak_gib": gib(self.module.peak())}

  def timed(self, how, seconds):
    """Seconds a step; views are ready, however it is asked."""
    return timed(self.steps, seconds)


def timed(steps, seconds):
  """Seconds a step, over as many as fit; two warm up."""
  steps(2)
  start = time.perf_counter()
  steps(2)
  count = max(2, min(200, int(seconds / max(1e-6, (time.perf_counter() - start) / 2))))
  start = time.perf_counter()
  steps(count)
  return (time.perf_counter() - start) / count


def gib(size):
  return round(size / 2**30, 3)

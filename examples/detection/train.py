"""Fine-tunes Faster R-CNN from an exported encoder, and from random numbers beside it.

    python -m examples.detection.train --encoder resnet50.safetensors --kind c4 \
--train VOC2007:trainval VOC2012:trainval --test VOC2007:test

prints AP, AP50 and AP75. `torchrun --nproc_per_node 8 -m` shares the 16 pictures of a
batch among GPUs, whose BatchNorms then see all of them.
"""

import argparse
import datetime
import itertools
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import distributed, nn

from examples.detection import data, model
from examples.detection.schedule import SCHEDULES, Schedule, batches, rate, shortened
from ssljax.weights import files

Scores = dict[str, list[dict[str, float]]]  # start -> of each seed AP, AP50, AP75


class Start(NamedTuple):
  """An encoder that a detector starts from."""

  arrays: Mapping[str, Any]  # under torchvision's names
  mean: Sequence[float]  # of pictures in 0..1
  std: Sequence[float]
  taken: bool = True  # or the shapes alone


def read(file: str) -> Start:
  """Reads an encoder that ssljax exported, or one of torchvision's."""
  arrays, texts = files.read(pathlib.Path(file).expanduser())
  if "conv1.weight" not in arrays:
    raise SystemExit(f"{file} is no ResNet of torchvision's names")
  seen = json.loads(texts["ssljax"])["pictures"] if "ssljax" in texts else {}
  mean, std = seen.get("mean", model.MEAN), seen.get("std", model.STD)
  return Start(arrays, mean, std)


def train(
  net: nn.Module, examples: data.Examples, plan: Schedule, seed: int, workers: int
) -> None:
  """Trains a detector in place by SGD, then takes BatchNorm's statistics anew."""
  device, learner = next(net.parameters()).device, net
  rank, world = _process()
  if world > 1:
    if device.type == "cuda":
      net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    learner = nn.parallel.DistributedDataParallel(net)
  norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
  of_norms = [p for m in norms for p in m.parameters()]
  others = {id(p) for p in of_norms}
  groups = [
    {"params": [p for p in net.parameters() if id(p) not in others]},
    {"params": of_norms, "weight_decay": 0.0},
  ]
  sgd = torch.optim.SGD(groups, plan.rate, momentum=0.9, weight_decay=1e-4)
  rates = torch.optim.lr_scheduler.LambdaLR(sgd, lambda i: rate(plan, i))
  torch.manual_seed(seed + rank)
  rows = iter(
    torch.utils.data.DataLoader(
      examples,
      batch_sampler=batches(plan, len(examples), seed, rank, world),
      collate_fn=lambda rows: tuple(zip(*rows, strict=True)),
      num_workers=workers,
    )
  )

  def loss_of_next():
    images, targets = next(rows)
    targets = [{k: v.to(device) for k, v in target.items()} for target in targets]
    return sum(learner([x.to(device) for x in images], targets).values())

  learner.train()
  for i in range(plan.iterations):
    loss = loss_of_next()
    if not torch.isfinite(loss):
      raise SystemExit(f"The loss is {loss.item()} in iteration {i}: lower --rate")
    sgd.zero_grad()
    loss.backward()
    sgd.step()
    rates.step()
    if rank == 0 and (i + 1) % max(1, plan.iterations // 10) == 0:
      print(f"{i + 1}/{plan.iterations} iterations, loss {loss.item():.3f}", flush=True)
  for norm in norms:
    norm.reset_running_stats()
    norm.momentum = None  # a mean over all batches
  with torch.no_grad():
    for _ in range(plan.precise):
      loss_of_next()


def detect(net: nn.Module, examples: data.Examples) -> list[dict[str, torch.Tensor]]:
  """Finds boxes in every picture, one at a time."""
  device = next(net.parameters()).device
  net.eval()
  with torch.no_grad():
    found = (net([x.to(device)])[0] for x, _ in examples)
    return [{k: v.cpu() for k, v in one.items()} for one in found]


def compare(
  starts: Mapping[str, Start],
  learned: Sequence[data.Picture],
  judged: Sequence[data.Picture],
  kind: str,
  plan: Schedule,
  seeds: int = 1,
  workers: int = 0,
) -> Scores:
  """Trains a detector from each start with each seed, and judges it."""
  names = sorted({box.name for picture in learned for box in picture.boxes})
  if unknown := {box.name for p in judged for box in p.boxes} - set(names):
    raise SystemExit(f"--test has {', '.join(sorted(unknown))}, which --train has not")
  learned = [p for p in learned if any(not box.crowd for box in p.boxes)]
  number = os.environ.get("LOCAL_RANK", 0)
  device = f"cuda:{number}" if torch.cuda.is_available() else "cpu"
  scores: Scores = {name: [] for name in starts}
  for seed, (name, start) in itertools.product(range(seeds), starts.items()):
    torch.manual_seed(seed)
    encoder = model.resnet(start.arrays, start.taken)
    torch.manual_seed(seed)  # the same heads on each
    net = model.detector(encoder, kind, len(names), plan, start.mean, start.std)
    examples = data.Examples(learned, names, plan.flip)
    train(net.to(device), examples, plan, seed, workers)
    if _process()[0] == 0:
      found = detect(net, data.Examples(judged, names, flip=0.0))
      scores[name].append(data.score(judged, names, found))
      told = ", ".join(f"{k} {v:.1f}" for k, v in scores[name][-1].items())
      print(f"{name} start, seed {seed}: {told}", flush=True)
  return scores


def table(scores: Scores) -> str:
  """Writes means over seeds, with deviations where there are several."""
  lines = [f"{'start':12}" + "".join(f"{k:>13}" for k in data.MEASURES)]
  for name, rows in scores.items():
    line = f"{name:12}"
    for measure in data.MEASURES:
      values = [row[measure] for row in rows]
      spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
      line += f"{f'{np.mean(values):.1f}{spread}':>13}"
    lines.append(line)
  return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> Scores:
  """Reads the command line, trains from every start and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  add = parser.add_argument
  add("--encoder", required=True, help="the file of the trained start")
  add("--supervised", help="a file of the same names, such as torchvision's")
  add("--train", nargs="+", required=True, help="FOLDER:SPLIT, of VOC's or COCO's")
  add("--test", nargs="+", required=True, help="likewise")
  add("--kind", choices=model.PROPOSALS, default="fpn")
  add("--schedule", choices=SCHEDULES, default="voc")
  add("--iterations", type=int, help="the schedule's, unless said")
  add("--batch", type=int, help="likewise")
  add("--rate", type=float, help="likewise")
  add("--seeds", type=int, default=1, help="how many are tried")
  add("--workers", type=int, default=0, help="processes that read")
  given = parser.parse_args(words)
  plan = SCHEDULES[given.schedule]
  plan = shortened(plan, given.iterations or plan.iterations)
  plan = plan._replace(batch=given.batch or plan.batch, rate=given.rate or plan.rate)
  if "WORLD_SIZE" in os.environ:
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    patience = datetime.timedelta(hours=3)  # while the first process judges
    distributed.init_process_group(backend, timeout=patience)
  if plan.batch % _process()[1]:
    raise SystemExit(f"--batch={plan.batch} is no multiple of the processes")
  trained = read(given.encoder)
  starts = {"random": trained._replace(taken=False)}
  if given.supervised:
    starts["supervised"] = read(given.supervised)
  starts["trained"] = trained
  learned, judged = (
    [picture for source in sources for picture in data.read(source)]
    for sources in (given.train, given.test)
  )
  scores = compare(
    starts, learned, judged, given.kind, plan, given.seeds, given.workers
  )
  if _process()[0] == 0:
    print(table(scores))
  return scores


def _process() -> tuple[int, int]:
  """Returns this process's number, and how many there are."""
  if not distributed.is_initialized():
    return 0, 1
  return distributed.get_rank(), distributed.get_world_size()


if __name__ == "__main__":
  main()

"""torchvision's Faster R-CNN on a ResNet that ssljax exported, or on a random one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision.models import resnet as residual
from torchvision.models.detection import FasterRCNN, backbone_utils, faster_rcnn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from examples.detection.schedule import Schedule

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
RATIOS = (0.5, 1.0, 2.0)
PROPOSALS = {  # before and after what overlaps is merged, where 512 of them learn
  "fpn": {"pre": (2000, 1000), "post": (1000, 1000)},  # in training, in testing
  "c4": {"pre": (12000, 6000), "post": (2000, 1000)},
}


def resnet(arrays: Mapping[str, Any], start: bool = True) -> residual.ResNet:
  """Builds the ResNet of a state dict of torchvision's names, of any width and stem.

  It gives features [B,D]. `start=False` takes the shapes alone, and random numbers.
  """
  basic = "layer1.0.conv3.weight" not in arrays
  block = residual.BasicBlock if basic else residual.Bottleneck
  sizes = [
    len({k.split(".")[1] for k in arrays if k.startswith(f"layer{i}.")})
    for i in range(1, 5)
  ]
  width, _, side, _ = arrays["conv1.weight"].shape
  net = residual.ResNet(block, sizes)
  net.inplanes = width
  net.conv1 = nn.Conv2d(3, width, side, 2 if side == 7 else 1, side // 2, bias=False)
  net.bn1 = nn.BatchNorm2d(width)
  if side == 3:  # the stem of small pictures
    net.maxpool = nn.Identity()
  for i, size in enumerate(sizes):
    stage = net._make_layer(block, width * 2**i, size, stride=1 + (i > 0))
    setattr(net, f"layer{i + 1}", stage)
  net.fc = nn.Identity()
  for module in net.modules():
    if isinstance(module, nn.Conv2d):
      nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
  if start:
    tensors = {k: torch.from_numpy(np.array(x)) for k, x in arrays.items()}
    net.load_state_dict({k: x for k, x in tensors.items() if not k.startswith("fc.")})
  return net


def detector(
  net: residual.ResNet,
  kind: str,
  classes: int,
  plan: Schedule,
  mean: Sequence[float],
  std: Sequence[float],
) -> FasterRCNN:
  """Builds a Faster R-CNN of `classes`, besides the background, around a ResNet.

  "fpn" is R50-FPN with BatchNorm in the pyramid too; "c4" shares all but the last stage
  and has one more BatchNorm behind that, as MoCo's `Res5ROIHeadsExtraNorm`. All norms
  learn. Testing is at the last of the plan's scales. Where fewer boxes than 512 learn,
  as much fewer are proposed; of a ResNet narrower than 64 head and pyramid are as much
  narrower.
  """
  width = net.bn1.num_features
  out = width * net.layer1[0].expansion
  sizes = tuple(plan.anchor * 2**i for i in range(5))
  shared = {
    "min_size": plan.scales,
    "max_size": plan.longest,
    "image_mean": list(mean),
    "image_std": list(std),
    "box_batch_size_per_image": plan.rois,
  }
  for when, counts in PROPOSALS[kind].items():
    for split, count in zip(("train", "test"), counts, strict=True):
      shared[f"rpn_{when}_nms_top_n_{split}"] = count * plan.rois // 512
  if kind == "fpn":
    pyramid = backbone_utils.BackboneWithFPN(
      net,
      {f"layer{i + 1}": str(i) for i in range(4)},
      [out * 2**i for i in range(4)],
      min(256, 4 * width),
      norm_layer=nn.BatchNorm2d,
    )
    hidden = min(1024, 16 * width)
    return FasterRCNN(
      pyramid,
      rpn_anchor_generator=AnchorGenerator(tuple((s,) for s in sizes), (RATIOS,) * 5),
      box_head=faster_rcnn.TwoMLPHead(49 * pyramid.out_channels, hidden),
      box_predictor=faster_rcnn.FastRCNNPredictor(hidden, classes + 1),
      **shared,
    )
  stem = net.conv1, net.bn1, net.relu, net.maxpool
  body = nn.Sequential(*stem, net.layer1, net.layer2, net.layer3)
  body.out_channels = 4 * out
  head = nn.Sequential(
    net.layer4, nn.BatchNorm2d(8 * out), nn.AdaptiveAvgPool2d(1), nn.Flatten()
  )
  return FasterRCNN(
    body,
    rpn_anchor_generator=AnchorGenerator((sizes,), (RATIOS,)),
    box_roi_pool=MultiScaleRoIAlign(["0"], output_size=14, sampling_ratio=0),
    box_head=head,
    box_predictor=faster_rcnn.FastRCNNPredictor(8 * out, classes + 1),
    **shared,
  )

"""The peers in plain PyTorch, on the CPU; imported where PyTorch is installed.

Images come as NumPy [B,H,W,C], as ours do, and are laid out here as PyTorch likes them.
"""

import common
import torch
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(common.cores())


def conv(inputs, outputs, k, stride=1):
  return nn.Conv2d(inputs, outputs, k, stride, k // 2, bias=False)


class Block(nn.Module):
  """Two 3x3 convolutions and a shortcut."""

  def __init__(self, inputs, outputs, stride):
    super().__init__()
    self.body = nn.Sequential(
      conv(inputs, outputs, 3, stride),
      nn.BatchNorm2d(outputs),
      nn.ReLU(inplace=True),
      conv(outputs, outputs, 3),
      nn.BatchNorm2d(outputs),
    )
    self.shortcut = nn.Sequential()
    if inputs != outputs:
      self.shortcut.append(conv(inputs, outputs, 1, stride))
      self.shortcut.append(nn.BatchNorm2d(outputs))

  def forward(self, x):
    """[B,inputs,H,W] -> [B,outputs,H/stride,W/stride]."""
    return F.relu(self.body(x) + self.shortcut(x), inplace=True)


def simclr_network(width):
  """ResNet-18 with the stem for CIFAR, and configs/simclr_cifar10.py's projector."""
  layers = [conv(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
  inputs = width
  for stage in range(4):
    outputs = width << stage
    layers += [Block(inputs, outputs, 1 + (stage > 0)), Block(outputs, outputs, 1)]
    inputs = outputs
  layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
  layers += [nn.Linear(inputs, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True)]
  layers += [nn.Linear(512, 128, bias=False), nn.BatchNorm1d(128)]
  layers[-1].bias.requires_grad_(False)
  return nn.Sequential(*layers)


def simclr_step(views, width):
  """Views [B,2,H,W,C] f32 -> a function that takes one step of SGD on them."""
  x = nchw(views.reshape(-1, *views.shape[2:]))
  net = simclr_network(width)
  sgd = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

  def step():
    sgd.zero_grad()
    loss = 2 * nt_xent(net(x), temperature=0.5)
    loss.backward()
    sgd.step()
    return loss.item()

  return step


def nt_xent(z, temperature):
  """Rows z [2B,D]; the two views of a picture are neighbours."""
  z = F.normalize(z)
  logits = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
  return F.cross_entropy(logits, torch.arange(len(z), device=z.device) ^ 1)


def info_nce(query, key, queue, temperature):
  query, key = F.normalize(query), F.normalize(key)
  positive = (query * key).sum(1, keepdim=True)
  logits = torch.cat([positive, query @ queue.T], dim=1) / temperature
  return F.cross_entropy(logits, query.new_zeros(len(query), dtype=torch.long))


def value_and_grad(loss, x, *rest, temperature):
  """-> a function that computes loss(x, *rest) and its gradient by x."""
  x, *rest = map(torch.from_numpy, (x, *rest))
  x.requires_grad_()

  def run():
    x.grad = None
    value = loss(x, *rest, temperature)
    value.backward()
    return value.item()

  return run


def kernel_grad(x, grad, k, stride):
  """-> a function that computes the gradient of a convolution by its kernel."""
  x, grad = nchw(x), nchw(grad)
  shape = grad.shape[1], x.shape[1], k, k
  return lambda: nn.grad.conv2d_weight(x, shape, grad, stride, k // 2)


def nchw(x):
  return torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()

"""The peers of benchmarks/gpu.py: steps in PyTorch, as people run them on a GPU.

torch.compile, autocast to bfloat16, channels last, fused optimizers; networks of
torchvision and timm. Views are ready on the device, noise of the sizes that ours are
shown. Each builds a function that takes so many steps and waits for the last.
"""

import timm
import torch
import torch_peers
import torchvision
from torch import nn
from torch.nn import functional as F

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def simclr_resnet18(batch, sizes):
  """SimCLR, ResNet-18 with the stem for CIFAR."""
  return simclr(torch_peers.simclr_network(64), batch, sizes)


def simclr_resnet50(batch, sizes):
  """SimCLR, torchvision's ResNet-50."""
  net = torchvision.models.resnet50()
  net.fc = head(2048)
  return simclr(net, batch, sizes)


def simclr_vit_s(batch, sizes):
  """SimCLR, timm's ViT-S/16."""
  net = timm.create_model("vit_small_patch16_224", num_classes=0, img_size=sizes[0][1])
  return simclr(nn.Sequential(net, head(384)), batch, sizes)


def head(dim):
  return nn.Sequential(
    nn.Linear(dim, 2048), nn.ReLU(inplace=True), nn.Linear(2048, 128)
  )


def simclr(net, batch, sizes):
  ((views, size),) = sizes
  net = net.to(DEVICE, memory_format=torch.channels_last)
  x = pictures(views * batch, size)
  optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

  def loss():
    z = net(x)
    return torch_peers.nt_xent(z.float(), temperature=0.5)

  return stepper(loss, optimizer)


def dino_vit_s(batch, sizes):
  """DINO, timm's ViT-S/16: two large views, eight small ones, a teacher, its centre."""
  views, size = sizes[0]

  def network():
    model = timm.create_model(
      "vit_small_patch16_224", num_classes=0, img_size=size, dynamic_img_size=True
    )
    return nn.ModuleList([model, DinoHead(384)]).to(DEVICE)

  student, teacher = network(), network()
  teacher.load_state_dict(student.state_dict())
  teacher.requires_grad_(False)
  crops = [pictures(batch * n, s) for n, s in sizes]
  centre = torch.zeros(65536, device=DEVICE)
  optimizer = adamw(student.parameters())

  def loss():
    with torch.no_grad():
      logits = teacher[1](teacher[0](crops[0])).float()
      target = F.softmax((logits - centre) / 0.04, -1).view(views, batch, -1)
      centre.lerp_(logits.mean(0), 0.1)
      for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        slow.lerp_(fast, 0.004)
    features = torch.cat([student[0](crop) for crop in crops])
    logits = student[1](features).float().view(-1, batch, 65536)
    log_p = F.log_softmax(logits / 0.1, -1)
    pairs = [
      -(target[i] * log_p[j]).sum(-1).mean()
      for i in range(views)
      for j in range(len(log_p))
      if i != j
    ]
    return sum(pairs) / len(pairs)

  return stepper(loss, optimizer, clip=(list(student.parameters()), 3.0))


class DinoHead(nn.Module):
  """Three layers, then prototypes of unit length."""

  def __init__(self, dim):
    super().__init__()
    sizes = (dim, 2048, 2048, 256)
    layers = []
    for i in range(3):
      layers += [nn.Linear(sizes[i], sizes[i + 1]), nn.GELU()]
    self.mlp = nn.Sequential(*layers[:-1])
    last = nn.Linear(256, 65536, bias=False)
    self.last = nn.utils.parametrizations.weight_norm(last)

  def forward(self, x):
    """[B,dim] -> logits [B,65536]."""
    return self.last(F.normalize(self.mlp(x)))


def release():
  """Gives memory back that nothing lies in."""
  torch.cuda.empty_cache()


def peak():
  """Bytes that lay on the card at most."""
  return torch.cuda.max_memory_allocated()


def adamw(parameters):
  return torch.optim.AdamW(parameters, lr=5e-4, fused=DEVICE == "cuda")


def pictures(count, size):
  x = torch.randn(count, 3, size, size, device=DEVICE)
  return x.to(memory_format=torch.channels_last)


def stepper(loss, optimizer, clip=None):
  """-> a function that takes so many steps and waits for them."""
  forward = torch.compile(loss) if DEVICE == "cuda" else loss

  def steps(count):
    for _ in range(count):
      optimizer.zero_grad(set_to_none=True)
      with torch.autocast(DEVICE, torch.bfloat16):
        value = forward()
      value.backward()
      if clip:
        nn.utils.clip_grad_norm_(*clip)
      optimizer.step()
    return value.item()

  return steps

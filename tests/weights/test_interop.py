"""Features are those of torchvision, timm and transformers, where those are installed.

Random weights and running statistics, pictures of odd sizes; what goes out is loaded
with strict=True. The extra `interop-test` installs them.
"""

import argparse
import json

import jax
import numpy as np
import pytest

from ssljax import nets
from ssljax.fields import ConfigError
from ssljax.protocols import weights_out
from ssljax.weights import FAMILIES, files, hub, recognise, take, unflatten

torch = pytest.importorskip("torch", reason="needs the extra interop-test: torch")
STEM = {"patch_size": 4, "img_size": 24, "num_classes": 0, "dynamic_img_size": True}
TIMM = {**STEM, "embed_dim": 24, "depth": 2, "num_heads": 3}
HF = {
  **{"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3},
  **{"image_size": 24, "patch_size": 4},
}


def randomised(model):
  """The model, evaluated, each number random, running variances positive."""
  torch.manual_seed(0)
  with torch.no_grad():
    for name, x in [*model.named_parameters(), *model.named_buffers()]:
      if name.endswith("running_var"):
        x.uniform_(0.5, 2)
      elif x.is_floating_point():
        x.normal_(1.0 if x.ndim == 1 and "weight" in name else 0.0, 0.1)
  return model.eval()


def features(arrays, image, format="", **told):
  """-> features [B,D] of pictures [B,H,W,C], and the state dict that goes back out."""
  found = recognise(arrays, format, told)
  ours = take(arrays, found)
  net = nets.build(found.fields)
  apply = jax.jit(lambda v, x: net.apply(v, {"image": x}, train=False)["features"])
  says = {**vars(net), **found.fields}
  form = FAMILIES[found.family].forms.index(found.form)
  origin = {"format": found.family, "prefix": found.prefix, "form": form}
  chosen = weights_out.choose(found.family, ours, says, origin)
  back = weights_out.write_names(ours, says, chosen)
  back |= {name: arrays[name] for name in found.left}
  return np.asarray(apply(unflatten(ours), image)), back


def check(model, height, width, read=lambda y: y, rounding=1e-5, format="", **told):
  arrays = {k: x.numpy().copy() for k, x in model.state_dict().items()}
  image = np.random.default_rng(0).normal(size=(2, height, width, 3))
  image = image.astype(np.float32)
  with torch.no_grad():
    theirs = read(model(torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))).numpy()
  ours, back = features(arrays, image, format, **told)
  assert ours.shape == theirs.shape
  assert np.abs(ours - theirs).max() < rounding * np.abs(theirs).max()
  model.load_state_dict({k: torch.from_numpy(x) for k, x in back.items()}, strict=True)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_of_torch_is_read_with_what_stands_beside(tmp_path, legacy):
  path = tmp_path / "checkpoint.pth.tar"
  options = argparse.Namespace(lr=0.1)
  weights = {"module.a": torch.ones(2, 3, dtype=torch.bfloat16)}
  torch.save(
    {"epoch": 3, "args": options, "state_dict": weights, "optimizer": {"state": {}}},
    path,
    _use_new_zipfile_serialization=not legacy,
  )
  arrays, _ = files.read(path)
  np.testing.assert_equal(arrays, {"module.a": np.ones((2, 3), np.float32)})
  files.write(tmp_path / "out.pth", arrays, {})
  np.testing.assert_equal(files.read(tmp_path / "out.pth")[0], arrays)


def test_a_call_that_is_not_seen_beforehand_torch_refuses(tmp_path, monkeypatch):
  class Hostile:
    def __reduce__(self):
      return exec, (f"open({str(tmp_path / 'it_ran')!r}, 'w')",)

  monkeypatch.setattr(files, "called_by", lambda data: set())
  torch.save({"a": Hostile()}, tmp_path / "x.pth")
  with pytest.raises(ConfigError, match=r"cannot be read as weights alone.*exec"):
    files.read(tmp_path / "x.pth")
  assert not (tmp_path / "it_ran").exists()


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvision_s_resnets(name):
  models = pytest.importorskip("torchvision.models", reason="needs torchvision")
  model = randomised(getattr(models, name)())
  with torch.no_grad():  # or fifty residuals grow past float32's digits
    for key, x in model.named_parameters():
      if "conv" in key or "downsample.0" in key:
        x.mul_(0.5)
  model.fc = torch.nn.Identity()
  check(model, 65, 47, name=name)


@pytest.mark.parametrize(
  ("fields", "size"),
  [
    ({}, (24, 24)),
    ({}, (20, 44)),
    ({"init_values": 0.1}, (24, 24)),
    ({"init_values": 0.1, "no_embed_class": True}, (28, 16)),
    ({"init_values": 0.1, "no_embed_class": True, "reg_tokens": 4}, (28, 16)),
    ({"global_pool": "avg"}, (24, 32)),
    ({"qkv_bias": False}, (24, 24)),
  ],
)
def test_timm_s_vision_transformers(fields, size):
  timm = pytest.importorskip("timm", reason="needs timm")
  model = randomised(timm.models.vision_transformer.VisionTransformer(**TIMM, **fields))
  check(model, *size, format="timm", heads=3)


def test_timm_s_resnet_with_a_head_left_out():
  timm = pytest.importorskip("timm", reason="needs timm")
  check(randomised(timm.create_model("resnet18", num_classes=0)), 33, 64, format="timm")


def through_folders(model, height, width, folder, deep=False, stages=(), **arguments):
  """Reads what transformers saves; lets it build and load what goes back out."""
  transformers = pytest.importorskip("transformers", reason="needs transformers")
  model = randomised(model)
  model.save_pretrained(folder / "in")
  arrays, _ = files.read(folder / "in")
  told, _ = hub.read(folder / "in")
  image = np.random.default_rng(0).normal(size=(2, height, width, 3))
  image = image.astype(np.float32)
  with torch.no_grad():
    x = torch.from_numpy(image.transpose(0, 3, 1, 2).copy())
    y = model(x, **arguments)
  theirs = y.pooler_output.flatten(1) if stages else y.last_hidden_state[:, 0]
  ours, back = features(arrays, image, **told)
  assert np.abs(ours - theirs.numpy()).max() < 1e-5 * np.abs(theirs.numpy()).max()
  found = recognise(arrays, told=told)
  says = {**vars(nets.build(found.fields)), **found.fields}
  files.write(folder / "out" / "model.safetensors", back, {})
  config = hub.config_of(found.family, says, stages, deep)
  (folder / "out" / "config.json").write_text(json.dumps(config))
  assert hub.read(folder / "out")[0] == told
  again, info = transformers.AutoModel.from_pretrained(
    folder / "out", output_loading_info=True
  )
  assert not any(info[k] for k in ("missing_keys", "unexpected_keys"))
  assert type(again) is type(model)
  for name, x in model.state_dict().items():
    assert torch.equal(again.state_dict()[name], x), name


@pytest.mark.parametrize(
  ("name", "fields", "size"),
  [
    ("ViT", {"intermediate_size": 96}, (24, 24)),
    ("ViT", {"intermediate_size": 96}, (20, 44)),
    ("Dinov2", {"layerscale_value": 0.5}, (24, 24)),
    ("Dinov2", {"layerscale_value": 0.5}, (20, 44)),
    ("Dinov2", {"use_swiglu_ffn": True}, (24, 24)),
    ("Dinov2WithRegisters", {}, (20, 44)),
  ],
)
def test_hugging_face_s_vision_transformers(name, fields, size, tmp_path):
  transformers = pytest.importorskip("transformers", reason="needs transformers")
  sized = {} if name.startswith("Dino") else {"interpolate_pos_encoding": True}
  cls = getattr(transformers, f"{name}Model")
  through_folders(cls(cls.config_class(**HF, **fields)), *size, tmp_path, **sized)


def test_hugging_face_s_resnet(tmp_path):
  transformers = pytest.importorskip("transformers", reason="needs transformers")
  stages = (3, 4, 6, 3)
  config = transformers.ResNetConfig(
    embedding_size=8, hidden_sizes=[32, 64, 128, 256], depths=list(stages)
  )
  model = transformers.ResNetModel(config)
  through_folders(model, 65, 47, tmp_path, deep=True, stages=stages)


class CLIPBlock(torch.nn.Module):
  """A block of OpenAI's `clip/model.py`."""

  def __init__(self, width, heads):
    super().__init__()
    self.attn = torch.nn.MultiheadAttention(width, heads)
    self.ln_1, self.ln_2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
    self.mlp = torch.nn.ModuleDict(
      {
        "c_fc": torch.nn.Linear(width, 4 * width),
        "c_proj": torch.nn.Linear(4 * width, width),
      }
    )

  def forward(self, x):
    y = self.ln_1(x)
    x = x + self.attn(y, y, y, need_weights=False)[0]
    y = self.mlp["c_fc"](self.ln_2(x))
    return x + self.mlp["c_proj"](y * torch.sigmoid(1.702 * y))


class CLIPVisual(torch.nn.Module):
  """The tower of pictures of OpenAI's `clip/model.py`, by its names."""

  def __init__(self, width=32, heads=4, out=16, patch=4, grid=6):
    super().__init__()
    self.conv1 = torch.nn.Conv2d(3, width, patch, patch, bias=False)
    self.class_embedding = torch.nn.Parameter(torch.zeros(width))
    self.positional_embedding = torch.nn.Parameter(torch.zeros(grid**2 + 1, width))
    self.ln_pre, self.ln_post = (torch.nn.LayerNorm(width) for _ in range(2))
    self.transformer = torch.nn.Module()
    self.transformer.resblocks = torch.nn.Sequential(
      *(CLIPBlock(width, heads) for _ in range(2))
    )
    self.proj = torch.nn.Parameter(torch.zeros(width, out))

  def forward(self, x):
    x = self.conv1(x).flatten(2).permute(0, 2, 1)
    first = self.class_embedding.expand(len(x), 1, -1)
    x = self.ln_pre(torch.cat([first, x], 1) + self.positional_embedding)
    x = self.transformer.resblocks(x.permute(1, 0, 2)).permute(1, 0, 2)
    return self.ln_post(x[:, 0]) @ self.proj


def test_clip_s_tower_of_pictures():
  class Clip(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.visual = CLIPVisual()

    def forward(self, x):
      return self.visual(x)

  check(randomised(Clip()), 24, 24, heads=4)

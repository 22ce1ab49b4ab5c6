"""Features are those of torchvision, timm and transformers, where those are installed.

Random weights and running statistics, pictures of odd sizes; what goes out is loaded
with strict=True. The extra `interop-test` installs them.
"""

import argparse

import jax
import numpy as np
import pytest

from ssljax import nets
from ssljax.fields import ConfigError
from ssljax.weights import files, recognise, take, unflatten

torch = pytest.importorskip("torch", reason="needs the extra interop-test: torch")
from interop import (
  check,
  close,
  outputs,
  pictures,
  randomised,
  state_dict,
  through_folders,
)

STEM = {"patch_size": 4, "img_size": 24, "num_classes": 0, "dynamic_img_size": True}
TIMM = {**STEM, "embed_dim": 24, "depth": 2, "num_heads": 3}
HF = {
  **{"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3},
  **{"image_size": 24, "patch_size": 4},
}


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


def same_padding(module, inputs):
  """Pads a picture as TensorFlow's "SAME" does, before a layer that has none left."""
  (x,) = inputs
  kernel, stride = (n if isinstance(n, int) else n[0] for n in module.same)
  totals = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[2:]]
  (a, b), (c, d) = ((n // 2, n - n // 2) for n in totals)
  lowest = -torch.inf if isinstance(module, torch.nn.MaxPool2d) else 0.0
  return torch.nn.functional.pad(x, (c, d, a, b), value=lowest)


@pytest.mark.parametrize("padding", ["same", "fixed"])
@pytest.mark.parametrize("size", [(64, 48), (65, 50)])
def test_padding_is_tensorflow_s(padding, size):
  """torchvision's, padded by hand: whatever strides, or the max-pool alone."""
  models = pytest.importorskip("torchvision.models", reason="needs torchvision")
  model = randomised(models.resnet18())
  model.fc = torch.nn.Identity()
  image, x = pictures(*size)
  arrays = state_dict(model)
  kinds = (torch.nn.MaxPool2d,) + (torch.nn.Conv2d,) * (padding == "same")
  for module in model.modules():
    if isinstance(module, kinds) and module.stride in (2, (2, 2)):
      module.same = module.kernel_size, module.stride
      module.padding = 0
      module.register_forward_pre_hook(same_padding)
  with torch.no_grad():
    theirs = model(x).numpy()
  found = recognise(arrays)
  net = nets.build({**found.fields, "padding": padding})
  given = {k: x["encoder"] for k, x in unflatten(take(arrays, found)).items()}
  ours = jax.jit(lambda v, x: net.apply(v, {"image": x}, False)["features"])(
    given, image
  )
  close(np.asarray(ours), theirs)


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


def dinov3(**fields):
  transformers = pytest.importorskip("transformers", reason="needs transformers")
  config = transformers.DINOv3ViTConfig(
    **HF, intermediate_size=64, num_register_tokens=4, **fields
  )
  return transformers.DINOv3ViTModel(config)


@pytest.mark.parametrize("gate", [{}, {"use_gated_mlp": True, "hidden_act": "silu"}])
@pytest.mark.parametrize("size", [(24, 24), (20, 44)])
def test_hugging_face_s_dinov3(gate, size, tmp_path):
  through_folders(dinov3(**gate), *size, tmp_path)


def official(name, x, gated):
  """DINOv3's own name of an array of transformers', and the array as it has it."""
  for theirs, own in (
    *(("embeddings.patch_embeddings", "patch_embed.proj"), ("embeddings.", "")),
    *(("register_tokens", "storage_tokens"), ("model.layer.", "blocks.")),
    *(("attention.o_proj", "attn.proj"), ("layer_scale1.lambda1", "ls1.gamma")),
    *(("layer_scale2.lambda1", "ls2.gamma"), ("gate_proj", "w1")),
  ):
    name = name.replace(theirs, own)
  of_gated = {"up_proj": "w2", "down_proj": "w3"}
  plain = {"up_proj": "fc1", "down_proj": "fc2"}
  for theirs, own in (of_gated if gated else plain).items():
    name = name.replace(theirs, own)
  return name, x[0] if name == "mask_token" else x


@pytest.mark.parametrize("gate", [{}, {"use_gated_mlp": True, "hidden_act": "silu"}])
def test_dinov3_by_its_own_names(gate):
  model = randomised(dinov3(**gate))
  image, x = pictures(20, 44)
  arrays = {}
  of_transformers = state_dict(model)
  for name, array in of_transformers.items():
    name, array = official(name, array, bool(gate))
    if "attention." not in name:
      arrays[name] = array
  for i in range(2):
    old, new = f"model.layer.{i}.attention.", f"blocks.{i}.attn.qkv."
    q, k, v = (of_transformers[f"{old}{n}_proj.weight"] for n in "qkv")
    arrays[f"{new}weight"] = np.concatenate([q, k, v])
    q, v = (of_transformers[f"{old}{n}_proj.bias"] for n in "qv")
    arrays[f"{new}bias"] = np.concatenate([q, np.full_like(q, 7), v])  # 7: never seen
    arrays[f"{new}bias_mask"] = np.repeat(np.float32([1, 0, 1]), len(q))
  arrays["rope_embed.periods"] = np.float32([1, 10])
  with torch.no_grad():
    theirs = model(x).last_hidden_state[:, 0].numpy()
  ours, back, found = outputs(arrays, {"image": image}, heads=3)
  assert found.family == "dinov3"
  close(ours["features"], theirs)
  assert back.keys() == arrays.keys()
  for name, array in arrays.items():
    np.testing.assert_array_equal(back[name], array, err_msg=name)
  arrays["rope_embed.periods"] = np.float32([1, 20])
  with pytest.raises(ConfigError, match=r"rope_embed\.periods has other numbers"):
    outputs(arrays, {"image": image}, heads=3)


def pooled(y):
  return y.pooler_output.flatten(1)


def test_hugging_face_s_resnet(tmp_path):
  transformers = pytest.importorskip("transformers", reason="needs transformers")
  stages = (3, 4, 6, 3)
  config = transformers.ResNetConfig(
    embedding_size=8, hidden_sizes=[32, 64, 128, 256], depths=list(stages)
  )
  model = transformers.ResNetModel(config)
  through_folders(model, 65, 47, tmp_path, read=pooled)

"""Towers of pictures and texts are those of OpenAI's code and of transformers.

Random weights; what goes out is loaded with strict=True. The extra `interop-test`
installs what is compared with.
"""

import numpy as np
import pytest

from ssljax.weights import files, hub

torch = pytest.importorskip("torch", reason="needs the extra interop-test: torch")
from interop import (
  check,
  close,
  goes_out,
  outputs,
  pictures,
  randomised,
  state_dict,
)

START, END = 62, 63  # of 64 ids, as CLIP's: the last
TEXTS = np.array([[START, 5, 0, 7, END, 0, 0, 0], [START, 9, END, 0, 0, 0, 0, 0]])


class CLIPBlock(torch.nn.Module):
  """A block of OpenAI's `clip/model.py`."""

  def __init__(self, width, heads, causal=False):
    super().__init__()
    self.causal = causal
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
    mask = torch.full((len(x), len(x)), -torch.inf).triu(1) if self.causal else None
    x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
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


class Clip(torch.nn.Module):
  """Both towers of OpenAI's `clip/model.py`, by its names, or that of pictures."""

  def __init__(self, width=24, out=16, texts=True):
    super().__init__()
    self.visual = CLIPVisual(out=out)
    if not texts:
      return
    self.transformer = torch.nn.Module()
    self.transformer.resblocks = torch.nn.Sequential(
      *(CLIPBlock(width, 3, causal=True) for _ in range(2))
    )
    self.token_embedding = torch.nn.Embedding(64, width)
    self.positional_embedding = torch.nn.Parameter(torch.zeros(8, width))
    self.ln_final = torch.nn.LayerNorm(width)
    self.text_projection = torch.nn.Parameter(torch.zeros(width, out))
    self.logit_scale = torch.nn.Parameter(torch.zeros(()))

  def forward(self, x):
    return self.visual(x)

  def encode_text(self, text):
    x = self.token_embedding(text) + self.positional_embedding
    x = self.transformer.resblocks(x.permute(1, 0, 2)).permute(1, 0, 2)
    x = self.ln_final(x)
    return x[torch.arange(len(x)), text.argmax(-1)] @ self.text_projection


def test_clip_s_tower_of_pictures():
  check(randomised(Clip(texts=False)), 24, 24, heads=4)


def test_clip_s_towers():
  model = randomised(Clip())
  image, x = pictures(24, 24)
  with torch.no_grad():
    theirs = model(x).numpy(), model.encode_text(torch.from_numpy(TEXTS)).numpy()
  inputs = {"image": image, "text": TEXTS}
  of_heads = {"text": {"heads": 3}}
  ours, back, found = outputs(state_dict(model), inputs, told_heads=of_heads, heads=4)
  assert found.method["name"] == "clip"
  assert found.method["text"]["vocabulary"] == 64
  close(ours["projection"], theirs[0])
  close(ours["text"], theirs[1])
  model.load_state_dict({k: torch.from_numpy(x) for k, x in back.items()}, strict=True)


HF = {
  **{"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3},
  **{"intermediate_size": 96},
}
PICTURES = {**HF, "image_size": 24, "patch_size": 4}
WORDS = {**HF, "vocab_size": 64, "max_position_embeddings": 8, "eos_token_id": END}


@pytest.mark.parametrize("size", [(24, 24), (20, 44)])
def test_hugging_face_s_clip(size, tmp_path):
  transformers = pytest.importorskip("transformers", reason="needs transformers")
  config = transformers.CLIPConfig(
    vision_config=PICTURES, text_config={**WORDS, "hidden_act": "gelu"}
  )
  config.projection_dim = 16
  model = randomised(transformers.CLIPModel(config))
  model.save_pretrained(tmp_path / "in")
  (arrays, _), said = files.read(tmp_path / "in"), hub.read(tmp_path / "in")
  image, x = pictures(*size)
  with torch.no_grad():
    pixels = model.get_image_features(x, interpolate_pos_encoding=True)
    words = model.get_text_features(torch.from_numpy(TEXTS))
  inputs = {"image": image, "text": TEXTS}
  ours, back, found = outputs(arrays, inputs, told_heads=said.heads, **said.encoder)
  assert (found.fields["activation"], found.method["text"]["activation"]) == (
    "quick_gelu",
    "gelu",
  )
  close(ours["projection"], pixels.pooler_output.numpy())
  close(ours["text"], words.pooler_output.numpy())
  goes_out(model, tmp_path / "out", back, found, said)


@pytest.mark.parametrize("name", ["CLIPVisionModel", "CLIPVisionModelWithProjection"])
def test_hugging_face_s_tower_of_pictures(name, tmp_path):
  transformers = pytest.importorskip("transformers", reason="needs transformers")
  config = transformers.CLIPVisionConfig(**PICTURES, projection_dim=16)
  model = randomised(getattr(transformers, name)(config))
  model.save_pretrained(tmp_path / "in")
  (arrays, _), said = files.read(tmp_path / "in"), hub.read(tmp_path / "in")
  image, x = pictures(24, 24)
  with torch.no_grad():
    y = model(x)
  ours, back, found = outputs(arrays, {"image": image}, **said.encoder)
  assert found.family == "hf_clip"
  if name == "CLIPVisionModel":
    close(ours["features"], y.pooler_output.numpy())
    goes_out(model, tmp_path / "out", back, found, said)
  else:
    close(ours["projection"], y.image_embeds.numpy())
    model.load_state_dict({k: torch.from_numpy(x) for k, x in back.items()})


@pytest.mark.parametrize("size", [(24, 24), (20, 44)])
def test_hugging_face_s_siglip(size, tmp_path):
  transformers = pytest.importorskip("transformers", reason="needs transformers")
  words = {**WORDS, "projection_size": 24, "intermediate_size": 90}
  config = transformers.SiglipConfig(vision_config=PICTURES, text_config=words)
  model = randomised(transformers.SiglipModel(config))
  model.save_pretrained(tmp_path / "in")
  (arrays, _), said = files.read(tmp_path / "in"), hub.read(tmp_path / "in")
  image, x = pictures(*size)
  with torch.no_grad():
    pixels = model.get_image_features(x, interpolate_pos_encoding=True)
    words = model.get_text_features(torch.from_numpy(TEXTS))
  inputs = {"image": image, "text": TEXTS}
  ours, back, found = outputs(arrays, inputs, told_heads=said.heads, **said.encoder)
  assert (found.family, found.method["loss"]) == ("hf_siglip", "sigmoid")
  close(ours["projection"], pixels.pooler_output.numpy())
  close(ours["text"], words.pooler_output.numpy())
  goes_out(model, tmp_path / "out", back, found, said)

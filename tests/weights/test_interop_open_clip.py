"""open_clip's towers on timm's vision transformers, by names and by numbers.

The trunk is timm's own; texts are a transformer of torch under open_clip's names.
Random weights.
"""

import numpy as np
import pytest
import releases

from ssljax.fields import ConfigError
from ssljax.weights import recognise

torch = pytest.importorskip("torch", reason="needs the extra interop-test: torch")
from interop import close, outputs, pictures, randomised, state_dict

WIDTH = 24
TIMM = {"patch_size": 4, "img_size": 24, "num_classes": 0, "dynamic_img_size": True}
TIMM |= {"embed_dim": WIDTH, "depth": 2, "num_heads": 3}
TEXTS = np.array([[5, 0, 7, 63, 0, 0], [9, 63, 0, 0, 0, 0]])


class Block(torch.nn.Module):
  """A block of open_clip's transformer of texts, by its names."""

  def __init__(self):
    super().__init__()
    self.attn = torch.nn.MultiheadAttention(WIDTH, 3)
    self.ln_1, self.ln_2 = (torch.nn.LayerNorm(WIDTH, eps=1e-6) for _ in range(2))
    wide = torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.Linear(4 * WIDTH, WIDTH)
    self.mlp = torch.nn.ModuleDict(dict(zip(("c_fc", "c_proj"), wide, strict=True)))

  def forward(self, x, causal):
    y = self.ln_1(x)
    mask = torch.full((len(x), len(x)), -torch.inf).triu(1) if causal else None
    x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
    y = self.mlp["c_fc"](self.ln_2(x))
    return x + self.mlp["c_proj"](torch.nn.functional.gelu(y))


class Texts(torch.nn.Module):
  """open_clip's tower of texts, by its names, read at its last id or at its end."""

  def __init__(self, out, last):
    super().__init__()
    self.last = last
    self.transformer = torch.nn.Module()
    self.transformer.resblocks = torch.nn.ModuleList(Block() for _ in range(2))
    self.token_embedding = torch.nn.Embedding(64, WIDTH)
    self.positional_embedding = torch.nn.Parameter(torch.zeros(6, WIDTH))
    self.ln_final = torch.nn.LayerNorm(WIDTH, eps=1e-6)
    if last:
      self.text_projection = torch.nn.Linear(WIDTH, out)
    else:
      self.text_projection = torch.nn.Parameter(torch.zeros(WIDTH, out))

  def forward(self, text):
    x = (self.token_embedding(text) + self.positional_embedding).permute(1, 0, 2)
    for block in self.transformer.resblocks:
      x = block(x, causal=not self.last)
    x = self.ln_final(x.permute(1, 0, 2))
    if self.last:
      return self.text_projection(x[:, -1])
    return x[torch.arange(len(x)), text.argmax(-1)] @ self.text_projection


class Visual(torch.nn.Module):
  """A trunk of timm's, and a linear map behind it or none."""

  def __init__(self, trunk, out):
    super().__init__()
    self.trunk, self.head = trunk, torch.nn.ModuleDict()
    if out:
      self.head["proj"] = torch.nn.Linear(WIDTH, out, bias=False)

  def forward(self, x):
    x = self.trunk(x)
    return self.head["proj"](x) if "proj" in self.head else x


class Towers(torch.nn.Module):
  """`CustomTextCLIP` of open_clip, by its names."""

  def __init__(self, trunk, siglip=False):
    super().__init__()
    self.visual = Visual(trunk, 0 if siglip else 16)
    self.text = Texts(WIDTH if siglip else 16, last=siglip)
    self.logit_scale = torch.nn.Parameter(torch.zeros(()))
    if siglip:
      self.logit_bias = torch.nn.Parameter(torch.zeros(()))


def trunk(**fields):
  timm = pytest.importorskip("timm", reason="needs timm")
  return timm.models.vision_transformer.VisionTransformer(**TIMM, **fields)


def compare(model, size, arrays=None, told=None):
  """Both towers of a model and of ours, by features, and the state dict going out."""
  image, x = pictures(*size)
  with torch.no_grad():
    theirs = model.visual(x).numpy(), model.text(torch.from_numpy(TEXTS)).numpy()
  arrays = arrays or state_dict(model)
  inputs, told = {"image": image, "text": TEXTS}, {"text": told or {}}
  told["text"]["heads"] = 3
  ours, back, found = outputs(arrays, inputs, told_heads=told, heads=3)
  close(ours["projection"], theirs[0])
  close(ours["text"], theirs[1])
  assert back.keys() == arrays.keys()
  for name, x in arrays.items():
    np.testing.assert_array_equal(back[name], x, err_msg=name)
  return found


@pytest.mark.parametrize("size", [(24, 24), (20, 44)])
def test_siglip_on_timm_s_trunk(size):
  model = randomised(Towers(trunk(class_token=False, global_pool="map"), siglip=True))
  found = compare(model, size)
  assert (found.family, found.method["loss"]) == ("open_clip_siglip", "sigmoid")
  assert found.fields["class_token"] is False


@pytest.mark.parametrize(
  "fields",
  [
    {},
    {"global_pool": "avg"},  # with a norm behind the mean
    {"class_token": False, "global_pool": "avg", "fc_norm": False, "init_values": 0.1},
  ],
)
@pytest.mark.parametrize("of_clip", [False, True])
def test_a_plain_trunk_with_its_projection(fields, of_clip):
  """Texts below `text.`, or named as in CLIP's own state dict."""
  model = randomised(Towers(trunk(**fields)))
  arrays = state_dict(model)
  if of_clip:
    arrays = {k.removeprefix("text."): x for k, x in arrays.items()}
  found = compare(model, (24, 24), arrays, {"epsilon": 1e-6})
  assert (found.family, found.method["loss"]) == ("open_clip", "softmax")
  assert found.method["projector"]["out"] == 16


def test_the_tower_of_pictures_alone():
  release = releases.arrays("open_clip_timm_vit_small_patch16_224")
  arrays = {k: x for k, x in release.items() if k.startswith("visual.")}
  found = recognise(arrays)
  assert found.method["name"] == "given"
  assert found.method["projector"]["out"] == 32


@pytest.mark.parametrize(
  ("names", "sentence"),
  [
    (
      {"visual.trunk.stem.0.weight": (4, 3, 4, 4)},
      r"stem\.0\.weight has no place: .*none",
    ),
    (
      {"visual.trunk.layers.0.x": (4,)},
      r"layers\.0\.x has no place: its trunk is none",
    ),
    ({"visual.trunk.layer1.0.conv1.weight": (4, 4, 1, 1)}, r"trunk is none of timm's"),
    ("visual.head.mlp.fc1.weight", "two linear maps behind the trunk"),
    ("visual.trunk.blocks.0.attn.q_norm.weight", "queries are normalised there"),
    ("text.transformer.embeddings.word_embeddings.weight", "of Hugging Face's"),
    ("visual.trunk.rope.periods", r"rope\.periods \[4\] has no place"),
  ],
)
def test_what_cannot_be_held_is_refused_by_name(names, sentence):
  if isinstance(names, str):
    arrays = releases.arrays("open_clip_timm_vit_small_patch16_224")
    arrays[names] = np.ones(4, np.float32)
  else:
    arrays = {k: np.ones(shape, np.float32) for k, shape in names.items()}
  with pytest.raises(ConfigError, match=sentence):
    recognise(arrays)

"""CLIP's ResNet is timm's of that name, and with its tower of texts one run of `clip`.

timm reads OpenAI's names by its own filter. Random weights, narrow and shallow.
"""

import dataclasses
import re

import numpy as np
import pytest
import releases

from ssljax.fields import ConfigError
from ssljax.protocols import weights_out
from ssljax.weights import recognise, take

torch = pytest.importorskip("torch", reason="needs the extra interop-test: torch")
from interop import close, outputs, pictures

SHALLOW = {"stage_sizes": (1, 1, 1, 1)}


def arrays(texts=False):
  """A state dict of OpenAI's names, of one block a stage and a table for 64 pixels."""
  deep = re.compile(r"visual\.layer\d\.[1-9]|transformer\.resblocks\.[1-9]")
  found = releases.arrays("clip_rn50")
  found = {k: x for k, x in found.items() if not deep.match(k)}
  for name, x in found.items():  # so that no branch is small beside the rest
    if re.search(r"bn\d\.weight|downsample\.1\.weight", name):
      found[name] = x + np.float32(1)
    elif x.ndim > 1:
      found[name] = x * np.float32(14 / np.prod(x.shape[1:]) ** 0.5)
  name = "visual.attnpool.positional_embedding"
  found[name] = found[name][:5].copy()
  return {k: x for k, x in found.items() if texts or k.startswith("visual.")}


def of_timm():
  """A network of timm's, and the module in which its filter of names is."""
  byobnet = pytest.importorskip("timm.models.byobnet", reason="needs timm")
  config = byobnet.model_cfgs["resnet50_clip"]
  blocks = [dataclasses.replace(b, d=1, c=b.c // 8) for b in config.blocks]
  config = dataclasses.replace(config, blocks=tuple(blocks), stem_chs=(4, 4, 8))
  model = byobnet.ByobNet(config, num_classes=128, img_size=64)
  return model.eval(), byobnet


@pytest.mark.parametrize("size", [(64, 64), (96, 64)])
def test_features_are_timm_s(size):
  """At another size too: timm interpolates positions, which CLIP itself does not."""
  model, byobnet = of_timm()
  given = arrays()
  tensors = {k: torch.from_numpy(np.array(x)) for k, x in given.items()}
  model.load_state_dict(byobnet.checkpoint_filter_fn(tensors, model), strict=True)
  image, x = pictures(*size)
  with torch.no_grad():
    theirs = model(x).numpy()
  ours, back, found = outputs(given, {"image": image}, **SHALLOW)
  assert found.family == "clip"
  close(ours["features"], theirs)
  assert back.keys() == given.keys()
  for name, x in given.items():
    np.testing.assert_array_equal(back[name], x, err_msg=name)


def test_both_towers_are_a_run_of_the_method_clip():
  texts = np.array([[5, 6175, 0, 0], [7, 8, 6175, 0]])
  given = arrays(texts=True)
  name = "positional_embedding"
  given[name] = given[name][:4].copy()
  image, _ = pictures(64, 64)
  inputs = {"image": image, "text": texts}
  ours, back, found = outputs(given, inputs, **SHALLOW)
  assert found.method["name"] == "clip"
  assert "projector" not in found.method
  np.testing.assert_array_equal(ours["projection"], ours["features"])
  assert ours["projection"].shape == ours["text"].shape == (2, 128)
  assert back.keys() == given.keys()


def test_no_other_resnet_goes_out_under_its_names():
  given = arrays()
  found = recognise(given, told=SHALLOW)
  ours = take(given, found)
  for format in ("torchvision", "simclr", "hf_resnet"):
    with pytest.raises(ConfigError, match=f"format='{format}' has no names for"):
      weights_out.choose(format, ours, found.fields, {})
  with pytest.raises(ConfigError, match=r"no names for the encoder's blurred=False"):
    weights_out.choose("clip", ours, {**found.fields, "blurred": False}, {})


@pytest.mark.parametrize(
  ("lost", "sentence"),
  [
    ("visual.attnpool.k_proj.weight", r"attnpool\.\w_proj\.weight .* is not there"),
    ("visual.conv2.weight", r"visual\.conv2\.weight \[4, 4, 3, 3\] is not there"),
    ("visual.attnpool.positional_embedding", "positional_embedding .* is not there"),
  ],
)
def test_what_is_not_there_is_named(lost, sentence):
  given = arrays()
  del given[lost]
  with pytest.raises(ConfigError, match=sentence):
    recognise(given, told=SHALLOW)

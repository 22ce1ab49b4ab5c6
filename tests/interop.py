"""Networks of torch beside ours: the same features, the same state dict again."""

import json

import jax
import numpy as np
import pytest
import torch

from ssljax import nets
from ssljax.protocols import weights_out
from ssljax.weights import FAMILIES, files, hub, networks, recognise, take, unflatten


def randomised(model):
  """The model, evaluated, each number random, running variances positive."""
  torch.manual_seed(0)
  with torch.no_grad():
    for name, x in model.state_dict(keep_vars=True).items():
      if name.endswith("running_var"):
        x.uniform_(0.5, 2)
      elif x.is_floating_point():
        x.normal_(1.0 if x.ndim == 1 and "weight" in name else 0.0, 0.1)
  return model.eval()


def outputs(arrays, inputs, format="", told_heads=None, **told):
  """-> outputs by name of a network's inputs, the state dict going back, `Found`."""
  found = recognise(arrays, format, told, told_heads)
  ours = take(arrays, found)
  sizes = networks.sizes({k: x.shape for k, x in ours.items()})
  net = networks.network(found.fields, found.method, sizes.classes)
  apply = jax.jit(lambda v, x: net.apply(v, x, train=False))
  says = {**vars(net.encoder), **found.fields}
  form = FAMILIES[found.family].forms.index(found.form)
  origin = {"format": found.family, "prefix": found.prefix, "form": form}
  chosen = weights_out.choose(found.family, ours, says, origin)
  back = weights_out.write_names(ours, says, chosen)
  back |= {name: arrays[name] for name in found.left}
  return jax.device_get(apply(unflatten(ours), inputs)), back, found


def close(ours, theirs, rounding=1e-5):
  assert ours.shape == theirs.shape
  assert np.abs(ours - theirs).max() < rounding * np.abs(theirs).max()


def pictures(height, width):
  """-> pictures [2,H,W,3], and as torch has them."""
  image = np.random.default_rng(0).normal(size=(2, height, width, 3))
  image = image.astype(np.float32)
  return image, torch.from_numpy(image.transpose(0, 3, 1, 2).copy())


def state_dict(model):
  return {k: x.numpy().copy() for k, x in model.state_dict().items()}


def check(model, height, width, read=lambda y: y, rounding=1e-5, format="", **told):
  arrays, (image, x) = state_dict(model), pictures(height, width)
  with torch.no_grad():
    theirs = read(model(x)).numpy()
  ours, back, _ = outputs(arrays, {"image": image}, format, **told)
  close(ours["features"], theirs, rounding)
  model.load_state_dict({k: torch.from_numpy(x) for k, x in back.items()}, strict=True)


def first_token(y):
  return y.last_hidden_state[:, 0]


def through_folders(model, height, width, folder, read=first_token, **arguments):
  """Reads what transformers saves; lets it build and load what goes back out."""
  model = randomised(model)
  model.save_pretrained(folder / "in")
  arrays, _ = files.read(folder / "in")
  said = hub.read(folder / "in")
  image, x = pictures(height, width)
  with torch.no_grad():
    theirs = read(model(x, **arguments)).numpy()
  ours, back, found = outputs(arrays, {"image": image}, **said.encoder)
  close(ours["features"], theirs)
  goes_out(model, folder / "out", back, found, said)
  return found


def goes_out(model, folder, arrays, found, said):
  """Writes the folder; transformers must build the same model from it."""
  transformers = pytest.importorskip("transformers", reason="needs transformers")
  shapes = {k: x.shape for k, x in take(arrays, found).items()}
  says = {**vars(nets.build(found.fields)), **found.fields}
  heads = {
    role: vars(nets.build_head(role, fields))
    for role, fields in found.method.items()
    if role in nets.HEADS
  }
  files.write(folder / "model.safetensors", arrays, {})
  config = hub.config_of(found.family, says, heads, shapes)
  (folder / "config.json").write_text(json.dumps(config))
  assert hub.read(folder)[:2] == said[:2]
  again, info = transformers.AutoModel.from_pretrained(folder, output_loading_info=True)
  assert not any(info[k] for k in ("missing_keys", "unexpected_keys"))
  assert type(again) is type(model)
  for name, x in model.state_dict().items():
    assert torch.equal(again.state_dict()[name], x), name

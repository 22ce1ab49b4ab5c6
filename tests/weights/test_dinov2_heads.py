"""DINOv2's linear classifiers, of four blocks or one, on its backbone."""

import json

import numpy as np
import pytest
import releases
from weight_runs import command, loaded

import ssljax
from configs.eval import knn
from configs.weights import load, save
from ssljax.fields import ConfigError
from ssljax.weights import files, recognise

RELEASE = (
  "dinov2_vits14_pretrain"  # narrow: width 24, two blocks, of which all are read
)
SMALL = {"size": 28, "data__size": 16, "run__batch_size": 16}


def classifier(wide, classes=10):
  rng = np.random.default_rng(1)
  weight, bias = rng.normal(size=(classes, wide)), rng.normal(size=classes)
  return {"weight": np.float32(weight), "bias": np.float32(bias)}


def given(folder, head):
  files.write(folder / "backbone.npz", releases.arrays(RELEASE), {})
  files.write(folder / "head.npz", head, {})
  told = {"file": str(folder / "backbone.npz"), "head": str(folder / "head.npz")}
  return command(load, **told, encoder__heads=2, **SMALL)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
  folder = tmp_path_factory.mktemp("dinov2")
  ssljax.evaluate(given(folder, classifier(3 * 24)), folder / "run")
  return folder / "run"


def test_a_backbone_and_its_head_are_a_run_that_classifies(judged):
  config = json.loads((judged / "config.json").read_text())
  assert config["method"] == {"name": "supervised", "classifier": {}}
  assert config["encoder"]["pool"] == "cls4_mean"
  origin = json.loads((judged / "origin.json").read_text())
  assert (origin["format"], origin["head"]) == ("dinov2", "head.npz")
  config = command(knn, checkpoint=str(judged), evaluator="classifier")
  rows = ssljax.evaluate(config)
  assert 0 <= rows["trained encoder"]["accuracy"] <= 100


def test_both_go_back_out_to_the_bit_as_the_hub_names_them(judged, tmp_path):
  out = tmp_path / "out.safetensors"
  ssljax.evaluate(command(save, checkpoint=str(judged), format="dinov2", file=str(out)))
  arrays, _ = files.read(out)
  want = {f"backbone.{k}": x for k, x in releases.arrays(RELEASE).items()}
  want |= {f"linear_head.{k}": x for k, x in classifier(3 * 24).items()}
  assert arrays.keys() == want.keys()
  for name, x in want.items():
    np.testing.assert_array_equal(arrays[name], x, err_msg=name)


@pytest.mark.parametrize(
  ("head", "sentence"),
  [
    ({"fc.weight": np.ones((2, 3))}, r"must hold weight and bias.* and has fc\.weight"),
    (classifier(31), r"weight is \[10, 31\], .* 2 or 5 times the .* is 24"),
  ],
)
def test_another_head_is_refused(tmp_path, head, sentence):
  with pytest.raises(ConfigError, match=sentence):
    ssljax.evaluate(given(tmp_path, head), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_a_backbone_alone_is_judged_by_its_class_token(tmp_path):
  _, run = loaded(tmp_path, RELEASE, encoder__heads=2, size=28)
  config = json.loads((run / "config.json").read_text())
  assert (config["method"]["name"], config["encoder"]["pool"]) == ("given", "cls")


@pytest.mark.parametrize(("blocks", "pool"), [(1, "cls_mean"), (4, "cls4_mean")])
def test_classes_are_those_of_the_hub_s_classifier(blocks, pool):
  """timm's blocks, read off as `dinov2/hub/classifiers.py` does."""
  torch = pytest.importorskip("torch", reason="needs the extra interop-test: torch")
  timm = pytest.importorskip("timm", reason="needs timm")
  from interop import close, outputs, pictures, randomised, state_dict

  model = timm.models.vision_transformer.VisionTransformer(
    patch_size=4,
    img_size=24,
    num_classes=0,
    embed_dim=24,
    depth=6,
    num_heads=3,
    init_values=0.1,
  )
  model = randomised(model)
  arrays = {f"backbone.{k}": x for k, x in state_dict(model).items()}
  wide = (1 + blocks) * 24
  arrays |= {f"linear_head.{k}": x for k, x in classifier(wide).items()}
  image, x = pictures(24, 24)
  with torch.no_grad():
    last = model.get_intermediate_layers(x, n=4, return_prefix_tokens=True, norm=True)
    read = [*[x[:, 0] for _, x in last][-blocks:], last[-1][0].mean(1)]
    theirs = torch.cat(read, 1).numpy() @ arrays["linear_head.weight"].T
  ours, back, found = outputs(arrays, {"image": image}, "dinov2", heads=3)
  assert (found.method["name"], found.fields["pool"]) == ("supervised", pool)
  close(ours["logits"], theirs + arrays["linear_head.bias"])
  assert back.keys() == arrays.keys()
  assert recognise(arrays, told={"heads": 3}).family == "dinov2"

"""A file of CLIP becomes a run of the method `clip`, which knows classes by name."""

import gzip
import importlib
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import releases
from weight_runs import command

import ssljax
from configs.eval import clip_imagenet_prompts
from configs.weights import load, save
from ssljax import encoder, sharding
from ssljax.data import Tokenizer
from ssljax.fields import ConfigError
from ssljax.weights import files, pretrained, recognise, take

pytest.importorskip("tokenizers", reason="needs the extra text: tokenizers")
MERGES = ["t h", "th e</w>", "d i", "o n", "di g"]
IDS = 2 * 256 + len(MERGES) + 2
SMALL = {"run__batch_size": 16, "data__size": 16, "size": 32}


def arrays():
  """A state dict of OpenAI's names, of few ids."""
  found = releases.arrays("clip_vit_b_32")
  found["token_embedding.weight"] = found["token_embedding.weight"][:IDS].copy()
  return found


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
  folder = tmp_path_factory.mktemp("clip")
  file, merges = folder / "clip.safetensors", folder / "bpe.txt.gz"
  files.write(file, arrays(), {})
  merges.write_bytes(gzip.compress("\n".join(["#version", *MERGES]).encode()))
  told = {"data__tokenizer": str(merges), **SMALL}
  ssljax.evaluate(command(load, file=str(file), **told), folder / "run")
  return file, folder / "run"


def test_it_is_a_run_of_the_method_clip(loaded):
  _, run = loaded
  config = json.loads((run / "config.json").read_text())
  assert config["method"]["name"] == "clip"
  text = {"vocabulary": IDS, "width": 32, "depth": 2, "heads": 1, "out": 32}
  text |= {"activation": "quick_gelu", "epsilon": 1e-5}
  assert config["method"]["text"] == text
  assert (config["data"]["vocabulary"], config["data"]["context"]) == (IDS, 77)
  assert Tokenizer.load(run).encode([""])[0, :3].tolist() == [IDS - 2, IDS - 1, 0]


def test_fields_of_its_texts_may_be_told(loaded, tmp_path):
  config = command(load, file=str(loaded[0]), text__heads=2, **SMALL)
  ssljax.evaluate(config, tmp_path / "run")
  config = json.loads((tmp_path / "run" / "config.json").read_text())
  assert config["method"]["text"]["heads"] == 2
  with pytest.raises(ConfigError, match=r"text has no field head=2"):
    ssljax.evaluate(command(load, file=str(loaded[0]), text__head=2), tmp_path / "no")


def test_zero_shot_works_on_it(loaded):
  config = clip_imagenet_prompts.get_config()
  config.checkpoint, config.data.name = str(loaded[1]), "digits"
  config.zero_shot.templates = ("the digit {}",)
  rows = ssljax.evaluate(config)
  assert set(rows) == {"random encoder", "trained encoder"}
  assert 0 <= rows["trained encoder"]["accuracy"] <= 100


def test_it_goes_back_out_to_the_bit(loaded, tmp_path):
  file, run = loaded
  out = tmp_path / "out.safetensors"
  ssljax.evaluate(command(save, checkpoint=str(run), format="clip", file=str(out)))
  (read, texts), (first, _) = files.read(out), files.read(file)
  assert read.keys() == first.keys()
  for name, x in first.items():
    np.testing.assert_array_equal(read[name], x, err_msg=name)
  assert json.loads(texts["ssljax"])["heads"]["text"]["epsilon"] == 1e-5


def test_onnx_has_both_towers_in_one_space(loaded, tmp_path):
  for name in ("onnx", "onnxruntime", "jax2onnx"):
    pytest.importorskip(name, reason=f"needs the extra onnx: {name}")
  import onnxruntime

  _, run = loaded
  found = {}
  text = np.zeros((2, 77), np.int32)
  text[:, :3] = [[3, 4, IDS - 1], [9, IDS - 1, 0]]
  image = np.random.default_rng(0).integers(0, 256, (2, 40, 48, 3), np.uint8)
  for kind, name, x in (("text", "text", text), ("uint8", "image", image)):
    file = tmp_path / f"{kind}.onnx"
    told = {"checkpoint": str(run), "file": str(file), "input": kind}
    ssljax.evaluate(command(save, format="onnx", **told))
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found[name],) = session.run(["projection"], {name: x})
  trained = encoder.restore(run, sharding.make_mesh(jax.local_devices()[:1]))
  method, state = trained.parts.method, trained.state
  want = jax.jit(method.read)(state, text)
  np.testing.assert_allclose(found["text"], want, atol=1e-4)
  x = trained.parts.seen({"image": image, "index": np.zeros(2, np.int32)})
  want = jax.jit(method.apply)(state, x)["projection"]
  np.testing.assert_allclose(found["image"], want, atol=1e-4)


def test_hugging_face_s_folder_has_both_towers_and_the_tokenizer(loaded, tmp_path):
  out, again = tmp_path / "hf", tmp_path / "again"
  ssljax.evaluate(command(save, checkpoint=str(loaded[1]), format="hf", file=str(out)))
  config = json.loads((out / "config.json").read_text())
  assert (config["model_type"], config["projection_dim"]) == ("clip", 32)
  assert config["text_config"]["eos_token_id"] == IDS - 1
  ssljax.evaluate(command(load, file=str(out), **SMALL), again)
  first, second = (
    json.loads((run / "config.json").read_text()) for run in (loaded[1], again)
  )
  assert first["method"]["text"].items() <= second["method"]["text"].items()
  assert first["encoder"].items() <= second["encoder"].items()
  images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
  one, two = (ssljax.load_encoder(r, 2)(images) for r in (loaded[1], again))
  np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)
  texts = ["the digit 3"]
  ids = [Tokenizer.load(run).encode(texts) for run in (loaded[1], again)]
  np.testing.assert_array_equal(*ids)


def test_without_a_tokenizer_it_is_said_what_to_name(loaded, tmp_path, capsys):
  config = command(load, file=str(loaded[0]), **SMALL)
  ssljax.evaluate(config, tmp_path / "run")
  assert "--config.data.tokenizer= takes CLIP's bpe" in capsys.readouterr().out


def test_a_recipe_that_takes_its_texts_must_read_them_as_it_does(loaded):
  config = importlib.import_module("configs.clip_folder").get_config("smoke")
  config.pretrained.checkpoint = str(loaded[1])
  config.pretrained.take = (".*",)
  config.encoder = json.loads((loaded[1] / "config.json").read_text())["encoder"]
  state = SimpleNamespace(params={"text": {"embed": np.zeros((IDS, 32))}})
  with pytest.raises(ConfigError, match=r"set data\.tokenizer='.*run'"):
    pretrained.start(config, state, sharding.make_mesh())


def change(name, how):
  def changed(x):
    x[name] = how(x.pop(name))

  return changed


def without(start):
  return lambda x: [x.pop(k) for k in [*x] if k.startswith(start)]


@pytest.mark.parametrize(
  ("damage", "sentence"),
  [
    (without("ln_final"), r"ln_final\.weight \[32\] is not there"),
    (
      without("transformer.resblocks.0.attn"),
      r"attn\.\w+\.bias \[32\] is not there",
    ),
    (without("positional_embedding"), "positional_embedding .* is not there"),
    (without("visual.proj"), r"visual\.proj is not there"),
    (change("text_projection", lambda x: x[:, :7]), "have 32 numbers .* texts 7 "),
    (
      change("transformer.resblocks.0.mlp.c_fc.weight", np.transpose),
      r"c_fc\.weight is \[32, 128\] and must be \[128, 32\], which is it transposed",
    ),
    (
      lambda x: x.update(logit_scales=x.pop("logit_scale")),
      r"logit_scale \[\] is not there \(logit_scales would fit\)",
    ),
    (change("logit_scale", lambda x: x * np.nan), "logit_scale has numbers that are"),
  ],
)
def test_half_a_model_is_not_taken_for_its_tower_of_pictures(damage, sentence):
  found = arrays()
  damage(found)
  with pytest.raises(ConfigError, match=sentence) as raised:
    take(found, recognise(found))
  assert "\n" not in str(raised.value)


def test_fields_of_texts_that_are_not_there_are_refused(loaded, tmp_path):
  only = {k: x for k, x in arrays().items() if k.startswith("visual.")}
  files.write(tmp_path / "visual.safetensors", only, {})
  config = command(load, file=str(tmp_path / "visual.safetensors"), text__heads=2)
  with pytest.raises(ConfigError, match=r"text\.heads: the file has no tower of texts"):
    ssljax.evaluate(config, tmp_path / "run")


def test_the_tower_of_pictures_alone_is_an_encoder_with_a_last_map():
  found = {k: x for k, x in arrays().items() if k.startswith("visual.")}
  recognised = recognise(found)
  assert recognised.method == {"name": "given"}
  assert recognised.fields["out"] == 32


def test_siglip_s_texts_are_filled_with_their_end(tmp_path):
  """By the tokenizer.json of the folder, a unigram model; and back to the bit."""
  hf = pytest.importorskip("tokenizers", reason="needs the extra text: tokenizers")
  found = releases.arrays("hf_siglip_base_patch16_224")
  name = "text_model.embeddings.token_embedding.weight"
  found[name] = found[name][:9].copy()
  words = ["<pad>", "</s>", "<unk>", "▁the", "▁digit", "▁", "3"]
  rules = hf.Tokenizer(
    hf.models.Unigram([(w, -float(i)) for i, w in enumerate(words)], 2)
  )
  rules.pre_tokenizer = hf.pre_tokenizers.Metaspace()
  rules.post_processor = hf.processors.TemplateProcessing(
    single="$A </s>", special_tokens=[("</s>", 1)]
  )
  folder, run = tmp_path / "in", tmp_path / "run"
  files.write(folder / "model.safetensors", found, {})
  (folder / "tokenizer.json").write_text(rules.to_str())
  ssljax.evaluate(command(load, file=str(folder), **SMALL), run)
  config = json.loads((run / "config.json").read_text())
  assert (config["method"]["name"], config["method"]["loss"]) == ("clip", "sigmoid")
  assert "projector" not in config["method"]
  rows = Tokenizer.load(run).encode(["the digit 3", "the"])
  assert rows.tolist() == [[3, 4, 5, 1], [3, 1, 1, 1]]  # four positions, narrowed
  out = tmp_path / "out"
  ssljax.evaluate(command(save, checkpoint=str(run), format="hf", file=str(out)))
  assert json.loads((out / "config.json").read_text())["model_type"] == "siglip"
  read, _ = files.read(out)
  assert read.keys() == found.keys()
  for name, x in found.items():
    np.testing.assert_array_equal(read[name], x, err_msg=name)

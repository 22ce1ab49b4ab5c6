"""open_clip's towers of pictures that are timm's networks: `visual.trunk.`.

Vision transformers alone; a linear map behind them is the projector. Texts lie below
`text.`, or as in CLIP's own. SigLIP's, first and second, have a query that reads
patches off and texts that are not causal; the code has GELU where they were trained
with gelu_tanh: `--config.encoder.activation=`. SigLIP 2's texts have that there too:
`--config.text.activation=gelu_tanh`.
"""

from collections.abc import Mapping

from ssljax.weights.families import clip, siglip, timm
from ssljax.weights.tables import Family, Form, Row, below, dense

PREFIX = "visual.trunk."
PROJECTED = tuple(dense("projector/fc1", "visual.head.proj"))
SCALE = Row("logit_scale", "logit_scale")
TEXTS = (  # below a name of their own, or as CLIP's
  (*below(clip.TEXT, "text/", "text."), SCALE),
  (*below(clip.TEXT, "text/"), SCALE),
)
OF_SIGLIP = (
  *(row for row in TEXTS[0] if not row.ours.startswith("text/proj")),
  *dense("text/proj", "text.text_projection"),
  Row("logit_bias", "logit_bias"),
)
NO_VIT = "its trunk is none of timm's vision transformers that are held"
REFUSED = {
  **{
    f"{PREFIX}{name}": NO_VIT
    for name in ("stem*", "stages.*", "layers.*", "layer?.*", "patch_embed.backbone.*")
  },
  f"{PREFIX}*q_norm.*": "queries are normalised there, which our attention does not",
  "visual.head.mlp.*": "pictures have two linear maps behind the trunk, and ours one",
  "visual.head.pool.*": "a map is read off by attention there, which our ViT has not",
  "text.transformer.embeddings.*": "its texts are read by a model of Hugging Face's",
  "text.transformer.encoder.*": "its texts are read by a model of Hugging Face's",
}


def _method(encoder: Mapping) -> dict:
  text = {"activation": "gelu", "epsilon": 1e-5}
  return {"name": "clip", "loss": "softmax", "projector": {}, "text": text}


def _siglip_method(encoder: Mapping) -> dict:
  text = {"activation": "gelu", "epsilon": 1e-6, "causal": False, "read": "last"}
  return {"name": "clip", "loss": "sigmoid", "text": {**text, **siglip.heads(encoder)}}


def _forms(trunk: Form) -> tuple[Form, ...]:
  both = (trunk._replace(heads=(*PROJECTED, *texts), method=_method) for texts in TEXTS)
  return trunk._replace(heads=PROJECTED), *both


FAMILY = Family(
  "open_clip on timm's ViT: `visual.trunk.`, both towers or that of pictures",
  tuple(
    form for trunk in (timm.VIT, timm.BEHIND_MEAN, timm.MEAN) for form in _forms(trunk)
  ),
  clip.FAMILY.pictures,
  prefixes=(PREFIX,),
  inside=PREFIX,
  beside=("*attn_mask",),
  refused=REFUSED,
)
SIGLIP = Family(
  "open_clip's SigLIP on timm's ViT: both towers, or that of pictures",
  (
    timm.MAPPED,
    timm.MAPPED._replace(heads=OF_SIGLIP, method=_siglip_method),
  ),
  siglip.PICTURES,
  prefixes=(PREFIX,),
  inside=PREFIX,
  beside=("*attn_mask",),
  refused=REFUSED,
)

"""LeJEPA on Imagenette (Balestriero & LeCun 2025): ViT-S/8, four views of 128 pixels.

    python run.py --config configs/lejepa_imagenette.py

Official (its MINIMAL.md): 90.7 after 800 epochs, of an online linear head, in 200
minutes on a GPU that is not named; issue 38 of its repository found a P100 far from it.
Others: 90.7 too, of pmineiro/levyjepa, whose features are pooled by attention, at a
batch of 96 and a quarter of the rate; of stable-pretraining's ViT-S/16, 200 epochs,
kNN 85.4 and linear 87.1, where its DINO has 83.8 and 86.1 and its SwAV 86.4 and 89.7,
one run each. Ours: not yet run.

Blurs see 6 pixels a side, 3 there; the linear map of the features has no bias.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  c.batch_size = 256
  c.epochs = 800
  c.dtype = "bfloat16"
  c.data.name = "imagenette/160px-v2"
  c.data.size = 256  # the longer side; most fit as they are
  c.data.in_memory = True

  c.augment.recipe = "lejepa"
  c.augment.size = 128

  c.encoder.name = "vit_s"
  c.encoder.patch_size = 8
  c.encoder.position = "learned"
  c.encoder.image_size = 128
  c.encoder.drop_path = 0.1
  c.encoder.out = 512

  c.method.name = "lejepa"
  c.method.weight = 0.02
  c.method.slices = 256
  c.method.projector = dict(layers=3, hidden=2048, out=16)

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(
    kind="cosine", base=2e-3, end=1e-3, start=2e-5, warmup_epochs=1
  )
  c.optimizer.weight_decay = 0.05  # of all parameters
  c.evals.knn.k = 20
  c.evals.at_end = ("knn", "linear")
  return common.finish(c, variant)

"""CPC on speech (van den Oord et al. 2018, section 3.1), LibriSpeech's 100 hours.

    python run.py --config configs/cpc_audio.py --config.data.dir=~/speech
    python run.py --config configs/cpc_audio.py:cpu --config.data.dir=~/words

The second is reduced, without a GPU: words of half a second at 8 kHz.

Recordings lie in folders, one for each speaker (or word), and are cut into pieces of
2.56 seconds; a view is 1.28 seconds of one. The learning rate, the window, the 512
channels, the 256 units of the GRU, the 12 steps of 10 ms and 300,000 updates of 64
windows are the paper's. It draws negatives from the 8 windows of a GPU and names no
norm; the 128 negatives and the channel norm are those of CPC_audio (Riviere et al.
2020).

Paper: linear, phones 64.6 and speakers 97.4, from single steps of the context; here
its mean over a window is judged, which gives other figures.
Ours: not yet run in full.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  c.batch_size = 64
  c.steps = 300_000
  c.dtype = "bfloat16"
  c.data.name = "audio"
  c.data.size = 40960  # samples at 16 kHz

  c.augment.recipe = "audio"
  c.augment.size = 20480

  c.encoder.name = "waveform"
  c.encoder.width = 512
  c.encoder.norm = "channel"

  c.method.name = "cpc_audio"
  c.method.gru = dict(width=256)
  c.method.forecast = dict(horizon=12)
  c.method.negatives = 128

  c.optimizer.name = "adamw"  # Adam: no decay
  c.optimizer.learning_rate = 2e-4
  c.optimizer.weight_decay = 0.0
  c.checkpoint.every_steps = 5000
  if variant == "cpu":  # 20 ms a latent
    common.cpu(c, batch_size=64, epochs=20)
    c.steps = None
    c.data.size = 8000
    c.data.sample_rate = 8000
    c.data.in_memory = True
    c.augment.size = 4000
    c.encoder.width = 64
    c.method.gru = dict(width=64)
    c.method.forecast = dict(horizon=6)
    c.evals.knn.k = 10
  return common.finish(c, variant, "cpu")

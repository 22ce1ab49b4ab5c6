"""CPC on books (van den Oord et al. 2018, section 3.3), BookCorpus.

    python run.py --config configs/cpc_text.py --config.data.dir=~/books

The folder holds plain text; eight sentences that follow one another are a passage. A
sentence is one convolution, ReLU and the mean over its tokens, 2400 numbers; a GRU of
as many predicts the next three. The rate and 8 GPUs with 64 passages are the paper's,
too. It gives neither the length of a passage or a run nor the width of its words: here
8 sentences, 10 epochs, and 620 as in skip-thought vectors, whose 20,000 words are here
pieces of words. Negatives are from the whole batch.

Paper: linear, MR 76.9, CR 80.1, Subj 91.2, MPQA 87.7, TREC 96.8 (recalled, not
checked).
Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  c.batch_size = 512
  c.epochs = 10
  c.dtype = "bfloat16"
  c.data.name = "text"
  c.data.sentences = 8
  c.data.vocabulary = 20_000
  c.data.context = 32  # tokens of a sentence

  c.augment.recipe = "text"

  c.encoder.name = "sentence"
  c.encoder.vocabulary = c.data.get_ref("vocabulary")
  c.encoder.width = 2400
  c.encoder.embedding = 620
  c.encoder.kernel_size = 3

  c.method.name = "cpc_text"
  c.method.gru = dict(width=2400)
  c.method.forecast = dict(horizon=3)

  c.optimizer.name = "adamw"  # Adam: no decay
  c.optimizer.learning_rate = 2e-4
  c.optimizer.weight_decay = 0.0
  c.checkpoint.every_steps = 5000
  return common.finish(c, variant)

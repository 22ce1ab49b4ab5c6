"""How good an encoder is, whatever the moment: what every evaluation rests on."""

import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ssljax import augment, core, data, evals
from ssljax.augment import views
from ssljax.core import TrainState
from ssljax.data import subset
from ssljax.data.source import Splits, Subset
from ssljax.evals import features, files
from ssljax.evals.features import Change, FeatureSet
from ssljax.fields import ConfigError
from ssljax.parts import Parts
from ssljax.runs import stop
from ssljax.runs.writer import aloud

Scores = dict[str, float]
Rows = Sequence[int] | None
Keep = Callable[[str, Callable[[], FeatureSet]], FeatureSet]
SOME = 64  # examples in which labels are looked for that nobody knows unopened


class Judge:
  """Extracts both splits' features under a state, and asks evaluators what they tell.

  They are extracted once for all evaluators of a moment.
  """

  def __init__(
    self,
    config: ConfigDict,
    parts: Parts,
    splits: Splits,
    mesh: Mesh,
    keep: Keep = lambda row, make: make(),
    say: Callable[[str], None] = aloud,
  ):
    """Takes `keep`, which returns the features kept of a row, or makes them.

    `possible` says whether both splits are there and have labels, `why_not` why not.
    What evaluators do not get as it was asked is said, once, by `say`.
    """
    self.keep, self.say, self.said = keep, say, set()
    self.used: dict[str, dict] = {}  # by evaluators that were asked, of their numbers
    self.config, self.splits, self.mesh = config, splits, mesh
    self.method, self.parts = parts.method, parts
    self.num_classes = splits.train.num_classes
    self.raw, self._raw = features.RAW[parts.method.input]
    self.held_out = not data.alike(*splits)
    self._embed, self._classify = jax.jit(parts.embed), jax.jit(parts.classify)
    self._embed_view = jax.jit(parts.embed_view)
    self._embed_patches = jax.jit(parts.patches, static_argnames="block")
    if parts.method.input == "image":
      size = augment.seen_size(config.augment, config.evals.crop)
      self._whole = jax.jit(functools.partial(views.whole, size=size))
    self._key, self._keys = jax.random.key(config.seed), jax.jit(core.keys)
    self.numbers = {name: dict(config.evals.get(name, {})) for name in evals.EVALUATORS}
    self.why_not = self._why_not()
    self.possible = not self.why_not

  def _why_not(self) -> str:
    if not self.splits.eval:
      return f"{self.splits.train.name} has nothing to evaluate on"
    for split in self.splits:
      labelled = (label >= 0 for label in subset.labels_of(split, at_most=SOME))
      if not self.num_classes or not any(labelled):  # ImageNet's "test", STL-10's pile
        return f"{split.name} has no labels"
    try:
      for labels in self._labels() or ():
        features.check_labels(labels, self.num_classes)
    except ConfigError as error:
      return str(error)
    return ""

  def features(self, state: TrainState | None, row: str = "") -> FeatureSet:
    """Extracts both splits' features under `state`; None: of the input itself.

    The same on every process; the input is centred. `row` is what `keep` knows it by.
    """
    if state is None:
      return self._raw_features()
    state, embed = state.replace(opt_state=None), self.embedding(state)

    def make():
      scores, _ = self.classified(state) or (None, None)
      return self._collect(embed)._replace(test_scores=scores)

    patches = functools.partial(self._embed_patches, state)
    feature_set = self._with_looks(self.keep(row, make), embed, patches)
    draw = functools.partial(self._draw, state, feature_set.test_index)
    feature_set = feature_set._replace(draw=draw)
    if getattr(self.method.net, "prototypes", None) is None:
      return feature_set
    return feature_set._replace(assign=functools.partial(self._assign, state))

  def embedding(self, state: TrainState) -> Callable[[core.Batch], jax.Array]:
    """Compiles, once, embed(batch as the host gives it) -> features [B,D] f32."""
    return functools.partial(self._embed, state.replace(opt_state=None))

  def _raw_features(self) -> FeatureSet:
    feature_set = self.keep(self.raw, lambda: self._collect(self._raw))
    feature_set = self._with_looks(feature_set, self._raw, features.raw_patches)
    return features.centred(feature_set)

  def _with_looks(self, feature_set: FeatureSet, embed, patches) -> FeatureSet:
    feature_set = feature_set._replace(
      listed=self.splits.train.listed, held_out=self.held_out
    )
    if self.method.input != "image":
      return feature_set
    places = feature_set.train_index, feature_set.test_index
    look = functools.partial(self._look, embed, places[1])
    patches = functools.partial(self._patches, patches, places)
    return feature_set._replace(look=look, patches=patches)

  def _patches(
    self, embed, places, block: str = "", rows: Sequence[Rows] = (None, None)
  ) -> Iterator[np.ndarray]:
    """Extracts the patches after a block, [N,h,w,D] of one split and of the other."""
    for split, at, chosen in zip(self.splits, places, rows, strict=True):
      source = Subset(split, at if chosen is None else at[chosen])
      function, batches = functools.partial(embed, block=block), self.batches(source)
      yield files.extracted(function, batches, len(source), self.mesh)

  def _look(self, embed, places, change: Change, rows: Rows = None) -> np.ndarray:
    """Extracts the evaluation split [M,D], its pictures changed by `change` beforehand.

    They are changed at the size at which they are seen, whatever the canvas.
    """

    def seen(batch):
      batch = self._whole(batch)
      keys = self._keys(self._key, batch["index"])
      return embed({**batch, "image": change(keys, batch["image"])})

    return self.extract(seen, None if rows is None else places[rows])[0]

  def pictures(self, source: data.Source, numbers: Sequence[int]) -> np.ndarray:
    """Fetches examples of a source, whole, as squares uint8 [N,S,S,C] to look at."""
    (batch,) = self.batches(Subset(source, numbers), len(numbers))
    return np.asarray(self._whole(batch)["image"])

  def _draw(
    self, state: TrainState, places, draws: int, rows: Rows = None
  ) -> np.ndarray:
    """Extracts the evaluation split [M,draws,D], each as a random training view."""

    def embed(batch):
      keys = (jax.random.fold_in(self._key, i) for i in range(draws))
      return jnp.stack([self._embed_view(state, batch, key) for key in keys], 1)

    return self.extract(embed, None if rows is None else places[rows])[0]

  def _assign(self, state: TrainState) -> tuple[np.ndarray, int]:
    """Finds the best prototype [M] of evaluation examples, and how many there are."""

    @jax.jit
    def best(state, batch):
      outputs = self.method.apply(state, self.parts.seen(batch))
      return outputs["logits"].argmax(1)

    chosen, _ = self.extract(functools.partial(best, state))
    return chosen.astype(np.int32), self.method.net.prototypes.num

  def classified(self, state: TrainState) -> tuple[np.ndarray, np.ndarray] | None:
    """Scores the evaluation split -> scores [M,C] and labels [M], on every process.

    None where the method does not classify.
    """
    spec = self.splits.eval.spec(self.config.data.size)
    blank = data.zeros(spec, self.config.batch_size)
    if jax.eval_shape(self._classify, state, blank) is None:
      return None
    return self.extract(functools.partial(self._classify, state))

  def extract(self, function, places: Rows = None) -> tuple[np.ndarray, np.ndarray]:
    """Maps a function over the evaluation split -> its values [M,...], labels [M].

    Of the examples at `places` alone where they are given, in their order.
    """
    source = self.splits.eval if places is None else Subset(self.splits.eval, places)
    return features.extract(function, self.batches(source), self.mesh)

  def scores(
    self, feature_set: FeatureSet, *names: str, forgiving: bool = False
  ) -> Scores:
    """Asks the evaluators called `names`, with the config's numbers -> {name: value}.

    Those that ask for labels are shown what has one. What one refuses is a ConfigError,
    or said and left out where that is `forgiving`.
    """
    scores: Scores = {}
    if not self.held_out:
      self._say_once(
        "The evaluation split is the training split: by kNN each example is judged by "
        "the others, and whatever is fitted is judged on what it was fitted to."
      )
    for name in names:
      try:
        usable = feature_set if name in evals.UNLABELLED else self.labelled(feature_set)
        self.used[name] = self.fitted(name, usable.train_y, usable.test_y)
        scores |= evals.EVALUATORS[name](usable, **self.used[name])
      except ConfigError as error:
        if not forgiving:
          raise
        self._say_once(f"The evaluator {name} is left out: {error}.")
    return scores

  def labelled(self, feature_set: FeatureSet) -> FeatureSet:
    """Drops examples without a label from both splits; says how many."""
    self._count(self.splits.train, feature_set.train_y)
    self._count(self.splits.eval, feature_set.test_y)
    return features.labelled(feature_set)

  def _count(self, split: data.Source, labels: np.ndarray) -> None:
    if missing := np.sum(labels < 0):
      self._say_once(
        f"{missing} of {len(labels)} examples of {split.name} have no label: "
        "evaluations by labels go without them."
      )

  def fitted(self, name: str, train_y: np.ndarray, test_y: np.ndarray) -> dict:
    """Fits an evaluator's numbers to labels [N] and [M] as `evals.fit` does."""
    if name in evals.ON_PICTURES and self.method.input != "image":
      raise ConfigError(f"{name} looks at pictures, and this encoder's input is none")
    numbers, words = evals.fit(name, self.numbers[name], train_y, test_y)
    for word in words:
      self._say_once(word)
    return numbers

  def allowed(self, names: Sequence[str]) -> list[str]:
    """Selects the evaluators that can be asked; says why not the others.

    From the data alone, so that it is known before a run begins.
    """
    labels, allowed = self._labels(), []
    for name in names:
      try:
        if not self.splits.eval or (self.why_not and name not in evals.UNLABELLED):
          raise ConfigError(self.why_not)
        if labels:
          self.fitted(name, *self._shown(name, *labels))
        allowed.append(name)
      except ConfigError as error:
        self._say_once(f"The evaluator {name} is left out: {error}.")
    return allowed

  def _labels(self) -> tuple[np.ndarray, ...] | None:
    """Returns the labels of both splits; None where they are not at hand."""
    if not self.splits.eval:
      return None
    labels = [split.known_labels() for split in self.splits]
    return None if any(x is None for x in labels) else tuple(map(np.asarray, labels))

  def _shown(self, name: str, *labels: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the labels of both splits that an evaluator looks at."""
    for split, labels_of_split in zip(self.splits, labels, strict=True):
      if name in evals.UNLABELLED:
        yield labels_of_split
        continue
      self._count(split, labels_of_split)
      yield labels_of_split[labels_of_split >= 0]

  def _say_once(self, text: str) -> None:
    if text not in self.said:
      self.said.add(text)
      self.say(text)

  def _collect(self, embed) -> FeatureSet:
    batches = (self.batches(split) for split in self.splits)
    return features.collect(embed, *batches, self.num_classes, self.mesh)

  def batches(
    self, source: data.Source, rows: int = 0
  ) -> Iterator[dict[str, np.ndarray]]:
    """Iterates over a source once, in order, `rows` at a time; this process's share.

    Default: as many as in training, rounded up to what the devices divide.
    """
    c, devices = self.config, jax.device_count()
    batches = data.eval_batches(
      source,
      rows or -(-c.batch_size // devices) * devices,
      size=c.data.size,
      in_memory=c.data.in_memory and not rows,
      workers=c.data.workers,
      process_index=0 if rows else jax.process_index(),
      process_count=1 if rows else jax.process_count(),
    )
    for batch in batches:
      stop.check()
      yield batch

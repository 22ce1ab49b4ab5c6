import numpy as np
import pytest

from ssljax.evals import retrieval
from ssljax.evals.features import FeatureSet


def features(rng, test=40, train=60, classes=4):
  x, y = rng.normal(size=(test + train, 8)), rng.integers(0, classes, test + train)
  x = x.astype(np.float32)
  return FeatureSet(x[test:], y[test:], x[:test], y[:test], classes)


def brute_force(queries, labels, gallery, gallery_labels, ks, itself):
  """Average precision and recall by the book, one query at a time."""
  precisions, hits = [], {k: [] for k in ks}
  for i, (q, label) in enumerate(zip(queries, labels, strict=True)):
    similar = gallery @ q / np.linalg.norm(gallery, axis=1)
    order = [j for j in np.argsort(-similar, kind="stable") if not (itself and i == j)]
    relevant = [gallery_labels[j] == label for j in order]
    if not any(relevant):
      continue
    found = [sum(relevant[: r + 1]) / (r + 1) for r, hit in enumerate(relevant) if hit]
    precisions.append(np.mean(found))
    for k in ks:
      hits[k].append(any(relevant[:k]))
  recalls = {f"recall_{k}": 100 * np.mean(v) for k, v in hits.items()}
  return {"map": 100 * np.mean(precisions), **recalls}


@pytest.mark.parametrize("gallery", ["test", "train"])
def test_agrees_with_brute_force(gallery, monkeypatch):
  monkeypatch.setattr("ssljax.evals.features.SIMILARITIES", 7 * 60)
  seen = features(np.random.default_rng(0), test=41)  # 7 does not divide it
  seen.test_y[5] = 3 if (seen.test_y != 3).all() else seen.test_y[5]
  itself = gallery == "test"
  x = seen.test_x if itself else seen.train_x
  y = seen.test_y if itself else seen.train_y
  expected = brute_force(seen.test_x, seen.test_y, x, y, (1, 5), itself)
  result = retrieval.evaluate(seen, ks=(1, 5), gallery=gallery)
  assert result == pytest.approx(expected, rel=1e-5)


def test_a_class_of_one_counts_for_nothing():
  x = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2]]
  y = np.array([0, 0, 1, 1, 2])
  seen = FeatureSet(x, y, x, y, 3)
  assert retrieval.evaluate(seen, ks=(1,)) == {"map": 100, "recall_1": 100}


def test_what_cannot_be_is_named():
  seen = features(np.random.default_rng(0))
  with pytest.raises(ValueError, match="gallery='tests' must be one of test, train"):
    retrieval.evaluate(seen, gallery="tests")
  with pytest.raises(ValueError, match=r"ks=\(40,\) must lie between 1 and .* 39"):
    retrieval.evaluate(seen, ks=(40,))

"""An object store in memory, and machines that have no copy of it yet."""

import pytest

from ssljax.fields import stores
from ssljax.runs import upload


@pytest.fixture
def machine(monkeypatch, tmp_path):
  """-> a function after which all of this process is as on another machine."""
  store = pytest.importorskip("fsspec").filesystem("memory")
  store.store.clear()
  count = iter(range(9))

  def another(keep_disk=False):
    monkeypatch.setattr(stores, "COPIES", {})
    if not keep_disk:
      monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache{next(count)}"))
    return store

  monkeypatch.setattr(upload, "BEAT", 0.1)
  monkeypatch.setattr(upload, "PATIENCE", 0.3)
  another()
  another.names = lambda under: {n[len(under) + 1 :] for n in store.find(under)}
  return another

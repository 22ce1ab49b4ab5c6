"""What benchmarks/ runs beside ours: processes apart, and PyTorch's losses."""

import os
import sys
import time

import pytest
import tiny

sys.path.append(str(tiny.ROOT / "benchmarks"))

from apart import Apart


def made(seconds, *told):
  it = Apart(*told)
  it.make(seconds)
  return it


def test_an_object_apart_answers_and_ends():
  it = made(60, list, [3, 1, 3])
  assert it.ask(60, "count", 3) == 2
  it.end()
  with pytest.raises(RuntimeError, match="ended"):
    it.ask(60, "count", 3)


@pytest.mark.parametrize(
  ("seconds", "told", "said"),
  [
    (60, (os._exit, 3), "the process ended by 3"),
    (60, (int, "x"), "ValueError: invalid literal"),
    (0.2, (time.sleep, 60), "not made within 0 s"),
  ],
)
def test_what_cannot_be_made_apart_is_said_where_it_is_asked(seconds, told, said):
  it = made(seconds, *told)
  with pytest.raises(RuntimeError, match=said):
    it.ask(60, "real")


@pytest.mark.parametrize("loss", ["nt_xent", "info_nce"])
def test_a_peer_s_loss_stays_on_its_device(loss):
  """A device without numbers refuses those of another, as a GPU does."""
  torch = pytest.importorskip("torch")
  import torch_peers

  z = torch.empty(8, 4, device="meta")
  rest = (z, z) if loss == "info_nce" else ()
  assert getattr(torch_peers, loss)(z, *rest, 0.5).device.type == "meta"

import json
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from tensorboardX.proto import event_pb2

from ssljax.runs import writer
from ssljax.schedules import Plan

CONFIG = ConfigDict({"method": {"temperature": 0.1}, "sizes": (1, 2)})


def plan(total_steps):
  return Plan(batch_size=8, num_examples=16, steps_per_epoch=2, total_steps=total_steps)


def started(workdir, total_steps, step=0):
  new = writer.Writer(workdir, CONFIG, plan(total_steps))
  new.start(step)
  return new


def tensorboard_events(workdir):
  """TensorBoard's record format: length u64, its CRC, an Event, its CRC."""
  for path in sorted(workdir.glob("events*"), key=lambda p: p.stat().st_mtime):
    data = path.read_bytes()
    while data:
      (length,) = struct.unpack("<Q", data[:8])
      yield event_pb2.Event.FromString(data[12 : 12 + length])
      data = data[16 + length :]


def train(workdir, start, stop):
  with started(workdir, 10, start) as w:
    for step in range(start + 1, stop + 1):
      w.write(step, {"loss": jnp.float32(1 / step)})
      if step % 5 == 0:
        w.write(step, {"knn": 10.0 * step})


def test_a_line_for_each_write_with_every_digit(tmp_path):
  with started(tmp_path, 2) as w:
    w.write(1, {"loss": np.float32(0.1), "knn": jnp.float32(93.25)})
    text = (tmp_path / "metrics.jsonl").read_text()  # before close: nothing is kept
    w.write(2, {"loss": 1e-9})
  assert text == '{"step": 1, "loss": 0.10000000149011612, "knn": 93.25}\n'
  assert writer.read(tmp_path)[1] == {"step": 2, "loss": 1e-9}


def test_config_json_is_the_config(tmp_path):
  writer.Writer(tmp_path / "new" / "run", CONFIG, plan(1))
  text = (tmp_path / "new" / "run" / "config.json").read_text()
  assert json.loads(text) == {"method": {"temperature": 0.1}, "sizes": [1, 2]}
  assert text.startswith('{\n  "method"')


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_valid_json_that_float_reads(tmp_path, value):
  def forbid(name):
    raise AssertionError(f"{name} is not JSON")

  with started(tmp_path, 1) as w:
    w.write(1, {"loss": np.float32(value)})
  text = (tmp_path / "metrics.jsonl").read_text()
  row = json.loads(text, parse_constant=forbid)
  np.testing.assert_equal(float(row["loss"]), value)


def test_a_cut_run_leaves_the_file_of_the_unbroken_one(tmp_path):
  unbroken, cut = tmp_path / "unbroken", tmp_path / "cut"
  train(unbroken, 0, 10)
  train(cut, 0, 7)
  with (cut / "metrics.jsonl").open("a") as f:
    f.write('{"step": 8, "lo')  # killed while writing
  train(cut, 5, 10)
  ours, theirs = ((d / "metrics.jsonl").read_bytes() for d in (cut, unbroken))
  assert ours == theirs
  assert len(theirs.splitlines()) == 12


def test_a_run_that_died_before_its_first_checkpoint_starts_a_new_file(tmp_path):
  with started(tmp_path, 10) as w:
    w.write(0, {"knn": 50.0})
    w.write(1, {"loss": 2.0})
  train(tmp_path, 0, 1)
  assert writer.read(tmp_path) == [{"step": 1, "loss": 1.0}]


def test_reading_a_run_that_has_written_nothing_or_half_a_line(tmp_path):
  assert writer.read(tmp_path) == []
  (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step"')
  assert writer.read(tmp_path) == [{"step": 1}]


BROKEN = {
  "cut": b'{"step": 2, "lo',
  "zeroed": bytes(20),
  "no_utf_8": b'{"step": 2, "caf\xe9": 1}',
  "no_row": b"[2]",
  "no_step": b'{"loss": 2.0}',
  "half_a_step": b'{"step": "2", "loss": 2.0}',
  "no_number": b'{"step": 2, "loss": "nbn"}',
}


@pytest.mark.parametrize("line", BROKEN.values(), ids=BROKEN)
def test_a_broken_line_is_named_and_left_out_and_a_run_goes_on(line, tmp_path, caplog):
  train(tmp_path, 0, 7)
  path = tmp_path / "metrics.jsonl"
  first, _, *others = path.read_bytes().split(b"\n")
  path.write_bytes(b"\n".join([first, line, *others]))
  expected = [1, *range(3, 6), 5, 6, 7]
  assert [row["step"] for row in writer.read(tmp_path)] == expected
  (said,) = caplog.messages
  assert said.startswith(f"{path}, line 2 is left out: it is broken (b'")
  train(tmp_path, 5, 8)
  assert len(caplog.messages) == 2
  assert [row["step"] for row in writer.read(tmp_path)] == [*expected, 8]
  assert len(caplog.messages) == 2


def test_tensorboard_gets_the_scalars_and_forgets_steps_after_a_resume(tmp_path):
  train(tmp_path, 0, 7)
  train(tmp_path, 5, 6)
  events = list(tensorboard_events(tmp_path))
  scalars = [(e.step, v.tag, v.simple_value) for e in events for v in e.summary.value]
  assert scalars[0] == (1, "loss", 1.0)
  assert [step for step, tag, _ in scalars if tag == "loss"] == [*range(1, 8), 6]
  starts = [e.step for e in events if e.HasField("session_log")]
  assert starts == [0, 6]  # TensorBoard drops earlier events from that step on


def test_a_finished_run_started_again_changes_nothing(tmp_path):
  train(tmp_path, 0, 10)
  before = (tmp_path / "metrics.jsonl").read_bytes()
  with started(tmp_path, 10, step=10) as w:
    w.write(10, {"knn": 100.0})
  assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_speed_leaves_out_the_first_steps_and_pauses(tmp_path, monkeypatch):
  now = 0.0
  monkeypatch.setattr(writer.time, "monotonic", lambda: now)
  with started(tmp_path, 9) as w:
    now = 10.0
    w.write(1, {"loss": 1.0}, images=8)
    now = 12.0
    w.write(2, {"loss": 1.0}, images=16)
    now = 13.0
    with w.pause():
      now = 113.0
    now = 114.0
    w.write(3, {"loss": 1.0}, images=24)
  speeds = [row.get("images_per_second") for row in writer.read(tmp_path)]
  assert speeds == [None, 4.0, 4.0]


def test_without_a_terminal_the_last_step_and_messages_are_plain_lines(
  tmp_path, capsys
):
  with started(tmp_path, 3) as w:
    w.say("training")
    for step in range(1, 4):
      w.write(step, {"loss": 4.5}, images=8 * step)
    w.write(3, {"knn": 90.0})
  first, last = capsys.readouterr().out.splitlines()
  assert first == "training"
  assert last.startswith("3/3 steps, 00:0")
  assert ", 00:00 left, loss 4.5, " in last
  assert last.endswith(" images/s")


def test_on_a_terminal_the_bar_is_redrawn_in_place(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr("sys.stdout.isatty", lambda: True)
  with started(tmp_path, 3) as w:
    w.write(3, {"loss": 4.5}, images=24)
  out = capsys.readouterr().out
  assert "\r3/3 steps |" in out
  assert out.endswith("loss 4.5\n")


def test_only_process_0_writes(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(jax, "process_index", lambda: 1)
  train(tmp_path / "run", 0, 6)
  assert not (tmp_path / "run").exists()
  assert capsys.readouterr().out == ""

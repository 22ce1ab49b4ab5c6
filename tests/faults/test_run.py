"""What goes wrong beside a run is said in one sentence, and nothing learned is lost."""

import contextlib
import errno
import itertools
import resource
import shutil
import time

import kill_and_resume
import numpy as np
import pytest
from short_runs import short

import ssljax
from ssljax import checkpoint, data, encoder, judge, sharding, train
from ssljax.checkpoint import Checkpoints
from ssljax.data import reader
from ssljax.runs import writer
from ssljax.train import pace


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """The folder of eight steps without a break."""
  folder = tmp_path_factory.mktemp("whole")
  ssljax.train_and_evaluate(short(8), folder)
  return folder


def test_a_damaged_newest_checkpoint_costs_the_steps_since_the_one_before(
  whole, tmp_path, caplog
):
  broken = tmp_path / "broken"
  shutil.copytree(whole, broken)
  files = (broken / "checkpoints" / "8" / "state").rglob("d/*")
  arrays = max(files, key=lambda path: path.stat().st_size)
  text = bytearray(arrays.read_bytes())
  text[len(text) // 2] ^= 1
  arrays.write_bytes(text)
  pixels = np.zeros((2, 8, 8, 3), np.uint8)
  features = ssljax.load_encoder(broken)(pixels)
  assert "checkpoints/8 is damaged (state/" in caplog.text
  mesh = sharding.make_mesh()
  with pytest.raises(ssljax.ConfigError, match=r"step=8: .* is damaged"):
    encoder.restore(broken, mesh, 8)
  assert int(encoder.restore(broken, mesh).state.step) == 6
  ssljax.train_and_evaluate(short(8), broken)
  kill_and_resume.compare(broken, whole)
  again = ssljax.load_encoder(broken)(pixels)
  np.testing.assert_array_equal(again, ssljax.load_encoder(whole)(pixels))
  assert np.any(again != features)
  assert (broken / "checkpoints" / "damaged-8-1").is_dir()


@pytest.mark.parametrize(
  "text", ["", '{"seed": 0,', None], ids=["empty", "cut", "gone"]
)
def test_a_damaged_config_is_read_from_the_checkpoint_and_written_anew(
  text, whole, tmp_path, caplog
):
  shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
  path = tmp_path / "config.json"
  path.write_text(text) if text is not None else path.unlink()
  with pytest.raises(ssljax.ConfigError, match="seed=0 there, 1 here"):
    ssljax.train_and_evaluate(short(8, seed=1), tmp_path)
  assert f"{path} is damaged or gone: that of step 8 is taken" in caplog.text
  ssljax.train_and_evaluate(short(8), tmp_path)
  assert path.read_bytes() == (whole / "config.json").read_bytes()
  kill_and_resume.compare(tmp_path, whole)


def test_a_broken_line_of_metrics_costs_itself_and_longer_runs_go_on(
  whole, tmp_path, caplog
):
  shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
  path = tmp_path / "metrics.jsonl"
  first, second, *others = path.read_text().splitlines(keepends=True)
  path.write_text("".join([first, second[:9] + "\n", *others]))
  ssljax.train_and_evaluate(short(10), tmp_path)
  assert f"{path}, line 2 is left out: it is broken" in caplog.text
  rows = kill_and_resume.metrics(tmp_path)
  assert [row["step"] for row in rows] == [3, 9, 10]


def full(at):
  """A function that finds no room at the call `at`."""
  calls = []

  def write(*_):
    calls.append(1)
    if len(calls) == at:
      raise OSError(errno.ENOSPC, "No space left on device")

  return write


@pytest.mark.parametrize(
  ("owner", "name", "at", "kept"),
  [
    (writer.EventsWriter, "flush", 2, 4),  # at the line of step 6
    (train.report, "finish", 1, 8),  # figures and report
  ],
  ids=["events", "report"],
)
def test_a_full_disk_is_said_and_the_same_line_goes_on_once_there_is_room(
  owner, name, at, kept, whole, tmp_path, monkeypatch, capsys
):
  broken = tmp_path
  with monkeypatch.context() as patch:
    patch.setattr(owner, name, full(at))
    sentence = r"could not be written \(No space left.*the same line continues"
    with pytest.raises(ssljax.RunError, match=sentence) as raised:
      ssljax.train_and_evaluate(short(8), broken)
  assert "\n" not in str(raised.value)
  with Checkpoints(broken) as checkpoints:
    assert checkpoints.choose() == kept
  ssljax.train_and_evaluate(short(8), broken)
  kill_and_resume.compare(broken, whole)
  assert not list((broken / "checkpoints").glob("*tmp*"))
  assert "Traceback" not in capsys.readouterr().err


def test_data_that_goes_while_it_is_judged_costs_no_step(tmp_path, monkeypatch):
  def config():
    judged = {"at_end": (), "every_epochs": 1}
    return short(8, batch_size=352, evals=judged)  # of four steps an epoch

  def gone(*_):
    raise data.DataGoneError("'/mnt/disk' is empty now")

  whole, broken = tmp_path / "whole", tmp_path / "broken"
  ssljax.train_and_evaluate(config(), whole)
  with monkeypatch.context() as patch:
    patch.setattr(judge.Judge, "features", gone)
    for _ in range(2):  # it goes on, and is judged first: still gone
      with pytest.raises(ssljax.RunError, match=r"disk' is empty now.*step 4 is saved"):
        ssljax.train_and_evaluate(config(), broken)
  ssljax.train_and_evaluate(config(), broken)
  kill_and_resume.compare(broken, whole)


@contextlib.contextmanager
def files_of_at_most(size):
  """Has the kernel refuse what makes a file larger, as a quota does."""
  _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_checkpoint_that_the_kernel_refuses_is_made_anew_by_the_same_line(
  whole, tmp_path, monkeypatch, capsys
):
  save, limited = Checkpoints.save, contextlib.ExitStack()

  def refused(self, done, *arguments):
    if done == 4:
      self.wait()  # for step 2, which is written in the background
      limited.enter_context(files_of_at_most(2**14))
    save(self, done, *arguments)

  with monkeypatch.context() as patch, limited:
    patch.setattr(Checkpoints, "save", refused)
    sentence = r"checkpoints, which holds step 2, could not be .* \(File too large\)"
    with pytest.raises(ssljax.RunError, match=sentence):
      ssljax.train_and_evaluate(short(8), tmp_path)
  ssljax.train_and_evaluate(short(8), tmp_path)
  kill_and_resume.compare(tmp_path, whole)
  assert not list((tmp_path / "checkpoints").glob("*tmp*"))
  assert "Traceback" not in capsys.readouterr().err


def test_a_slow_disk_is_waited_for_and_that_is_said(
  whole, tmp_path, monkeypatch, capsys, caplog
):
  def digest(self, write=Checkpoints._digest):
    time.sleep(0.5)  # in the background
    write(self)

  monkeypatch.setattr(Checkpoints, "_digest", digest)
  monkeypatch.setattr(checkpoint, "LONG", 0.05)
  monkeypatch.setattr(pace, "SLOW", 0.05)
  ssljax.train_and_evaluate(short(8), tmp_path)
  kill_and_resume.compare(tmp_path, whole)
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.whole() == [4, 6, 8]  # all, of the three that are kept
  (said,) = (s for s in capsys.readouterr().out.splitlines() if "its disk" in s)
  advice = said.rpartition("; set checkpoint.every_steps=")[2].removesuffix(".")
  assert int(advice) > 2
  assert f"a checkpoint in {tmp_path / 'checkpoints'} is not written yet" in caplog.text


def test_a_thread_that_dies_is_named_and_costs_nothing_that_was_learned(
  whole, tmp_path, monkeypatch
):
  config = short(8)
  config.data.update(in_memory=False, workers=1)
  fill, count = reader.Reader.fill, itertools.count()

  def die(self, *batch):
    if next(count) == 22:  # of four calls a batch: in the sixth
      raise MemoryError
    return fill(self, *batch)

  with monkeypatch.context() as patch:
    patch.setattr(reader.Reader, "fill", die)
    sentence = (
      r"a thread that decodes 'digits' died at test_run\.py, line \d+, of MemoryError\)"
      "; step 5 is saved: see to the data, and the same line continues"
    )
    with pytest.raises(ssljax.RunError, match=sentence) as raised:
      ssljax.train_and_evaluate(config, tmp_path)
  assert "\n" not in str(raised.value)
  ssljax.train_and_evaluate(config, tmp_path)
  kill_and_resume.compare(tmp_path, whole)

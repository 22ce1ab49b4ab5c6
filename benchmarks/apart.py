"""An object in a process of its own, asked from here."""

import multiprocessing
import traceback

SPAWNED = multiprocessing.get_context("spawn")  # a fork of a process with JAX may hang


class Apart:
  """What `make(*arguments)` returns, in a process of its own; `ask` calls its methods.

  A crash, or a want of memory, of one leaves the others.
  """

  def __init__(self, make, *arguments):
    self.pipe, self._theirs = SPAWNED.Pipe()
    told = self._theirs, make, arguments
    self.process = SPAWNED.Process(target=_serve, args=told, daemon=True)
    self.failed = "not made"

  def make(self, seconds):
    """Starts the process and waits until it is made; what fails is said by `ask`."""
    self.process.start()
    self._theirs.close()
    try:
      self._answer(seconds, "made")
      self.failed = ""
    except (RuntimeError, TimeoutError) as error:
      self.failed = str(error)
      self.end()

  def ask(self, seconds, method, *arguments):
    """Calls a method, within so many seconds or TimeoutError -> what it returns."""
    if self.failed:
      raise RuntimeError(self.failed)
    self.pipe.send((method, arguments))
    return self._answer(seconds, method)

  def _answer(self, seconds, what):
    if not self.pipe.poll(seconds):
      raise TimeoutError(f"not {what} within {seconds:.0f} s")
    try:
      error, answer = self.pipe.recv()
    except EOFError:
      self.process.join()
      raise RuntimeError(f"the process ended by {self.process.exitcode}") from None
    if error:
      raise RuntimeError(error)
    return answer

  def end(self):
    """Ends the process; what it held on the device is free."""
    self.failed = self.failed or "ended"
    if self.process.is_alive():
      self.process.kill()
      self.process.join()


def _serve(pipe, make, arguments):
  try:
    it = make(*arguments)
    pipe.send(("", None))
    while True:
      method, arguments = pipe.recv()
      pipe.send(("", getattr(it, method)(*arguments)))
  except EOFError:
    return
  except Exception:  # whatever it is: it is said where it was asked
    pipe.send((traceback.format_exc()[-1500:], None))

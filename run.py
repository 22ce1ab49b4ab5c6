"""Pre-trains or evaluates whatever a config says: `python run.py --help`."""

from ssljax.__main__ import start

if __name__ == "__main__":
  start()

"""Arrays that the official implementations gave; tests/oracle/README.md tells whose."""

import pathlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "oracle"


def oracle(name: str) -> dict[str, np.ndarray]:
  with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as arrays:
    return dict(arrays)

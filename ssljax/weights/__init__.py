"""Weights from other runs, and from and for other programs.

A family of released weights is a table of names (`tables`, `families/`), by which
`recognise` finds what a file holds; `files` are read and written without executing
anything in them.
"""

from ssljax.weights.families import FAMILIES
from ssljax.weights.networks import flatten, unflatten
from ssljax.weights.recognise import Found, members, recognise, take

__all__ = [
  "FAMILIES",
  "Found",
  "flatten",
  "members",
  "recognise",
  "take",
  "unflatten",
]

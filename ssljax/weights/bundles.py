"""TensorFlow's checkpoints, an .index of names beside files of numbers, by hand.

The index is a table of LevelDB's, sorted by name, in blocks; its values are messages of
protocol buffers: of what type and shape a variable is, and where its bytes lie. What
TensorFlow 2 writes, a SavedModel too, has variables by the objects that own them, and a
graph of those among its values: names are paths there, "model/layers/0/kernel".
"""

import heapq
import math
import pathlib
import re
from collections.abc import Iterator

import ml_dtypes
import numpy as np

ENDING = ".index"
MAGIC = 0xDB4775248B80FB57  # the last 8 bytes
FOOTER, TRAILER = 48, 5  # bytes of the end; behind a block: compression, checksum
DTYPES = {  # by TensorFlow's numbers
  **{1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8, 6: np.int8},
  **{9: np.int64, 10: np.bool_, 14: ml_dtypes.bfloat16, 19: np.float16},
}
# Fields of the message of a variable, and of its shape.
DTYPE, SHAPE, SHARD, OFFSET, SIZE, SLICES = 1, 2, 3, 4, 5, 7
DIM, LENGTH = 2, 1
GRAPH, OF_VARIABLE = "_CHECKPOINTABLE_OBJECT_GRAPH", "/.ATTRIBUTES/VARIABLE_VALUE"
# Fields of the graph's messages: of a node, of its children, of its attributes.
NODES, CHILDREN, ATTRIBUTES, NODE, LABEL, KEY = 1, 1, 2, 1, 2, 3
# Keras lists a layer's parts and variables once more, below these names; "layers" may
# be an author's own.
LISTS = re.compile(r"keras_api|signatures|layer(_.*)?-\d+|.*variables(_list)?")
LAYERS = "layers"
INSIDE = pathlib.Path("variables", "variables.index")  # of a SavedModel's folder


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads the variables of an .index by name; strings and the like are left out.

  ValueError where it is no such file, or one that belongs to it is not there or cut.
  """
  entries = dict(_entries(path.read_bytes()))
  header = entries.pop("", None)
  if header is None:
    raise ValueError("it has no header")
  count = _one(_fields(header), DTYPE, 1)  # field 1 there: in how many files they lie
  graph, shards = entries.get(GRAPH), {}
  for i in range(count):
    shard = path.with_name(f"{path.stem}.data-{i:05d}-of-{count:05d}")
    if not shard.is_file():
      raise ValueError(f"{shard.name}, which holds its numbers, is not beside it")
    shards[i] = np.memmap(shard, np.uint8, "r") if shard.stat().st_size else b""
  arrays = {}
  for name, message in entries.items():
    fields = _fields(message)
    dtype = DTYPES.get(_one(fields, DTYPE, 0))
    if dtype is None:
      continue
    if SLICES in fields:
      raise ValueError(f"{name} is split over several; save it whole")
    dims = [_fields(d) for d in _fields(_one(fields, SHAPE, b"")).get(DIM, [])]
    shape = tuple(_one(d, LENGTH, 0) for d in dims)
    start, size = _one(fields, OFFSET, 0), _one(fields, SIZE, 0)
    shard = shards[_one(fields, SHARD, 0)]
    if size != math.prod(shape) * np.dtype(dtype).itemsize:
      raise ValueError(f"{name} {list(shape)} does not have {size} bytes")
    if start + size > len(shard):
      raise ValueError(
        f"{name} ends at byte {start + size}, and its file at {len(shard)}"
      )
    found = np.frombuffer(shard[start : start + size], dtype)
    arrays[name] = found.reshape(shape)
  if graph is None:
    return arrays
  fields = _fields(graph)
  start, size = _one(fields, OFFSET, 0), _one(fields, SIZE, 0)
  text = bytes(shards[_one(fields, SHARD, 0)][start : start + size])
  length, at = _varint(text, 0)
  at += 4  # a checksum of the length
  names = _paths(text[at : at + length])
  return {names.get(k, k.removesuffix(OF_VARIABLE)): x for k, x in arrays.items()}


def files(path: pathlib.Path) -> list[pathlib.Path]:
  """Lists the files of a checkpoint: its index, and those of numbers beside it."""
  return [path, *sorted(path.parent.glob(f"{path.stem}.data-*-of-*"))]


def _paths(graph: bytes) -> dict[str, str]:
  """Finds the path of each variable in a graph of objects, by its key.

  Of several the one with the fewest of LISTS, then of LAYERS, then the shortest: as
  its author wrote it.
  """
  nodes = _fields(graph).get(NODES, [])
  queue: list[tuple[int, int, int, tuple[str, ...], int]] = [(0, 0, 0, (), 0)]
  seen, paths = set(), {}
  while queue:
    lists, layers, depth, path, number = heapq.heappop(queue)
    if number in seen:
      continue
    if number >= len(nodes):
      raise ValueError("its graph of objects is damaged")
    seen.add(number)
    node = _fields(nodes[number])
    for attribute in map(_fields, node.get(ATTRIBUTES, [])):
      paths[_one(attribute, KEY, b"").decode("utf-8")] = "/".join(path)
    for child in map(_fields, node.get(CHILDREN, [])):
      label = _one(child, LABEL, b"").decode("utf-8")
      cost = lists + bool(LISTS.fullmatch(label)), layers + (label == LAYERS), depth + 1
      heapq.heappush(queue, (*cost, (*path, label), _one(child, NODE, 0)))
  return paths


def _entries(data: bytes) -> Iterator[tuple[str, bytes]]:
  """Yields the names and messages of a table."""
  if len(data) < FOOTER or int.from_bytes(data[-8:], "little") != MAGIC:
    raise ValueError("it does not end as an index of TensorFlow's")
  footer = data[-FOOTER:]
  _, at = _varint(footer, 0)
  _, at = _varint(footer, at)
  start, at = _varint(footer, at)
  size, _ = _varint(footer, at)
  for _, handle in _block(data, start, size):
    start, at = _varint(handle, 0)
    size, _ = _varint(handle, at)
    yield from ((name.decode("utf-8"), x) for name, x in _block(data, start, size))


def _block(data: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
  """Yields the keys and values of a block; a key shares what the one before begins."""
  block = data[start : start + size]
  if len(block) != size or size < 4 or start + size + TRAILER > len(data):
    raise ValueError("it is cut off")
  if data[start + size]:
    raise ValueError("it is compressed, which TensorFlow's are not")
  restarts = int.from_bytes(block[-4:], "little")
  end, at, key = size - 4 * (1 + restarts), 0, b""
  while at < end:
    shared, at = _varint(block, at)
    own, at = _varint(block, at)
    length, at = _varint(block, at)
    key = key[:shared] + block[at : at + own]
    at += own
    yield key, block[at : at + length]
    at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
  """Reads a number of 7 bits a byte -> it, where the next begins."""
  number = shift = 0
  while True:
    if at >= len(data) or shift > 63:
      raise ValueError("it is damaged")
    byte, at = data[at], at + 1
    number |= (byte & 127) << shift
    if byte < 128:
      return number, at
    shift += 7


def _fields(message: bytes) -> dict[int, list]:
  """Reads a message of protocol buffers -> values by the number of their field."""
  fields, at = {}, 0
  while at < len(message):
    key, at = _varint(message, at)
    kind = key & 7
    if kind == 0:
      value, at = _varint(message, at)
    elif kind == 2:
      length, at = _varint(message, at)
      if at + length > len(message):
        raise ValueError("it is damaged")
      value, at = message[at : at + length], at + length
    elif kind in (1, 5):
      length = 8 if kind == 1 else 4
      value, at = message[at : at + length], at + length
    else:
      raise ValueError("it is damaged")
    fields.setdefault(key >> 3, []).append(value)
  return fields


def _one(fields: dict[int, list], number: int, otherwise):
  return fields.get(number, [otherwise])[-1]

"""Checkpoints of TensorFlow 2: variables are called by the objects that own them.

Both files are made here byte by byte, as TensorFlow's formats say: a LevelDB table of
messages, among them the graph of objects (`trackable_object_graph.proto`).
"""

import numpy as np
import pytest
import releases

from ssljax.fields import ConfigError
from ssljax.weights import files, recognise, take

NAME = "variables"
KEY = "/.ATTRIBUTES/VARIABLE_VALUE"
FLOAT, TEXT = 1, 7  # TensorFlow's numbers of types


def varint(number):
  parts = []
  while number > 127:
    parts.append(128 | number & 127)
    number >>= 7
  return bytes([*parts, number])


def field(number, value):
  """A field of a protocol buffer: a number, or bytes."""
  if isinstance(value, int):
    return varint(number << 3) + varint(value)
  value = value.encode() if isinstance(value, str) else value
  return varint(number << 3 | 2) + varint(len(value)) + value


def block(entries):
  """A block of LevelDB's, no key shortened, one restart, uncompressed."""
  body = b"".join(
    varint(0) + varint(len(k)) + varint(len(x)) + k + x for k, x in entries
  )
  return body + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")


def table(entries):
  data, index = b"", []
  for start in range(0, len(entries), 3):  # three a block
    part = entries[start : start + 3]
    made = block(part)
    index.append((part[-1][0], varint(len(data)) + varint(len(made))))
    data += made + bytes(5)
  handles = []
  for made in (block([]), block(index)):
    handles.append(varint(len(data)) + varint(len(made)))
    data += made + bytes(5)
  magic = (0xDB4775248B80FB57).to_bytes(8, "little")
  return data + b"".join(handles).ljust(40, b"\0") + magic


def write(folder, arrays, graph):
  """Writes arrays by key, and a graph of objects as bytes."""
  body, entries = b"", {"": field(1, 1)}
  text = varint(len(graph)) + bytes(4) + graph
  texts = {"_CHECKPOINTABLE_OBJECT_GRAPH": np.frombuffer(text, np.uint8)}
  for name, x in (arrays | texts).items():
    dims = () if name in texts else x.shape
    shape = b"".join(field(2, field(1, n)) for n in dims)
    entry = field(1, TEXT if name in texts else FLOAT) + field(2, shape)
    entries[name] = entry + field(4, len(body)) + field(5, x.nbytes)
    body += np.ascontiguousarray(x).tobytes()
  folder.mkdir(parents=True, exist_ok=True)
  (folder / f"{NAME}.data-00000-of-00001").write_bytes(body)
  in_order = sorted((k.encode(), x) for k, x in entries.items())
  (folder / f"{NAME}.index").write_bytes(table(in_order))
  return folder / f"{NAME}.index"


def saved(paths, listed=()):
  """A graph of objects of variables by path -> it, path -> the key of the variable.

  As a SavedModel has them: those `listed` are also in a list of the root's, by whose
  shorter path they are then called; Keras lists layers below names of its own.
  """
  nodes, keys = [{"children": {}}], {}

  def child(number, label):
    children = nodes[number]["children"]
    if label not in children:
      children[label] = len(nodes)
      nodes.append({"children": {}})
    return children[label]

  of_path = {}
  for path in paths:
    number = 0
    for label in path.split("/"):
      number = child(number, label)
    of_path[path], keys[path] = number, path
  variables = child(0, "trainable_variables_list")
  for i, path in enumerate(listed):
    nodes[variables]["children"][str(i)] = of_path[path]
    keys[path] = f"trainable_variables_list/{i}"
  model = nodes[0]["children"]["model"]
  for label in ("layers", "layer-0", "keras_api"):
    number = child(model, label)
    nodes[number]["children"]["0"] = nodes[model]["children"]["resnet_model"]
  numbers = {number: path for path, number in of_path.items()}
  message = b""
  for number, node in enumerate(nodes):
    parts = [
      field(1, field(1, n) * bool(n) + field(2, label))
      for label, n in node["children"].items()
    ]
    if number in numbers:
      key = keys[numbers[number]] + KEY
      parts.append(field(2, field(1, "VARIABLE_VALUE") + field(3, key)))
    message += field(1, b"".join(parts))
  return message, keys


def checkpoint(folder, arrays, listed=True):
  trained = [k for k in arrays if "moving" not in k]
  graph, keys = saved(arrays, trained if listed else ())
  return write(folder, {keys[k] + KEY: x for k, x in arrays.items()}, graph)


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("release", ["simclr_tf2_r50_1x_sk0", "simclr_tf2_r50_1x_sk1"])
def test_variables_have_the_names_that_authors_gave_them(tmp_path, release, listed):
  want = releases.arrays(release)
  arrays, _ = files.read(checkpoint(tmp_path, want, listed))
  assert arrays.keys() == want.keys()
  for name, x in want.items():
    np.testing.assert_array_equal(arrays[name], x, err_msg=name)
  assert recognise(arrays).family == "simclr_tf2"


def test_a_savedmodel_is_named_by_its_folder(tmp_path):
  want = releases.arrays("simclr_tf2_r50_1x_sk0")
  index = checkpoint(tmp_path / "model" / "variables", want)
  (tmp_path / "model" / "saved_model.pb").write_bytes(b"a program, which is not run")
  arrays, _ = files.read(tmp_path / "model")
  assert arrays.keys() == want.keys()
  assert files.digest(tmp_path / "model") == files.digest(index)


def test_what_tensorflow_1_and_2_have_of_one_network_is_the_same():
  """Arrays of ours, by the two tables of names, at both widths."""
  for one, two in (("v1_1x", "sk0"), ("v2_r50_1x_sk1", "sk1")):
    first, second = (
      take(x, recognise(x))
      for x in (
        releases.arrays(f"simclr_{one}"),
        releases.arrays(f"simclr_tf2_r50_1x_{two}"),
      )
    )
    shapes = (
      {k: x.shape for k, x in y.items() if k.startswith("encoder/")}
      for y in (first, second)
    )
    assert next(shapes) == next(shapes)


def test_slots_of_an_optimizer_and_counters_are_beside_it(tmp_path):
  want = releases.arrays("simclr_tf2_r50_1x_sk0")
  slot = "model/x/kernel/.OPTIMIZER_SLOT/optimizer/Momentum"
  graph, keys = saved(want)
  more = {k + KEY: np.zeros(2, np.float32) for k in (slot, "save_counter")}
  arrays = {keys[k] + KEY: x for k, x in want.items()} | more
  arrays, _ = files.read(write(tmp_path, arrays, graph))
  found = recognise(arrays)
  assert {slot, "save_counter"} <= set(found.left)


@pytest.mark.parametrize(
  ("damage", "sentence"),
  [
    (lambda graph: graph[:-3], "no whole checkpoint of TensorFlow's"),
    (lambda graph: field(1, field(1, field(1, 9))), "graph of objects is damaged"),
  ],
)
def test_a_graph_that_is_not_whole_is_answered_in_a_sentence(
  tmp_path, damage, sentence
):
  graph, keys = saved(["model/resnet_model/kernel"])
  arrays = {keys["model/resnet_model/kernel"] + KEY: np.zeros(2, np.float32)}
  with pytest.raises(ConfigError, match=sentence) as raised:
    files.read(write(tmp_path, arrays, damage(graph)))
  assert "\n" not in str(raised.value)

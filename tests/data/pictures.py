"""Small pictures and data sets that the tests of this folder write themselves."""

import io
import json
import struct

import numpy as np
from ml_collections import ConfigDict
from PIL import Image


def config(**fields):
  """The group `data` of a config, with the defaults that the tests do not name."""
  defaults = {
    "name": "digits",
    "dir": "",
    "train_split": "",
    "eval_split": "",
    "size": 8,
    "in_memory": True,
    "workers": 2,
  }
  return ConfigDict(defaults | fields)


def smooth(width, height, seed=0):
  """Uint8 [height,width,3] that no scaling filter finds hard."""
  y, x = np.mgrid[0:height, 0:width].astype(np.float64)
  waves = [np.sin(x * (c + 1) / width * 3 + y / height * 2 + seed) for c in range(3)]
  return np.round(127 + 120 * np.stack(waves, -1)).astype(np.uint8)


def encode(image, format="PNG", **options):
  file = io.BytesIO()
  if isinstance(image, np.ndarray):
    image = Image.fromarray(image)
  image.save(file, format, **options)
  return file.getvalue()


def write(path, seed=0, width=12, height=9):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(encode(smooth(width, height, seed)))


def write_tfds(root, file_format, splits, shards=2, name="tiny"):
  """A prepared data set whose picture i is all i and labelled i % 3."""
  from tensorflow_datasets.proto import tf_example_generated_pb2 as proto

  folder = root / name / "1.0.0"
  folder.mkdir(parents=True)
  features = {
    "image": {
      "pythonClassName": "tensorflow_datasets.core.features.image_feature.Image",
      "image": {"shape": {"dimensions": ["-1", "-1", "3"]}, "dtype": "uint8"},
    },
    "label": {
      "pythonClassName": (
        "tensorflow_datasets.core.features.class_label_feature.ClassLabel"
      ),
      "classLabel": {"numClasses": "3"},
    },
  }
  top = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
  features = {"pythonClassName": top, "featuresDict": {"features": features}}
  (folder / "features.json").write_text(json.dumps(features))
  (folder / "label.labels.txt").write_text("ant\nbee\ncat\n")
  described = []
  for split, n in splits.items():
    lengths = []
    for s, part in enumerate(np.array_split(np.arange(n), shards)):
      records = []
      for i in part.tolist():
        example = proto.Example()
        png = encode(np.full((4, 6, 3), i, np.uint8))
        example.features.feature["image"].bytes_list.value.append(png)
        example.features.feature["label"].int64_list.value.append(i % 3)
        records.append(example.SerializeToString())
      path = folder / f"{name}-{split}.{file_format}-{s:05d}-of-{shards:05d}"
      WRITERS[file_format](path, records)
      lengths.append(str(len(records)))
    described.append(
      {
        "name": split,
        "shardLengths": lengths,
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
      }
    )
  info = {"name": name, "version": "1.0.0", "fileFormat": file_format}
  (folder / "dataset_info.json").write_text(json.dumps(info | {"splits": described}))


def _write_array_records(path, records):
  from array_record.python import array_record_module

  writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
  for record in records:
    writer.write(record)
  writer.close()


def _write_tfrecords(path, records):
  framed = [struct.pack("<QI", len(r), 0) + r + b"\0" * 4 for r in records]
  path.write_bytes(b"".join(framed))


WRITERS = {"array_record": _write_array_records, "tfrecord": _write_tfrecords}

"""Records as plain Python."""

from typing import Any

import tensorflow as tf


def parse(serialized: bytes) -> dict[str, Any]:
  """Features of a record as plain lists."""
  features = tf.train.Example.FromString(serialized).features.feature
  return {
    name: list(getattr(value, value.WhichOneof('kind')).value) for name, value in features.items()
  }

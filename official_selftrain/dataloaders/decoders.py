"""The Model Garden's decoders of records with boxes, with image ids that tell images apart.

Where the id of a record is empty, or `regenerate_source_id` is set, the Model Garden hashes the image to 22 bits. Among
5,000 images three pairs then share an id on average, and the evaluator takes them for one image. Here the id has 53
bits, as many as a double holds, so that it stays the same in JSON and NumPy. The expected number of pairs with one id
is 1e-9 for 5,000 images and 6e-5 for a million; `pipeline.validation_records` refuses them.

Evaluation carries ids as int64, so numbers in records may be as large as 2^63 - 1.
"""

import tensorflow as tf
from official.vision.dataloaders import tf_example_decoder, tf_example_label_map_decoder

from official_selftrain.core import keys

_ID_BITS = 53


def content_ids(encoded: tf.Tensor) -> tf.Tensor:
  """Ids made from the content of images.

  Args:
    encoded: encoded images, string [n].

  Returns:
    Numbers below 2^53 in decimals, string [n]: the lowest bits of the 64-bit FarmHash of each image.
  """
  fingerprints = tf.bitcast(tf.fingerprint(encoded), tf.int64)
  return tf.strings.as_string(tf.bitwise.bitwise_and(fingerprints, (1 << _ID_BITS) - 1))


class _ImageIds:
  """Replaces the ids of a Model Garden decoder; goes before it in the base classes."""

  def decode(self, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """The Model Garden's decoded example, with our id."""
    return {**super().decode(serialized), 'source_id': self._ids(tf.expand_dims(serialized, 0))[0]}  # type: ignore[misc]

  def decode_labels(self, serialized: tf.Tensor) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """What records say about their boxes, except their places; decodes no image.

    Args:
      serialized: records, string [n].

    Returns:
      `source_id` string [n] as in `decode`; `classes` int64 [n, (boxes)]; `is_crowd` int64 [n, (boxes)], without
      entries in records that have no flags.
    """
    crowds = {keys.BOX_IS_CROWD: tf.io.RaggedFeature(tf.int64)}
    return {
      'source_id': self._ids(serialized),
      'classes': self.decode_classes(serialized),
      'is_crowd': tf.io.parse_example(serialized, crowds)[keys.BOX_IS_CROWD],
    }

  def decode_classes(self, serialized: tf.Tensor) -> tf.RaggedTensor:
    """Class ids of the boxes in records, as training reads them.

    Args:
      serialized: records, string [n].

    Returns:
      int64 [n, (boxes)]; -1 where a label map lacks the text.
    """
    spec = {
      keys.BOX_CLASS: tf.io.RaggedFeature(tf.int64),
      keys.BOX_CLASS_NAME: tf.io.RaggedFeature(tf.string),
    }
    return self._decode_classes(tf.io.parse_example(serialized, spec))  # type: ignore[attr-defined]

  def _ids(self, serialized: tf.Tensor) -> tf.Tensor:
    spec = {keys.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string)}
    if not self._regenerate_source_id:  # type: ignore[attr-defined]
      spec[keys.SOURCE_ID] = tf.io.FixedLenFeature([], tf.string)
    parsed = tf.io.parse_example(serialized, spec)
    made = content_ids(parsed[keys.IMAGE_ENCODED])
    own = parsed.get(keys.SOURCE_ID)
    return made if own is None else tf.where(tf.equal(own, ''), made, own)


class BoxDecoder(_ImageIds, tf_example_decoder.TfExampleDecoder):
  """The Model Garden's decoder of records whose classes are ids."""


class LabelMapDecoder(_ImageIds, tf_example_label_map_decoder.TfExampleDecoderLabelMap):
  """The Model Garden's decoder of records whose classes are names, which a CSV file gives ids."""

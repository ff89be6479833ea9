"""What an exported model is to look like."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, TypeAlias

from official_selftrain.core import errors

Format: TypeAlias = Literal['saved_model', 'onnx', 'tflite']

FORMATS = ('saved_model', 'onnx', 'tflite')
INPUT_TYPES = ('image_bytes', 'image_tensor')
NMS = ('inside', 'none')
# Images on which an export is compared with its model, and on which `int8` is calibrated, if nobody says how many.
NUM_CHECKED, NUM_CALIBRATED = 8, 64
PRECISIONS = ('float32', 'float16', 'int8')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
  """How a model is exported.

  Attributes:
    format: one of `FORMATS`. ONNX and TensorFlow Lite compute in float32 whatever precision training had.
    input_type: `image_bytes`, encoded JPEG or PNG of any sizes, which only a SavedModel takes, or `image_tensor`, uint8
      [batch, height, width, 3].
    batch_size: fixed, or None for any; TensorFlow Lite takes 1 for None.
    image_size: fixed height and width of the images of `onnx` and `tflite`, in pixels. With None, ONNX takes any, and
      TensorFlow Lite the size of the network's input.
    nms: `inside`, or `none` for a detector that gives all boxes and all scores.
    precision: of the weights of `tflite`; `int8` computes in integers, too.
  """

  format: Format = 'saved_model'
  input_type: str = 'image_bytes'
  batch_size: int | None = None
  image_size: tuple[int, int] | None = None
  nms: str = 'inside'
  precision: str = 'float32'

  def check(self, data_kind: str) -> None:
    """Raises ConfigError for what a format cannot do.

    Args:
      data_kind: of the task: `detection`, `segmentation`.
    """
    chosen = (
      ('format', self.format, FORMATS),
      ('input_type', self.input_type, INPUT_TYPES),
      ('nms', self.nms, NMS),
      ('precision', self.precision, PRECISIONS),
    )
    for name, value, allowed in chosen:
      if value not in allowed:
        raise errors.ConfigError(f'{name} is {value!r}: allowed are {", ".join(allowed)}.')
    if self.format != 'saved_model' and self.input_type != 'image_tensor':
      raise errors.ConfigError(
        f'input_type is {self.input_type}: {self.format} cannot decode image files. Use image_tensor, and decode them '
        'in your program.'
      )
    if self.format == 'saved_model' and self.image_size:
      raise errors.ConfigError('image_size: a SavedModel takes images of any size; leave it out.')
    if self.format != 'tflite' and self.precision != 'float32':
      raise errors.ConfigError(
        f'precision is {self.precision}: only tflite is quantised here. Use format tflite, or float32.'
      )
    if data_kind != 'detection' and self.nms != 'inside':
      raise errors.ConfigError(
        'nms is none: a segmentation model has no boxes to suppress. Leave it out.'
      )
    if self.image_size and min(self.image_size) < 1:
      raise errors.ConfigError(
        f'image_size is {self.image_size}: height and width must be above 0.'
      )
    if self.batch_size is not None and self.batch_size < 1:
      raise errors.ConfigError(f'batch_size is {self.batch_size}: it must be above 0.')

  def image_shape(self, network: Sequence[int]) -> tuple[int | None, int | None, int | None, int]:
    """Shape of the input `image_tensor`; `network` is height and width of the network's input."""
    if self.format == 'tflite':
      return (self.batch_size or 1, *(self.image_size or (network[0], network[1])), 3)
    return (self.batch_size, *(self.image_size or (None, None)), 3)

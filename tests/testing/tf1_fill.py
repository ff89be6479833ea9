"""Made-up weights, images and logits behind the fixtures of the authors' TF1 code (`tests/data/tf1`).

The fixtures hold what that code computes from these arrays. All come from `numpy.random.RandomState`, whose streams are
frozen, and are only scaled and shifted, in float64, before one rounding: so they are equal to the bit everywhere. The
order of the arithmetic matters; do not simplify it.
"""

import math
import pathlib
import re
import zlib
from collections.abc import Mapping

import numpy as np

DATA_DIR = pathlib.Path(__file__).parents[1] / 'data' / 'tf1'

# (pattern of the name, variance of a kernel times its fan-in, centre of beta, half-width of beta); the first that
# matches counts. The gains keep activations between 1e-2 and 1e2 through the deepest of the networks.
_PARTS = (
  ('retinanet/class_net/class-predict/', 0.4, 0.0, 0.2),
  ('retinanet/box_net/box-predict/', 0.02, 0.0, 0.2),
  ('retinanet/', 1.6, 0.2, 0.3),
  (r'spinenet/sub_policy\d+/scale_permuted_block', 0.5, 0.4, 0.4),
  ('spinenet/', 1.0, 0.4, 0.4),
  (r'(?:resnet\d+|fpn)/', 1.0, 0.0, 0.2),
  (r'efficientnet-[^/]+/blocks_\d+/se/', 2.0, 0.0, 0.2),
  ('efficientnet-[^/]+/', 1.0, 0.1, 0.3),
  ('(?:resample_|fpn_cells/)', 0.9, 0.0, 0.2),
  ('segmentation/', 1.5, 0.0, 0.2),
  ('', 1.0, 0.0, 0.2),
)
_GLOBAL_STEP = 12345
# Added to the bias of this one, so that most anchors start as background.
_CLASS_BIAS = ('retinanet/class_net/class-predict/bias', -4.6)

# Of two images of 256 x 256 pixels: boxes (ymin, xmin, ymax, xmax) in pixels, each with its class in 1..90. The 10 x 9
# box reaches an IoU of 0.5 with no anchor.
GROUND_TRUTH: tuple[tuple[tuple[tuple[float, float, float, float], int], ...], ...] = (
  (
    ((20.0, 30.0, 110.0, 150.0), 1),
    ((140.5, 60.25, 170.0, 85.75), 18),
    ((180.0, 200.0, 190.0, 209.0), 90),
  ),
  (((5.0, 5.0, 250.0, 240.0), 44),),
)


def canonical_name(name: str) -> str:
  """The name that seeds a variable: without `:0`, and in the one of the two spellings of the segmentation head."""
  name = name.partition(':')[0]
  released = 'segmentation/class-'
  return 'segmentation/conv-' + name[len(released) :] if name.startswith(released) else name


def fill(name: str, shape: tuple[int, ...], dtype: str = 'float32') -> np.ndarray:
  """The value of a variable of the TF1 graph.

  Args:
    name: its name there, with or without `:0`; both spellings of the segmentation head give the same.
    shape: its shape there.
    dtype: of the result.

  Returns:
    Array [*shape]. Kernels are uniform around 0 with variance gain / fan-in, betas around a centre of the network's
    part; gammas are in [0.8, 1.2], biases and moving means in [-0.2, 0.2], moving variances in [0.5, 1.5], momenta in
    [-0.01, 0.01]; `global_step` is 12345.

  Raises:
    ValueError: a variable of no known kind.
  """
  name = canonical_name(name)
  shape = tuple(map(int, shape))
  kind = name.split('/')[-1]
  if kind == 'global_step':
    return np.array(_GLOBAL_STEP, dtype)
  stream = np.random.RandomState(zlib.crc32(name.encode()))
  unit = stream.random_sample(math.prod(shape)).reshape(shape)
  _, gain, centre, half_width = next(part for part in _PARTS if re.match(part[0], name))
  if kind.endswith('kernel'):
    # A depthwise kernel is [height, width, channels, multiplier], and sums over height and width only.
    fan_in = math.prod(shape[:2] if kind == 'depthwise_kernel' else shape[:-1])
    half_range = np.sqrt(3.0) * np.sqrt(gain / fan_in)
    return ((2.0 * unit - 1.0) * half_range).astype(dtype)
  if kind == 'beta':
    return (centre + half_width * (2.0 * unit - 1.0)).astype(dtype)
  if kind == 'gamma':
    return (0.8 + 0.4 * unit).astype(dtype)
  if kind == 'moving_variance':
    return (0.5 + unit).astype(dtype)
  if kind == 'Momentum':
    return (0.02 * unit - 0.01).astype(dtype)
  if kind not in ('bias', 'moving_mean'):
    raise ValueError(f'{name}: no values are known for a variable called {kind!r}')
  value = 0.4 * unit - 0.2
  if name == _CLASS_BIAS[0]:
    value = value + _CLASS_BIAS[1]
  return value.astype(dtype)


def _enlarge(grid: np.ndarray, size: int, height: int, width: int) -> np.ndarray:
  """Each cell of [batch, rows, columns, ...] repeated to size x size, then cut to height x width."""
  return np.repeat(np.repeat(grid, size, axis=1), size, axis=2)[:, :height, :width]


def _cells(length: int, size: int) -> int:
  """Cells of `size` that cover `length`."""
  return -(-length // size)


def image(height: int, width: int, batch: int = 1, seed: int = 2006) -> np.ndarray:
  """Normalised images, float32 [batch, height, width, 3] in about [-2.1, 2.6]: blocks of four sizes, down to pixels."""
  stream = np.random.RandomState(seed)
  mixed = np.zeros([batch, height, width, 3])
  for size, share in {64: 0.35, 16: 0.3, 4: 0.2, 1: 0.15}.items():
    grid = stream.random_sample([batch, _cells(height, size), _cells(width, size), 3])
    mixed += share * _enlarge(grid, size, height, width)
  return (4.7 * mixed - 2.1).astype(np.float32)


def level_sizes(
  height: int, width: int, min_level: int = 3, max_level: int = 7
) -> dict[int, tuple[int, int]]:
  """(rows, columns) by level of an image whose sides are multiples of 2**max_level."""
  return {
    level: (height // 2**level, width // 2**level) for level in range(min_level, max_level + 1)
  }


def detection_logits(
  height: int, width: int, batch: int = 2, anchors: int = 9, classes: int = 91, seed: int = 2020
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
  """Outputs of a detection head that suppression has work with.

  Peaks of the classes 0 (background, to be ignored), 1, 2, 17, 44 and 90 crowd in some blocks of 4 x 4 cells: many in
  even images of the batch, so few in odd ones that fewer than 100 detections remain. One in a thousand regressions is
  5.0, above the bound at which decoding clips sizes.

  Args:
    height: of the image, in pixels, a multiple of 128.
    width: likewise.
    batch: number of images.
    anchors: per cell.
    classes: with background.
    seed: of the stream.

  Returns:
    Class logits float32 [batch, rows, columns, anchors * classes] and box regressions [..., anchors * 4] by level; the
    last axis is anchor-major.
  """
  stream = np.random.RandomState(seed)
  can_peak = np.isin(np.tile(np.arange(classes), anchors), [0, 1, 2, 17, 44, 90])
  density = np.array([0.02 if number % 2 else 0.2 for number in range(batch)])
  scores, boxes = {}, {}
  for level, (rows, columns) in level_sizes(height, width).items():
    cells = [batch, rows, columns]
    low = -8.0 + 4.0 * stream.random_sample([*cells, anchors * classes])
    high = -3.0 + 6.0 * stream.random_sample([*cells, anchors * classes])
    crowded = stream.random_sample([batch, _cells(rows, 4), _cells(columns, 4), 1]) < 0.04
    picked = stream.random_sample([*cells, anchors * classes]) < density[:, None, None, None]
    is_peak = picked & can_peak & _enlarge(crowded, 4, rows, columns)
    scores[level] = np.where(is_peak, high, low).astype(np.float32)
    regressions = -0.15 + 0.3 * stream.random_sample([*cells, anchors * 4])
    is_large = stream.random_sample([*cells, anchors * 4]) < 0.001
    boxes[level] = np.where(is_large, 5.0, regressions).astype(np.float32)
  return scores, boxes


def segmentation_logits(
  height: int = 32, width: int = 32, batch: int = 2, classes: int = 21, seed: int = 2012
) -> np.ndarray:
  """Segmentation logits, float32 [batch, height, width, classes], uniform in [-3, 3]."""
  unit = np.random.RandomState(seed).random_sample([batch, height, width, classes])
  return (-3.0 + 6.0 * unit).astype(np.float32)


def segmentation_labels(
  height: int = 128,
  width: int = 128,
  batch: int = 2,
  classes: int = 21,
  ignore: int = 255,
  seed: int = 2007,
) -> np.ndarray:
  """A label map of 9-pixel blocks, about a tenth of them `ignore`: float32 [batch, height, width, 1]."""
  stream = np.random.RandomState(seed)
  grid = stream.randint(0, classes, [batch, _cells(height, 9), _cells(width, 9), 1])
  grid[stream.random_sample(grid.shape) < 0.1] = ignore
  return _enlarge(grid, 9, height, width).astype(np.float32)


def differences(path: str | pathlib.Path, tensors: Mapping[str, np.ndarray]) -> dict[str, float]:
  """How far whole tensors are from a fixture of outputs.

  Compared are the stored positions in the stored channels, which are all unless the file lists them, and the mean of
  these channels over the whole tensor.

  Args:
    path: an `outputs.npz`.
    tensors: [batch, height, width, channels] by the fixture's names (`cls_p3`, `backbone_p5`, `logits`, ...).

  Returns:
    Largest deviation by name, in standard deviations of the stored tensor.

  Raises:
    ValueError: a tensor has not the stored shape.
  """
  result = {}
  with np.load(path) as stored:
    for name, given in tensors.items():
      tensor = np.asarray(given)
      expected = tuple(stored[f'{name}/shape'].tolist())
      if tensor.shape != expected:
        raise ValueError(f'{name} is {tensor.shape}, and {expected} in {path}')
      if f'{name}/channels' in stored:
        tensor = tensor[..., stored[f'{name}/channels']]
      rows, columns = stored[f'{name}/rows'], stored[f'{name}/cols']
      at_points = np.abs(tensor[:, rows][:, :, columns] - stored[name])
      means = np.mean(tensor, axis=(0, 1, 2), dtype=np.float64)
      of_means = np.abs(means - stored[f'{name}/channel_mean'])
      spread = float(stored[f'{name}/stats'][1])
      # max() of Python would pass over NaN.
      result[name] = float(np.max([np.max(at_points), np.max(of_means)])) / spread
  return result

"""Differences between two models on the same images, with intervals: measured by `evaluation`, shown by `report`."""

import dataclasses

# Metrics that can be recomputed from counts per image.
METRICS = ('AP', 'AP50', 'AP75', 'mean_iou')

# With fewer images an interval is far too narrow: draws from a few images hardly differ, those from one not at all.
MIN_IMAGES = 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
  """The difference of a metric between two models, first minus second.

  Attributes:
    difference: on all images, each taken once.
    low: lower end of the interval.
    high: upper end.
    confidence: share of the resampled differences that the interval holds, such as 0.9.
    resamples: how often the images were drawn again.
    images: how many images there are, and how many each resample draws.
  """

  difference: float
  low: float
  high: float
  confidence: float
  resamples: int
  images: int

  @property
  def has_enough_images(self) -> bool:
    """Whether the interval can be relied on, see `MIN_IMAGES`."""
    return self.images >= MIN_IMAGES

  @property
  def is_above_zero(self) -> bool:
    """Whether the whole interval is, and has enough images: the first model is better."""
    return self.has_enough_images and self.low > 0

  @property
  def is_below_zero(self) -> bool:
    """Whether the whole interval is, and has enough images: the first model is worse."""
    return self.has_enough_images and self.high < 0


def name(first: str, second: str) -> str:
  """Name of the comparison of two models, such as `student_minus_control`."""
  return f'{first}_minus_{second}'

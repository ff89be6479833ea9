"""Labelling with masks over the bare model at the same scales, see `labelling`; and what the scales cost.

The reference calls the teacher at all scales on batches in memory and averages its probabilities; the labeller also
reads, decodes, resizes to the size of the image, encodes two PNGs per image and writes shards.
"""

from benchmarks import results, workbench
from benchmarks.cases import labelling

NEEDS_WORKBENCH = True


def run(bench: workbench.Workbench) -> list[results.Row]:
  """Measures."""
  return labelling.run_segmentation(bench)

"""Student step of segmentation: our step on B human and B pseudo images over the stock task's on the same 2B images.

As in `student_step`, with batches in memory. Both steps train our model: the Model Garden's NAS-FPN is another network
(its step took 1.3 to 1.8 times as long with 32 to 64 filters), which would hide what our step costs.
"""

from benchmarks import results, workbench
from benchmarks.cases import student_step

NEEDS_WORKBENCH = True


def run(bench: workbench.Workbench) -> list[results.Row]:
  """Measures."""
  return student_step.run_segmentation(bench)

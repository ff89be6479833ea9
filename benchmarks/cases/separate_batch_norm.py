"""Separate batch norm: a student step with `separate_batch_norm` over one without, for information.

The same task, model and two-source batch in memory; the setting replaces one forward pass over both sources by one
pass per source, and puts the moving statistics of the second one back.
"""

from benchmarks import results, timing, workbench
from benchmarks.cases import student_step

NEEDS_WORKBENCH = True
_STEPS = 3
_ROUNDS = 7


def run(bench: workbench.Workbench) -> list[results.Row]:
  """Measures."""
  bench.make_labels()
  steps = {}
  for name, separate in (('separate', True), ('joint', False)):
    params = bench.params()
    params.task.self_training.separate_batch_norm = separate
    steps[name] = workbench.Step(workbench.self_training_task(params), params)
  batch = student_step.two_source_batch(steps['joint'].task, params)
  seconds = timing.interleave(
    {
      name: timing.wall(lambda step=step: student_step.repeat(step, batch, _STEPS))
      for name, step in steps.items()
    },
    bench.effort.rounds(_ROUNDS),
  )
  return [
    results.compare(
      'separate_batch_norm',
      'separate statistics : joint ones',
      'ms/step',
      seconds['separate'],
      seconds['joint'],
      figure=lambda value: 1000 * value / _STEPS,
    )
  ]

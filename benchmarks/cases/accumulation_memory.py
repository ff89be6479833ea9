"""Memory of gradient accumulation: growth in a student's step on a batch in parts over that on the whole batch.

Each number of parts has a process of its own. It builds the student of the default experiment with 512 pixels, takes
three steps on a batch of 16 + 16 images, and tells by how much the peak of its resident memory grew in these, the
optimised graph included. The estimate is what `estimate_memory` says of the same without that.
"""

import pathlib
import re
import subprocess
import sys
from typing import Any

import tensorflow as tf

from benchmarks import results

NEEDS_WORKBENCH = False
_PARTS = (1, 2, 4)
_STEPS = 3
_SETTINGS = (
  'task.model.input_size=[512,512,3],task.train_data.global_batch_size=16,'
  'task.pseudo_data.global_batch_size=16'
)
_PROGRAM = (
  'import sys; from benchmarks.cases import accumulation_memory as a; a.measure(int(sys.argv[1]))'
)
_MIB = 2**20


def run(bench: Any) -> list[results.Row]:
  """Measures; `bench` is not used."""
  del bench
  found = {}
  for parts in _PARTS:
    done = subprocess.run(
      [sys.executable, '-c', _PROGRAM, str(parts)], capture_output=True, text=True, check=True
    )
    found[parts] = [float(word) for word in done.stdout.splitlines()[-1].split()]
  whole, _ = found[1]
  return [
    *(
      results.Row(
        'accumulation_memory', f'{parts} parts : whole batch', 'MiB', found[parts][0], whole
      )
      for parts in _PARTS[1:]
    ),
    *(
      results.Row(
        'accumulation_memory', f'{parts} part(s), grown : estimated', 'MiB', *found[parts]
      )
      for parts in _PARTS
    ),
  ]


def measure(parts: int) -> None:
  """Prints the growth of peak resident memory in steps on a batch in so many parts, and the estimate, in MiB."""
  from benchmarks import workbench
  from official_selftrain import registry_imports  # noqa: F401
  from official_selftrain.core import config
  from official_selftrain.modeling import memory
  from official_selftrain.pipeline import memory_estimate, training

  override = f'{_SETTINGS},task.gradient_accumulation_steps={parts}'
  params = config.load_experiment('retinanet_selftrain', [], override)
  training.set_precision(params.runtime)
  task = workbench.self_training_task(params)
  with memory.without_values():
    model = task.build_model()
  found = memory_estimate.estimate_model(params, task, model)
  estimate = found.student.on(1) - (found.values + found.trained) * 4
  spec = memory_estimate.batch_spec(task)
  step = workbench.Step(task, params)
  batch = {
    name: _images(spec, data.global_batch_size)
    for name, data in (('human', params.task.train_data), ('pseudo', params.task.pseudo_data))
  }
  step.run.get_concrete_function(batch)  # The graph is not what is measured.
  before = _peak()
  for _ in range(_STEPS):
    step.run(batch)[task.loss].numpy()
  print((_peak() - before) / _MIB, estimate / _MIB)


def _images(spec: Any, size: int) -> Any:
  """A batch of these shapes without objects."""
  return tf.nest.map_structure(lambda each: tf.zeros([size, *each.shape[1:]], each.dtype), spec)


def _peak() -> int:
  """Peak of this process's resident memory, in bytes."""
  status = pathlib.Path('/proc/self/status').read_text()
  found = re.search(r'VmHWM:\s+(\d+) kB', status)
  assert found
  return 1024 * int(found[1])

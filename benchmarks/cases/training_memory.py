"""Memory of a step in parts (`gradient_accumulation_steps`) and with blocks computed again (`recompute_blocks`).

Each way has a process of its own. It builds the student of the default experiment with 512 pixels, or one with an
EfficientNet-B0 with 256 pixels, takes steps on a batch of 16 + 16 images, and tells by how much the peak of its
resident memory grew in these, the optimised graph included, and how long a step took. The estimate is what
`estimate_memory` says of the same without that.
"""

import dataclasses
import pathlib
import re
import subprocess
import sys
import time
from typing import Any

import tensorflow as tf

from benchmarks import results

NEEDS_WORKBENCH = False
IS_OF_ONE_SIZE = True
_CASE = 'training_memory'
_STEPS = 3
_DIGITS = 'task.model.input_size=[512,512,3]'
_EFFICIENTNET = (
  'task.model.input_size=[256,256,3],task.model.backbone.type=efficientnet,'
  'task.model.backbone.efficientnet.model_id=b0'
)
_BATCH = 'task.train_data.global_batch_size=16,task.pseudo_data.global_batch_size=16'
_IN_PARTS = 'task.gradient_accumulation_steps='
# By network: its settings, and the ways in which it is trained on the same batch.
_NETWORKS = {
  'digits': (_DIGITS, {'2 parts': f'{_IN_PARTS}2', '4 parts': f'{_IN_PARTS}4'}),
  'b0': (
    _EFFICIENTNET,
    {
      'recomputed': 'task.recompute_blocks=true',
      'recomputed, 2 parts': f'task.recompute_blocks=true,{_IN_PARTS}2',
    },
  ),
}
_PROGRAM = 'import sys; from benchmarks.cases import training_memory as m; m.measure(sys.argv[1])'
_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class _Found:
  """Growth of the peak and its estimate in MiB, and the seconds of a step."""

  grown: float
  estimated: float
  seconds: float


def run(bench: Any) -> list[results.Row]:
  """Measures; `bench` is not used."""
  del bench
  rows = []
  for network, (settings, ways) in _NETWORKS.items():
    whole = _measured(settings)
    rows.append(_row(f'{network}: grown : estimated', 'MiB', whole.grown, whole.estimated))
    for way, setting in ways.items():
      found = _measured(f'{settings},{setting}')
      rows += [
        _row(f'{network}: {way} : plain', 'MiB', found.grown, whole.grown),
        _row(f'{network}: {way}, grown : estimated', 'MiB', found.grown, found.estimated),
        _row(f'{network}: {way} : plain', 's', found.seconds, whole.seconds),
      ]
  return rows


def _row(name: str, unit: str, ours: float, theirs: float) -> results.Row:
  return results.Row(_CASE, name, unit, ours, theirs)


def _measured(override: str) -> _Found:
  done = subprocess.run(
    [sys.executable, '-c', _PROGRAM, override], capture_output=True, text=True, check=True
  )
  return _Found(*(float(word) for word in done.stdout.splitlines()[-1].split()))


def measure(override: str) -> None:
  """Prints the growth of peak resident memory in steps, the estimate, both in MiB, and the seconds of a step."""
  from benchmarks import workbench
  from official_selftrain import registry_imports  # noqa: F401
  from official_selftrain.core import config
  from official_selftrain.modeling import memory
  from official_selftrain.pipeline import memory_estimate, training

  params = config.load_experiment('retinanet_selftrain', [], f'{_BATCH},{override}')
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
  seconds = []
  for _ in range(_STEPS):
    start = time.perf_counter()
    step.run(batch)[task.loss].numpy()
    seconds.append(time.perf_counter() - start)
  print((_peak() - before) / _MIB, estimate / _MIB, min(seconds))


def _images(spec: Any, size: int) -> Any:
  """A batch of these shapes without objects."""
  return tf.nest.map_structure(lambda each: tf.zeros([size, *each.shape[1:]], each.dtype), spec)


def _peak() -> int:
  """Peak of this process's resident memory, in bytes."""
  status = pathlib.Path('/proc/self/status').read_text()
  found = re.search(r'VmHWM:\s+(\d+) kB', status)
  assert found
  return 1024 * int(found[1])

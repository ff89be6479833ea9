"""One rule for training on another batch: what becomes of learning rates, steps and averages.

With a batch of f times the size, f times fewer updates see the same images. So steps are divided by f. Learning rates
of SGD and LARS are multiplied by f (Goyal et al., "Accurate, large minibatch SGD", 2017), those of optimizers that
divide by the size of gradients, such as Adam, by its square root (Malladi et al., "On the SDEs and scaling rules for
adaptive gradient algorithms", 2022). Moving averages with momentum m take m to the power f, so that they look back
on as many images (Busbridge et al., "How to scale your EMA", 2023). The models of self-training are scaled; a
pre-training in their run is not, because its batch decides what SimCLR compares.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from official_selftrain.core import errors

FLAG = '--batch_scale'
_TRAINERS = ('trainer', 'teacher.trainer')
# Of a trainer; the first are compared with `steps_per_loop`, of which they must be multiples.
_INTERVALS = ('checkpoint_interval', 'validation_interval', 'summary_interval')
_STEPS = (
  'train_steps', 'recovery_begin_steps', 'warmup_steps', 'decay_steps', 'boundaries', 'total_decay_steps', 'offset',
)  # fmt: skip
_RATES = (
  'initial_learning_rate', 'end_learning_rate', 'warmup_learning_rate', 'learning_rate', 'values',
  'pre_offset_learning_rate',
)  # fmt: skip
_AVERAGES = ('norm_momentum', 'ema_decay')
# Steps of the task.
_TASK_STEPS = ('alpha_decay_steps',)
_LINEAR = ('sgd', 'lars')


def overrides(
  settings: Mapping[str, Any], factor: float, fixed: Collection[str] = ()
) -> dict[str, Any]:
  """Settings of an experiment that is trained on another batch.

  Args:
    settings: all of the experiment's by dotted name.
    factor: size of the new batches as a multiple of the old ones.
    fixed: names of settings that stay as they are.

  Returns:
    The settings that change, nested.

  Raises:
    ConfigError: the factor is not above zero, or a batch would not be a whole number of images.
  """
  if not (factor > 0 and math.isfinite(factor)):
    raise errors.ConfigError(f'{FLAG}={factor:g}: it must be above 0.')
  found = dict(_batches({k: v for k, v in settings.items() if k not in fixed}, factor))
  for trainer in _TRAINERS:
    found |= _trainer(settings, trainer, factor)
  for name, value in settings.items():
    last = name.rpartition('.')[2] if name.startswith('task.') else ''
    if last in _AVERAGES:
      found[name] = value**factor
    elif last in _TASK_STEPS and value:
      found[name] = max(round(value / factor), 1)  # 0 would mean another thing.
  nested: dict[str, Any] = {}
  for name, value in found.items():
    if name in fixed:
      continue
    *above, last = name.split('.')
    inner = nested
    for part in above:
      inner = inner.setdefault(part, {})
    inner[last] = value
  return nested


def text(factor: float) -> str:
  """What was done, in a line."""
  return (
    f'{FLAG}={factor:g}: batches and learning rates times {factor:g}, steps divided by it (adaptive optimizers: rates '
    f'times {math.sqrt(factor):.3g})'
  )


def _batches(settings: Mapping[str, Any], factor: float) -> Iterator[tuple[str, int]]:
  for name, value in settings.items():
    first, *_ = name.split('.')
    is_ours = first in ('task', 'teacher', 'control') and not name.startswith(
      'task.validation_data'
    )
    if not is_ours or not name.endswith('.global_batch_size') or not value:
      continue
    scaled = round(value * factor)
    if scaled < 1 or not math.isclose(scaled, value * factor):
      raise errors.ConfigError(
        f'{FLAG}={factor:g}: {name} of {value} would be {value * factor:g} images. Take a factor that leaves whole '
        'numbers, or task.gradient_accumulation_steps, which keeps the batch.'
      )
    yield name, scaled


def _trainer(settings: Mapping[str, Any], trainer: str, factor: float) -> dict[str, Any]:
  """The schedule of one trainer; nothing if there is no such trainer."""
  found: dict[str, Any] = {}
  optimizer = settings.get(f'{trainer}.optimizer_config.optimizer.type') or ''
  rate = factor if optimizer.startswith(_LINEAR) else math.sqrt(factor)
  loop = settings.get(f'{trainer}.steps_per_loop', 1)
  for name, value in settings.items():
    if not name.startswith(f'{trainer}.') or value is None:
      continue
    last = name.rpartition('.')[2]
    if last in _INTERVALS:
      # Upwards, so that one that was the whole training still is.
      found[name] = math.ceil(value / factor / loop) * loop
    elif last in _STEPS:
      found[name] = _each(value, lambda steps: round(steps / factor))
    elif last in _RATES:
      found[name] = _each(value, lambda old: old * rate)
  return found


def _each(value: Any, change: Any) -> Any:
  return [change(each) for each in value] if isinstance(value, list | tuple) else change(value)

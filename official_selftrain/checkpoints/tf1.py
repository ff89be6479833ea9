"""Reads the authors' TF1 checkpoints, which are name-based, into models of the family `original`."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors

GLOBAL_STEP = 'global_step'
_AVERAGE = '/ExponentialMovingAverage'

# Values that no model needs: pattern of the name, and what it is.
_SKIPPED = (
  (r'.*/(Momentum|RMSProp|RMSProp_1|Adam|Adam_1|LARSOptimizer)', 'optimizer slots'),
  (r'.*' + _AVERAGE, 'moving averages of weights'),
  (r'(global_step|.*beta[12]_power)', 'counters'),
  (r'(efficientnet-[^/]+/head|resnet\d+)/dense/.*', "the backbone's ImageNet classifier"),
)
# Released segmentation checkpoints spell these convolutions as older code did.
_RELEASED_SPELLING = (r'^segmentation/class-', 'segmentation/conv-')
_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Accounting:
  """An account of every value of a TF1 checkpoint.

  Attributes:
    used: names in the checkpoint whose value a variable of the model has now.
    skipped: names that no model needs, by what they are.
    num_values: numbers in the used ones.
    step: the checkpoint's global step, 0 if it has none.
    notes: what else a user of the weights has to know, a sentence each.
  """

  used: tuple[str, ...]
  skipped: Mapping[str, tuple[str, ...]]
  num_values: int
  step: int
  notes: tuple[str, ...] = ()

  def text(self) -> str:
    """A few lines for the console."""
    lines = [f'{len(self.used)} variables imported, {self.num_values:,} values, step {self.step:,}']
    lines += [f'{len(names)} skipped: {kind}' for kind, names in self.skipped.items()]
    return '\n'.join([*lines, *self.notes])


def canonical(name: str) -> str:
  """The name of a variable in the code as published."""
  return re.sub(*_RELEASED_SPELLING, name)


def assign(
  named: Mapping[str, tf.Variable],
  checkpoint: str,
  scope: str = '',
  use_averages: bool = False,
  left_out: Sequence[tuple[str, str]] = (),
) -> Accounting:
  """Gives variables their values from a TF1 checkpoint.

  Args:
    named: variables by TF1 name, see `tf1_names`.
    checkpoint: prefix of a name-based checkpoint.
    scope: beginning of the names that matter; others are of other modules. Empty for all.
    use_averages: take a variable's moving average where the checkpoint has one.
    left_out: patterns of further names that the model does not need, and what they are.

  Returns:
    What became of every value.

  Raises:
    DataError: the file is no TF1 checkpoint; a variable is not in it, it holds one that the model does not have, or a
      shape differs, or a value is NaN or infinite. Nothing has been assigned then.
  """
  reader = tf.train.load_checkpoint(checkpoint)
  shapes = reader.get_variable_to_shape_map()
  if '_CHECKPOINTABLE_OBJECT_GRAPH' in shapes:
    raise errors.DataError(
      f'{checkpoint} is a TF2 checkpoint: give it as init_checkpoint or teacher.checkpoint, without an import.'
    )
  sources, skipped = _sources(shapes, checkpoint, scope, (*_SKIPPED, *left_out))
  _check(named, {name: shapes[source] for name, source in sources.items()}, checkpoint)
  averages = {name: sources[name] + _AVERAGE for name in named} if use_averages else {}
  averages = {name: source for name, source in averages.items() if source in shapes}
  if use_averages and not averages:
    raise errors.DataError(f'{checkpoint} holds no moving averages of these variables.')
  chosen = {name: averages.get(name, sources[name]) for name in named}
  # Read twice, because values of the largest networks should not be in memory twice.
  bad = [source for source in chosen.values() if not np.isfinite(reader.get_tensor(source)).all()]
  if bad:
    raise errors.DataError(f'{checkpoint} holds NaN or infinity in {", ".join(_shortened(bad))}.')
  for name, variable in named.items():
    variable.assign(tf.cast(reader.get_tensor(chosen[name]), variable.dtype))
  return Accounting(
    used=tuple(sources[name] for name in named),
    skipped=skipped,
    num_values=sum(int(np.prod(variable.shape)) for variable in named.values()),
    step=int(reader.get_tensor(GLOBAL_STEP)) if GLOBAL_STEP in shapes else 0,
  )


def _sources(
  names: Iterable[str], checkpoint: str, scope: str, skippable: Sequence[tuple[str, str]]
) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
  """The checkpoint's names of model variables by canonical name, and the names of the rest by what they are."""
  sources: dict[str, str] = {}
  skipped: dict[str, list[str]] = {}
  for name in sorted(names):
    kind = next((kind for pattern, kind in skippable if re.fullmatch(pattern, name)), '')
    if not kind and not name.startswith(scope):
      kind = 'other modules'
    if kind:
      skipped.setdefault(kind, []).append(name)
    elif canonical(name) in sources:
      raise errors.DataError(
        f'{checkpoint} holds {name} and {sources[canonical(name)]}: one is a copy.'
      )
    else:
      sources[canonical(name)] = name
  return sources, {kind: tuple(found) for kind, found in skipped.items()}


def _check(
  named: Mapping[str, tf.Variable], shapes: Mapping[str, list[int]], checkpoint: str
) -> None:
  """Raises DataError unless both sides have the same names and shapes."""
  missing = [f'only in the model: {name}' for name in sorted(set(named) - set(shapes))]
  unknown = [f'only in the checkpoint: {name}' for name in sorted(set(shapes) - set(named))]
  differing = [
    f'{name}: {list(shapes[name])} in the checkpoint, {list(variable.shape)} in the model'
    for name, variable in sorted(named.items())
    if name in shapes and list(shapes[name]) != list(variable.shape)
  ]
  problems = [*differing, *missing, *unknown]
  if problems:
    raise errors.DataError(
      f'{checkpoint} does not fit task.model: {len(missing)} variables are only in the model, {len(unknown)} only in '
      f'the checkpoint, {len(differing)} differ in shape.\n  ' + '\n  '.join(_shortened(problems))
    )


def _shortened(lines: Sequence[str]) -> list[str]:
  """The first lines, and how many more there are."""
  more = len(lines) - _SHOWN
  return [*lines[:_SHOWN], *([f'and {more} more'] if more > 0 else [])]

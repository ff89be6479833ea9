"""Restores parts of a model from a checkpoint and accounts for every variable on both sides.

TensorFlow matches a checkpoint with a model by the names of attributes and silently skips what it does not find. It can
only be asked whether something was skipped. This module walks both graphs first, so it can report what happens.

Where training averaged the weights (`optimizer_config.ema`), the averages are what a model is restored with: they are
what the Model Garden evaluates, so they label, start the next model and are exported, too.
"""

import collections
import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from official_selftrain.configs import self_training as st
from official_selftrain.core import errors

_GRAPH_KEY = '_CHECKPOINTABLE_OBJECT_GRAPH'
_VALUE = 'VARIABLE_VALUE'
# The slot of the Model Garden's `ExponentialMovingAverage`.
_AVERAGE = 'average'
# Its own copies, in `ema_checkpoints` and of the best evaluation, are written while weights and averages have changed
# places.
_SWAPPED = ('average_weights-', 'best_ckpt-')
# What TensorFlow raises for checkpoints that are cut, changed or incomplete.
_DAMAGED = (
  IndexError,
  tf.errors.DataLossError,
  tf.errors.OutOfRangeError,
  tf.errors.NotFoundError,
  tf.errors.InternalError,
  tf.errors.UnknownError,
)


@dataclasses.dataclass(frozen=True)
class Accounting:
  """The outcome of a restoration.

  Attributes:
    restored: names of the model's variables that have a value from the checkpoint.
    fresh: names of the model's other variables.
    unused: keys of the checkpoint's other values: other modules, optimizer slots, counters.
    averaged: how many of the restored have the moving average of their values.
  """

  restored: tuple[str, ...]
  fresh: tuple[str, ...]
  unused: tuple[str, ...]
  averaged: int = 0

  def text(self) -> str:
    """One line for the console."""
    averaged = f' ({self.averaged} of them averaged over steps)' if self.averaged else ''
    return (
      f'{len(self.restored)} variables restored{averaged}, {len(self.fresh)} left fresh, '
      f'{len(self.unused)} values of the checkpoint not used'
    )


def find(path: str) -> str:
  """Prefix of the checkpoint at `path`, a prefix or a directory.

  Raises:
    DataError: there is none.
  """
  prefix = tf.train.latest_checkpoint(path) if tf.io.gfile.isdir(path) else path
  prefix = (prefix or '').removesuffix('.index')
  if not prefix or not tf.io.gfile.exists(prefix + '.index'):
    raise errors.DataError(
      f'There is no checkpoint at {path}: give a model directory or a prefix such as ckpt-1500.'
    )
  return prefix


def modules_of(model: tf.keras.Model, modules: str | list[str]) -> dict[str, Any]:
  """The parts of a model that `modules` names.

  Args:
    model: a Model Garden model with `checkpoint_items`.
    modules: `all`, or one or several of `configs.self_training.INIT_MODULES`.

  Returns:
    Parts by the names under which checkpoints hold them.

  Raises:
    ConfigError: the model has no such part.
  """
  items: Mapping[str, Any] = model.checkpoint_items
  if is_whole(modules):
    return dict(items)
  named = [modules] if isinstance(modules, str) else list(modules)
  for name in named:
    if name not in items:
      raise errors.ConfigError(
        f'init_checkpoint_modules names {name!r}, and this model has {" and ".join(items)}: name one of these, or '
        "'all'."
      )
  return {name: items[name] for name in named}


def is_whole(modules: str | list[str]) -> bool:
  """Whether `modules`, an `init_checkpoint_modules`, names the whole model."""
  return modules == 'all' or list(modules) == ['all']


@contextlib.contextmanager
def readable(checkpoint: str) -> Iterator[None]:
  """While a checkpoint is read: what TensorFlow raises for a damaged one becomes DataError."""
  try:
    yield
  except (IndexError, tf.errors.OpError) as error:
    # The reader makes some errors of the base class alone.
    if not isinstance(error, _DAMAGED) and type(error) is not tf.errors.OpError:
      raise
    raise errors.DataError(
      f'{checkpoint} cannot be read ({errors.first_line(error)}). Put a copy of its files in their place, or make the '
      'model again.'
    ) from error


def restore(
  model: tf.keras.Model,
  checkpoint: str,
  modules: str | list[str] = 'all',
  statistics: bool = True,
) -> Accounting:
  """Gives every variable of the named modules its value from a checkpoint, or fails and changes nothing.

  Args:
    model: a Model Garden model whose variables exist.
    checkpoint: prefix of an object-based checkpoint, as the Model Garden and this project write them.
    modules: see `modules_of`.
    statistics: also the moving statistics of batch norm; else they stay as they are.

  Returns:
    What was restored and what was not.

  Raises:
    ConfigError: the model has no such module.
    DataError: the file is damaged or a name-based TF1 checkpoint, holds no variable of the modules or lacks some of
      them, or a shape differs.
  """
  items = modules_of(model, modules)
  shapes, serialized = _contents(checkpoint)
  if _GRAPH_KEY not in shapes:
    raise errors.DataError(
      f'{checkpoint} is a TF1 checkpoint. Import it first: python -m official_selftrain.import_tf1 '
      f'--checkpoint={checkpoint} --config_file=... --output=...'
    )
  keys = _match(tf.train.Checkpoint(**items), serialized)
  wanted = {v.ref(): v for part in items.values() for v in part.variables}
  named = ' and '.join(items)
  found = {ref: key for ref, key in keys.items() if ref in wanted and key in shapes}
  if not found:
    raise errors.DataError(
      f'{checkpoint} holds no variable of {named}: it is of another model (task.model).'
    )
  missing = [variable.name for ref, variable in wanted.items() if ref not in found]
  if missing:
    raise errors.DataError(
      f'{checkpoint} lacks {len(missing)} of the {len(wanted)} variables of {named}, the first is {missing[0]}: it is '
      'of another model (task.model). Matching modules can be loaded alone (init_checkpoint_modules: '
      f'{" or ".join(st.INIT_MODULES)}).'
    )
  for ref, key in found.items():
    if list(wanted[ref].shape) != list(shapes[key]):
      raise errors.DataError(
        f'{checkpoint}: {wanted[ref].name} has shape {list(shapes[key])} there and {list(wanted[ref].shape)} in '
        'task.model. Matching modules can be loaded alone (init_checkpoint_modules: '
        f'{" or ".join(st.INIT_MODULES)}).'
      )
  kept = (
    {} if statistics else {ref: wanted[ref].numpy() for ref in found if _is_moving(wanted[ref])}
  )
  with readable(checkpoint):
    tf.train.Checkpoint(**items).read(checkpoint).expect_partial()
  averages = _take_averages(tf.train.Checkpoint(**items), checkpoint, serialized)
  for ref, value in kept.items():
    wanted[ref].assign(value)
    del found[ref]
  averaged = [averages[key] for key in found.values() if key in averages]
  used = {_GRAPH_KEY, *found.values(), *averaged}
  return Accounting(
    restored=tuple(wanted[ref].name for ref in found),
    fresh=tuple(v.name for v in model.variables if v.ref() not in found),
    unused=tuple(sorted(set(shapes) - used)),
    averaged=len(averaged),
  )


def take_averages(root: tf.train.Checkpoint, checkpoint: str) -> dict[str, str]:
  """Gives variables that were averaged during training their averages; the others stay as they are.

  Args:
    root: in the layout of the checkpoint; its variables exist.
    checkpoint: prefix of an object-based checkpoint.

  Returns:
    Keys of the averages in the checkpoint, by those of the values that they are of; empty if there are none, or if the
    Model Garden has put them in the place of the weights already.

  Raises:
    DataError: the checkpoint is damaged.
  """
  return _take_averages(root, checkpoint, _contents(checkpoint)[1])


def _take_averages(root: tf.train.Checkpoint, checkpoint: str, serialized: bytes) -> dict[str, str]:
  is_swapped = os.path.basename(checkpoint).startswith(_SWAPPED)
  averages = {} if is_swapped or not serialized else _averages(serialized)
  if averages:
    keys = _match(root, serialized)
    with readable(checkpoint):
      reader = tf.train.load_checkpoint(checkpoint)
      for variable in _variables(root):
        average = averages.get(keys.get(variable.ref(), ''))
        if average is not None:
          variable.assign(reader.get_tensor(average))
  return averages


def _averages(serialized: bytes) -> dict[str, str]:
  """Keys of moving averages in a checkpoint, by the keys of the values that they are of."""
  nodes = trackable_object_graph_pb2.TrackableObjectGraph.FromString(serialized).nodes

  def key(node_id: int) -> str:
    return next(each.checkpoint_key for each in nodes[node_id].attributes if each.name == _VALUE)

  return {
    key(slot.original_variable_node_id): key(slot.slot_variable_node_id)
    for node in nodes
    for slot in node.slot_variables
    if slot.slot_name == _AVERAGE
  }


def _contents(checkpoint: str) -> tuple[Mapping[str, list[int]], bytes]:
  """Shapes by key, and the object graph, which is empty in a TF1 checkpoint."""
  with readable(checkpoint):
    reader = tf.train.load_checkpoint(checkpoint)
    shapes = reader.get_variable_to_shape_map()
    return shapes, reader.get_tensor(_GRAPH_KEY) if _GRAPH_KEY in shapes else b''


def _is_moving(variable: tf.Variable) -> bool:
  """Whether a variable is a moving statistic of batch norm."""
  return variable.name.rsplit('/', 1)[-1].startswith('moving_')


def restore_if_there(root: tf.train.Checkpoint, checkpoint: str, statistics: bool = True) -> bool:
  """Gives the variables below `root` their values from a checkpoint that has all of them in the same shapes.

  Args:
    root: in the layout of the checkpoint.
    checkpoint: prefix of an object-based checkpoint.
    statistics: also the moving statistics of batch norm; else they stay as they are.

  Returns:
    Whether it did; if not, nothing has changed.

  Raises:
    DataError: the checkpoint is damaged.
  """
  shapes, serialized = _contents(checkpoint)
  found = _match(root, serialized)
  wanted = _variables(root)
  if not all(
    variable.ref() in found and list(variable.shape) == list(shapes[found[variable.ref()]])
    for variable in wanted
  ):
    return False
  kept = [] if statistics else [(v, v.numpy()) for v in wanted if _is_moving(v)]
  with readable(checkpoint):
    root.read(checkpoint).expect_partial()
  _take_averages(root, checkpoint, serialized)
  for variable, value in kept:
    variable.assign(value)
  return True


def _variables(root: tf.train.Checkpoint) -> list[tf.Variable]:
  """All variables below a trackable."""
  below = tf.train.TrackableView(root).descendants()
  return [each for each in below if isinstance(each, tf.Variable)]


def _match(root: Any, serialized: bytes) -> dict[Any, str]:
  """Checkpoint keys of the variables below `root`, by reference, found along equal names from both roots.

  Args:
    root: a trackable.
    serialized: the checkpoint's object graph.
  """
  graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(serialized)
  keys: dict[Any, str] = {}
  queue = collections.deque([(root, 0)])
  seen = {id(root)}
  while queue:
    trackable, node_id = queue.popleft()
    node = graph.nodes[node_id]
    if isinstance(trackable, tf.Variable):
      keys.update(
        {trackable.ref(): each.checkpoint_key for each in node.attributes if each.name == _VALUE}
      )
      continue
    children: Mapping[str, Any] = tf.train.TrackableView.children(trackable)
    for child in node.children:
      value = children.get(child.local_name)
      if value is not None and id(value) not in seen:
        seen.add(id(value))
        queue.append((value, child.node_id))
  return keys

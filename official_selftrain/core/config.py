"""Settings of an experiment: Model Garden configs, with overrides strict in names and types.

The Model Garden refuses unknown names, one at a time and as KeyError, but accepts 'abc' as a float.
Here every value is compared with the annotation of its field before anything changes, and all
problems are reported together.
"""

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import logging

from official_selftrain.core import errors, field_types, override_text, scaling
from official_selftrain.core.override_text import (
  parse_override,
  read_override_file,
  read_override_layers,
)

if TYPE_CHECKING:
  from official.core import config_definitions as cfg
  from official.modeling import hyperparams

__all__ = [
  'apply_overrides',
  'flatten',
  'load_experiment',
  'parse_override',
  'read_override_file',
  'read_override_layers',
  'without_effect',
]

_OUR_PACKAGE = __name__.partition('.')[0]


def load_experiment(
  experiment: str,
  config_files: Sequence[str] = (),
  params_override: str = '',
  dataset: str = '',
  batch_scale: float = 1.0,
) -> 'cfg.ExperimentConfig':
  """Builds the settings of one run.

  The order is fixed: registered experiment, `data_overrides(settings)` when the config has it, each
  file after those that it builds on, `params_override`, `batch_scale`, `validate()`, `check()` when the config has
  it, `lock()`. A setting inside an unselected branch of a one-of config is legal; it is logged as
  having no effect.

  Args:
    experiment: a name registered with `exp_factory`; the modules that register must have been
      imported. Empty takes what the files name, see `experiment_name`.
    config_files: YAML files, later ones win; one that several of them build on is applied once, see
      `read_override_layers`.
    params_override: text for `parse_override`; wins over the files.
    dataset: value of `--dataset`, the setting `dataset.card`; wins over both.
    batch_scale: factor of all batches that `params_override` does not set, with the schedules that go with it, see
      `scaling`.

  Returns:
    The locked config.

  Raises:
    ConfigError: the experiment is not registered, or is not what the files are for; an override is
      refused, or the settings contradict each other.
  """
  from_files = read_override_layers(*config_files)
  experiment = _name(experiment, from_files)
  from_flags = [(parse_override(params_override), override_text.FLAG)]
  if dataset:
    _check_dataset(dataset, from_files)
    from_flags.append(({'dataset': {'card': dataset}}, '--dataset'))
  params = _registered(experiment)
  sources = [*_data_layer(params, [*from_files, *from_flags]), *from_files]
  sources += from_flags
  for overrides, origin in sources:
    apply_overrides(params, overrides, origin)
  if batch_scale != 1.0:
    fixed = {name for layer, _ in from_flags for name, _ in _leaves(layer, '')}
    apply_overrides(params, scaling.overrides(flatten(params), batch_scale, fixed), scaling.FLAG)
  for overrides, origin in sources:
    for message in without_effect(params, overrides):
      logging.warning('%s: %s', origin, message)
  try:
    params.validate()
  except KeyError as error:
    raise errors.ConfigError(f'--experiment={experiment}: {error.args[0]}') from error
  # Looked up in the class, because an attribute of the instance would be a setting of that name.
  check = getattr(type(params), 'check', None)
  if callable(check):
    check(params)
  params.lock()
  return params


def experiment_name(given: str, config_files: Sequence[str]) -> str:
  """The experiment of a command: the value of `--experiment`, or the key `experiment` of its files.

  Args:
    given: the flag; empty if there is none.
    config_files: the last one with the key counts, or one it builds on.

  Raises:
    ConfigError: nothing names the experiment, or the files are for another one than the flag says.
  """
  return _name(given, read_override_layers(*config_files))


def _name(given: str, layers: Sequence[tuple[dict[str, Any], str]]) -> str:
  """See `experiment_name`."""
  named = [(layer['experiment'], origin) for layer, origin in layers if layer.get('experiment')]
  if not named and not given:
    raise errors.ConfigError(
      '--experiment is not given, and no --config_file has the key experiment. '
      f'Ours: {", ".join(_ours(_factories())) or "none"}.'
    )
  name, origin = named[-1] if named else (given, '')
  if given and given != name:
    raise errors.ConfigError(
      f'--experiment={given}, but {origin} is for {name!r}: take that, or another file.'
    )
  return str(name)


def load_run(directory: str, params_override: str = '') -> 'cfg.ExperimentConfig':
  """The experiment that a run directory records in its params.yaml.

  Args:
    directory: of the run.
    params_override: text for `parse_override`, on top of what is recorded.

  Returns:
    The locked config.

  Raises:
    DataError: it is no directory that `train.py` wrote, or one of a single model.
    ConfigError: see `load_experiment`.
  """
  path = os.path.join(directory, 'params.yaml')
  if not os.path.exists(path):
    raise errors.DataError(f'{path} does not exist: --run takes a directory that train.py wrote.')
  name = read_override_file(path).get('experiment')
  if not name:
    raise errors.DataError(
      f'{path} names no experiment: give the run directory, not one of its models.'
    )
  return load_experiment(name, [path], params_override)


def apply_overrides(
  params: 'hyperparams.Config', overrides: Mapping[str, Any], origin: str
) -> None:
  """Checks every override and then applies them all, or raises and changes nothing.

  A mapping is merged into the config it names; for an optional config that is None it builds the
  annotated class. A list replaces the old one, except that a list of configs of the old length is
  merged element by element, as in the Model Garden. Free-form configs (annotated `Config`) take new
  names.

  Args:
    params: an unlocked config; changed in place.
    overrides: nested dictionaries of the new values.
    origin: where the overrides come from, for messages: `--params_override` or the name of a file.

  Raises:
    ConfigError: names or types are wrong; one line per problem with the dotted field, the value and
      what is allowed.
  """
  merged, problems = field_types.fit_config(params, overrides)
  if problems:
    raise errors.ConfigError('\n'.join(f'{origin}: {problem}' for problem in problems))
  field_types.merge_into(params, merged)


def flatten(params: 'hyperparams.Config') -> dict[str, Any]:
  """Plain values of a config under dotted names, to compare the configs of two runs.

  Args:
    params: the config. Branches of one-of configs that are not selected are left out, as in
      params.yaml.

  Returns:
    `{'trainer.train_steps': 100, ...}` with lists for tuples. Lists of configs have an index in
    their names: `head.attribute_heads.0.size`. An empty config or list of configs is itself a
    value, {} or [].
  """
  return dict(_leaves(params.as_dict(), ''))


def class_defaults(params: 'hyperparams.Config') -> dict[str, Any]:
  """What each setting would be had neither an experiment nor a user set it, under the names of `flatten`.

  Args:
    params: the config. Its own parts say of which classes they are.

  Returns:
    As `flatten`, for the fields of the config and its parts; not for entries of lists, nor for a part that is null by
    default.
  """
  from official.modeling import hyperparams  # Imports TensorFlow.

  found: dict[str, Any] = {}
  default = type(params)()
  for name in params.as_dict():
    value, own = getattr(params, name), getattr(default, name, None)
    if isinstance(value, hyperparams.Config) and isinstance(own, hyperparams.Config):
      found |= {f'{name}.{key}': each for key, each in class_defaults(value).items()}
    elif not isinstance(value, hyperparams.Config) and not isinstance(own, hyperparams.Config):
      found[name] = list(own) if isinstance(own, tuple) else own
  return found


def without_effect(params: 'hyperparams.Config', overrides: Mapping[str, Any]) -> list[str]:
  """Finds overrides inside a branch of a one-of config that `type` does not select.

  Args:
    params: the config with all overrides applied.
    overrides: nested dictionaries that `apply_overrides` accepted.

  Returns:
    One message per such branch.
  """
  return list(_unselected(params, overrides, ''))


def _check_dataset(dataset: str, layers: Sequence[tuple[Mapping[str, Any], str]]) -> None:
  """Raises ConfigError for files that name data of their own, as the params.yaml of a run on another directory does."""
  found = {name: (value, origin) for layer, origin in layers for name, value in _leaves(layer, '')}
  paths, origin = found.get('task.validation_data.input_path', ('', ''))
  card, _ = found.get('dataset.card', ('', ''))
  if paths and not (card and os.path.realpath(card) == os.path.realpath(dataset)):
    whose = f'those of {card}' if card else f'task.validation_data.input_path={paths}'
    raise errors.ConfigError(
      f'--dataset={dataset}, but {origin} names files of its own ({whose}), which would be read instead. Leave one of '
      'them out; the settings of a run without its files are in the --config_file that it was started with.'
    )


def _data_layer(
  params: 'cfg.ExperimentConfig', sources: Sequence[tuple[Mapping[str, Any], str]]
) -> list[tuple[dict[str, Any], str]]:
  """The layer of settings that follow from the data, none for configs that know of no such settings."""
  # Looked up in the class, because an attribute of the instance would be a setting of that name.
  data_overrides = getattr(type(params), 'data_overrides', None)
  if data_overrides is None:
    return []
  settings = {name: value for layer, _ in sources for name, value in _leaves(layer, '')}
  return [(data_overrides(params, settings), 'data card')]


def _unselected(params: object, overrides: Mapping[str, Any], prefix: str) -> Iterator[str]:
  one_of = field_types.is_one_of(params)
  chosen = getattr(params, 'type', None)
  for name, value in overrides.items():
    if one_of and name not in ('type', chosen):
      selected = 'null' if chosen is None else chosen
      yield f'{prefix}{name} has no effect, because {prefix}type is {selected}'
    elif isinstance(value, Mapping) and hasattr(params, 'as_dict'):
      yield from _unselected(params.__dict__.get(name), value, f'{prefix}{name}.')


def _leaves(value: object, name: str) -> Iterator[tuple[str, Any]]:
  if isinstance(value, Mapping) and value:
    for key, inner in value.items():
      yield from _leaves(inner, f'{name}.{key}' if name else str(key))
  elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
    for index, inner in enumerate(value):
      yield from _leaves(inner, f'{name}.{index}')
  elif name:
    yield name, list(value) if isinstance(value, tuple) else value


def _registered(experiment: str) -> 'cfg.ExperimentConfig':
  """A new config of a registered experiment."""
  factories = _factories()
  if experiment in factories:
    return factories[experiment]()
  ours = _ours(factories)
  theirs = sorted(set(factories) - set(ours))
  close = difflib.get_close_matches(experiment, ours + theirs, n=1)
  hint = f'did you mean {close[0]!r}? ' if close else ''
  raise errors.ConfigError(
    f'--experiment: {experiment!r} is not registered; {hint}'
    f'Ours: {", ".join(ours) or "none"}. Of the Model Garden: {", ".join(theirs) or "none"}.'
  )


def _factories() -> dict[str, Any]:
  """Registered factories by full name."""
  from official.core import exp_factory  # Imports TensorFlow.

  # The factory has no public way to list its names.
  return dict(_named(exp_factory._REGISTERED_CONFIGS, ''))


def _ours(factories: Mapping[str, Any]) -> list[str]:
  """Names of this package's experiments."""
  return sorted(n for n, f in factories.items() if f.__module__.partition('.')[0] == _OUR_PACKAGE)


def _named(registry: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
  """Registered factories by full name; a name with slashes is stored as nested dictionaries."""
  for name, entry in registry.items():
    if isinstance(entry, dict):
      yield from _named(entry, f'{prefix}{name}/')
    else:
      yield f'{prefix}{name}', entry

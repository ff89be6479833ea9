"""Registers the experiments of all tasks."""

import functools
from collections.abc import Callable
from typing import TypeVar

from official.core import exp_factory

from official_selftrain.configs import runs

_Experiment = TypeVar('_Experiment', bound=runs.SupervisedExperiment)


def register(
  name: str,
) -> Callable[[Callable[[], _Experiment]], Callable[[], _Experiment]]:
  """Registers the factory of an experiment, which then carries its name, so that a run directory can be loaded again.

  Args:
    name: the value of `--experiment`.

  Returns:
    A decorator of a function without arguments.

  Raises:
    KeyError: the name is taken.
  """

  def decorate(factory: Callable[[], _Experiment]) -> Callable[[], _Experiment]:
    @functools.wraps(factory)
    def named() -> _Experiment:
      experiment = factory()
      experiment.experiment = name
      return experiment

    exp_factory.register_config_factory(name)(named)
    return named

  return decorate

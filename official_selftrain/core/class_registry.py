"""Registries by the class of a config, as the Model Garden finds tasks."""

from collections.abc import Callable
from typing import Generic, TypeVar

from official_selftrain.core import errors

T = TypeVar('T')


class ClassRegistry(Generic[T]):
  """Things registered for classes of configs; a subclass without an entry of its own takes its parent's."""

  def __init__(self, kind: str):
    """Starts empty.

    Args:
      kind: what is registered, for messages, such as 'export module'.
    """
    self._kind = kind
    self._entries: dict[type, T] = {}

  def register(self, config_class: type) -> Callable[[T], T]:
    """Decorator that registers a thing for a class of configs.

    Raises:
      ValueError: the class has one already.
    """

    def add(entry: T) -> T:
      if config_class in self._entries:
        raise ValueError(f'The {self._kind} for {config_class.__name__} is registered already.')
      self._entries[config_class] = entry
      return entry

    return add

  def find(self, config: object) -> T | None:
    """The entry for the class of `config`, or for the nearest base class that has one; None without."""
    return next((self._entries[k] for k in type(config).__mro__ if k in self._entries), None)

  def lookup(self, config: object) -> T:
    """The entry for the class of `config`, or for the nearest base class that has one.

    Raises:
      ConfigError: nothing is.
    """
    found = self.find(config)
    if found is not None:
      return found
    known = ', '.join(sorted(cls.__name__ for cls in self._entries)) or 'none'
    raise errors.ConfigError(
      f'No {self._kind} is registered for {type(config).__name__}. Known are those for: {known}. Is the module that '
      'registers it imported (registry_imports.py)?'
    )

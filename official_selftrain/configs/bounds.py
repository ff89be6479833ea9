"""Bounds of numbers that settings give."""

from official.modeling import hyperparams

from official_selftrain.core import errors


def check_at_least(least: int, settings: hyperparams.Config, prefix: str, *names: str) -> None:
  """Raises ConfigError for a number below the least.

  Args:
    least: the smallest that is allowed.
    settings: that have the numbers.
    prefix: dotted name of the settings.
    *names: of the numbers.
  """
  for name in names:
    found = getattr(settings, name)
    if found < least:
      raise errors.ConfigError(f'{prefix}.{name} is {found}: it must be at least {least}.')

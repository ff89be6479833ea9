"""Class names as a flag gives them."""

from official_selftrain.core import errors

_FILE = '.txt'


def read(given: str | None) -> tuple[str, ...]:
  """The names of `--class_names`, from class 1 on.

  Args:
    given: names with commas between them, or a .txt file of one per line; None gives no names.

  Raises:
    DataError: the file cannot be read.
  """
  if given is None:
    return ()
  if not given.endswith(_FILE):
    return tuple(name.strip() for name in given.split(','))
  try:
    with open(given, encoding='utf-8') as lines:
      return tuple(lines.read().splitlines())
  except (OSError, UnicodeDecodeError) as error:
    raise errors.DataError(
      f'--class_names: {given} cannot be read: {errors.first_line(error)}. Give a text file with a name in each line.'
    ) from error

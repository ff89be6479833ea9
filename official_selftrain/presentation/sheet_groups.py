"""The groups of images on a contact sheet of pseudo labels."""

from collections.abc import Callable, Iterable

from official_selftrain.report import contents
from official_selftrain.tasks import contract

GROUPS = ('sure', 'unsure', 'empty')
# No more images than these are looked at for each shard.
SCANNED_PER_FILE = 64


def first_of_each(
  examples: Iterable[contract.Example],
  group_of: Callable[[contract.Example], str],
  tile_of: Callable[[contract.Example, str], contents.Tile],
  count: int,
) -> tuple[contents.Tile, ...]:
  """Tiles of the first `count` examples of each group, group by group.

  Args:
    examples: read until all groups are full.
    group_of: an example's group, one of `GROUPS`.
    tile_of: draws an example of a group.
    count: tiles per group.

  Returns:
    The tiles, in the order of `GROUPS`.
  """
  tiles: dict[str, list[contents.Tile]] = {group: [] for group in GROUPS}
  for example in examples:
    group = group_of(example)
    if len(tiles[group]) < count:
      tiles[group].append(tile_of(example, group))
    if all(len(found) >= count for found in tiles.values()):
      break
  return tuple(tile for group in GROUPS for tile in tiles[group])

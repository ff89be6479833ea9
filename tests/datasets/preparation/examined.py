"""Stores of images that were examined, without any image on disk."""

import pathlib
from collections.abc import Mapping

from official_selftrain.datasets import faults
from official_selftrain.datasets.preparation import store
from official_selftrain.datasets.sources import items

LOST = store.Finding((faults.Fault(faults.Kind.TRUNCATED, 'at byte 7'),), b'lost')


def item(name: str, **values: object) -> items.Item:
  """An image of this name."""
  return items.Item(items.ImageFile(name, f'/none/{name}'), **values)


def box(
  class_name: str = 'cat',
  corners: tuple[float, float, float, float] = (1, 2, 5, 8),
  **values: object,
) -> items.Box:
  """An object with the corners (ymin, xmin, ymax, xmax) in pixels."""
  return items.Box(class_name, *corners, **values)


def good(*boxes: items.Box, **values: object) -> store.Finding:
  """A finding of a usable image of 10 x 20 pixels."""
  return store.Finding(**{'height': 10, 'width': 20, 'boxes': boxes, **values})


def add(source: store.Store, part: store.Part, *found: items.Item) -> list[int]:
  """Makes these the images of a set; returns what the store has yielded."""
  return list(source.add(part, found))


def fill(
  source: store.Store,
  part: store.Part,
  found: Mapping[str, store.Finding],
  **values: object,
) -> dict[str, int]:
  """Makes these the images of a set, examined; returns their numbers by name."""
  add(source, part, *(item(name, **values) for name in found))
  keys = {each.item.image.name: each.key for each in source.entries(part)}
  list(source.set_findings((keys[name], finding) for name, finding in found.items()))
  return keys


def new_store(folder: str | pathlib.Path) -> store.Store:
  """An empty store in a folder."""
  return store.Store(pathlib.Path(folder, 'images.sqlite'))

"""PASCAL VOC 2012 as TFRecords for semantic segmentation.

  python -m official_selftrain.datasets.voc --root=VOCdevkit/VOC2012 --split=train --output=data/voc

What is read, relative to the root:

  ImageSets/Segmentation/<split>.txt  the list of the split. A line is an id, or the paths of an image and of its mask;
                                      blank lines are skipped.
  JPEGImages/<id>.jpg                 goes into the record as it is
  SegmentationClass/<id>.png          the class of each pixel; 255 is void
  SegmentationClassAug/<id>.png       the same from Hariharan et al., for the split `trainaug`

A mask may be a palette PNG, an 8-bit greyscale PNG of class ids, or an RGB PNG in the colours of VOC. It is written as
an 8-bit greyscale PNG of class ids, because TensorFlow decodes a palette PNG to the luminance of its colours.
"""

import argparse
import contextlib
import dataclasses
import functools
import glob
import io
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image, UnidentifiedImageError

from official_selftrain.core import console, errors, files, program
from official_selftrain.datasets import tf_examples, voc_layout


@dataclasses.dataclass(frozen=True)
class Converted:
  """The files that were written.

  Attributes:
    pattern: glob of the TFRecord files.
    num_images: number of records.
    pixels: number of pixels of each class, by name, in the order of `voc_layout.CLASS_NAMES`; None when no masks were
      written.
    void_pixels: number of pixels that belong to no class; None when no masks were written.
  """

  pattern: str
  num_images: int
  pixels: dict[str, int] | None = None
  void_pixels: int | None = None


def convert(
  root: str | os.PathLike[str],
  split: str,
  output_dir: str | os.PathLike[str],
  num_shards: int = 1,
  unlabelled: bool = False,
  progress: Callable[[int, int], None] | None = None,
) -> Converted:
  """Writes the images of a list, and their masks, as TFRecords.

  Records are in the order of the list, shard after shard. Their features are `keys.IMAGE_ENCODED` (the JPEG file as it
  is), `IMAGE_HEIGHT`, `IMAGE_WIDTH`, `SOURCE_ID` (the id in the list) and, unless `unlabelled`, `SEGMENTATION_MASK`
  (8-bit greyscale PNG of the image's size with values 0 to 20, and 255 for void). Files are named after the split, with
  `_` for `-`, so that the pattern of one split matches no file of another; those without masks begin with
  `unlabelled_`. Files of the same names are deleted first: after an error the pattern matches new files only, each of
  them whole.

  Masks come from the folder that a line of the list names if there is one of that name; otherwise, for the split
  `trainaug`, from SegmentationClassAug if there is one; otherwise from SegmentationClass.

  Args:
    root: the folder VOC2012, or one that holds VOC2012 or VOCdevkit/VOC2012.
    split: name of a list in ImageSets/Segmentation.
    output_dir: folder for the files; created when missing.
    num_shards: number of files.
    unlabelled: leaves out the masks, and does not look for them.
    progress: called after each image with the number of images done and the number of all.

  Returns:
    The files and what they hold.

  Raises:
    ConfigError: `num_shards` is not in 1..number of images.
    DataError: a file is missing, damaged or not as the layout says, or the output cannot be written.
  """
  folder = voc_layout.find_root(root, voc_layout.LISTS)
  list_path = folder / voc_layout.LISTS / f'{split}.txt'
  images = voc_layout.read_list(folder, list_path)
  total = len(images)
  if not 1 <= num_shards <= total:
    raise errors.ConfigError(
      f'The number of shards is {num_shards}; allowed are values from 1 to {total}, the number of images in '
      f'{list_path}.'
    )
  _check_presence(images, list_path, unlabelled)
  prefix = ('unlabelled_' if unlabelled else '') + split.replace('-', '_')
  output = pathlib.Path(output_dir)
  paths = [output / tf_examples.shard_name(prefix, k, num_shards) for k in range(num_shards)]
  # One place per value of a mask.
  counts = None if unlabelled else np.zeros([256], np.int64)
  _write(paths, images, counts, progress)
  # A directory whose name has wildcard characters in it must still match itself.
  pattern = os.path.join(glob.escape(str(output)), tf_examples.shard_pattern(prefix, num_shards))
  if counts is None:
    return Converted(pattern, total)
  pixels = {name: int(counts[class_id]) for class_id, name in enumerate(voc_layout.CLASS_NAMES)}
  return Converted(pattern, total, pixels, int(counts[voc_layout.IGNORE]))


def main(arguments: Sequence[str] | None = None) -> int:
  """Command line; returns the exit status."""
  parser = argparse.ArgumentParser(
    prog='python -m official_selftrain.datasets.voc',
    description='Writes a split of PASCAL VOC 2012 as TFRecords for semantic segmentation.',
  )
  add = parser.add_argument
  add('--root', required=True, help='folder VOC2012, or one that holds VOCdevkit/VOC2012')
  add('--split', required=True, help='list in ImageSets/Segmentation, such as train')
  add('--output', required=True, help='directory to write to')
  add('--shards', type=int, default=1, help='number of files; %(default)s if not given')
  add('--unlabelled', action='store_true', help='write images without masks')
  options = parser.parse_args(arguments)
  return program.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
  with contextlib.ExitStack() as stack:

    @functools.cache
    def bar(total: int) -> console.Progress:
      return stack.enter_context(console.Progress(options.split, total, 'images'))

    made = convert(
      options.root,
      options.split,
      options.output,
      options.shards,
      options.unlabelled,
      lambda done, total: bar(total).update(done),
    )
  row = (options.split, made.num_images, made.pattern)
  print(console.table([row], ('split', 'images', 'files')))
  if made.pixels is not None and made.void_pixels is not None:
    rows = _class_rows(made.pixels, made.void_pixels)
    print('\n' + console.table(rows, ('value', 'class', 'pixels', '%')))


def _class_rows(pixels: dict[str, int], void_pixels: int) -> list[tuple[int, str, int, float]]:
  """Value, name, pixels and percentage of all pixels, for each class and for void."""
  total = sum(pixels.values()) + void_pixels
  entries = [*enumerate(pixels.items()), (voc_layout.IGNORE, ('void', void_pixels))]
  return [(value, name, count, 100 * count / total) for value, (name, count) in entries]


def _write(
  paths: Sequence[pathlib.Path],
  images: Sequence[voc_layout.Listed],
  counts: np.ndarray | None,
  progress: Callable[[int, int], None] | None,
) -> None:
  """Divides the images among the files; a file that cannot be finished is removed."""

  def examples(first: int, end: int) -> Iterator[bytes]:
    for index in range(first, end):
      yield _example(images[index], counts)
      if progress is not None:
        progress(index + 1, len(images))

  try:
    for path in paths:
      files.remove(path)
    for shard, path in enumerate(paths):
      edges = (len(images) * edge // len(paths) for edge in (shard, shard + 1))
      try:
        tf_examples.write_shard(path, examples(*edges))
      finally:
        files.remove(files.temporary_path(path))
  except (OSError, tf.errors.OpError) as error:
    raise errors.DataError(
      f'{path} cannot be written: {errors.first_line(error)}. Give a folder for which there are permission and room.'
    ) from error


def _check_presence(
  images: Sequence[voc_layout.Listed], list_path: pathlib.Path, unlabelled: bool
) -> None:
  """Raises DataError if a file is missing, before anything is written."""
  kinds = [('images', [each.image for each in images], 'Unpack all of the data set')]
  if not unlabelled:
    advice = (
      f'Give a split whose masks are there ({voc_layout.AUGMENTED_SPLIT} needs the folder '
      f'{voc_layout.AUGMENTED_MASKS}), or write images without masks (unlabelled)'
    )
    kinds.append(('masks', [each.mask for each in images], advice))
  for kind, paths, advice in kinds:
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
      raise errors.DataError(
        f'{missing[0]} is missing. Of the {len(paths)} {kind} for {list_path}, {len(missing)} are not there. {advice}.'
      )


def _example(listed: voc_layout.Listed, counts: np.ndarray | None) -> bytes:
  """A serialized example; adds the values of the mask to `counts`, int64 `[256]`, or leaves the mask out for None."""
  encoded, image = _decoded(listed.image, 'JPEG')
  features = tf_examples.encoded_image_features(
    encoded, image.height, image.width, listed.source_id
  )
  if counts is not None:
    mask = _class_map(listed.mask)
    if mask.shape != (image.height, image.width):
      raise errors.DataError(
        f'{listed.mask} has {mask.shape[0]} x {mask.shape[1]} pixels (height x width), but the image {listed.image} '
        f'has {image.height} x {image.width}. Take both from the same copy of the data set.'
      )
    counts += np.bincount(mask.ravel(), minlength=256)
    features.update(tf_examples.class_map_features(mask))
  return tf_examples.serialize(features)


def _class_map(path: str) -> np.ndarray:
  """Class ids and 255 of a mask, uint8 `[height, width]`."""
  encoded, image = _decoded(path, 'PNG')
  # The 25th byte of a PNG is the number of bits per value. Values of fewer bits would be scaled to 0..255.
  if image.mode == 'L' and encoded[24] == 8:
    values = np.asarray(image)
  elif image.mode == 'P':
    values = _values_of_palette(np.asarray(image), image.getpalette('RGB') or [], path)
  elif image.mode == 'RGB':
    values = _values_of_colours(np.asarray(image), path)
  else:
    raise errors.DataError(
      f'{path} is a PNG of mode {image.mode} with {encoded[24]} bits; expected a palette, 8-bit greyscale or RGB. Save '
      'it as 8-bit greyscale with the class ids as values.'
    )
  used = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
  wrong = used[(used >= len(voc_layout.CLASS_NAMES)) & (used != voc_layout.IGNORE)]
  if wrong.size:
    raise errors.DataError(
      f'{path} has the value {wrong[0]}; allowed are 0..{len(voc_layout.CLASS_NAMES) - 1} and {voc_layout.IGNORE} '
      f'(void). Take the masks of classes, from {voc_layout.MASKS} or {voc_layout.AUGMENTED_MASKS}.'
    )
  return values


def _values_of_palette(indices: np.ndarray, palette: Sequence[int], path: str) -> np.ndarray:
  """Values of a palette image: its indices, unless a program that makes files smaller has renumbered the colours.

  Both are uint8 `[height, width]`; `palette` is red, green and blue of index 0, of index 1, and so on.
  """
  used = np.flatnonzero(np.bincount(indices.ravel(), minlength=256))
  # Copies whose palette ends with the last class have no colour for void. White is the colour of no class.
  colours = np.full([256, 3], 255, np.uint8)
  colours[: len(palette) // 3] = np.reshape(palette, [-1, 3])
  grey = np.repeat(np.arange(256)[:, None], 3, axis=1)
  is_usual = (colours == voc_layout.colour_map()).all(axis=1) | (colours == grey).all(axis=1)
  if (is_usual[used] | (used == voc_layout.IGNORE)).all():
    return indices
  values = np.zeros([256], np.uint8)
  values[used] = _values_of_colours(colours[used], path)
  return values[indices]


def _values_of_colours(colours: np.ndarray, path: str) -> np.ndarray:
  """Class ids and 255, uint8 `[...]`, for the colours of VOC, uint8 `[..., 3]`; `path` is for messages."""
  values = np.array([*range(len(voc_layout.CLASS_NAMES)), voc_layout.IGNORE], np.uint8)
  # One number for each colour.
  weights = np.array([1 << 16, 1 << 8, 1])
  known = voc_layout.colour_map()[values] @ weights
  order = np.argsort(known)
  numbers = colours @ weights
  places = order[np.searchsorted(known, numbers, sorter=order).clip(max=len(order) - 1)]
  is_unknown = known[places] != numbers
  if is_unknown.any():
    colour = tuple(int(part) for part in colours[is_unknown][0])
    raise errors.DataError(
      f'{path} has the colour {colour}, which is neither a class nor void in the colour map of VOC. Take a mask '
      'that was neither resized nor compressed with loss.'
    )
  return values[places]


def _decoded(path: str, form: str) -> tuple[bytes, Image.Image]:
  """Content of a file, and its image, decoded to the last pixel so that damage is noticed."""
  try:
    encoded = pathlib.Path(path).read_bytes()
    image = Image.open(io.BytesIO(encoded), formats=[form])
    image.load()
  except UnidentifiedImageError:
    raise errors.DataError(f'{path} is not a {form} file. Restore it from the data set.') from None
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
    raise errors.DataError(
      f'{path} cannot be read: {errors.first_line(error)}. Restore it from the data set.'
    ) from error
  return encoded, image


if __name__ == '__main__':
  sys.exit(main())

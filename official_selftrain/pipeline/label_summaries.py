"""TensorBoard summaries of the labels stage: how many, how sure, and pictures of them."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_selftrain.pipeline import detection_pictures
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import manifest as manifest_lib
from official_selftrain.pseudo_labels import quality
from official_selftrain.report import pictures

SUMMARY_DIR = 'summaries'


def write(
  images: Sequence[str],
  label_dir: str,
  label_format: Any,
  settings: cuts_lib.Cuts,
  names: Sequence[str],
  count: int,
) -> None:
  """Writes scalars, the labels per image that each cut leaves, and pictures below `label_dir`.

  Args:
    images: unlabelled shards.
    label_dir: their finished labels.
    label_format: the task's label format.
    settings: the cuts the student trains with.
    names: class names from id 1.
    count: pictures per group (sure, unsure, empty).
  """
  manifest = manifest_lib.Manifest.load(label_dir)
  readable = max(manifest.labelled + manifest.empty, 1)
  kept = label_format.kept(manifest.summary, settings)
  sheet = detection_pictures.pseudo_label_sheet(
    images, label_dir, label_format, settings, names, count
  )
  with tf.summary.create_file_writer(os.path.join(label_dir, SUMMARY_DIR)).as_default(step=0):
    tf.summary.scalar('labels/images', manifest.images)
    tf.summary.scalar('labels/dead', manifest.dead)
    tf.summary.scalar('labels/share_empty', manifest.empty / readable)
    tf.summary.scalar('labels/kept_share', quality.share_kept(manifest, label_format, settings))
    tf.summary.scalar('labels/per_image', kept.objects_kept / readable)
    for cut in quality.DEFAULT_CUTS:
      left = label_format.kept(manifest.summary, cuts_lib.Cuts(cut=cut)).objects_kept
      tf.summary.scalar('labels/per_image_by_cut', left / readable, step=round(100 * cut))
    for group in ('sure', 'unsure', 'empty'):
      tiles = [tile for tile in sheet.tiles if tile.group == group]
      if tiles:
        drawn = np.stack(_same_size([np.asarray(pictures.draw_tile(tile)) for tile in tiles]))
        tf.summary.image(f'labels/{group}', drawn, max_outputs=count)


def _same_size(images: list[np.ndarray]) -> list[np.ndarray]:
  """Pads images at the bottom and right to the largest of them."""
  height = max(image.shape[0] for image in images)
  width = max(image.shape[1] for image in images)
  return [
    np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)))
    for image in images
  ]

"""TensorBoard summaries of the labels stage: how many, how sure, and pictures of them."""

import os
from collections.abc import Sequence

import tensorflow as tf

from official_selftrain.pipeline import samples
from official_selftrain.presentation import base, label_facts
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import manifest as manifest_lib
from official_selftrain.pseudo_labels import quality
from official_selftrain.report import pictures

SUMMARY_DIR = 'summaries'


def write(
  shown: base.Presentation,
  images: Sequence[str],
  label_dir: str,
  cuts: cuts_lib.Cuts,
  count: int,
) -> None:
  """Writes scalars, the labels per image that each cut leaves, and pictures below `label_dir`.

  Args:
    shown: what the task shows, see `presentation.base`.
    images: unlabelled shards.
    label_dir: their finished labels.
    cuts: the cuts the student trains with.
    count: pictures per group.
  """
  manifest = manifest_lib.Manifest.load(label_dir)
  label_format = shown.label_format
  readable = max(manifest.labelled + manifest.empty, 1)
  kept = label_format.kept(manifest.summary, cuts)
  sheet = shown.pseudo_label_sheet(images, label_dir, cuts, count)
  with tf.summary.create_file_writer(os.path.join(label_dir, SUMMARY_DIR)).as_default(step=0):
    tf.summary.scalar('labels/images', manifest.images)
    tf.summary.scalar('labels/dead', manifest.dead)
    tf.summary.scalar('labels/share_empty', manifest.empty / readable)
    tf.summary.scalar('labels/kept_share', quality.share_kept(manifest, label_format, cuts))
    tf.summary.scalar('labels/per_image', kept.objects_kept / readable)
    for name, number in label_facts.counts_per_class(manifest, cuts, shown.class_names).items():
      tf.summary.scalar(f'labels/kept_by_class/{name}', number)
    for cut in quality.DEFAULT_CUTS:
      left = label_format.kept(manifest.summary, cuts_lib.Cuts(cut=cut)).objects_kept
      tf.summary.scalar('labels/per_image_by_cut', left / readable, step=round(100 * cut))
    for group in dict.fromkeys(tile.group for tile in sheet.tiles):
      tiles = [tile for tile in sheet.tiles if tile.group == group]
      drawn = samples.stack([pictures.draw_tile(tile) for tile in tiles])
      tf.summary.image(f'labels/{group}', drawn, max_outputs=count)

"""Which cuts the number of labels chooses."""

import types
import unittest
from unittest import mock

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config
from official_selftrain.pipeline import matched_cuts, outlines
from official_selftrain.presentation import label_facts

# In 50 readable images: forty boxes of class 1 from 0.5 to 0.55, ten of class 2 from 0.2 to 0.25.
_SUMMARY = {'scores': {'1': [0] * 10 + [40] + [0] * 9, '2': [0] * 4 + [10] + [0] * 15}}


def _load(override):
  return config.load_experiment('retinanet_selftrain', [], override).replace()


class FindTest(unittest.TestCase):
  def _find(self, override, human):
    task = _load(f'task.pseudo_data.cut=matched,{override}').task
    manifest = types.SimpleNamespace(labelled=45, empty=5, summary=_SUMMARY)
    with mock.patch.object(matched_cuts.manifest_lib.Manifest, 'load', return_value=manifest):
      found = matched_cuts.find(task.pseudo_data, 'labels', task.model.num_classes, human)
    return task.pseudo_data, found

  def test_as_many_labels_per_image_as_people_drew(self):
    # Ten images with four boxes of class 1 and two of class 2 make twenty and ten in fifty.
    pseudo, found = self._find('', label_facts.HumanLabels(10, {1: 4, 2: 2}))
    others = [found['cut']] * 8
    self.assertEqual(found['class_cuts'], [0.525, 0.2, *others])
    self.assertEqual(found['cut'], 0.512)
    self.assertEqual(found['ignore_cut'], 0.15)
    matched_cuts.put(pseudo, found)
    self.assertEqual((pseudo.cut, pseudo.class_cuts[:2]), (0.512, [0.525, 0.2]))

  def test_no_band_where_all_labels_are_taught(self):
    # Where labels are as few as here no cut is above the ignore band.
    human = label_facts.HumanLabels(1, dict.fromkeys(range(1, 11), 9))
    pseudo, found = self._find('task.pseudo_data.ignore_cut=0.3', human)
    self.assertEqual((set(found['class_cuts']), found['ignore_cut']), ({0.3}, None))
    matched_cuts.put(pseudo, found)
    self.assertIsNone(pseudo.ignore_cut)

  def test_cuts_of_the_settings_stay(self):
    pseudo = _load('task.pseudo_data.cut=0.4').task.pseudo_data
    self.assertIsNone(matched_cuts.find(pseudo, '', 11, mock.Mock()))
    matched_cuts.put(pseudo, None)
    self.assertEqual((pseudo.cut, pseudo.class_cuts), (0.4, []))

  def test_the_gate_then_depends_on_the_human_labels(self):
    settings = ('cut=matched', 'spared_classes=auto', 'cut=calibrated', 'cut=0.4')
    found = [
      outlines.of(_load(f'task.pseudo_data.{setting}'), 'train').counts_by_class
      for setting in settings
    ]
    self.assertEqual(found, [True, True, False, False])


if __name__ == '__main__':
  unittest.main()

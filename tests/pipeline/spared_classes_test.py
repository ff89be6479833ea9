"""Which classes a student learns from human labels alone."""

import unittest

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config, errors
from official_selftrain.pipeline import spared_classes
from official_selftrain.report import contents

# Of the digits 4 to 9 people drew none, and the teacher found some of 8 alone.
_HUMAN = {'0': 20, '1': 20, '2': 10, '3': 10}
_PSEUDO = {'0': 1500, '1': 149, '2': 700, '8': 7}
_NAMES = tuple('0123456789')


def _facts(pseudo, human):
  """Labels of 1,498 readable images, beside those that people drew in 20."""
  return contents.PseudoLabelFacts(
    num_images=1500,
    labelled=1400,
    empty=98,
    dead=2,
    kept_share_at_cut=0.3,
    labels_per_image=sum(pseudo.values()) / 1498,
    human_labels_per_image=sum(human.values()) / 20,
    score_histogram=contents.ScoreHistogram((0.0, 1.0), (1,)),
    counts_per_class=pseudo,
    counts_per_class_human=human,
    quality=None,
    cut=0.5,
  )


def _load(override):
  return config.load_experiment('retinanet_selftrain', [], override).replace()


class SparedClassesTest(unittest.TestCase):
  def setUp(self):
    self.facts = _facts(_PSEUDO, _HUMAN)

  def find(self, value, names=_NAMES, facts=None):
    task = _load(f'task.pseudo_data.spared_classes={value}').task
    return spared_classes.find(task, names, facts or self.facts)

  def test_none_by_default(self):
    task = _load('').task
    self.assertEqual(spared_classes.find(task, _NAMES, self.facts), [])

  def test_those_that_are_given(self):
    self.assertEqual(self.find('[2,10]'), [2, 10])

  def test_those_that_labels_have_next_to_none_of(self):
    # One 1 per image was drawn, a tenth of it in 1,498 images are 149.8 labels.
    self.assertEqual(self.find('auto'), [2, 4, 5, 6, 7, 8, 10])

  def test_classes_without_names(self):
    pseudo = {str(int(name) + 1): count for name, count in _PSEUDO.items()}
    human = {str(int(name) + 1): count for name, count in _HUMAN.items()}
    facts = _facts(pseudo, human)
    self.assertEqual(self.find('auto', (), facts), [2, 4, 5, 6, 7, 8, 10])

  def test_the_names_of_spared_classes(self):
    self.assertEqual(spared_classes.add(self.facts, [1, 10], _NAMES).spared, ('0', '9'))
    self.assertEqual(spared_classes.add(self.facts, [], _NAMES), self.facts)

  def test_ids_that_are_no_classes(self):
    for value, wrong in (('[0]', 0), ('[1,11]', 11)):
      with self.assertRaisesRegex(
        errors.ConfigError, rf'spared_classes has {wrong}: ids of classes are 1 to 10'
      ):
        _load(f'task.pseudo_data.spared_classes={value}')


if __name__ == '__main__':
  unittest.main()

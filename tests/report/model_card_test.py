import tempfile
import unittest

from official_selftrain.core import files
from official_selftrain.report import model_card


def _model(**changes):
  facts = {
    'name': 'student',
    'experiment': 'retinanet_selftrain',
    'task': 'detection',
    'network': 'model_garden, backbone resnet 50, decoder fpn',
    'input_size': [128, 192, 3],
    'class_names': ['nut', 'bolt'],
    'seed': 4,
    'step': 1200,
    'weights_sha256': 'abcdef0123456789',
    'is_taught_online': False,
    'versions': {'tensorflow': '2.15.1'},
    'data': {'words': 'Images: 20 labelled.', 'files': {'a.tfrecord': '12ab'}},
  }
  return model_card.Model(**{**facts, **changes})


def _compared(images=200):
  return {'difference': 0.05, 'low': 0.01, 'high': 0.08, 'confidence': 0.9, 'images': images}


def _report(images=200, rounds=()):
  return {
    'student': {'AP': 0.4, 'AP50': 0.6, 'loss': 1.0, 'AP75': None},
    'control': {'AP': 0.35},
    'teacher': None,
    'class_metric': 'AP',
    'per_class': {'student': {'nut': 0.7, 'bolt': 0.05}, 'control': {'nut': 0.6, 'bolt': 0.1}},
    'comparisons': {
      'student_minus_control': _compared(images),
      'teacher_minus_control': _compared(images),
    },
    'pseudo_labels': {
      'num_images': 1536,
      'cut': 0.6,
      'ignore_cut': 0.15,
      'labels_per_image': 2.5,
      'human_labels_per_image': 3.0,
      'counts_per_class': {'nut': 90, 'bolt': 0},
      'counts_per_class_human': {'nut': 10, 'bolt': 20},
      'dead': 0,
    },
    'changed_settings': {'seed': 4},
    'verdict': {'headline': 'Yes, it helped.'},
    'rounds': list(rounds),
  }


class ModelCardTest(unittest.TestCase):
  def test_labels_of_another_program_with_cuts_by_class(self):
    report = _report()
    report['pseudo_labels'] |= {'source': 'coco_results, results.json', 'class_cuts': [0.3, 0.7]}
    text = model_card.markdown(model_card.build(_model(), report))
    self.assertIn(
      'Pseudo labels of another program (coco_results, results.json) on 1,536 images, scores from 0.6 (by class 0.3',
      text,
    )

  def test_scores_that_were_taught_are_named(self):
    report, words = _report(), 'where people draw 3.00. Their scores were the targets.'
    self.assertNotIn(words, model_card.markdown(model_card.build(_model(), report)))
    report['pseudo_labels']['is_soft'] = True
    self.assertIn(words, model_card.markdown(model_card.build(_model(), report)))

  def test_a_student(self):
    card = model_card.build(_model(), _report())
    self.assertEqual(card['metrics'], {'AP': 0.4, 'AP50': 0.6})
    self.assertEqual(card['per_class'], {'nut': 0.7, 'bolt': 0.05})
    self.assertEqual(list(card['comparisons']), ['student_minus_control'])
    self.assertEqual(card['verdict'], 'Yes, it helped.')
    self.assertEqual(card['pseudo_labels']['per_class'], {'nut': 90, 'bolt': 0})
    self.assertEqual(card['settings'], {'seed': 4})
    self.assertEqual(card['data']['files'], {'a.tfrecord': '12ab'})
    self.assertEqual(
      card['limits'],
      [
        'It hardly finds bolt: AP below 0.1.',
        'Pseudo labels had no bolt: it knows them from human labels alone.',
        'It sees every image at 128 x 192 pixels or less: what is small there is lost.',
        'Images unlike those that it was measured on were not tried.',
        'It is one training with seed 4; another seed gives other figures.',
      ],
    )
    text = model_card.markdown(card)
    for line in (
      '# student of retinanet_selftrain',
      'Detection: model_garden, backbone resnet 50, decoder fpn, 128 x 192 pixels, 1,200 steps.',
      'Classes: nut, bolt.',
      '| AP50 | 0.600 |',
      '| bolt | 0.050 |',
      'student - control: +0.050, 90% interval +0.010 to +0.080 over 200 images.',
      '- It hardly finds bolt: AP below 0.1.',
      'Images: 20 labelled.',
      'Pseudo labels of a teacher on 1,536 images, scores from 0.6: 2.50 per image, where people draw 3.00.',
    ):
      self.assertIn(f'\n{line}\n', f'\n{text}')

  def test_a_control_knows_nothing_of_pseudo_labels(self):
    card = model_card.build(_model(name='control'), _report())
    self.assertIsNone(card['pseudo_labels'])
    self.assertIsNone(card['verdict'])
    self.assertEqual(card['metrics'], {'AP': 0.35})
    self.assertEqual(len(card['comparisons']), 2)
    self.assertNotIn('Pseudo labels', model_card.markdown(card))

  def test_what_is_not_known_is_said(self):
    one_round, two_rounds = {'number': 1}, {'number': 2}
    for name, report in (
      ('student', None),
      ('teacher', _report()),
      ('student', _report(rounds=(one_round, two_rounds))),
    ):
      card = model_card.build(_model(name=name), report)
      self.assertEqual((card['metrics'], card['per_class'], card['comparisons']), ({}, {}, {}))
      self.assertEqual(
        card['limits'][0], 'How well it does is not known here: measure it before you use it.'
      )
    last = model_card.build(_model(name='student-2'), _report(rounds=(one_round, two_rounds)))
    self.assertEqual(last['metrics'], {'AP': 0.4, 'AP50': 0.6})

  def test_a_student_of_its_own_average(self):
    card = model_card.build(_model(is_taught_online=True), _report())
    self.assertNotIn('Pseudo labels had no bolt', '\n'.join(card['limits']))
    self.assertIn('its own average made in each step, not from these', model_card.markdown(card))

  def test_a_class_that_no_validation_image_shows(self):
    report = _report()
    report['per_class']['student']['bolt'] = -1.0
    card = model_card.build(_model(), report)
    self.assertEqual(card['per_class'], {'nut': 0.7, 'bolt': None})
    self.assertNotIn('hardly', card['limits'][0])
    self.assertIn('| bolt | - |', model_card.markdown(card))

  def test_few_images(self):
    card = model_card.build(_model(), _report(images=12))
    self.assertEqual(
      card['limits'][0], 'It was measured on 12 images, which is too few to tell anything.'
    )

  def test_files(self):
    card = model_card.build(_model(), _report())
    with tempfile.TemporaryDirectory() as folder:
      model_card.write(card, folder)
      self.assertEqual(files.read_json(f'{folder}/model_card.json'), card)
      with open(f'{folder}/model_card.md', encoding='utf-8') as stream:
        self.assertEqual(stream.read(), model_card.markdown(card))


if __name__ == '__main__':
  unittest.main()

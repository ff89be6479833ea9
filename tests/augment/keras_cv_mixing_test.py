"""keras-cv's layers that mix images, behind the interface of our own mixers."""

import numpy as np
import tensorflow as tf

from official_selftrain.augment import build, mixing
from official_selftrain.configs import augmentation
from official_selftrain.core import errors, keys
from tests.augment import scenes

SIZE = (60, 80)
BOXES = (((10, 12, 30, 40), (35, 50, 55, 70)), ((5, 5, 50, 20),), (), ((20, 30, 40, 50),))


def _settings(*layers, **others):
  settings = augmentation.Augmentation()
  settings.override({'policy': 'keras_cv', 'keras_cv': {'layers': list(layers)}, **others})
  settings.check('augmentation')
  return settings


def _examples(labels):
  """Examples as a policy leaves them, each in other colours, with other scores."""
  made = []
  for number, boxes in enumerate(BOXES):
    example = scenes.seeded(scenes.scene(SIZE, boxes), number)
    example['image'] = tf.cast(example['image'], tf.float32) / 4.0 + 60.0 * number
    example[keys.GROUNDTRUTH_BOXES] *= [*SIZE, *SIZE]
    example[keys.GROUNDTRUTH_SCORES] += number / 10.0
    example[keys.SEMANTIC_MASK] += tf.constant(10 * number, tf.uint8)
    if labels != 'masks':
      example.pop(keys.SEMANTIC_MASK)
    if labels != 'boxes':
      example = {k: v for k, v in example.items() if not k.startswith('groundtruth_')}
    made.append(example)
  return made


def _mixed(layer, examples):
  (mixer,) = build.mixers(_settings(layer))
  graph = tf.function(mixer, autograph=False)
  neighbours = examples[: mixer.num_examples]
  results = [scenes.arrays(graph(neighbours)) for _ in range(2)]
  for name in results[0]:
    np.testing.assert_array_equal(results[0][name], results[1][name])
  return results[0]


class MixersTest(tf.test.TestCase):
  def test_mixup_blends_two_images_and_has_the_boxes_of_both(self):
    first, second, *_ = _examples('boxes')
    out = _mixed('MixUp(alpha=2.0)', [first, second])
    self.assertAllClose(out[keys.GROUNDTRUTH_BOXES], [*BOXES[0], *BOXES[1]], atol=1e-3)
    self.assertAllEqual(out[keys.GROUNDTRUTH_CLASSES], [1, 2, 1])
    self.assertAllClose(out[keys.GROUNDTRUTH_SCORES], [0.0, 0.01, 0.1])
    self.assertAllEqual(out[keys.GROUNDTRUTH_IS_CROWD], [False, True, False])
    one, other = first['image'].numpy(), second['image'].numpy()
    weight = (out['image'][0, 0, 0] - other[0, 0, 0]) / (one[0, 0, 0] - other[0, 0, 0])
    self.assertBetween(weight, 0.01, 0.99)
    self.assertAllClose(out['image'], weight * one + (1 - weight) * other, atol=1e-2)

  def test_mosaic_shows_what_its_boxes_say(self):
    # Every image is one flat rectangle on black, in a colour of its own.
    examples = []
    for number in range(4):
      image = np.zeros([*SIZE, 3], np.uint8)
      image[15:45, 20:60] = 50 + 50 * number
      example = scenes.example_of(image, np.array([[15, 20, 45, 60]]))
      example['image'] = tf.cast(example['image'], tf.float32)
      example[keys.GROUNDTRUTH_BOXES] *= [*SIZE, *SIZE]
      example[keys.GROUNDTRUTH_CLASSES] = tf.constant([number], tf.int64)
      example.pop(keys.SEMANTIC_MASK)
      examples.append(example)
    (mixer,) = build.mixers(_settings('Mosaic()'))
    graph = tf.function(mixer, autograph=False)
    for seed in range(6):
      out = scenes.arrays(graph([scenes.seeded(examples[0], seed), *examples[1:]]))
      self.assertNotEmpty(out[keys.GROUNDTRUTH_BOXES])
      for box, label in zip(
        out[keys.GROUNDTRUTH_BOXES], out[keys.GROUNDTRUTH_CLASSES], strict=True
      ):
        top, left, bottom, right = np.rint(box).astype(int)
        if min(bottom - top, right - left) < 5:
          continue
        inside = out['image'][top + 2 : bottom - 2, left + 2 : right - 2]
        self.assertAllClose(inside, np.full_like(inside, 50 + 50 * label), atol=1e-2)
      is_shown = out['image'][..., 0] > 25
      covered = np.zeros(SIZE, bool)
      for box in out[keys.GROUNDTRUTH_BOXES]:
        low, high = np.floor(box[:2] - 1).astype(int), np.ceil(box[2:] + 1).astype(int)
        covered[max(low[0], 0) : high[0], max(low[1], 0) : high[1]] = True
      # Objects of which a pixel or less is left have no box any more.
      windows = np.lib.stride_tricks.sliding_window_view(is_shown & ~covered, (3, 3))
      self.assertFalse(np.any(np.all(windows, (2, 3))))

  def test_masks_follow_their_images(self):
    for layer in ('CutMix()', 'Mosaic()'):
      examples = _examples('masks')
      for example in examples:
        # A colour for each label.
        example['image'] = tf.repeat(tf.cast(example[keys.SEMANTIC_MASK], tf.float32), 3, -1)
      out = _mixed(layer, examples)
      self.assertEqual(out[keys.SEMANTIC_MASK].dtype, np.uint8)
      agree = np.abs(out['image'][..., :1] - out[keys.SEMANTIC_MASK]) < 0.5
      self.assertGreater(np.mean(agree), 0.9)
      self.assertGreater(len(set(np.unique(out[keys.SEMANTIC_MASK] // 10))), 1)

  def test_in_a_stream_with_ours_at_any_parallelism(self):
    settings = _settings('RandomFlip()', 'MixUp()', mosaic_probability=1.0)
    policy, mixers = build.build(settings, SIZE), build.mixers(settings)
    self.assertEqual([type(mixer).__name__ for mixer in mixers], ['KerasCvMixUp', 'Mosaic'])
    signature = {k: v for k, v in scenes.SIGNATURE.items() if k != keys.SEMANTIC_MASK}

    def examples():
      for number in range(10):
        example = scenes.seeded(scenes.scene(SIZE, BOXES[number % 4]), number)
        yield {name: example[name] for name in signature}

    def images(parallel):
      dataset = tf.data.Dataset.from_generator(examples, output_signature=signature)
      mixed = mixing.mix_stream(dataset.map(policy, parallel), mixers)
      return [each['image'].numpy() for each in mixed]

    self.assertAllEqual(images(1), images(4))

  def test_no_layer_that_mixes(self):
    self.assertEqual(build.mixers(_settings('RandomFlip()')), ())

  def test_refused(self):
    with self.assertRaisesRegex(errors.ConfigError, 'RandomFlip follows a layer that mixes'):
      _settings('MixUp()', 'RandomFlip()')
    with self.assertRaisesRegex(errors.ConfigError, 'MixUp cannot move masks.* mixup_probability'):
      _settings('MixUp()').check_labels(('masks',), 'augmentation')
    with self.assertRaisesRegex(errors.ConfigError, 'Mosaic knows no masks of single objects'):
      _settings('Mosaic()', copy_paste_probability=0.5)
    with self.assertRaisesRegex(errors.ConfigError, 'it must be a layer of its own'):
      _settings('RandomApply(layer=MixUp())')


if __name__ == '__main__':
  tf.test.main()

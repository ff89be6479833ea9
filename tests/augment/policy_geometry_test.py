"""Image, labels and boxes go to the same place in every policy and every draw."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.augment import flip_crop, policy, tables
from official_selftrain.core import keys
from tests.augment import scenes

IGNORE = scenes.IGNORE
SIZE = (100, 120)
# Objects that do not touch; the last is out of sight soon.
OBJECTS = ((10, 10, 40, 35), (15, 60, 50, 100), (60, 20, 90, 70), (70, 90, 78, 112))
SMALL = tables.Constants().scaled(0.2)
SAME_SIZE = flip_crop.FlipCrop(SIZE, normalize=False)
JITTER = flip_crop.FlipCrop((96, 110), 0.6, 1.8, 0.5, normalize=False)
MOTIONS = ('Rotate_BBox', 'ShearX_BBox', 'ShearY_BBox', 'TranslateX_BBox', 'TranslateY_BBox')
WHOLE = (
  *(f'{name}(1, {level})' for name in MOTIONS for level in (3, 10)),
  'Rotate_BBox(1, 8) Rotate_BBox(1, 10)',
  'ShearY_BBox(1, 8) Rotate_BBox(1, 8)',
  'TranslateY_BBox(1, 6) Rotate_BBox(1, 6)',
)


def _policy(*texts, last=JITTER, faithful=False):
  return policy.Policy(scenes.sub_policies(*texts), 1, last, SMALL, faithful)


def _labels(out):
  return set(np.unique(out[keys.SEMANTIC_MASK])) - {0, IGNORE}


class _GeometryTest(parameterized.TestCase, tf.test.TestCase):
  def assertOrderedInside(self, boxes, size):
    self.assertTrue(np.isfinite(boxes).all())
    self.assertTrue((boxes[:, :2] < boxes[:, 2:]).all())
    self.assertTrue((boxes >= 0).all())
    self.assertTrue((boxes[:, 2:] <= size).all())

  def assertHoldsItsObjects(self, out):
    """Every visible object has its box, and is inside it."""
    boxes = dict(zip(out[keys.GROUNDTRUTH_CLASSES], out[keys.GROUNDTRUTH_BOXES], strict=True))
    self.assertLessEqual(_labels(out), set(boxes))
    for label in _labels(out):
      place, box = scenes.place_of(label, out[keys.SEMANTIC_MASK]), boxes[label]
      holds = (place[:2] >= box[:2] - 1.5).all() and (place[2:] <= box[2:] + 1.5).all()
      self.assertTrue(holds, out[keys.APPLIED_OPS].tolist())


class EveryPolicyTest(_GeometryTest):
  @parameterized.parameters(*scenes.KINDS)
  def test_boxes_and_all_that_belongs_to_them(self, name, faithful):
    run = scenes.everything(name, faithful)
    example = scenes.scene(SIZE, OBJECTS)
    names, dropped = set(), 0
    for number in range(70):
      out = scenes.arrays(run(scenes.seeded(example, number)))
      names.update(out[keys.APPLIED_OPS])
      self.assertOrderedInside(out[keys.GROUNDTRUTH_BOXES], [64, 72])
      rows = out[keys.GROUNDTRUTH_CLASSES] - 1
      self.assertLen(out[keys.GROUNDTRUTH_BOXES], len(rows))
      self.assertAllEqual(rows, sorted(set(rows)))
      self.assertAllClose(out[keys.GROUNDTRUTH_SCORES], rows / 100)
      self.assertAllEqual(out[keys.GROUNDTRUTH_IS_CROWD], rows % 2 == 1)
      self.assertAllEqual(out[keys.GROUNDTRUTH_IS_IGNORED], rows % 3 == 1)
      self.assertHoldsItsObjects(out)
      self.assertLessEqual(set(np.unique(out[keys.SEMANTIC_MASK])), {0, 1, 2, 3, 4, IGNORE})
      dropped += len(OBJECTS) - len(rows)
    self.assertGreater(len(names), 12 if name != 'v0' else 7)
    self.assertGreater(dropped, 10)


class MotionsOfTheImageTest(_GeometryTest):
  @parameterized.parameters(False, True)
  def test_same_objects_survive(self, faithful):
    example = scenes.scene(SIZE, OBJECTS)
    compared = 0
    for out in scenes.draws(_policy(*WHOLE, faithful=faithful), example, 100):
      boxes = out[keys.GROUNDTRUTH_BOXES]
      self.assertOrderedInside(boxes, [96, 110])
      self.assertHoldsItsObjects(out)
      compared += len(_labels(out))
      visible = np.round(out['image_info'][0] * out['image_info'][2] - out['image_info'][3])
      visible = np.minimum(visible, [96, 110])
      for label, box in zip(out[keys.GROUNDTRUTH_CLASSES], boxes, strict=True):
        # A box that shows nothing of its object is the corner of a hull, or a sliver of the originals.
        touches = (box[:2] < 1).any() or (box[2:] > visible - 1).any()
        self.assertTrue(touches or label in _labels(out), out[keys.APPLIED_OPS].tolist())
    self.assertGreater(compared, 200)

  def test_boxes_are_tight_where_nothing_is_turned(self):
    texts = ('TranslateX_BBox(1, 4)', 'TranslateY_BBox(1, 3)', 'Identity(1, 0)')
    example = scenes.scene(SIZE, OBJECTS)
    for out in scenes.draws(_policy(*texts), example, 60):
      for label, box in zip(
        out[keys.GROUNDTRUTH_CLASSES], out[keys.GROUNDTRUTH_BOXES], strict=True
      ):
        if (box[2:] - box[:2]).min() > 2:
          self.assertAllClose(scenes.place_of(label, out[keys.SEMANTIC_MASK]), box, atol=1.01)


class SameDrawTest(_GeometryTest):
  """The image shows which object a pixel belongs to; so does the mask."""

  TEXTS = (
    *WHOLE,
    *(f'{name}_Only_BBoxes(1, 8)' for name in ('Rotate', 'ShearX', 'ShearY', 'TranslateX')),
    'Flip_Only_BBoxes(1, 0) TranslateY_Only_BBoxes(1, 3)',
  )
  LAST = flip_crop.FlipCrop(SIZE, flip_probability=0.5, normalize=False)

  def _shown(self, image):
    """The label that the colour of each pixel means; 254 for colours between two."""
    red, _, blue = np.moveaxis(image, -1, 0)
    shown = np.full(red.shape, 254)
    shown[(red < 100) & (np.abs(blue - 128) < 0.5)] = 0
    for label in range(1, 5):
      shown[np.abs(red - (255 - 20 * label)) < 0.5] = label
    shown[(np.abs(image - 128) < 0.5).all(-1)] = IGNORE
    return shown

  def test_faithful_pixel_by_pixel(self):
    example = scenes.scene(SIZE, OBJECTS)
    uncovered = 0
    for out in scenes.draws(_policy(*self.TEXTS, last=self.LAST, faithful=True), example, 50):
      self.assertAllEqual(self._shown(out['image']), out[keys.SEMANTIC_MASK][..., 0])
      uncovered += np.count_nonzero(out[keys.SEMANTIC_MASK] == IGNORE)
    self.assertGreater(uncovered, 6000)

  def test_fused_where_nothing_is_mixed(self):
    example = scenes.scene(SIZE, OBJECTS)
    compared, wrong = 0, 0
    for out in scenes.draws(_policy(*self.TEXTS, last=self.LAST), example, 50):
      mask = out[keys.SEMANTIC_MASK][..., 0]
      near = np.lib.stride_tricks.sliding_window_view(np.pad(mask, 2, 'edge'), (5, 5))
      flat = (near == mask[..., None, None]).all((2, 3))
      compared += flat.sum()
      wrong += np.count_nonzero(self._shown(out['image'])[flat] != mask[flat])
    self.assertGreater(compared, 50 * mask.size / 2)
    # A single pixel that an op inside a box left behind is mixed in, but may be no pixel's nearest.
    self.assertLess(wrong, 1e-4 * compared)

  @parameterized.parameters(False, True)
  def test_ops_inside_boxes_leave_the_rest(self, faithful):
    # The policy knows motions of the whole image, too.
    texts = ('TranslateX_Only_BBoxes(1, 5)', 'Rotate_Only_BBoxes(1, 10)', 'ShearX_BBox(0, 10)')
    example = scenes.scene(SIZE, OBJECTS)
    inside = np.zeros(SIZE, bool)
    for top, left, bottom, right in OBJECTS:
      inside[top:bottom, left:right] = True
    changed = 0
    for number in range(10):
      drawn = _policy(*texts, last=SAME_SIZE, faithful=faithful)
      out = scenes.arrays(drawn(scenes.seeded(example, number)))
      for name in ('image', keys.SEMANTIC_MASK):
        self.assertAllEqual(out[name][~inside], example[name].numpy()[~inside])
      changed += not np.array_equal(out[keys.SEMANTIC_MASK], example[keys.SEMANTIC_MASK])
      self.assertAllClose(out[keys.GROUNDTRUTH_BOXES], OBJECTS, atol=1e-4)
    self.assertGreater(changed, 2)

  def test_colours_and_squares_leave_labels_and_boxes(self):
    names = ('AutoContrast', 'Equalize', 'Invert', 'Posterize', 'Solarize', 'SolarizeAdd', 'Color')
    names += ('Contrast', 'Brightness', 'Sharpness', 'Cutout', 'BBox_Cutout')
    names += ('Cutout_Only_BBoxes', 'Equalize_Only_BBoxes', 'Solarize_Only_BBoxes')
    example = {**scenes.scene(SIZE, OBJECTS), 'image': scenes.random_image(0, SIZE) // 8 * 7 + 5}
    changed = set()
    drawn = _policy(*[f'{name}(1, 8)' for name in names], last=SAME_SIZE)
    for out in scenes.draws(drawn, example, 90):
      self.assertAllEqual(out[keys.SEMANTIC_MASK], example[keys.SEMANTIC_MASK])
      self.assertAllClose(out[keys.GROUNDTRUTH_BOXES], OBJECTS, atol=1e-4)
      if not np.array_equal(out['image'], example['image']):
        changed.update(name.decode() for name in out[keys.APPLIED_OPS])
    self.assertEqual(changed, set(names))

  @parameterized.parameters(False, True)
  def test_padding_is_ignored(self, faithful):
    last = flip_crop.FlipCrop((130, 150), 0.5, 0.5, faithful=faithful)
    drawn = _policy('TranslateX_BBox(1, 6)', last=last, faithful=faithful)
    mask = drawn(scenes.scene(SIZE, ()))[keys.SEMANTIC_MASK].numpy()[..., 0]
    # Half of the output's size shows 62 x 75 pixels of it, of which 30 / 120 were uncovered.
    self.assertTrue((mask[63:] == IGNORE).all())
    self.assertTrue((mask[:, 76:] == IGNORE).all())
    self.assertAllClose((mask[:62, :75] == IGNORE).mean(), 0.25, atol=0.02)


class PushedOutTest(_GeometryTest):
  """A box that leaves the frame is dropped; the originals give it 5 % of the frame at its border."""

  SIZE = (100, 100)

  def _outcomes(self, name, box, faithful):
    """Boxes by the direction of the shift."""
    last = flip_crop.FlipCrop(self.SIZE, faithful=faithful)
    drawn = _policy(f'{name}(1, 10)', last=last, faithful=faithful)
    outcomes = set()
    for number in range(5):
      out = drawn(scenes.seeded(scenes.scene(self.SIZE, (box,)), number))
      outcomes.add(tuple(tuple(row) for row in np.round(out[keys.GROUNDTRUTH_BOXES].numpy(), 2)))
    return outcomes

  @parameterized.parameters(
    ('TranslateX_BBox', (40, 5, 60, 20), (40, 55, 60, 70), (40, 0, 60, 5)),
    ('TranslateX_BBox', (40, 90, 60, 98), (40, 40, 60, 48), (40, 95, 60, 100)),
    ('TranslateY_BBox', (5, 40, 20, 60), (55, 40, 70, 60), (0, 40, 5, 60)),
    ('TranslateY_BBox', (90, 40, 98, 60), (40, 40, 48, 60), (95, 40, 100, 60)),
  )
  def test_sliver_and_drop(self, name, box, moved, sliver):
    self.assertEqual(self._outcomes(name, box, faithful=False), {(), (moved,)})
    self.assertEqual(self._outcomes(name, box, faithful=True), {(sliver,), (moved,)})

  def test_a_part_that_is_left(self):
    for faithful in (False, True):
      outcomes = self._outcomes('TranslateX_BBox', (40, 40, 60, 80), faithful)
      self.assertEqual(outcomes, {((40, 0, 60, 30),), ((40, 90, 60, 100),)})

  def test_min_visible(self):
    # A quarter is left after the shift to the right, three quarters after that to the left.
    for min_visible, expected in (
      (0.0, {((40, 0, 60, 30),), ((40, 90, 60, 100),)}),
      (0.24, {((40, 0, 60, 30),), ((40, 90, 60, 100),)}),
      (0.26, {((40, 0, 60, 30),), ()}),
      (0.8, {()}),
    ):
      last = flip_crop.FlipCrop(self.SIZE, min_visible=min_visible)
      drawn = _policy('TranslateX_BBox(1, 10)', last=last)
      outcomes = set()
      for number in range(5):
        out = drawn(scenes.seeded(scenes.scene(self.SIZE, ((40, 40, 60, 80),)), number))
        outcomes.add(tuple(tuple(row) for row in np.round(out[keys.GROUNDTRUTH_BOXES].numpy(), 2)))
      self.assertEqual(outcomes, expected, min_visible)


class FaithfulTest(_GeometryTest):
  def _outs(self, example, faithful):
    last = flip_crop.FlipCrop(SIZE, flip_probability=0.5, normalize=False, faithful=faithful)
    texts = [f'{name}(1, {level})' for name in MOTIONS for level in (2, 6, 10)]
    return scenes.draws(_policy(*texts, last=last, faithful=faithful), example, 60)

  def test_draws_the_same_and_nearly_the_same_pixels(self):
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.stack([2 * x, 2 * y, 110 + 50 * np.sin(x / 9) + 50 * np.cos(y / 7)], -1)
    example = scenes.example_of(image.astype(np.uint8), np.array([[30, 40, 70, 80]]))
    differences = []
    for fused, faithful in zip(self._outs(example, False), self._outs(example, True), strict=True):
      for name in (keys.APPLIED_OPS, 'is_flipped', 'image_info', keys.SEED):
        self.assertAllEqual(fused[name], faithful[name])
      self.assertAllClose(
        fused[keys.GROUNDTRUTH_BOXES], faithful[keys.GROUNDTRUTH_BOXES], atol=1e-3
      )
      masks = fused[keys.SEMANTIC_MASK][..., 0], faithful[keys.SEMANTIC_MASK][..., 0]
      # Halfway between two pixels either may be the nearest.
      self.assertLess(np.mean(masks[0] != masks[1]), 5e-3)
      near = np.pad((masks[0] == 0) & (masks[1] == 0), 1)
      inner = np.lib.stride_tricks.sliding_window_view(near, (3, 3)).all((2, 3))
      self.assertGreater(inner.mean(), 0.25)
      difference = np.abs(fused['image'] - faithful['image'])[inner]
      differences.append(difference.mean())
      # Neighbours differ by up to 7; the nearest pixel is at most 0.7 away.
      self.assertLess(difference.max(), 7)
    self.assertBetween(np.mean(differences), 0.05, 1.0)


del _GeometryTest  # Has no tests of its own.

if __name__ == '__main__':
  tf.test.main()

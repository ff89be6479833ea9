"""The small SpineNet: registered once, as small as it says, with the levels that are asked for."""

import tensorflow as tf
from official.vision.modeling.backbones import spinenet as garden

from official_selftrain.modeling import spinenet


class SpineNetTest(tf.test.TestCase):
  def test_registration_keeps_what_is_there(self):
    before = {name: dict(scaling) for name, scaling in garden.SCALING_MAP.items()}
    spinenet.register_sizes()
    spinenet.register_sizes()
    self.assertIn(spinenet.NANO, garden.SCALING_MAP)
    for name, scaling in before.items():
      self.assertEqual(garden.SCALING_MAP[name], scaling)

  def test_size_and_levels(self):
    spinenet.register_sizes()
    scaling = garden.SCALING_MAP[spinenet.NANO]
    model = garden.SpineNet(
      tf.keras.layers.InputSpec(shape=[None, 128, 128, 3]),
      min_level=3,
      max_level=5,
      activation='relu',
      **scaling,
    )
    self.assertEqual(
      {level: shape.as_list()[1:] for level, shape in model.output_specs.items()},
      {'3': [16, 16, 48], '4': [8, 8, 48], '5': [4, 4, 48]},
    )
    self.assertBetween(model.count_params(), 0.9e6, 1.2e6)


if __name__ == '__main__':
  tf.test.main()

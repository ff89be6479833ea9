"""Tests for the decoders of images; `images_test` has those of what they say of damage."""

import unittest
from unittest import mock

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors
from official_selftrain.datasets.checks import image_decoders
from tests.datasets.checks import examining


class TensorFlowDecoderTest(unittest.TestCase):
  def setUp(self):
    self.decode = image_decoders.TensorFlowDecoder()

  def test_an_image(self):
    encoded = examining.saved(examining.texture(), 'PNG')
    decoded = self.decode(encoded)
    np.testing.assert_array_equal(decoded.pixels, examining.texture())
    self.assertEqual(decoded.message, '')

  def test_an_image_that_cannot_be_decoded(self):
    decoded = self.decode(examining.saved(examining.texture(), 'PNG')[:60])
    self.assertIsNone(decoded.pixels)
    self.assertNotEqual(decoded.message, '')

  def test_want_of_memory_is_no_fault_of_the_image(self):
    for kind in (tf.errors.ResourceExhaustedError, tf.errors.InternalError):
      failing = mock.patch.object(
        tf.io, 'decode_image', side_effect=kind(None, None, 'out of memory')
      )
      with (
        failing,
        self.assertRaisesRegex(
          errors.DataError, '^TensorFlow cannot decode images here: out of memory. Make memory free'
        ),
      ):
        self.decode(examining.JPEG)


if __name__ == '__main__':
  unittest.main()

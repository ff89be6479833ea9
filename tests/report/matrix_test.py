"""Confusion matrices as pictures: colours of cells, figures, and many classes."""

import unittest

import numpy as np

from official_selftrain.report import matrix

WHITE, FULL = (255, 255, 255), (0, 84, 147)


def _cells(image, size, side):
  """The corner pixel inside each cell, of the cells at the bottom right."""
  pixels = np.asarray(image)
  height, width = pixels.shape[:2]
  top, left = (length - 6 - size * side for length in (height, width))
  return [
    [
      tuple(pixels[top + row * side + 2, left + column * side + 2].tolist())
      for column in range(size)
    ]
    for row in range(size)
  ]


class MatrixTest(unittest.TestCase):
  def test_cells_have_the_colour_of_their_share(self):
    counts = np.array([[8, 0, 0], [2, 2, 0], [0, 0, 0]])
    cells = _cells(matrix.draw(['none', 'a cat', 'b'], counts), 3, 44)
    half = tuple(round(255 + 0.5 * (c - 255)) for c in FULL)
    self.assertEqual(cells, [[FULL, WHITE, WHITE], [half, half, WHITE], [WHITE] * 3])

  def test_figures_stand_in_cells_that_are_not_empty(self):
    def inked(counts):
      pixels = np.asarray(matrix.draw(['a', 'b'], np.array(counts)))
      cell = pixels[-6 - 44 + 2 : -8, -6 - 44 + 2 : -8].reshape(-1, 3)
      return len(np.unique(cell, axis=0)) > 1

    self.assertTrue(inked([[1, 0], [0, 1]]))
    self.assertTrue(inked([[1, 0], [999, 1]]))
    self.assertFalse(inked([[1, 0], [1, 0]]))

  def test_many_classes_have_small_cells_without_figures(self):
    size = 81
    image = matrix.draw([f'class {k}' for k in range(size)], np.eye(size, dtype=int))
    self.assertLess(max(image.size), 1200)
    cells = _cells(image, size, 12)
    for row in range(size):
      self.assertEqual([column for column in range(size) if cells[row][column] == FULL], [row])

  def test_the_largest_can_still_be_looked_at(self):
    size = matrix.MAX_CLASSES
    image = matrix.draw([f'class {k}' for k in range(size)], np.eye(size, dtype=int))
    self.assertLess(max(image.size), 3000)

  def test_names_and_counts_must_fit(self):
    with self.assertRaisesRegex(ValueError, r'2 names need counts of 2 x 2, got \[3, 3\]'):
      matrix.draw(['a', 'b'], np.eye(3))


if __name__ == '__main__':
  unittest.main()

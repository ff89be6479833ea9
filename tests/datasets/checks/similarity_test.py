"""Tests for perceptual hashes and the search for images that look alike."""

import io
import itertools
import pathlib
import unittest

import hypothesis
import numpy as np
from hypothesis import strategies as st
from PIL import Image
from scipy import fft

from official_selftrain.datasets.checks import similarity

# Photographs of blood smears; not part of the repository.
PHOTOGRAPHS = pathlib.Path(__file__).resolve().parents[4] / 'shared/data/bccd/JPEGImages'


def texture(seed: int, height: int = 240, width: int = 320, cells: int = 12) -> np.ndarray:
  """A smooth random picture, uint8 [height, width, 3]."""
  noise = np.random.default_rng(seed).integers(0, 256, [cells, cells, 3], dtype=np.uint8)
  return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def differing(left: np.uint64, right: np.uint64) -> int:
  return (int(left) ^ int(right)).bit_count()


def transformed(pixels: np.ndarray) -> dict[str, np.ndarray]:
  """Copies that look like the picture."""
  image = Image.fromarray(pixels)
  buffer = io.BytesIO()
  image.save(buffer, 'JPEG', quality=20)
  copies = {
    'smaller': image.resize((image.width // 3, image.height // 3)),
    'larger': image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC),
    'another shape': image.resize((200, 200)),
    'quality 20': Image.open(buffer),
    'grey': image.convert('L').convert('RGB'),
  }
  return {name: np.asarray(copy) for name, copy in copies.items()}


def pairs_by_force(
  hashes: np.ndarray, distance: int, groups: np.ndarray | None = None
) -> list[tuple[int, int, int, bool]]:
  """The definition, one pair after the other."""
  found = []
  for i, j in itertools.combinations(range(len(hashes)), 2):
    if not (hashes[i].any() and hashes[j].any()) or (groups is not None and groups[i] == groups[j]):
      continue
    bits = differing(hashes[i, 0], hashes[j, 0])
    mirrored = differing(hashes[i, 0], hashes[j, 1])
    if min(bits, mirrored) <= distance:
      found.append((i, j, min(bits, mirrored), mirrored < bits))
  return found


class HashTest(unittest.TestCase):
  def assert_alike(self, pixels: np.ndarray, most: int = 6) -> None:
    plain, mirrored = similarity.perceptual_hash(pixels)
    for name, copy in transformed(pixels).items():
      hashes = similarity.perceptual_hash(copy)
      self.assertLessEqual(differing(plain, hashes[0]), most, name)
      self.assertLessEqual(differing(mirrored, hashes[1]), most, name)
      turned = similarity.perceptual_hash(copy[:, ::-1])
      self.assertLessEqual(differing(plain, turned[1]), most, name)
      self.assertLessEqual(differing(mirrored, turned[0]), most, name)

  def test_it_is_the_hash_of_its_definition(self):
    # 32 x 32 pixels stay as they are when they are reduced.
    grey = np.random.default_rng(0).integers(0, 256, [32, 32], dtype=np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=2)
    for index, view in enumerate((grey, grey[:, ::-1])):
      low = fft.dctn(view.astype(float), type=2)[:8, :8].ravel()
      bits = ''.join('1' if value > np.median(low) else '0' for value in low)
      self.assertEqual(int(similarity.perceptual_hash(pixels)[index]), int(bits, 2))

  def test_form_of_the_result(self):
    hashes = similarity.perceptual_hash(texture(0))
    self.assertEqual((hashes.shape, hashes.dtype), ((2,), np.uint64))
    # Half of the coefficients are above their median, and that of frequency 0 is.
    for value in hashes:
      self.assertEqual((int(value).bit_count(), int(value) >> 63), (32, 1))

  def test_areas_are_averaged(self):
    # Each block of 10 x 20 pixels has one mean, whatever is in it.
    means = np.random.default_rng(1).integers(60, 190, [32, 32])
    coarse = np.repeat(np.repeat(means, 10, axis=0), 20, axis=1)
    stripes = np.resize([-50, 50], coarse.shape)
    images = [
      np.repeat(each.astype(np.uint8)[..., None], 3, 2) for each in (coarse, coarse + stripes)
    ]
    left, right = map(similarity.perceptual_hash, images)
    np.testing.assert_array_equal(left, right)

  def test_the_second_hash_is_that_of_the_mirror_image(self):
    for seed in range(5):
      pixels = texture(seed)
      mirrored = similarity.perceptual_hash(pixels[:, ::-1])
      np.testing.assert_array_equal(similarity.perceptual_hash(pixels), mirrored[::-1])

  def test_copies_of_textures_are_alike(self):
    for seed in range(20):
      self.assert_alike(texture(seed))

  def test_different_textures_are_not_alike(self):
    hashes = np.stack([similarity.perceptual_hash(texture(seed)) for seed in range(200)])
    self.assertEqual(list(similarity.find_near_duplicates(hashes)), [])

  def test_flat_images_have_no_hash(self):
    noise = np.random.default_rng(0).integers(-3, 4, [100, 100, 3])
    for level in (3, 128, 252):
      self.assertIsNone(similarity.perceptual_hash(np.full([100, 100, 3], level, np.uint8)))
      self.assertIsNone(similarity.perceptual_hash((noise + level).astype(np.uint8)))

  def test_images_of_one_pixel_and_one_row(self):
    self.assertIsNone(similarity.perceptual_hash(np.zeros([1, 1, 3], np.uint8)))
    row = np.repeat(np.arange(0, 250, 10, dtype=np.uint8)[None, :, None], 3, axis=2)
    self.assertEqual(similarity.perceptual_hash(row).shape, (2,))

  @unittest.skipUnless(PHOTOGRAPHS.is_dir(), f'{PHOTOGRAPHS} is not there')
  def test_copies_of_photographs_are_alike(self):
    for path in sorted(PHOTOGRAPHS.glob('*.jpg'))[::12]:
      self.assert_alike(np.asarray(Image.open(path).convert('RGB')))

  @unittest.skipUnless(PHOTOGRAPHS.is_dir(), f'{PHOTOGRAPHS} is not there')
  def test_of_all_photographs_two_of_one_place_are_alike(self):
    paths = sorted(PHOTOGRAPHS.glob('*.jpg'))
    images = (np.asarray(Image.open(path).convert('RGB')) for path in paths)
    hashes = np.stack([similarity.perceptual_hash(image) for image in images])
    found = [
      (paths[i].stem, paths[j].stem, *rest)
      for i, j, *rest in similarity.find_near_duplicates(hashes)
    ]
    self.assertEqual(found, [('BloodImage_00037', 'BloodImage_00038', 4, False)])


class SearchTest(unittest.TestCase):
  def found(self, hashes: np.ndarray, **options) -> list[tuple[int, int, int, bool]]:
    """All pairs, sorted; each is found once."""
    pairs = list(similarity.find_near_duplicates(np.asarray(hashes, np.uint64), **options))
    self.assertEqual(len({pair[:2] for pair in pairs}), len(pairs))
    return sorted(pairs)

  def test_bits_are_counted(self):
    base = 0xF0F0_1234_5678_9ABC
    mirror = 0x0123_4567_89AB_CDEF
    hashes = [[base, mirror], [base ^ 0b111, 0], [mirror ^ 1, base ^ 0x8000_0000_0000_0001]]
    # 1 and 2 differ in bits 0, 1, 2 and 0, 63.
    self.assertEqual(self.found(hashes), [(0, 1, 3, False), (0, 2, 2, True), (1, 2, 3, True)])
    self.assertEqual(self.found(hashes, distance=2), [(0, 2, 2, True)])

  def test_the_largest_distance_is_included(self):
    for distance in range(16):
      # As many bits in all bands, in turn.
      flips = sum(1 << (16 * (bit % 4) + bit // 4) for bit in range(distance))
      # The mirror images differ in all bits.
      hashes = [[1 << 40, 2**64 - 1 - flips], [1 << 40 ^ flips, 2**64 - 1 - (1 << 40)]]
      found = self.found(hashes, distance=distance)
      self.assertEqual([pair[:3] for pair in found], [(0, 1, distance)])
      self.assertEqual(self.found(hashes, distance=max(distance - 1, 0)), found[: distance == 0])

  def test_equal_hashes_are_found_once(self):
    self.assertEqual(
      self.found([[7, 7]] * 3), [(0, 1, 0, False), (0, 2, 0, False), (1, 2, 0, False)]
    )

  def test_images_without_a_hash_are_in_no_pair(self):
    self.assertEqual(self.found([[0, 0], [1, 1], [0, 0], [1, 3]]), [(1, 3, 0, False)])
    self.assertEqual(self.found(np.zeros([5, 2])), [])
    self.assertEqual(self.found(np.zeros([0, 2])), [])

  def test_pairs_of_one_group_are_left_out(self):
    groups = np.array([0, 1, 0])
    pairs = self.found([[9, 9]] * 3, groups=groups)
    self.assertEqual(pairs, [(0, 1, 0, False), (1, 2, 0, False)])

  def test_distances_that_the_search_does_not_cover(self):
    for distance in (-1, 16):
      with self.assertRaisesRegex(ValueError, f'distance is {distance}; allowed are 0 to 15'):
        similarity.find_near_duplicates(np.zeros([0, 2], np.uint64), distance=distance)

  @hypothesis.settings(max_examples=60)
  @hypothesis.given(
    st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 12), st.integers(0, 9)
  )
  def test_nothing_is_missed(self, seed: int, count: int, bits: int, distance: int):
    random = np.random.default_rng(seed)
    centres = random.integers(1, 2**63, [3, 2], dtype=np.uint64)
    # A changed bit may be of the hash, of the mirrored hash, or the two are exchanged.
    hashes = centres[random.integers(0, 3, count)]
    for _ in range(bits):
      hashes ^= np.uint64(1) << random.integers(0, 64, hashes.shape, dtype=np.uint64)
    is_exchanged = random.random(count) < 0.3
    hashes[is_exchanged] = hashes[is_exchanged, ::-1]
    hashes[random.random(count) < 0.1] = 0
    groups = random.integers(0, 3, count) if seed % 2 else None
    expected = pairs_by_force(hashes, distance, groups)
    self.assertEqual(self.found(hashes, groups=groups, distance=distance), expected)

  def test_nothing_is_missed_in_parts(self):
    random = np.random.default_rng(5)
    hashes = random.integers(0, 2**63, [40, 2], dtype=np.uint64)[random.integers(0, 40, 300)]
    hashes ^= np.uint64(1) << random.integers(0, 64, hashes.shape, dtype=np.uint64)
    kept = similarity._AT_ONCE
    self.addCleanup(setattr, similarity, '_AT_ONCE', kept)
    whole = self.found(hashes)
    similarity._AT_ONCE = 7
    self.assertEqual(self.found(hashes), whole)
    self.assertEqual(whole, pairs_by_force(hashes, 6))
    self.assertGreater(len(whole), 500)

  def test_20_000_images_are_compared_in_blocks(self):
    random = np.random.default_rng(6)
    hashes = random.integers(1, 2**63, [20_000, 2], dtype=np.uint64)
    planted = {}
    for place in range(0, 400, 2):
      flips = random.choice(64, place % 7, replace=False)
      mask = np.bitwise_or.reduce(np.uint64(1) << flips.astype(np.uint64))
      other = 19_999 - place
      hashes[other, 0 if place % 4 else 1] = hashes[place, 0] ^ mask
      planted[place, other] = place % 7, place % 4 == 0
    found = {(i, j): (bits, is_mirrored) for i, j, bits, is_mirrored in self.found(hashes)}
    self.assertEqual(found, planted)


if __name__ == '__main__':
  unittest.main()

"""Tests for the page of a check; `datasets.prepare_test` looks at a whole one."""

import base64
import io
import pathlib
import re
import struct
import tempfile
import unittest
from unittest import mock

import numpy as np
from PIL import Image

from official_selftrain.datasets import faults
from official_selftrain.datasets.preparation import overlaps, page, store, summary, work
from official_selftrain.datasets.sources import items
from tests.datasets.preparation import examined, photos

LABELLED = store.Part.LABELLED
Kind = faults.Kind


class PageTest(unittest.TestCase):
  def setUp(self):
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.store = examined.new_store(self.folder)
    self.addCleanup(self.store.close)

  def fill(self, found):
    """Images that are files, with their findings."""
    photos.write(self.folder, dict.fromkeys(found, photos.jpeg(1)))
    made = [items.Item(items.ImageFile(name, str(self.folder / name))) for name in found]
    examined.add(self.store, LABELLED, *made)
    self.keys = {each.item.image.name: each.key for each in self.store.entries()}
    list(self.store.set_findings((self.keys[name], finding) for name, finding in found.items()))

  def render(self, *pairs, problems=(), notes=None):
    found = summary.summarise(self.store, overlaps.Overlaps(pairs), (), notes or {})
    return page.render(found, problems, self.store)

  def pictures(self, text):
    return [
      Image.open(io.BytesIO(base64.b64decode(each)))
      for each in re.findall('src="data:image/jpeg;base64,([^"]+)"', text)
    ]

  def test_names_and_details_are_text(self):
    fault = faults.Fault(Kind.CMYK, '<b>detail</b>')
    self.fill({'<script>alert(1)<&.jpg'.replace('/', ''): examined.good(faults=(fault,))})
    text = self.render(problems=('a < b',))
    self.assertNotIn('<script>', text)
    self.assertIn('labelled: &lt;script&gt;alert(1)&lt;&amp;.jpg (&lt;b&gt;detail&lt;/b&gt;)', text)
    self.assertIn('<p class="problem">a &lt; b</p>', text)
    self.assertNotIn('Nothing stands in the way', text)

  def test_without_problems_it_says_so(self):
    self.fill({'a.jpg': examined.good()})
    text = self.render()
    self.assertIn('Nothing stands in the way of training.', text)
    self.assertEqual(self.pictures(text), [])

  def test_six_pictures_and_the_rest_as_a_list(self):
    fault = faults.Fault(Kind.ALPHA, 'of it')
    self.fill({f'{n}.jpg': examined.good(faults=(fault,)) for n in range(8)})
    text = self.render()
    pictures = self.pictures(text)
    self.assertEqual([each.size for each in pictures], [(220, 165)] * 6)
    self.assertEqual(
      re.findall('<li>(.*?)</li>', text), ['labelled: 6.jpg of it', 'labelled: 7.jpg of it']
    )

  def test_boxes_are_drawn_where_they_are(self):
    # In an image of 48 x 64 pixels, enlarged 3.4375 times.
    box = items.Box('cat', 8.0, 16.0, 40.0, 48.0)
    fault = faults.Fault(Kind.CLIPPED)
    self.fill(
      {'a.jpg': examined.good(box, faults=(fault,)), 'b.jpg': examined.good(faults=(fault,))}
    )
    with_box, without = self.pictures(self.render())
    before, after = (np.asarray(each, np.int16) for each in (without, with_box))
    changed = np.abs(after - before).sum(axis=2)
    # Rows 28 to 138 of the left and right edges; JPEG blurs them a little.
    for column in (16, 48):
      edge = changed[40:120, round(column * 220 / 64)]
      self.assertGreater(edge.mean(), 60)
    self.assertLess(changed[40:120, 80:140].max(), 30)
    self.assertLess(changed[:20].max(), 30)

  def test_images_that_are_alike_are_shown_side_by_side(self):
    self.fill({'a.jpg': examined.good(), 'b.jpg': examined.good()})
    pair = overlaps.Pair(Kind.NEAR_DUPLICATE, self.keys['a.jpg'], self.keys['b.jpg'], 3)
    self.assertEqual(len(self.pictures(self.render(pair))), 2)

  def test_images_are_shown_as_exif_says(self):
    self.fill({'a.jpg': examined.good(faults=(faults.Fault(Kind.EXIF_ROTATION),))})
    for orientation, size in ((1, (220, 165)), (6, (165, 220))):
      (self.folder / 'a.jpg').write_bytes(photos.jpeg(1, orientation))
      (picture,) = self.pictures(self.render())
      self.assertEqual(picture.size, size)

  def test_whatever_an_image_makes_pillow_raise(self):
    self.fill({'a.jpg': examined.good(faults=(faults.Fault(Kind.ALPHA),))})
    for error in (struct.error, TypeError, MemoryError, Image.DecompressionBombError):
      with mock.patch.object(Image, 'open', side_effect=error):
        text = self.render()
      self.assertEqual(self.pictures(text), [])
      self.assertIn('<figcaption>labelled: a.jpg</figcaption>', text)

  def test_images_that_are_dangerous_are_not_opened(self):
    bomb = store.Finding((faults.Fault(Kind.BOMB),))
    self.fill({'a.jpg': bomb, 'b.jpg': work.after_crash(0)[1]})
    with mock.patch.object(Image, 'open', side_effect=AssertionError) as opened:
      text = self.render()
    opened.assert_not_called()
    self.assertIn('<figcaption>labelled: a.jpg</figcaption>', text)
    self.assertIn('<figcaption>labelled: b.jpg (a decoder crashed on it)</figcaption>', text)

  def test_what_cannot_be_shown_has_its_caption(self):
    self.fill({'a.jpg': examined.LOST})
    (self.folder / 'a.jpg').unlink()
    text = self.render(notes={LABELLED: (faults.Fault(Kind.NO_IMAGE, '3 boxes'),)})
    self.assertEqual(self.pictures(text), [])
    self.assertIn('<figcaption>labelled: a.jpg (at byte 7)</figcaption>', text)
    self.assertIn('<figcaption>labelled: 3 boxes</figcaption>', text)


if __name__ == '__main__':
  unittest.main()

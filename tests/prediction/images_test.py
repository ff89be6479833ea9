import io
import json
import os
import pathlib
import tempfile
import unittest

import numpy as np
from PIL import Image

from official_selftrain.core import errors
from official_selftrain.prediction import images


def encoded(height=6, width=9, form='PNG', **options):
  pixels = np.arange(height * width * 3).reshape(height, width, 3).astype(np.uint8)
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, form, **options)
  return buffer.getvalue()


class ImagesTest(unittest.TestCase):
  def setUp(self):
    self.folder = self.enterContext(tempfile.TemporaryDirectory())

  def _add(self, *names):
    for name in names:
      path = pathlib.Path(self.folder, name)
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(encoded())

  def test_a_folder_with_its_subfolders_but_nothing_hidden(self):
    self._add('b.JPG', 'a.png', 'more/c.webp', '.cache/d.png', '.e.png', 'notes.txt')
    found = images.find(self.folder)
    self.assertEqual([each.name for each in found], ['a.png', 'b.JPG', 'more/c.webp'])
    self.assertEqual([each.stem for each in found], ['a', 'b', 'more_c'])
    self.assertTrue(os.path.samefile(found[2].path, pathlib.Path(self.folder, 'more/c.webp')))

  def test_a_pattern(self):
    self._add('x/1.png', 'x/2.jpg', 'y/3.png')
    found = images.find(f'{self.folder}/**/*.png')
    self.assertEqual([each.name for each in found], ['x/1.png', 'y/3.png'])
    # The name does not depend on which files there are.
    os.remove(f'{self.folder}/y/3.png')
    self.assertEqual([each.name for each in images.find(f'{self.folder}/**/*.png')], ['x/1.png'])
    self._add('x/4 [1].png')
    (literal,) = images.find(f'{self.folder}/x/4 [1].png')
    self.assertEqual(literal.name, '4 [1].png')
    (single,) = images.find(f'{self.folder}/x/2.jpg')
    self.assertEqual((single.name, single.stem), ('2.jpg', '2'))

  def test_a_name_that_is_no_text_is_shown_with_question_marks(self):
    path = os.fsencode(self.folder) + b'/caf\xe9.png'
    with open(path, 'wb') as stream:
      stream.write(encoded())
    (found,) = images.find(self.folder)
    self.assertEqual((found.name, found.stem), ('caf?.png', 'caf_'))
    self.assertEqual(images.read(found).height, 6)

  def test_a_folder_that_links_to_itself_is_read_once(self):
    self._add('1.png', 'more/2.png')
    os.symlink(self.folder, os.path.join(self.folder, 'more', 'again'))
    self.assertEqual([each.name for each in images.find(self.folder)], ['1.png', 'more/2.png'])

  def test_what_cameras_write_beside_a_jpeg_is_no_image_of_its_own(self):
    self._add('a.HEIC', 'a.jpg', 'b.heic', 'c.jpg', 'c.ppm')
    found = images.find(self.folder)
    self.assertEqual([each.name for each in found], ['a.jpg', 'b.heic', 'c.jpg'])

  def test_what_was_written_before_is_no_input(self):
    self._add('1.png', 'out/pictures/1.jpg', 'outer/2.png')
    found = images.find(self.folder, os.path.join(self.folder, 'out'))
    self.assertEqual([each.name for each in found], ['1.png', 'outer/2.png'])

  def test_what_cannot_be_predicted_on(self):
    for given, message in (
      (self.folder, 'has no image'),
      (f'{self.folder}/*.png', 'names no file'),
    ):
      with self.assertRaisesRegex(errors.DataError, message):
        images.find(given)
    self._add('a/1.png', 'a_1.png')
    with self.assertRaisesRegex(errors.DataError, "a/1.png and a_1.png would both .* 'a_1'"):
      images.find(self.folder)

  def test_reading(self):
    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned by a quarter.
    contents = {
      'good.png': encoded(),
      'turned.jpg': encoded(form='JPEG', exif=exif),
      'torn.png': encoded()[:40],
      'empty.png': b'',
    }
    read = {}
    for name, content in contents.items():
      pathlib.Path(self.folder, name).write_bytes(content)
    for image in images.find(self.folder):
      read[image.name] = images.read(image)
    self.assertEqual(read['good.png'], images.Read(contents['good.png'], 6, 9))
    self.assertEqual((read['turned.jpg'].height, read['turned.jpg'].width), (9, 6))
    self.assertEqual(Image.open(io.BytesIO(read['turned.jpg'].encoded)).size, (6, 9))
    self.assertEqual(read['empty.png'], images.Read(None, reason='the file has no bytes'))
    self.assertIn('the file ends before the image does', read['torn.png'].reason)
    missing = images.read(images.Image(f'{self.folder}/gone.png', 'gone.png', 'gone'))
    self.assertEqual(missing.reason, 'No such file or directory')

  def test_ids(self):
    self._add('000000000139.jpg', '000000000632.jpg')
    self.assertEqual(
      images.ids(images.find(self.folder)), {'000000000139.jpg': 139, '000000000632.jpg': 632}
    )
    self._add('cat.jpg')
    found = images.find(self.folder)
    self.assertEqual(list(images.ids(found).values()), [1, 2, 3])
    listed = {'images': [{'file_name': image.name, 'id': 7 * i} for i, image in enumerate(found)]}
    path = pathlib.Path(self.folder, 'ids.json')
    path.write_text(json.dumps(listed))
    self.assertEqual(images.ids(found, str(path))['cat.jpg'], 14)
    path.write_text(json.dumps({'images': listed['images'][:2]}))
    self.assertEqual(list(images.ids(found, str(path))), [each.name for each in found[:2]])
    path.write_text(json.dumps({'images': [{'file_name': 'x.jpg', 'id': 1}]}))
    with self.assertRaisesRegex(errors.DataError, 'lists none of the images'):
      images.ids(found, str(path))
    self._add('a/cat.jpg')
    path.write_text(json.dumps(listed))
    with self.assertRaisesRegex(errors.DataError, 'gives .*cat.jpg and .*cat.jpg the id 14'):
      images.ids(images.find(self.folder), str(path))
    path.write_text('{}')
    with self.assertRaisesRegex(errors.DataError, 'cannot be read as COCO JSON'):
      images.ids(found, str(path))


if __name__ == '__main__':
  unittest.main()

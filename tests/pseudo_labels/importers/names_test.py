"""Whose labels are whose: ids, names and folders of images."""

import tensorflow as tf

from tests.pseudo_labels import unlabelled
from tests.pseudo_labels.importers import imported

# As COCO has them: x, y, width, height in pixels.
BBOX = [6.0, 4.0, 12.0, 8.0]


class ManyImagesOfOneNameTest(imported.ImportCase):
  def test_a_name_without_folder_that_two_images_have_is_nobodys(self):
    line = '2 0.5 0.5 0.5 0.5 0.9\n'
    self.write('out/a/1.txt', line)
    self.write('out/b/1.txt', line)
    self.write('out/in/2.txt', line)
    self.write('out/b/2.txt', line)
    self.load('yolo', self.path('out'))
    self.assertEqual({n for n, each in self.found().items() if each}, {2})

  def test_a_name_of_another_folder_is_not_taken_for_one_that_is_not_mentioned(self):
    """As of two cameras, of which one saw nothing, so that no file was written."""
    images = ('cam1/1.png', 'cam2/1.png', 'cam1/2.png', 'cam1/2.jpg')
    unlabelled.write(
      self.images, [unlabelled.record(unlabelled.png(n), images[n]) for n in range(4)]
    )
    for name in ('cam1/1', 'cam1/2', 'cam2/3'):
      self.write(f'out/{name}.txt', '2 0.5 0.5 0.5 0.5 0.9\n')
    self.load('yolo', self.path('out'))
    # 2.png and 2.jpg would both be cam1/2.
    self.assertEqual([len(boxes) for boxes in self.boxes_in_order()], [1, 0, 0, 0])
    # Nor is a file without a folder anybody's.
    self.write('flat/1.txt', '2 0.5 0.5 0.5 0.5 0.9\n')
    self.assert_refused('None of the 1 images of the labels', 'yolo', self.path('flat'))
    # A folder more or less at the beginning is still found.
    self.write('more/photos/cam2/1.txt', '2 0.5 0.5 0.5 0.5 0.9\n')
    self.load('yolo', self.path('more'))
    self.assertEqual([len(boxes) for boxes in self.boxes_in_order()], [0, 1, 0, 0])

  def test_folders_tell_names_with_dots_apart(self):
    """As Roboflow calls images."""
    images = [f'd/{part}/a_jpg.rf.{n}.jpg' for part in ('train', 'valid') for n in (1, 2)]
    unlabelled.write(
      self.images, [unlabelled.record(unlabelled.png(n), images[n]) for n in range(4)]
    )
    for name in ('train/a_jpg.rf.1', 'valid/a_jpg.rf.1', 'valid/a_jpg.rf.2'):
      self.write(f'out/{name}.txt', '2 0.5 0.5 0.5 0.5 0.9\n')
    self.load('yolo', self.path('out'))
    self.assertEqual([len(boxes) for boxes in self.boxes_in_order()], [1, 0, 1, 1])

  def test_a_record_that_is_no_example_costs_itself_alone(self):
    good = [unlabelled.record(unlabelled.png(n), f'{n}.png') for n in (0, 1)]
    unlabelled.write(self.images, [good[0], b'none', good[1]])
    self.write('out/1.txt', '2 0.5 0.5 0.5 0.5 0.9\n')
    manifest = self.load('yolo', self.path('out'))
    self.assertEqual((manifest.labelled, manifest.empty, manifest.dead), (1, 1, 1))

  def test_an_id_is_no_name(self):
    images = ('7.png', 'photos/3.png', 'photos/4.png', '5')
    unlabelled.write(
      self.images, [unlabelled.record(unlabelled.png(n), images[n]) for n in range(4)]
    )
    names = {7: 'zebra.png', 3: '4.png', 4: '3.png', 5: 'lion.png'}
    content = {
      'images': [{'id': n, 'file_name': name} for n, name in names.items()],
      'categories': [{'id': n, 'name': str(n)} for n in names],
      'annotations': [{'image_id': n, 'category_id': n, 'bbox': BBOX} for n in names],
    }
    self.load('coco', self.write('a.json', content), names='3,4,5,7')
    # By class: of image 3, which is called 4.png, of image 4, and of image 5, whose id it is.
    self.assertEqual(
      [[class_id for class_id, *_ in boxes] for boxes in self.boxes_in_order()], [[], [2], [1], [3]]
    )

  def test_labels_about_another_size_cost_the_image(self):
    image = {'id': 1, 'file_name': '1.png', 'height': 24, 'width': 16}
    content = {
      'images': [image],
      'categories': [{'id': 1, 'name': 'cat'}],
      'annotations': [{'image_id': 1, 'category_id': 1, 'bbox': BBOX}],
    }
    manifest = self.load('coco', self.write('a.json', content))
    self.assertEqual(manifest.dead, 1)
    self.assertIn('an image of 24 x 16 pixels (height x width)', manifest.dead_letters[0].reason)


if __name__ == '__main__':
  tf.test.main()

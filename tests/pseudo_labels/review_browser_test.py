"""The review page in headless Chromium: keys and pointer do what the page says, also with 2,000 images."""

import json
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest
import tensorflow as tf

from official_selftrain.pseudo_labels import corrections, review
from tests.pseudo_labels import exported, unlabelled

CHROMIUM = (
  shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
)

# Runs in the page, before the results are written into it.
_TOOLS = """
const press = (key, more) => document.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, ...more}));
const drag = (from, to) => {
  const area = $('stage').getBoundingClientRect();
  const at = ([y, x]) => ({clientX: area.left + x * area.width, clientY: area.top + y * area.height, bubbles: true});
  $('stage').dispatchEvent(new PointerEvent('pointerdown', at(from)));
  window.dispatchEvent(new PointerEvent('pointermove', at(to)));
  window.dispatchEvent(new PointerEvent('pointerup', at(to)));
};
const tell = (value) => { const place = document.createElement('pre'); place.id = 'told';
  place.textContent = JSON.stringify(value); document.body.append(place); };
"""


@pytest.mark.skipif(CHROMIUM is None, reason='needs Chromium, as Debian packages it')
class BrowserTest(exported.ExportCase):
  def setUp(self):
    super().setUp()
    # The least sure first: id-2 (2 boxes), id-3 (3 boxes), id-1, id-0.
    records = [unlabelled.record(unlabelled.png(n), f'id-{n}') for n in range(4)]
    self.label(records=records)

  def told(self, script, *more):
    """What a script tells after it has used the page."""
    page = pathlib.Path(self._path('review.html'))
    status = review.main(
      [f'--labels={self.labels}', f'--images={self.images}', f'--output={page}', '--cut=0.5', *more]
    )
    self.assertEqual(status, 0)
    text = page.read_text()
    page.write_text(text.replace('</body>', f'<script>{_TOOLS}{script}</script></body>'))
    with tempfile.TemporaryDirectory() as profile:
      done = subprocess.run(
        [
          CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
          '--disable-background-networking', '--disable-component-update', '--disable-sync',
          f'--user-data-dir={profile}', '--window-size=1200,800', '--virtual-time-budget=60000', '--dump-dom',
          page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=False,
      )  # fmt: skip
    found = re.search('<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    self.assertIsNotNone(found, done.stderr[-2000:])
    return json.loads(found[1])

  def test_keys(self):
    found = self.told(
      """
      press('a');                                   // id-2 is accepted.
      press('Tab'); press('Tab'); press('x');       // The second box of id-3 is deleted,
      press('Tab'); press('3');                     // and another one, below the cut, becomes an owl.
      press('ArrowRight'); press('r');              // id-1 is rejected.
      drag([0.25, 0.5], [0.75, 1.0]);               // A box of class 3 is drawn on id-0, and
      press('1');                                   // its class is changed.
      tell(review());
      """
    )
    images = found['images']
    self.assertEqual(images['id-2']['status'], 'accepted')
    self.assertEqual([box[0] for box in images['id-2']['boxes']], [1, 2])
    self.assertEqual(images['id-1'], {'status': 'rejected'})
    self.assertEqual(images['id-3']['status'], 'corrected')
    self.assertEqual(images['id-0']['status'], 'corrected')
    ((class_id, *edges),) = images['id-0']['boxes']
    self.assertEqual(class_id, 1)
    self.assertAllClose(edges, [0.25, 0.5, 0.75, 1.0], atol=0.01)
    path = self._path('review.json')
    pathlib.Path(path).write_text(json.dumps(found))
    status = review.main(
      [f'--labels={self.labels}', f'--images={self.images}', '--cut=0.5', f'--import={path}']
    )
    self.assertEqual(status, 0)
    taken = corrections.load(corrections.folder_of(self.labels))
    self.assertEqual((taken.corrected, taken.rejected), (('id-0', 'id-2', 'id-3'), ('id-1',)))

  def test_undo_and_what_is_decided_stays_after_another_start(self):
    found = self.told(
      """
      press('n');
      const before = JSON.stringify(boxesOf(image()));
      press('Tab'); press('x'); press('Tab'); press('2'); press('z'); press('z');
      const isBack = before === JSON.stringify(boxesOf(image())) && !decision(image());
      press('r'); press('p'); press('p'); press('a');
      decisions = load();
      tell({isBack, images: review().images});
      """
    )
    self.assertTrue(found['isBack'])
    self.assertEqual({name: each['status'] for name, each in found['images'].items()},
                     {'id-2': 'accepted', 'id-3': 'rejected'})  # fmt: skip

  def test_filters(self):
    found = self.told(
      """
      const ids = () => shown.map((place) => DATA.images[place].id);
      const select = (id, value) => { $(id).value = value; $(id).dispatchEvent(new Event('change')); return ids(); };
      press('a');
      tell({all: select('status', 'all'), open: select('status', 'open'), accepted: select('status', 'accepted'),
            dogs: select('status', 'all') && select('class', '2')});
      """
    )
    self.assertEqual(found['all'], ['id-2', 'id-3', 'id-1', 'id-0'])
    self.assertEqual(found['open'], ['id-3', 'id-1', 'id-0'])
    self.assertEqual(found['accepted'], ['id-2'])
    self.assertEqual(found['dogs'], ['id-2', 'id-3'])

  def test_boxes_are_where_they_are(self):
    found = self.told(
      """
      const area = $('stage').getBoundingClientRect();
      tell([...document.querySelectorAll('.box')].map((box) => { const r = box.getBoundingClientRect();
        return [(r.top - area.top) / area.height, (r.left - area.left) / area.width,
                (r.bottom - area.top) / area.height, (r.right - area.left) / area.width]; }));
      """
    )
    self.assertAllClose(found, [[0, 0, 0.5, 0.5], [0.25, 0.25, 0.75, 1.0]], atol=0.01)

  @pytest.mark.slow
  def test_two_thousand_images(self):
    self.label(records=[unlabelled.record(unlabelled.png(n % 8), f'id-{n}') for n in range(2000)])
    found = self.told(
      """
      const elements = document.querySelectorAll('*').length;
      const count = shown.length;
      let most = 0;
      for (let i = 0; i < count; i++) {
        press(i % 2 ? 'r' : 'a');
        most = Math.max(most, document.querySelectorAll('*').length);
      }
      tell({count, elements, most, images: Object.values(review().images).map((each) => each.status)});
      """
    )
    self.assertEqual(found['count'], 2000)
    self.assertEqual(found['images'].count('accepted'), 1000)
    self.assertEqual(found['images'].count('rejected'), 1000)
    # The list has an entry for each; one image is drawn at a time.
    self.assertLess(found['most'], found['elements'] + 40)


if __name__ == '__main__':
  tf.test.main()

"""What the server in examples/serving does with many clients, large images and failures; its models are made up."""

import base64
import contextlib
import io
import json
import pathlib
import socket
import sys
import threading
import time
import unittest
from concurrent import futures
from http import client as http_client
from unittest import mock

import grpc
import numpy as np
import tensorflow as tf
import uvicorn
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

_EXAMPLE = pathlib.Path(__file__).parents[2] / 'examples' / 'serving'
sys.path.insert(0, str(_EXAMPLE))
try:
  import batching
  import server
finally:
  sys.path.remove(str(_EXAMPLE))

_ORIENTATION = 0x0112


def _encoded(pixels, form='PNG', orientation=1, **options):
  stream = io.BytesIO()
  if orientation != 1:
    options['exif'] = Image.Exif()
    options['exif'][_ORIENTATION] = orientation
  image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
  image.save(stream, form, **options)
  return stream.getvalue()


def _decoded(encoded):
  return tf.io.decode_image(encoded, 3, expand_animations=False).numpy()


_SMALL = _encoded(np.zeros([4, 6, 3], np.uint8))


class ImageTest(unittest.TestCase):
  def test_photographs_are_turned_as_exif_says(self):
    stored = np.random.default_rng(0).integers(0, 256, [4, 6, 3], np.uint8)
    shown = {
      1: stored,
      2: stored[:, ::-1],
      3: stored[::-1, ::-1],
      4: stored[::-1],
      5: stored.transpose(1, 0, 2),
      6: np.rot90(stored, -1),
      7: np.rot90(stored, 2).transpose(1, 0, 2),
      8: np.rot90(stored),
    }
    for orientation, expected in shown.items():
      with self.subTest(orientation):
        encoded = _encoded(stored, orientation=orientation)
        head = batching.check_image(encoded, 100)
        self.assertEqual(head, (*expected.shape[:2], orientation == 1))
        turned = batching.as_trained(encoded)
        np.testing.assert_array_equal(_decoded(turned), expected)
        self.assertEqual(batching.check_image(turned, 100), (*expected.shape[:2], True))

  def test_a_turned_jpeg_stays_one_and_loses_little(self):
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, [4, 4, 3], np.uint8))
    encoded = _encoded(coarse.resize((90, 60)), 'JPEG', 6, quality=90)
    turned = batching.as_trained(encoded)
    self.assertEqual(turned[:2], b'\xff\xd8')
    difference = _decoded(turned).astype(int) - np.rot90(_decoded(encoded), -1)
    self.assertLess(np.abs(difference).max(), 12)
    self.assertLess(np.abs(difference).mean(), 1.5)

  def test_transparency_is_on_white(self):
    pixels = np.zeros([2, 2, 4], np.uint8)
    pixels[0] = [200, 100, 0, 255]
    encoded = _encoded(pixels)
    self.assertEqual(batching.check_image(encoded, 100), (2, 2, False))
    found = _decoded(batching.as_trained(encoded))
    self.assertEqual(found.tolist(), [[[200, 100, 0]] * 2, [[255, 255, 255]] * 2])
    palette = _encoded(Image.new('P', (3, 2)), transparency=0)
    self.assertEqual(_decoded(batching.as_trained(palette)).tolist(), [[[255] * 3] * 3] * 2)

  def test_damaged_images_are_left_to_the_model(self):
    whole = _encoded(np.random.default_rng(0).integers(0, 256, [40, 60, 3], np.uint8), 'JPEG', 6)
    damaged = whole[: len(whole) // 2]
    self.assertEqual(batching.check_image(damaged, 10_000), (60, 40, False))
    self.assertEqual(batching.as_trained(damaged), damaged)
    bad_exif = _encoded(np.zeros([4, 6, 3], np.uint8), exif=b'Exif\0\0MM\0*\xff\xff\xff')
    self.assertEqual(batching.check_image(bad_exif, 100), (4, 6, True))

  def test_an_image_with_a_huge_head(self):
    huge = _encoded(Image.new('1', (20_000, 20_000)))
    with self.assertRaisesRegex(batching.BadImageError, 'too many|not a JPEG'):
      batching.check_image(huge, 50_000_000)


class ModelTest(unittest.TestCase):
  def test_answers_do_not_keep_the_padding_of_their_batch(self):
    masks = {
      'classes': tf.constant(np.arange(48, dtype=np.uint8).reshape([2, 4, 6])),
      'confidences': tf.ones([2, 4, 6]),
      'image_sizes': tf.constant([[4, 2], [1, 6]]),
    }
    model = object.__new__(batching.Model)
    model._predict = lambda inputs: masks
    first, second = model([b'a', b'b'])
    self.assertEqual(first['classes'].tolist(), [[0, 1], [6, 7], [12, 13], [18, 19]])
    self.assertEqual(second['classes'].tolist(), [[24, 25, 26, 27, 28, 29]])
    for answer in (first, second):
      self.assertIsNone(answer['classes'].base)
      self.assertIsNone(answer['confidences'].base)


class BatcherTest(unittest.TestCase):
  def _wait_until_taken(self, batcher):
    while batcher.waiting:
      time.sleep(0.01)

  def test_a_queue_that_is_full(self):
    go_on = futures.Future()
    batcher = batching.Batcher(
      lambda images: [go_on.result()] * len(images),
      max_batch=1,
      max_batch_pixels=9,
      wait_seconds=0.0,
      max_waiting=2,
    )
    size = (1, 1)
    first = batcher.submit([b'1'], [size])
    self._wait_until_taken(batcher)
    batcher.submit([b'2'], [size])
    with self.assertRaisesRegex(batching.BusyError, 'the server is busy'):
      batcher.submit([b'3', b'4'], [size, size])
    # What was refused takes no place.
    third = batcher.submit([b'3'], [size])
    # Nor does what was given up.
    self.assertTrue(third[0].cancel())
    fourth = batcher.submit([b'4'], [size])
    self.assertEqual(batcher.waiting, 2)
    go_on.set_result('done')
    self.assertEqual(first[0].result(10), 'done')
    self.assertEqual(fourth[0].result(10), 'done')

  def test_large_images_do_not_share_a_batch(self):
    seen = []

    def predict(images):
      seen.append(list(images))
      return list(images)

    batcher = batching.Batcher(
      predict, max_batch=8, max_batch_pixels=20, wait_seconds=0.3, max_waiting=9
    )
    # c alone is smaller than a and b are, but beside it they would be padded to its width.
    sizes = [(4, 2), (5, 2), (1, 6), (2, 6), (1, 9), (10, 1), (50, 50)]
    made = batcher.submit([b'a', b'b', b'c', b'd', b'e', b'f', b'g'], sizes)
    self.assertEqual([each.result(10) for each in made], list(map(bytes, zip(b'abcdefg'))))
    self.assertEqual(seen, [[b'a', b'b'], [b'c'], [b'd'], [b'e'], [b'f'], [b'g']])


class _Model:
  """Counts images and answers once it may."""

  output_names = ('sizes',)

  def __init__(self):
    self.seen = []
    self.may_answer = threading.Event()
    self.error = None

  def __call__(self, encoded):
    self.seen.append(len(encoded))
    assert self.may_answer.wait(30)
    if self.error:
      raise self.error
    return [{'sizes': np.array(_decoded(each).shape)} for each in encoded]


class ServiceTest(unittest.TestCase):
  def _start(self, *flags):
    """Serves a model in this process."""
    self.model = _Model()
    self.addCleanup(self.model.may_answer.set)
    ports = []
    for _ in range(2):
      with contextlib.closing(socket.socket()) as found:
        found.bind(('127.0.0.1', 0))
        ports.append(found.getsockname()[1])
    self.port, grpc_port = ports
    parsed = server.parse_arguments(
      ['--model=none', f'--port={self.port}', f'--grpc_port={grpc_port}', *flags]
    )
    self.service = server.Service(parsed, self.model)
    started = server.start_grpc(self.service)
    self.addCleanup(lambda: started.stop(grace=0).wait())
    settings = uvicorn.Config(server.rest(self.service), port=self.port, log_level='error')
    rest = uvicorn.Server(settings)
    thread = threading.Thread(target=rest.run)
    thread.start()
    self.addCleanup(thread.join)
    self.addCleanup(setattr, rest, 'should_exit', True)
    channel = grpc.insecure_channel(f'127.0.0.1:{grpc_port}')
    self.addCleanup(channel.close)
    self.stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    self._until(lambda: rest.started)

  def _until(self, is_so):
    end = time.monotonic() + 20
    while not is_so():
      self.assertLess(time.monotonic(), end, 'it does not happen')
      time.sleep(0.01)

  def _ask(self, *images):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = 'selftrain'
    request.inputs['inputs'].CopyFrom(tf.make_tensor_proto(list(images)))
    return self.stub.Predict.future(request, timeout=30)

  def _post(self, body):
    connection = http_client.HTTPConnection('127.0.0.1', self.port, timeout=30)
    self.addCleanup(connection.close)
    connection.request('POST', '/v1/models/selftrain:predict', body)
    return connection

  def _answer(self, connection):
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())

  def test_grpc_is_busy_when_too_many_requests_of_one_image_wait(self):
    self._start('--max_waiting=2', '--max_images=2', '--max_batch=1')
    asked = [self._ask(_SMALL)]
    self._until(lambda: self.model.seen == [1])
    asked += [self._ask(_SMALL) for _ in range(2)]
    self._until(lambda: self.service.batcher.waiting == 2)
    self.assertEqual(self._ask(_SMALL).code(), grpc.StatusCode.UNAVAILABLE)
    self.model.may_answer.set()
    for each in asked:
      self.assertEqual(tf.make_ndarray(each.result().outputs['sizes']).tolist(), [[4, 6, 3]])

  def test_clients_that_gave_up_are_not_computed(self):
    self._start('--max_batch=1')
    first = self._ask(_SMALL)
    self._until(lambda: self.model.seen == [1])
    second = self._ask(_SMALL, _SMALL)
    body = json.dumps({'instances': [{'b64': base64.b64encode(_SMALL).decode()}]})
    connection = self._post(body)
    self._until(lambda: self.service.batcher.waiting == 3)
    waiting = list(self.service.batcher._waiting)
    second.cancel()
    connection.close()
    self._until(lambda: all(each.future.cancelled() for each in waiting))
    last = self._ask(_SMALL)
    self._until(lambda: self.service.batcher.waiting == 1)
    self.model.may_answer.set()
    for each in (first, last):
      self.assertEqual(each.result().outputs['sizes'].tensor_shape.dim[0].size, 1)
    self.assertEqual(self.model.seen, [1, 1])

  def test_failures_of_the_model(self):
    self._start()
    self.model.may_answer.set()
    self.model.error = tf.errors.ResourceExhaustedError(None, None, 'no memory left\nand more')
    with mock.patch.object(batching._LOG, 'exception') as logged:
      failed = self._ask(_SMALL)
      self.assertEqual(failed.code(), grpc.StatusCode.INTERNAL)
      self.assertEqual(failed.details(), 'the model failed: ResourceExhaustedError: no memory left')
      body = json.dumps({'instances': [{'b64': base64.b64encode(_SMALL).decode()}] * 2})
      status, content = self._answer(self._post(body))
    self.assertEqual((status, content), (500, {'error': failed.details()}))
    self.assertEqual(logged.call_count, 2)
    status, content = self._answer(self._post('[' * 100_000))
    self.assertEqual(status, 400)
    self.assertIn('the body must be', content['error'])

  def test_a_request_that_would_be_padded_to_too_much(self):
    self._start('--max_pixels=1000', '--max_request_pixels=2000')
    self.model.may_answer.set()
    wide, high = (_encoded(np.zeros([*size, 3], np.uint8)) for size in ((10, 90), (90, 10)))
    refused = self._ask(wide, high)
    self.assertEqual(refused.code(), grpc.StatusCode.INVALID_ARGUMENT)
    self.assertEqual(
      refused.details(),
      '2 images, padded to one size, have 16,200 pixels: a request has at most 2,000; send them one by one',
    )
    found = self._ask(wide, wide).result().outputs['sizes']
    self.assertEqual(tf.make_ndarray(found).tolist(), [[10, 90, 3]] * 2)

  def test_photographs_are_turned_before_the_model_sees_them(self):
    self._start()
    self.model.may_answer.set()
    turned = _encoded(np.zeros([4, 6, 3], np.uint8), 'JPEG', 8)
    found = self._ask(_SMALL, turned).result().outputs['sizes']
    self.assertEqual(tf.make_ndarray(found).tolist(), [[4, 6, 3], [6, 4, 3]])

  def test_limits_that_contradict_each_other(self):
    with contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit):
      server.parse_arguments(['--model=a', '--max_pixels=3', '--max_request_pixels=2'])
    self.assertIn('--max_pixels must not be above --max_request_pixels', said.getvalue())


if __name__ == '__main__':
  unittest.main()

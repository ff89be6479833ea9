"""The server in examples/serving, started as its user starts it, and the lines of docs/serving.md."""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from concurrent import futures

import numpy as np
import pytest
import tensorflow as tf

from tests.testing import tiny_run

pytestmark = pytest.mark.timeout(600)

_ROOT = pathlib.Path(__file__).parents[2]
_EXAMPLE = _ROOT / 'examples' / 'serving'
_DOC = _ROOT / 'docs' / 'serving.md'


def _free_port():
  with contextlib.closing(socket.socket()) as found:
    found.bind(('127.0.0.1', 0))
    return found.getsockname()[1]


def _jpeg(height, width):
  noise = np.random.default_rng(height).integers(0, 256, [1, 4, 4, 3])
  image = tf.cast(tf.image.resize(noise, [height, width], 'bicubic'), tf.uint8)[0]
  return tf.io.encode_jpeg(image, quality=95).numpy()


class _Server:
  """The server as a process."""

  def __init__(self, model, *flags):
    self.port, self.grpc_port = _free_port(), _free_port()
    command = [sys.executable, str(_EXAMPLE / 'server.py'), f'--model={model}']
    command += [f'--port={self.port}', f'--grpc_port={self.grpc_port}', *flags]
    self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for _ in range(600):
      with contextlib.suppress(OSError):
        if self.ask('GET', '/healthz')[0] == 200:
          return
      assert self.process.poll() is None, self.process.stdout.read().decode()
      time.sleep(0.2)
    raise AssertionError('the server does not start')

  def ask(self, method, path, body=None):
    connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
    connection.request(method, path, body)
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, content

  def predict(self, *images, name='selftrain'):
    instances = [{'b64': base64.b64encode(image).decode()} for image in images]
    return self.ask('POST', f'/v1/models/{name}:predict', json.dumps({'instances': instances}))

  def stop(self):
    self.process.send_signal(signal.SIGTERM)
    self.process.wait(30)


class DetectorTest(unittest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.export = os.path.join(tiny_run.finished(), 'export')
    cls.server = _Server(cls.export, '--max_images=3', '--max_bytes=200000', '--max_pixels=100000')
    cls.addClassCleanup(cls.server.stop)
    cls.images = [_jpeg(96, 96), _jpeg(40, 80), _jpeg(150, 100)]
    loaded = tf.saved_model.load(cls.export)
    found = loaded.signatures['serving_default'](inputs=tf.constant(cls.images))
    cls.expected = {name: value.numpy() for name, value in found.items()}

  def _assert_expected(self, answers):
    for i, answer in enumerate(answers):
      self.assertEqual(set(answer), set(self.expected))
      for name, value in answer.items():
        np.testing.assert_allclose(value, self.expected[name][i], atol=2e-5)

  def test_status(self):
    status, content = self.server.ask('GET', '/v1/models/selftrain')
    self.assertEqual((status, content['model_version_status'][0]['state']), (200, 'AVAILABLE'))
    self.assertEqual(self.server.ask('GET', '/v1/models/other')[0], 404)

  def test_answers_are_those_of_the_model(self):
    status, content = self.server.predict(*self.images)
    self.assertEqual(status, 200)
    self.assertEqual(len(content['predictions']), 3)
    self._assert_expected(content['predictions'])

  def test_clients_at_once_share_batches_and_get_their_own(self):
    before = self.server.ask('GET', '/healthz')[1]
    with futures.ThreadPoolExecutor(12) as pool:
      made = [pool.submit(self.server.predict, self.images[i % 3]) for i in range(36)]
    for i, future in enumerate(made):
      status, content = future.result()
      self.assertEqual(status, 200)
      for name, value in content['predictions'][0].items():
        np.testing.assert_allclose(value, self.expected[name][i % 3], atol=2e-5)
    after = self.server.ask('GET', '/healthz')[1]
    self.assertEqual(after['images'] - before['images'], 36)
    self.assertLess(after['batches'] - before['batches'], 36)

  def test_requests_that_are_refused(self):
    large = tf.io.encode_png(np.zeros([400, 300, 3], np.uint8)).numpy()
    damaged = self.images[0][: len(self.images[0]) // 2]
    cases = {
      'a request has 1 to 3': (413, self.server.predict(*[self.images[1]] * 4)),
      'a request has 1 to 3 ': (400, self.server.predict()),
      'image 1: not a JPEG or PNG image': (400, self.server.predict(self.images[0], b'GIF89a')),
      '300 x 400 pixels are too many': (400, self.server.predict(large)),
      'more than 200,000 bytes': (413, self.server.predict(b'x' * 200_000)),
      'the image is damaged': (400, self.server.predict(damaged)),
      "there is no model 'b'": (404, self.server.predict(self.images[0], name='b')),
      'the body must be': (400, self.server.ask('POST', '/v1/models/selftrain:predict', 'x')),
      'the body must be ': (
        400,
        self.server.ask('POST', '/v1/models/selftrain:predict', '{"instances": [{"b64": "*"}]}'),
      ),
    }
    for message, (expected, (status, content)) in cases.items():
      with self.subTest(message):
        self.assertEqual(status, expected, content)
        self.assertIn(message.strip(), content['error'])

  def test_grpc_makes_no_tensor_of_a_size_that_is_only_said(self):
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    with grpc.insecure_channel(f'localhost:{self.server.grpc_port}') as channel:
      service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
      request = predict_pb2.PredictRequest()
      request.model_spec.name = 'selftrain'
      given = request.inputs['inputs']
      given.dtype = tf.string.as_datatype_enum
      given.string_val.append(self.images[0])
      given.tensor_shape.dim.add().size = 10**9
      with self.assertRaises(grpc.RpcError) as caught:
        service.Predict(request, timeout=30)
      self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
      request.model_spec.name = 'other'
      given.tensor_shape.dim[0].size = 1
      with self.assertRaises(grpc.RpcError) as caught:
        service.Predict(request, timeout=30)
      self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)

  def test_a_damaged_image_does_not_disturb_others(self):
    with futures.ThreadPoolExecutor(8) as pool:
      damaged = self.images[0][: len(self.images[0]) // 2]
      given = [damaged if i % 4 == 3 else self.images[i % 4] for i in range(16)]
      found = list(pool.map(self.server.predict, given))
    for i, (status, content) in enumerate(found):
      self.assertEqual(status, 400 if i % 4 == 3 else 200, content)

  def test_lines_of_the_document(self):
    if not shutil.which('curl'):
      self.skipTest('there is no curl')
    text = _DOC.read_text(encoding='utf-8')
    lines = re.findall(r'^    ((?:curl|\(printf).*)$', text, re.MULTILINE)
    self.assertEqual(len(lines), 4)
    with tempfile.TemporaryDirectory() as folder:
      pathlib.Path(folder, 'photo.jpg').write_bytes(self.images[0])
      for line in lines:
        line = line.replace(':8501', f':{self.server.port}')
        done = subprocess.run(
          line, shell=True, cwd=folder, capture_output=True, text=True, check=True
        )
        if '/healthz' in line:
          self.assertEqual(json.loads(done.stdout)['status'], 'ok')
      answer = json.loads(pathlib.Path(folder, 'answer.json').read_text())
      self._assert_expected(answer['predictions'])
      code = re.search(r'```python\n(.*?)```', text, re.DOTALL)[1]
      code = code.replace(':8500', f':{self.server.grpc_port}')
      done = subprocess.run(
        [sys.executable, '-c', code], cwd=folder, capture_output=True, text=True
      )
      self.assertEqual(done.returncode, 0, done.stderr)
      number = int(self.expected['num_detections'][0])
      self.assertEqual(int(done.stdout.split()[0]), number)
      scores = [float(each) for each in re.findall(r'\d\.\d+(?:e-\d+)?', done.stdout)]
      np.testing.assert_allclose(scores, self.expected['detection_scores'][0, :number], atol=1e-5)

  def test_load(self):
    with tempfile.TemporaryDirectory() as folder:
      photo = pathlib.Path(folder, 'photo.jpg')
      photo.write_bytes(self.images[0])
      command = [sys.executable, str(_EXAMPLE / 'load_test.py'), f'--image={photo}']
      command += [f'--port={self.server.port}', '--clients=4', '--requests=20']
      done = subprocess.run(command, capture_output=True, text=True)
    self.assertRegex(
      done.stdout,
      r'^4 clients: 20 of 20 requests answered, [\d.]+ a second; 50% within \d+ ms, 95% within \d+ ms, 99% ',
    )


class SegmentationTest(unittest.TestCase):
  @pytest.mark.slow
  def test_masks_have_the_size_of_their_image(self):
    server = _Server(os.path.join(tiny_run.finished(tiny_run.SEGMENTATION), 'export'))
    self.addCleanup(server.stop)
    status, content = server.predict(_jpeg(30, 40), _jpeg(60, 20))
    self.assertEqual(status, 200)
    shapes = [np.shape(each['classes']) for each in content['predictions']]
    self.assertEqual(shapes, [(30, 40), (60, 20)])


if __name__ == '__main__':
  unittest.main()

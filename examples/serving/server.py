"""Serves an exported model in the REST and gRPC forms of TensorFlow Serving.

    python examples/serving/server.py --model=runs/mine/export --port=8501

docs/serving.md says what a client of either can do.
"""

import argparse
import asyncio
import base64
import json
import threading
from collections.abc import Sequence
from concurrent import futures
from typing import Any

import batching
import fastapi
import grpc
import numpy as np
import tensorflow as tf
import uvicorn
from fastapi import responses
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

_BAD_REQUEST, _NOT_FOUND, _TOO_LARGE, _GONE, _INTERNAL, _BUSY = 400, 404, 413, 499, 500, 503
# How often it is looked whether the client of an answer that takes long is still there.
_LOOK_SECONDS = 0.5
_SPARE_THREADS = 8
_CODES = {
  _NOT_FOUND: grpc.StatusCode.NOT_FOUND,
  _BUSY: grpc.StatusCode.UNAVAILABLE,
}


class RequestError(ValueError):
  """A request that cannot be answered.

  Attributes:
    status: of HTTP.
  """

  def __init__(self, status: int, message: str):
    """Keeps both."""
    super().__init__(message)
    self.status = status


class Service:
  """What both forms share: limits, and the way through the batches."""

  def __init__(self, flags: argparse.Namespace, model: batching.Model):
    """Starts to collect batches for a model."""
    self.flags = flags
    self.output_names = model.output_names
    # Pixels of one image at a time, however many threads have requests.
    self._decoding = threading.Lock()
    self.batcher = batching.Batcher(
      model,
      max_batch=flags.max_batch,
      max_batch_pixels=flags.max_batch_pixels,
      wait_seconds=flags.wait_ms / 1000,
      max_waiting=flags.max_waiting,
    )

  def submit(self, name: str, images: Sequence[bytes]) -> list[futures.Future]:
    """Checks a request and puts its images into the queue.

    Raises:
      RequestError: for the client.
    """
    if name != self.flags.name:
      raise RequestError(_NOT_FOUND, f'there is no model {name!r}: this is {self.flags.name!r}')
    if not 0 < len(images) <= self.flags.max_images:
      raise RequestError(
        _TOO_LARGE if images else _BAD_REQUEST,
        f'{len(images)} images: a request has 1 to {self.flags.max_images}',
      )
    heads = []
    for i, image in enumerate(images):
      try:
        heads.append(batching.check_image(image, self.flags.max_pixels))
      except batching.BadImageError as error:
        raise RequestError(_BAD_REQUEST, f'image {i}: {error}') from error
    sizes = [(head.height, head.width) for head in heads]
    pixels = batching.padded_pixels(sizes)
    if pixels > self.flags.max_request_pixels:
      raise RequestError(
        _TOO_LARGE,
        f'{len(images)} images, padded to one size, have {pixels:,} pixels: a request has at most '
        f'{self.flags.max_request_pixels:,}; send them one by one',
      )
    try:
      return self.batcher.submit([*map(self._as_trained, images, heads)], sizes)
    except batching.BusyError as error:
      raise RequestError(_BUSY, str(error)) from error

  def _as_trained(self, image: bytes, head: batching.Head) -> bytes:
    if head.is_as_trained:
      return image
    with self._decoding:
      return batching.as_trained(image)


def _failure(error: Exception) -> str:
  lines = str(error).splitlines() or ['']
  return f'the model failed: {type(error).__name__}: {lines[0]}'


async def _body(request: fastapi.Request, limit: int) -> bytes:
  content = bytearray()
  async for part in request.stream():
    content.extend(part)
    if len(content) > limit:
      raise RequestError(_TOO_LARGE, f'the request has more than {limit:,} bytes')
  return bytes(content)


def _images(content: bytes) -> list[bytes]:
  """Encoded images of TensorFlow Serving's row form; an instance is {"b64": ...} or {"inputs": {"b64": ...}}."""
  try:
    instances = json.loads(content)['instances']
    encoded = [each.get('inputs', each)['b64'] for each in instances]
    return [base64.b64decode(each, validate=True) for each in encoded]
  except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
    raise RequestError(
      _BAD_REQUEST, 'the body must be {"instances": [{"b64": "..."}, ...]}, images in base64'
    ) from error


def _json(answers: Sequence[batching.Answer]) -> bytes:
  # One after the other: as Python's numbers a mask takes several times the memory of its text.
  parts = [json.dumps({k: value.tolist() for k, value in answer.items()}) for answer in answers]
  return f'{{"predictions": [{", ".join(parts)}]}}'.encode()


async def _answers(
  request: fastapi.Request, waiting: Sequence[futures.Future]
) -> list[batching.Answer]:
  """Waits for answers; what still waits for the model is given up when the client is gone.

  Raises:
    RequestError: the client is gone.
    Exception: what the first future that failed did.
  """
  wrapped = [asyncio.wrap_future(each) for each in waiting]
  try:
    while (await asyncio.wait(wrapped, timeout=_LOOK_SECONDS))[1]:
      if await request.is_disconnected():
        raise RequestError(_GONE, 'the client is gone')
  finally:
    for each in wrapped:
      each.cancel()
  failures = [error for error in (each.exception() for each in wrapped) if error]
  if failures:
    raise failures[0]
  return [each.result() for each in wrapped]


def rest(service: Service) -> fastapi.FastAPI:
  """The application with the paths of TensorFlow Serving and a health check."""
  app = fastapi.FastAPI(title='official_selftrain', docs_url=None, redoc_url=None)

  @app.exception_handler(RequestError)
  async def refuse(request: fastapi.Request, error: RequestError) -> responses.JSONResponse:
    del request
    return responses.JSONResponse({'error': str(error)}, error.status)

  @app.get('/healthz')
  async def health() -> dict[str, Any]:
    return {'status': 'ok', 'images': service.batcher.images, 'batches': service.batcher.batches}

  @app.get('/v1/models/{name}')
  async def status(name: str) -> dict[str, Any]:
    if name != service.flags.name:
      raise RequestError(_NOT_FOUND, f'there is no model {name!r}')
    return {
      'model_version_status': [
        {'version': '1', 'state': 'AVAILABLE', 'status': {'error_code': 'OK', 'error_message': ''}}
      ]
    }

  @app.post('/v1/models/{name}:predict')
  async def predict(name: str, request: fastapi.Request) -> responses.Response:
    # What takes long does so in threads: others are answered meanwhile.
    content = await _body(request, service.flags.max_bytes)
    waiting = await asyncio.to_thread(lambda: service.submit(name, _images(content)))
    try:
      answers = await _answers(request, waiting)
    except RequestError:
      raise
    except batching.BadImageError as error:
      raise RequestError(_BAD_REQUEST, str(error)) from error
    except Exception as error:
      raise RequestError(_INTERNAL, _failure(error)) from error
    return responses.Response(
      await asyncio.to_thread(_json, answers), media_type='application/json'
    )

  return app


class Grpc(prediction_service_pb2_grpc.PredictionServiceServicer):
  """TensorFlow Serving's PredictionService; only Predict."""

  def __init__(self, service: Service):
    """Keeps the service."""
    self._service = service

  def Predict(
    self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
  ) -> predict_pb2.PredictResponse:
    """Answers for `inputs`, string [batch]."""
    try:
      waiting = self._service.submit(request.model_spec.name, _strings(request.inputs['inputs']))

      def give_up() -> None:
        for each in waiting:
          each.cancel()

      # False if the client is gone by now.
      if not context.add_callback(give_up):
        give_up()
      answers = [each.result() for each in waiting]
    except (RequestError, batching.BadImageError) as error:
      status = getattr(error, 'status', _BAD_REQUEST)
      context.abort(_CODES.get(status, grpc.StatusCode.INVALID_ARGUMENT), str(error))
    except futures.CancelledError:
      context.abort(grpc.StatusCode.CANCELLED, 'the client is gone')
    except Exception as error:
      context.abort(grpc.StatusCode.INTERNAL, _failure(error))
    response = predict_pb2.PredictResponse()
    for name in self._service.output_names:
      response.outputs[name].CopyFrom(tf.make_tensor_proto(_stack([a[name] for a in answers])))
    return response


def _strings(value: tensor_pb2.TensorProto) -> list[bytes]:
  """The entries of a string tensor; its shape, which costs nothing to write, is never made."""
  strings = list(value.string_val)
  if value.dtype != tf.string.as_datatype_enum or [len(strings)] != [
    each.size for each in value.tensor_shape.dim
  ]:
    raise RequestError(_BAD_REQUEST, '`inputs` must be encoded images, string [batch]')
  return strings


def _stack(values: Sequence[np.ndarray]) -> np.ndarray:
  """A batch; masks of different sizes are padded with 0 at the bottom and right, as the model does it."""
  shapes = np.array([np.shape(value) for value in values])
  batch = np.zeros([len(values), *shapes.max(axis=0).astype(int)], np.asarray(values[0]).dtype)
  for i, value in enumerate(values):
    batch[(i, *map(slice, np.shape(value)))] = value
  return batch


def start_grpc(service: Service) -> grpc.Server:
  """Starts to serve gRPC."""
  flags = service.flags
  # A thread for each request that waits or is computed, and some that can say that the server is busy.
  threads = flags.max_waiting + flags.max_batch + _SPARE_THREADS
  server = grpc.server(
    futures.ThreadPoolExecutor(threads),
    options=[('grpc.max_receive_message_length', flags.max_bytes)],
    maximum_concurrent_rpcs=threads,
  )
  prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Grpc(service), server)
  server.add_insecure_port(f'{flags.host}:{flags.grpc_port}')
  server.start()
  return server


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
  """The flags; leaves the program with a message if they contradict each other."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  add = parser.add_argument
  add('--model', required=True, help='SavedModel of official_selftrain')
  add('--name', default='selftrain', help='of the model, in the paths')
  add('--host', default='127.0.0.1')
  add('--port', type=int, default=8501, help='of REST')
  add('--grpc_port', type=int, default=0, help='0 for no gRPC')
  add('--max_batch', type=int, default=8, help='most images that go through the model together')
  add('--wait_ms', type=float, default=5.0, help='how long the first image of a batch waits')
  add('--max_waiting', type=int, default=64, help='images that may wait; then it is busy (503)')
  add('--max_images', type=int, default=16, help='of a request')
  add('--max_bytes', type=int, default=32_000_000, help='of a request')
  add('--max_pixels', type=int, default=20_000_000, help='of an image')
  padded = 'all of one size, the largest height x the largest width'
  add('--max_request_pixels', type=int, default=40_000_000, help=f'of a request, {padded}')
  add('--max_batch_pixels', type=int, default=20_000_000, help=f'of a batch of several, {padded}')
  flags = parser.parse_args(arguments)
  if flags.max_images > flags.max_waiting:
    parser.error('--max_images must not be above --max_waiting')
  if flags.max_pixels > flags.max_request_pixels:
    parser.error('--max_pixels must not be above --max_request_pixels')
  return flags


def main(arguments: Sequence[str] | None = None) -> None:
  """Serves until it is stopped."""
  flags = parse_arguments(arguments)
  service = Service(flags, batching.Model(flags.model))
  server = start_grpc(service) if flags.grpc_port else None
  try:
    uvicorn.run(rest(service), host=flags.host, port=flags.port, log_level='warning')
  finally:
    if server:
      server.stop(grace=5).wait()


if __name__ == '__main__':
  main()

"""Asks a server for predictions from several clients at once, and says how long answers take.

python examples/serving/load_test.py --image=photo.jpg --clients=8 --requests=200
"""

import argparse
import base64
import concurrent.futures
import http.client
import json
import pathlib
import time
from collections.abc import Sequence


def _client(flags: argparse.Namespace, body: bytes, number: int) -> list[tuple[int, float]]:
  """Status and seconds of each request of a client."""
  found = []
  connection = http.client.HTTPConnection(flags.host, flags.port, timeout=60)
  for _ in range(number):
    begin = time.perf_counter()
    connection.request('POST', f'/v1/models/{flags.name}:predict', body)
    answer = connection.getresponse()
    answer.read()
    found.append((answer.status, time.perf_counter() - begin))
  connection.close()
  return found


def main(arguments: Sequence[str] | None = None) -> None:
  """Prints a line of figures."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  parser.add_argument('--image', required=True, help='JPEG or PNG file')
  parser.add_argument('--host', default='127.0.0.1')
  parser.add_argument('--port', type=int, default=8501)
  parser.add_argument('--name', default='selftrain')
  parser.add_argument('--clients', type=int, default=8)
  parser.add_argument('--requests', type=int, default=200, help='of all clients together')
  flags = parser.parse_args(arguments)
  image = base64.b64encode(pathlib.Path(flags.image).read_bytes()).decode()
  body = json.dumps({'instances': [{'b64': image}]}).encode()
  begin = time.perf_counter()
  with concurrent.futures.ThreadPoolExecutor(flags.clients) as pool:
    share = max(flags.requests // flags.clients, 1)
    made = [pool.submit(_client, flags, body, share) for _ in range(flags.clients)]
    found = [each for future in made for each in future.result()]
  seconds = time.perf_counter() - begin
  times = sorted(taken for status, taken in found if status == 200)
  if not times:
    raise SystemExit(f'error: no request was answered: {sorted({s for s, _ in found})}')
  shown = ', '.join(
    f'{share:.0%} within {times[min(int(share * len(times)), len(times) - 1)] * 1000:.0f} ms'
    for share in (0.5, 0.95, 0.99)
  )
  print(
    f'{flags.clients} clients: {len(times)} of {len(found)} requests answered, {len(times) / seconds:.1f} a second; '
    f'{shown}'
  )


if __name__ == '__main__':
  main()

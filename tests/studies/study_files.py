"""A small study file with any changes."""

import pathlib
import tempfile

import yaml

from official_selftrain.studies import definition


def minimal(**changes):
  value = {
    'title': 'A study',
    'experiment': 'retinanet_selftrain',
    'seeds': [3, 5],
    'axes': {
      'cut': {'low': {}, 'high': {'task.pseudo_data.cut': 0.8}},
      'init': {'random': None, 'simclr': {'init': 'simclr', 'task': {'losses': {'weight': 2}}}},
    },
  }
  value |= changes
  return {key: each for key, each in value.items() if each is not None}


def load(**changes):
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'study.yaml'
    path.write_text(yaml.safe_dump(minimal(**changes), sort_keys=False), encoding='utf-8')
    return definition.load(str(path))

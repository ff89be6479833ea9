"""What our configs rely on: the Model Garden's Config lives with Literal annotations."""

import dataclasses
import pathlib
import tempfile
import unittest
from typing import Literal

import yaml
from official.modeling import hyperparams


@dataclasses.dataclass
class Choices(hyperparams.Config):
  """Fields of a few allowed values."""

  start: Literal['teacher', 'checkpoint', 'random'] = 'teacher'
  level: Literal[1, 2] | None = None


class LiteralInModelGardenConfigsTest(unittest.TestCase):
  def test_build_override_replace_and_export(self):
    config = Choices(start='random', level=1)
    self.assertEqual((config.start, config.level), ('random', 1))
    config.override({'start': 'checkpoint', 'level': None}, is_strict=True)
    self.assertEqual((config.as_dict()['start'], config.as_dict()['level']), ('checkpoint', None))
    self.assertEqual(config.replace(start='teacher').start, 'teacher')

  def test_saved_and_read_back(self):
    config = Choices(start='random', level=2)
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / 'params.yaml'
      hyperparams.save_params_dict_to_yaml(config, str(path))
      content = yaml.load(path.read_text(encoding='utf-8'), Loader=yaml.FullLoader)
    self.assertEqual((content['start'], content['level']), ('random', 2))

  def test_list_of_literal_is_beyond_it(self):
    @dataclasses.dataclass
    class Broken(hyperparams.Config):
      names: list[Literal['a', 'b']] = dataclasses.field(default_factory=list)

    # Should this ever work, configs may use it.
    with self.assertRaisesRegex(TypeError, 'issubclass'):
      Broken()


if __name__ == '__main__':
  unittest.main()

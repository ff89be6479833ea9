"""Tests for strict overrides and for loading experiments."""

import dataclasses
import pathlib
import tempfile
import unittest
from unittest import mock

from absl import logging
from official.core import config_definitions as cfg
from official.core import exp_factory
from official.modeling import hyperparams
from official.vision.configs import common, retinanet

from official_selftrain.core import config, errors

_RETINANET = 'retinanet_resnetfpn_coco'
_LOSSES = (
  'box_loss_weight, focal_loss_alpha, focal_loss_gamma, huber_loss_delta, l2_weight_decay, '
  'loss_weight'
)


@dataclasses.dataclass
class _Checked(cfg.ExperimentConfig):
  """An experiment with a rule of its own."""

  experiment: str = ''
  seed: int = 0

  def check(self):
    if self.seed < 0:
      raise errors.ConfigError(f'seed is {self.seed}; allowed are values from 0.')


def _registry(**factories):
  """Replaces the registered experiments."""
  return mock.patch.dict(exp_factory._REGISTERED_CONFIGS, factories, clear=True)


def _error(*args):
  try:
    config.load_experiment(*args)
  except errors.ConfigError as error:
    return str(error)
  raise AssertionError('no ConfigError')


class ApplyOverridesTest(unittest.TestCase):
  def setUp(self):
    super().setUp()
    self.params = exp_factory.get_exp_config(_RETINANET)

  def test_values_arrive_with_the_annotated_types(self):
    config.apply_overrides(
      self.params,
      {
        'task': {
          'losses': {'loss_weight': 2, 'l2_weight_decay': '1e-4'},
          'init_checkpoint_modules': ['backbone', 'decoder'],
          'train_data': {'parser': {'aug_type': {'type': 'randaug', 'randaug': {'magnitude': 5}}}},
          'model': {'head': {'attribute_heads': [{'name': 'depth', 'size': 2}]}},
        },
        'trainer': {'optimizer_config': {'ema': {'average_decay': 0.99}}},
      },
      'my.yaml',
    )
    task = self.params.task
    self.assertEqual((task.losses.loss_weight, task.losses.l2_weight_decay), (2.0, 1e-4))
    self.assertIsInstance(task.losses.loss_weight, float)
    self.assertEqual(task.init_checkpoint_modules, ['backbone', 'decoder'])
    self.assertIsInstance(task.train_data.parser.aug_type, common.Augmentation)
    self.assertEqual(task.train_data.parser.aug_type.randaug.magnitude, 5.0)
    self.assertEqual(
      task.model.head.attribute_heads, [retinanet.AttributeHead(name='depth', size=2)]
    )
    self.assertEqual(self.params.trainer.optimizer_config.ema.average_decay, 0.99)

  def test_named_paths_replace_a_path(self):
    config.apply_overrides(
      self.params,
      {'task': {'train_data': {'input_path': {'a': 'x*', 'b': 'y*'}, 'weights': {'a': 1, 'b': 3}}}},
      'my.yaml',
    )
    data = self.params.task.train_data
    self.assertEqual(data.input_path.as_dict(), {'a': 'x*', 'b': 'y*'})
    self.assertEqual(data.weights.as_dict(), {'a': 1, 'b': 3})

  def test_unknown_name(self):
    with self.assertRaises(errors.ConfigError) as caught:
      config.apply_overrides(self.params, {'task': {'losses': {'loss_weigth': 0.5}}}, 'my.yaml')
    self.assertEqual(
      str(caught.exception),
      "my.yaml: task.losses.loss_weigth = 0.5 (float): unknown name, did you mean 'loss_weight'? "
      f'Allowed in task.losses: {_LOSSES}.',
    )

  def test_all_problems_are_reported_and_nothing_is_changed(self):
    before = self.params.as_dict()
    overrides = config.parse_override(
      'task.losses.loss_weight=2.0,task.losses.focal_loss_gamma=abc,trainer.train_steps=1e3,'
      'task.model.input_size=[640,a,3],runtime.distribution_strategy=off,'
      'task.model.backbone.type=resnett,foo.bar=1'
    )
    with self.assertRaises(errors.ConfigError) as caught:
      config.apply_overrides(self.params, overrides, '--params_override')
    flag = '--params_override: '
    self.assertEqual(
      str(caught.exception).split('\n'),
      [
        flag + "task.losses.focal_loss_gamma = 'abc' (str): must be float.",
        flag + "task.model.input_size[1] = 'a' (str): must be int.",
        flag + "task.model.backbone.type = 'resnett' (str): must be one of dilated_resnet, "
        'efficientnet, mobiledet, mobilenet, resnet, revnet, spinenet, spinenet_mobile, vit or '
        "null; did you mean 'resnet'?",
        flag + 'trainer.train_steps = 1000.0 (float): must be int; write 1000.',
        flag + 'runtime.distribution_strategy = False (bool): must be str; YAML reads unquoted '
        'yes, no, on, off, true and false as bool, so quote it.',
        flag + "foo = {'bar': 1} (mapping): unknown name. Allowed at the top level: runtime, task, "
        'trainer.',
      ],
    )
    self.assertEqual(self.params.as_dict(), before)

  def test_every_experiment_accepts_its_own_values(self):
    names = list(exp_factory._REGISTERED_CONFIGS)
    self.assertIn(_RETINANET, names)
    for name in names:
      with self.subTest(name=name):
        params = exp_factory.get_exp_config(name)
        before = config.flatten(params)
        config.apply_overrides(params, params.as_dict(), name)
        self.assertEqual(config.flatten(params), before)

  def test_locked_config_is_not_changed(self):
    self.params.lock()
    with self.assertRaisesRegex(ValueError, 'locked'):
      config.apply_overrides(self.params, {'trainer': {'train_steps': 1}}, 'my.yaml')


class LoadExperimentTest(unittest.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def _file(self, name, text):
    path = self.folder / name
    path.write_text(text, encoding='utf-8')
    return str(path)

  def test_later_sources_win_and_the_result_is_locked(self):
    first = self._file('a.yaml', 'trainer: {train_steps: 1, max_to_keep: 1, summary_interval: 1}')
    second = self._file('b.yaml', 'trainer: {train_steps: 2, max_to_keep: 2}')
    params = config.load_experiment(_RETINANET, [first, second], 'trainer.train_steps=3')
    trainer = params.trainer
    self.assertEqual(
      (trainer.train_steps, trainer.max_to_keep, trainer.summary_interval), (3, 2, 1)
    )
    self.assertIsInstance(params.task, retinanet.RetinaNetTask)
    with self.assertRaisesRegex(ValueError, 'locked'):
      params.override({'trainer': {'train_steps': 4}})

  def test_saved_params_reproduce_the_experiment(self):
    params = config.load_experiment(
      _RETINANET, params_override='trainer.train_steps=7,task.losses.loss_weight=1e-3'
    )
    path = str(self.folder / 'params.yaml')
    hyperparams.save_params_dict_to_yaml(params, path)
    again = config.load_experiment(_RETINANET, [path])
    self.assertEqual(config.flatten(again), config.flatten(params))

  def test_files_build_on_others(self):
    self._file('base.yaml', 'trainer: {train_steps: 1, max_to_keep: 7}')
    path = self._file('own.yaml', 'base: base.yaml\ntrainer: {train_steps: 2}')
    params = config.load_experiment(_RETINANET, [path])
    self.assertEqual((params.trainer.train_steps, params.trainer.max_to_keep), (2, 7))
    saved = str(self.folder / 'params.yaml')
    hyperparams.save_params_dict_to_yaml(params, saved)
    self.assertNotIn('base:', pathlib.Path(saved).read_text(encoding='utf-8').split())
    again = config.load_experiment(_RETINANET, [saved])
    self.assertEqual(config.flatten(again), config.flatten(params))

  def test_a_base_that_two_files_share_is_applied_once(self):
    self._file('common.yaml', 'seed: 5\nexperiment: checked')
    first = self._file('x.yaml', 'base: common.yaml\nseed: 7')
    second = self._file('y.yaml', 'base: common.yaml')
    with _registry(checked=_Checked):
      self.assertEqual(config.load_experiment('checked', [first, second]).seed, 7)
      self.assertEqual(config.load_experiment('checked', [second, first]).seed, 7)
      self.assertEqual(config.load_experiment('checked', [second]).seed, 5)

  def test_problems_name_the_file_that_has_them(self):
    base = self._file('base.yaml', 'trainer: {train_steps: many}')
    path = self._file('own.yaml', 'base: base.yaml\ntrainer: {train_steps: 2}')
    self.assertEqual(
      _error(_RETINANET, [path]), f"{base}: trainer.train_steps = 'many' (str): must be int."
    )
    self.assertRegex(
      _error(_RETINANET, [], 'base=own.yaml'),
      r"^--params_override: base = 'own\.yaml' .*unknown name",
    )

  def test_files_may_name_the_experiment(self):
    base = self._file('base.yaml', 'experiment: checked\nseed: 4')
    path = self._file('own.yaml', 'base: base.yaml')
    with _registry(checked=_Checked):
      self.assertEqual(config.load_experiment('', [path]).seed, 4)
      self.assertEqual(config.load_experiment('checked', [path]).seed, 4)
      self.assertEqual(
        _error(_RETINANET, [path]),
        f"--experiment={_RETINANET}, but {base} is for 'checked': take that, or another file.",
      )
    # A file wins over those that it builds on, and over those before it.
    other = self._file('other.yaml', 'experiment: other\nbase: base.yaml')
    self.assertEqual(config.experiment_name('', [path, other]), 'other')
    self.assertEqual(config.experiment_name('other', [path, other]), 'other')
    self.assertEqual(config.experiment_name('mine', [self._file('none.yaml', 'seed: 1')]), 'mine')
    with self.assertRaisesRegex(errors.ConfigError, '^--experiment is not given, and no'):
      config.experiment_name('', [])

  def test_problems_name_the_file(self):
    path = self._file('bad.yaml', 'trainer: {train_steps: many}')
    self.assertEqual(
      _error(_RETINANET, [path]), f"{path}: trainer.train_steps = 'many' (str): must be int."
    )

  def test_unknown_experiment_lists_ours_first(self):
    def ours():
      return cfg.ExperimentConfig()

    ours.__module__ = 'official_selftrain.configs.detection'
    with _registry(
      retinanet_selftrain=ours, retinanet=cfg.ExperimentConfig, deep={'b': cfg.ExperimentConfig}
    ):
      self.assertEqual(
        _error('retinanet_selftrian'),
        "--experiment: 'retinanet_selftrian' is not registered; did you mean "
        "'retinanet_selftrain'? Ours: retinanet_selftrain. Of the Model Garden: deep/b, retinanet.",
      )
      self.assertEqual(
        _error(''),
        '--experiment is not given, and no --config_file has the key experiment. Ours: retinanet_selftrain.',
      )
      for name in ('deep', 'retinanet/x'):
        with self.subTest(name=name):
          self.assertEqual(_error(name).split(';')[0], f'--experiment: {name!r} is not registered')
      self.assertIsInstance(config.load_experiment('deep/b'), cfg.ExperimentConfig)

  def test_check_of_the_config_is_called_after_the_overrides(self):
    with _registry(checked=_Checked):
      self.assertEqual(config.load_experiment('checked', params_override='seed=5').seed, 5)
      self.assertEqual(_error('checked', [], 'seed=-1'), 'seed is -1; allowed are values from 0.')

  def test_restrictions_are_config_errors(self):
    with _registry(x=lambda: cfg.ExperimentConfig(restrictions=['trainer.train_steps != 0'])):
      self.assertEqual(
        config.load_experiment('x', (), 'trainer.train_steps=1').trainer.train_steps, 1
      )
      self.assertRegex(
        _error('x'), r'^--experiment=x: Found inconsistency between key `trainer\.train_steps `'
      )

  def test_settings_without_effect_are_logged(self):
    path = self._file('a.yaml', 'task: {model: {backbone: {spinenet: {model_id: "96"}}}}')
    with self.assertLogs('absl', logging.WARNING) as logs:
      config.load_experiment(
        _RETINANET, [path], 'trainer.optimizer_config.optimizer.adam.beta_1=.5'
      )
    self.assertEqual(
      [record.getMessage() for record in logs.records],
      [
        f'{path}: task.model.backbone.spinenet has no effect, because task.model.backbone.type is '
        'resnet',
        '--params_override: trainer.optimizer_config.optimizer.adam has no effect, because '
        'trainer.optimizer_config.optimizer.type is sgd',
      ],
    )

  def test_a_branch_that_a_later_source_selects_is_silent(self):
    path = self._file('a.yaml', 'task: {model: {backbone: {spinenet: {model_id: "96"}}}}')
    with self.assertNoLogs('absl', logging.WARNING):
      params = config.load_experiment(_RETINANET, [path], 'task.model.backbone.type=spinenet')
    self.assertEqual(params.task.model.backbone.get().model_id, '96')


class FlattenTest(unittest.TestCase):
  def test_names_and_plain_values(self):
    params = hyperparams.Config(
      {
        'a': {'b': 1, 'c': {'d': None}},
        'e': (1, 2),
        'f': [{'g': 'x'}, {'g': 'y'}],
        'h': [],
        'i': {},
      }
    )
    self.assertEqual(
      config.flatten(params),
      {'a.b': 1, 'a.c.d': None, 'e': [1, 2], 'f.0.g': 'x', 'f.1.g': 'y', 'h': [], 'i': {}},
    )

  def test_real_experiment_shows_selected_branches_only(self):
    flat = config.flatten(exp_factory.get_exp_config(_RETINANET))
    self.assertEqual(flat['task.model.input_size'], [640, 640, 3])
    self.assertEqual(flat['task.model.backbone.resnet.model_id'], 50)
    self.assertEqual(flat['task.losses.l2_weight_decay'], 1e-4)
    self.assertFalse([name for name in flat if '.spinenet.' in name])

  def test_class_defaults_are_those_of_nobody(self):
    params = exp_factory.get_exp_config(_RETINANET)
    params.task.model.num_classes = 7
    found, flat = config.class_defaults(params), config.flatten(params)
    self.assertEqual(found['task.model.num_classes'], type(params.task.model)().num_classes)
    # The experiment's own choice is none either.
    self.assertEqual(flat['task.losses.l2_weight_decay'], 1e-4)
    self.assertEqual(found['task.losses.l2_weight_decay'], 0.0)
    self.assertEqual(set(found) - set(flat), set())

  def test_a_part_that_is_null_by_default_has_no_defaults(self):
    # Switching it on is a change, even with all of its own defaults.
    params = exp_factory.get_exp_config(_RETINANET)
    params.trainer.optimizer_config.ema = {'average_decay': 0.99}
    self.assertIn('trainer.optimizer_config.ema.average_decay', config.flatten(params))
    found = config.class_defaults(params)
    self.assertEqual([name for name in found if '.ema.' in name], [])


if __name__ == '__main__':
  unittest.main()

"""keras-cv's layers as settings: the table beside keras-cv, the texts, and every refusal."""

import inspect
import pathlib

import keras_cv
from absl.testing import absltest, parameterized

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.augment import ops
from official_selftrain.configs import augmentation
from official_selftrain.configs import keras_cv_layers as layers
from official_selftrain.core import config, errors

_BASES = ('BaseImageAugmentationLayer', 'VectorizedBaseImageAugmentationLayer')


class TableTest(parameterized.TestCase):
  def test_every_layer_of_keras_cv_is_known(self):
    bases = tuple(getattr(keras_cv.layers, name, object) for name in _BASES)
    bases = tuple(base for base in bases if base is not object)
    bases += (keras_cv.layers.RandomApply.__mro__[1],)
    found = {
      name
      for name, kind in vars(keras_cv.layers).items()
      if inspect.isclass(kind) and issubclass(kind, bases)
    }
    self.assertEqual(found - set(_BASES), {*layers.LAYERS, *layers.REFUSED})

  @parameterized.parameters(*layers.LAYERS)
  def test_arguments_are_keras_cvs(self, name):
    known = inspect.signature(getattr(keras_cv.layers, name)).parameters
    theirs = set(known) - {'kwargs', *layers.OWN_ARGUMENTS}
    self.assertEqual(set(layers.LAYERS[name].arguments), theirs)

  @parameterized.parameters(*layers.SAMPLERS)
  def test_arguments_of_distributions_are_keras_cvs(self, name):
    known = inspect.signature(getattr(keras_cv.core, name)).parameters
    self.assertEqual(set(layers.SAMPLERS[name]), set(known) - {'seed'})

  def test_the_manual_has_the_same_labels(self):
    manual = pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'augmentation.md'
    _, _, table = manual.read_text().partition(
      '| layers | one image | boxes | masks |\n|---|---|---|---|\n'
    )
    found = {}
    for line in table.partition('\n\n')[0].splitlines():
      names, *cells = (cell.strip() for cell in line.strip('|').split('|'))
      found.update(dict.fromkeys(names.split(', '), cells))
    self.assertEqual(set(found), {*layers.LAYERS, *layers.REFUSED})
    for name, layer in layers.LAYERS.items():
      if not name.startswith(('RandomApply', 'RandomAugm', 'RandomChoice')):
        says = [layer.num_images == 1, 'boxes' in layer.labels, 'masks' in layer.labels]
        self.assertEqual(found[name], ['yes' if each else 'no' for each in says], name)

  def test_ops_are_ours(self):
    named = {op for layer in layers.LAYERS.values() for op in layer.ops}
    self.assertEmpty(named - {*ops.NAMES, ops.FLIP})


class ParseTest(parameterized.TestCase):
  def test_arguments(self):
    call = layers.parse(
      "JitteredResize(target_size=[64, 72], scale_factor=(0.5, -1), interpolation='area')", ''
    )
    self.assertEqual(call.name, 'JitteredResize')
    self.assertEqual(
      call.arguments,
      {'target_size': (64, 72), 'scale_factor': (0.5, -1), 'interpolation': 'area'},
    )

  @parameterized.parameters(
    'AutoContrast', ' AutoContrast() ', 'keras_cv.layers.AutoContrast(value_range=(0, 255))'
  )
  def test_as_keras_cv_users_write_it(self, text):
    self.assertEqual(layers.parse(text, ''), layers.Call('AutoContrast'))

  def test_layers_and_distributions_in_layers(self):
    call = layers.parse(
      'RandomChoice(layers=[RandomApply(layer=RandomHue(factor=keras_cv.core.UniformFactorSampler(lower=0, upper=1))), '
      'AutoContrast()])',
      '',
    )
    apply, contrast = call.held()
    self.assertEqual((apply.name, contrast.name), ('RandomApply', 'AutoContrast'))
    (hue,) = apply.held()
    self.assertEqual(hue.arguments['factor'].arguments, {'lower': 0, 'upper': 1})

  @parameterized.parameters(
    ('RandomFlip(', r"^where\[0\]: expected a layer such as .*, got 'RandomFlip\('"),
    ('1', 'expected a layer such as'),
    ('', 'expected a layer such as'),
    (
      'RandomFlp()',
      r"no layer 'RandomFlp' for images; did you mean RandomFlip\? There are AugMix,",
    ),
    ('Dense(units=3)', "no layer 'Dense' for images"),
    ('RandomFlip(0.5)', 'RandomFlip: write arguments by name'),
    ('RandomFlip(speed=1)', "RandomFlip has no argument 'speed'; it has mode, rate"),
    ('AutoContrast(factor=1)', "AutoContrast has no argument 'factor'; it has none"),
    ('RandomFlip(seed=1)', 'seed is not for you to set: draws follow from the seed'),
    ('AutoContrast(value_range=(0, 1))', r'value_range is not for you to set: it is \(0, 255\)'),
    ("RandomFlip(bounding_box_format='xyxy')", 'bounding_box_format is not for you to set'),
    ('RandomFlip(rate=x)', r'RandomFlip\(rate=...\): expected a number, text'),
    ('RandomFlip(rate=open("x"))', "no layer 'open'"),
    ('RandomFlip(**{})', r'RandomFlip\(\*\*=...\): expected a number'),
    ('UniformFactorSampler(lower=0, upper=1)', 'UniformFactorSampler is no layer'),
    ('RandomApply(rate=0.5)', 'RandomApply needs the argument layer'),
    ('RandomApply(layer=[AutoContrast()])', 'RandomApply: layer must be a layer'),
    ('RandomChoice(layers=[])', 'RandomChoice: layers must be layers in brackets'),
    ('RandomChoice(layers=[1])', 'RandomChoice: layers must be layers in brackets'),
    ('RandomFlip(rate=AutoContrast())', 'RandomFlip: rate takes no layer'),
    ('RandomChoice(layers=[MixUp()])', 'MixUp mixes images; it must be a layer of its own'),
    ('Rescaling(scale=0.1)', 'Rescaling cannot be used here: images are normalised after'),
    ('FourierMix()', 'FourierMix cannot be used here'),
    ('RepeatedAugmentation()', 'RepeatedAugmentation cannot be used here'),
  )
  def test_refused(self, text, message):
    with self.assertRaisesRegex(errors.ConfigError, message):
      layers.parse(text, 'where[0]')


class ExcludedTest(absltest.TestCase):
  def test_a_layer_that_does_what_an_op_does(self):
    calls = [layers.parse('RandomApply(layer=RandomRotation(factor=0.1))', '')]
    with self.assertRaisesRegex(errors.ConfigError, '^x: RandomRotation does what Rotate_BBox'):
      layers.check_excluded(calls, ['Flip', 'Rotate_BBox'], 'x')
    layers.check_excluded(calls, ['Flip'], 'x')

  def test_of_rand_augment_only_those_that_it_has(self):
    with self.assertRaisesRegex(errors.ConfigError, 'RandAugment does what ShearX_BBox does'):
      layers.check_excluded([layers.parse('RandAugment()', '')], ['ShearX_BBox'], 'x')
    flat = layers.parse('RandAugment(geometric=False)', '')
    layers.check_excluded([flat], ['ShearX_BBox', 'Rotate_BBox'], 'x')


class PresetTest(parameterized.TestCase):
  @parameterized.parameters('keras_cv_S1', 'keras_cv_S2', 'keras_cv_S3', 'keras_cv_S4')
  def test_every_kind_of_label(self, policy):
    settings = augmentation.Augmentation()
    settings.override({'policy': policy})
    settings.check('x')
    settings.check_labels(('boxes', 'masks'), 'x')
    calls = settings.keras_cv_calls('x')
    self.assertEqual(calls[-1].name, 'JitteredResize')
    jitter = augmentation.JITTER[policy.removeprefix('keras_cv_')]
    self.assertEqual(calls[-1].arguments['scale_factor'], jitter)
    self.assertIn('RandomFlip', [call.name for call in calls])

  def test_flip_and_jitter_are_settings(self):
    settings = augmentation.Augmentation()
    settings.override({'policy': 'keras_cv_S4', 'scale_min': 0.7, 'flip_probability': 0.25})
    _, flip, _, jitter = settings.keras_cv_calls('x')
    self.assertEqual(flip.arguments['rate'], 0.25)
    self.assertEqual(jitter.arguments['scale_factor'], (0.7, 2.0))
    settings.override({'exclude_ops': ['Flip']})
    self.assertNotIn('RandomFlip', [call.name for call in settings.keras_cv_calls('x')])


class ExperimentTest(parameterized.TestCase):
  @parameterized.parameters(
    ('retinanet_supervised', 'RandomShear(x_factor=0.3)'),
    ('segmentation_supervised', 'RandomZoom(height_factor=0.2)'),
    ('simclr_pretrain', 'AugMix(severity=0.3)'),
  )
  def test_on_the_command_line(self, experiment, layer):
    stream = 'task.train_data.augmentation'
    override = f"{stream}.policy=keras_cv,{stream}.keras_cv.layers=['AutoContrast()','{layer}']"
    params = config.load_experiment(experiment, [], override)
    self.assertEqual(params.task.train_data.augmentation.keras_cv.layers[1], layer)

  @parameterized.parameters(
    ('retinanet_supervised', 'AugMix()', "keras-cv's AugMix cannot move boxes"),
    ('segmentation_supervised', 'MixUp()', "keras-cv's MixUp cannot move masks"),
    ('simclr_pretrain', 'MixUp()', 'views are of one image; nothing may mix images'),
    ('retinanet_supervised', 'RandomFlp()', 'did you mean RandomFlip'),
  )
  def test_refused(self, experiment, layer, message):
    stream = 'task.train_data.augmentation'
    override = f"{stream}.policy=keras_cv,{stream}.keras_cv.layers=['{layer}']"
    with self.assertRaisesRegex(errors.ConfigError, f'task.train_data.augmentation.*{message}'):
      config.load_experiment(experiment, [], override)

  @parameterized.parameters(
    ('policy=keras_cv', 'keras_cv.layers is empty'),
    ('policy=keras_cv_S1,task.train_data.augmentation.faithful=true', 'faithful is True'),
    ('policy=keras_cv_S1,task.train_data.augmentation.min_visible=0.5', 'min_visible is 0.5'),
    ('policy=keras_cv_S1,task.train_data.augmentation.scale_min=5.0', 'scale_min is 5.0'),
  )
  def test_settings_that_do_not_fit(self, override, message):
    with self.assertRaisesRegex(errors.ConfigError, message):
      config.load_experiment('retinanet_supervised', [], f'task.train_data.augmentation.{override}')


if __name__ == '__main__':
  absltest.main()

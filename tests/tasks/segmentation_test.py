"""Segmentation task: loss per source over pixels that count, replicas, evaluation step, labelling functions."""

import io
import itertools

import numpy as np
import tensorflow as tf
from official.vision.tasks import semantic_segmentation
from PIL import Image

from official_selftrain.configs import segmentation as configs
from official_selftrain.core import keys
from official_selftrain.pseudo_labels import segmentation as label_formats
from official_selftrain.tasks import accumulation, run_state, segmentation
from tests.testing import replicas

IGNORE = keys.IGNORE_LABEL
CLASSES = 4
SIZE = 32


def setUpModule():
  replicas.make_devices()


class TinyModel(tf.keras.Model):
  """One convolution to a quarter of the size, and weight decay."""

  def __init__(self):
    super().__init__()
    decay = tf.keras.regularizers.l2(1e-2)
    self.classes = tf.keras.layers.Conv2D(
      CLASSES, 4, strides=4, padding='same', kernel_regularizer=decay
    )

  def call(self, images, training=None):
    return {'logits': self.classes(images)}


class TinyTask(segmentation.SegmentationSelfTrainingTask):
  """The real task around `TinyModel`."""

  def build_model(self):
    segmentation.modeling.build, original = lambda *_: TinyModel(), segmentation.modeling.build
    try:
      tf.keras.utils.set_random_seed(1)
      model = super().build_model()
    finally:
      segmentation.modeling.build = original
    model(tf.zeros([1, SIZE, SIZE, 3]))
    return model


def _task(**self_training):
  config = configs.SegmentationSelfTrainingTask(model=configs.small_nasfpn(CLASSES, SIZE))
  config.override({'self_training': self_training})
  return TinyTask(config)


def _batch(seed, size, ignored=0.3):
  rng = np.random.default_rng(seed)
  mask = rng.integers(0, CLASSES, [size, SIZE, SIZE, 1])
  mask[rng.uniform(size=mask.shape) < ignored] = IGNORE
  images = rng.normal(size=[size, SIZE, SIZE, 3]).astype(np.float32)
  return tf.constant(images), {'masks': tf.constant(mask, tf.uint8)}


def _whole(size):
  """`image_info` of images that fill the frame."""
  return tf.constant([[[SIZE, SIZE], [SIZE, SIZE], [1, 1], [0, 0]]] * size, tf.float32)


def _numpy_loss(model, images, labels):
  """Cross entropy of each pixel that counts, averaged (NumPy)."""
  logits = tf.image.resize(model(images)['logits'], [SIZE, SIZE]).numpy().astype(np.float64)
  logits -= logits.max(-1, keepdims=True)
  log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  mask = labels['masks'].numpy()[..., 0]
  counted = mask != IGNORE
  chosen = np.take_along_axis(log_p, np.where(counted, mask, 0)[..., None].astype(int), -1)[..., 0]
  return -(chosen * counted).sum() / counted.sum()


class LossTest(tf.test.TestCase):
  def test_each_source_has_the_mean_over_its_own_pixels(self):
    task = _task(alpha=0.5)
    model = task.build_model()
    inputs = {keys.HUMAN: _batch(1, 2, ignored=0.1), keys.PSEUDO: _batch(2, 3, ignored=0.9)}
    optimizer = tf.keras.optimizers.legacy.SGD(0.0)
    logs = task.train_step(inputs, model, optimizer, task.build_metrics(training=True))
    human, pseudo = (_numpy_loss(model, *inputs[source]) for source in keys.SOURCES)
    self.assertAllClose(logs['human_loss'], human, rtol=1e-4)
    self.assertAllClose(logs['pseudo_loss'], pseudo, rtol=1e-4)
    decay = 1e-2 * float(tf.reduce_sum(model.classes.kernel**2))
    # At the first step the ratio of the averages is that of the losses.
    expected = (human + 0.5 * human / pseudo * pseudo) / 1.5 + decay
    self.assertAllClose(logs['loss'], expected, rtol=1e-3)
    self.assertAllClose(logs['human_labelled_share'], 0.9, atol=0.02)
    self.assertAllClose(logs['pseudo_labelled_share'], 0.1, atol=0.02)
    self.assertAllClose(logs['human_object_share'], 0.9 * 3 / 4, atol=0.03)

  def test_pseudo_labels_teach_nothing_of_spared_classes(self):
    task = _task(alpha=0.5)
    model = task.build_model()
    inputs = {keys.HUMAN: _batch(1, 2, ignored=0.1), keys.PSEUDO: _batch(2, 3, ignored=0.5)}
    optimizer = tf.keras.optimizers.legacy.SGD(0.0)
    task.task_config.pseudo_data.spared_classes = [2]
    logs = task.train_step(inputs, model, optimizer, task.build_metrics(training=True))
    self.assertAllClose(logs['human_loss'], _numpy_loss(model, *inputs[keys.HUMAN]), rtol=1e-4)
    # Pixels of the class do not count, and the others choose among three classes.
    images, labels = inputs[keys.PSEUDO]
    mask = labels['masks'].numpy()
    mask = np.where(mask == 2, IGNORE, np.where(mask == 3, 2, mask))

    def three_classes(images):
      return {'logits': tf.gather(model(images)['logits'], [0, 1, 3], axis=-1)}

    expected = _numpy_loss(three_classes, images, {'masks': tf.constant(mask)})
    self.assertAllClose(logs['pseudo_loss'], expected, rtol=1e-4)
    # Parts of a batch are divided by what the whole batch counts.
    inputs[keys.HUMAN], inputs[keys.PSEUDO] = _batch(1, 2, ignored=0.1), _batch(2, 4, ignored=0.5)
    both = {}
    for parts in (1, 2):
      task.task_config.gradient_accumulation_steps = parts
      logs = task.train_step(inputs, model, optimizer, task.build_metrics(training=True))
      both[parts] = float(logs['pseudo_loss'])
    self.assertAllClose(both[2], both[1], rtol=1e-4)
    task.task_config.gradient_accumulation_steps = 1
    images, labels = inputs[keys.PSEUDO]
    task.task_config.pseudo_data.spared_classes = []
    logs = task.train_step(inputs, model, optimizer, task.build_metrics(training=True))
    self.assertAllClose(logs['pseudo_loss'], _numpy_loss(model, images, labels), rtol=1e-4)

  def test_the_factor_of_the_whole_loss_is_there_once(self):
    task, found = _task(alpha=0.5), {}
    features, labels = _batch(1, 2, ignored=0.1)
    outputs = task.build_model()(features)
    for weight in (1.0, 0.25, 0.0):
      task.task_config.losses.loss_weight = weight
      found[weight] = float(task.source_losses(outputs, labels)['model_loss'])
    self.assertAllClose(found[0.25], found[1.0], rtol=1e-6)
    self.assertGreater(found[1.0], 0.1)
    self.assertEqual(found[0.0], 0.0)

  def test_a_source_in_which_everything_is_ignored_has_loss_0(self):
    task = _task()
    model = task.build_model()
    before = [weight.numpy() for weight in model.trainable_weights]
    inputs = {keys.HUMAN: _batch(1, 2), keys.PSEUDO: _batch(2, 2, ignored=1.1)}
    optimizer = tf.keras.optimizers.legacy.SGD(0.1)
    logs = task.train_step(inputs, model, optimizer, task.build_metrics(training=True))
    self.assertEqual(float(logs['pseudo_loss']), 0.0)
    self.assertTrue(np.isfinite(float(logs['loss'])))
    self.assertEqual(int(model.first_non_finite.step), run_state.NEVER)
    for weight, old in zip(model.trainable_weights, before, strict=True):
      self.assertTrue(np.isfinite(weight.numpy()).all())
      self.assertNotAllClose(weight, old)

  def test_an_image_in_which_everything_is_ignored_changes_nothing(self):
    task = _task()
    model = task.build_model()
    images, labels = _batch(1, 2)
    nothing = tf.fill([1, SIZE, SIZE, 1], tf.constant(IGNORE, tf.uint8))
    more = tf.concat([images, _batch(5, 1)[0]], 0), tf.concat([labels['masks'], nothing], 0)
    alone = task.build_losses(labels, model(images))
    self.assertAllClose(task.build_losses({'masks': more[1]}, model(more[0])), alone, rtol=1e-5)

  def test_regularisation_is_not_averaged(self):
    task = _task()
    model = task.build_model()
    images, labels = _batch(1, 2)
    without = task.build_losses(labels, model(images))
    with_decay = task.build_losses(labels, model(images), [tf.constant(0.25), tf.constant(0.5)])
    self.assertAllClose(with_decay - without, 0.75, rtol=1e-5)

  def test_two_replicas_have_the_loss_of_the_whole_batch(self):
    task = _task()
    images, labels = _batch(3, 4)
    # Halves with very different numbers of pixels that count.
    masks = labels['masks'].numpy()
    masks[:2][np.random.default_rng(0).uniform(size=masks[:2].shape) < 0.9] = IGNORE
    strategy = replicas.two_replicas()
    with strategy.scope():
      model = task.build_model()

    @tf.function
    def losses(parts):
      return strategy.run(lambda x, m: task.build_losses({'masks': m}, model(x)), parts)

    parts = [
      strategy.experimental_distribute_values_from_function(
        lambda context, value=value: value[2 * context.replica_id_in_sync_group :][:2]
      )
      for value in (images, tf.constant(masks))
    ]
    mean = strategy.reduce('MEAN', losses(parts), axis=None)
    whole = task.build_losses({'masks': tf.constant(masks)}, model(images))
    self.assertAllClose(mean, whole, rtol=1e-5)

  def test_replicas_and_parts_are_weighted_by_what_they_are_divided_by(self):
    for share in (0.25, 0.75, 1.0):
      task = _task()
      task.task_config.losses.top_k_percent_pixels = share
      _, labels = _batch(1, 2, ignored=0.5)
      counted = (labels['masks'].numpy() != IGNORE).sum()
      expected = min(counted, int(share * 2 * SIZE * SIZE))
      self.assertEqual(float(task.label_count(labels)), expected)
      # A loss of 1 for each pixel, so that the mean is the share of what counts that is there.
      logits = tf.zeros([2, SIZE, SIZE, CLASSES])
      whole = tf.constant([4.0 * expected], tf.float32)
      loss = task.build_losses({**labels, accumulation.WHOLE_COUNT: whole}, {'logits': logits})
      self.assertAllClose(loss, np.log(CLASSES) / 4, rtol=1e-4)

  def test_masks_are_reduced_as_the_model_garden_reduces_them(self):
    task = _task()
    task.task_config.losses.use_groundtruth_dimension = False
    _, labels = _batch(1, 2, ignored=0.5)
    side = SIZE // 2**task.task_config.model.head.level
    found = task._as_seen(labels['masks'], task._logit_stride)
    expected = tf.image.resize(labels['masks'], (side, side), 'nearest')
    self.assertAllEqual(found, expected)
    self.assertEqual(float(task.label_count(labels)), (expected.numpy() != IGNORE).sum())
    head = task.task_config.model.head
    for fusion, low_level, factor, stride in (
      ('deeplabv3plus', '1/depthwise', 1, 2),
      ('pyramid_fusion', 1, 2, 2),
      ('pyramid_fusion', 1, 1, 4),
    ):
      head.feature_fusion, head.low_level, head.upsample_factor = fusion, low_level, factor
      self.assertEqual(task._logit_stride, stride)

  def test_a_batch_in_parts_makes_the_update_of_the_whole_batch(self):
    for family, enlarged in itertools.product(('model_garden', 'original'), (True, False)):
      expected = None
      for parts in (1, 2, 4):
        task = _task(alpha=0.5)
        task.task_config.model.family = family
        task.task_config.losses.use_groundtruth_dimension = enlarged
        task.task_config.gradient_accumulation_steps = parts
        model = task.build_model()
        inputs = {keys.HUMAN: _batch(1, 4, ignored=0.1), keys.PSEUDO: _batch(2, 4, ignored=0.7)}
        masks = inputs[keys.PSEUDO][1]['masks'].numpy()
        # A part may have nothing to show.
        masks[2:] = IGNORE
        masks[0, :, : SIZE // 2] = IGNORE
        inputs[keys.PSEUDO][1]['masks'] = tf.constant(masks)
        task.train_step(inputs, model, tf.keras.optimizers.legacy.SGD(0.5))
        found = [weight.numpy() for weight in model.weights]
        expected = expected or found
        self.assertAllClose(found, expected, rtol=1e-5, atol=1e-6)


class EvaluationTest(tf.test.TestCase):
  def test_a_step_feeds_the_evaluator_and_gives_the_loss(self):
    task = _task()
    model = task.build_model()
    metrics = task.build_metrics(training=False)
    self.assertEqual([metric.name for metric in metrics], ['mean_iou', 'mean_iou_resized'])
    images, labels = _batch(1, 2)
    full = {**labels, 'native_masks': labels['masks'], 'image_info': _whole(2)}
    logs = task.validation_step((images, full), model, metrics)
    decay = 1e-2 * float(tf.reduce_sum(model.classes.kernel**2))
    self.assertAllClose(logs[task.loss], _numpy_loss(model, images, labels) + decay, rtol=1e-4)
    result = task.reduce_aggregated_logs(task.aggregate_logs(None, logs))
    found = tf.argmax(tf.image.resize(model(images)['logits'], [SIZE, SIZE]), -1).numpy()
    mask = labels['masks'].numpy()[..., 0]
    right = (found == mask)[mask != IGNORE].mean()
    self.assertAllClose(result['pixel_accuracy'], right)
    confusion = np.array(task.evaluation_details()['confusion'])
    self.assertEqual(confusion.sum(), (mask != IGNORE).sum())
    named = sorted(name for name in result if '/' in name)
    self.assertEqual(named, ['iou/1', 'iou/2', 'iou/3', 'iou/background'])

  def test_the_model_gardens_evaluation_forgets_its_first_batch(self):
    stock = semantic_segmentation.SemanticSegmentationTask(_task().task_config)
    stock.build_metrics(training=False)
    _, labels = _batch(1, 2)
    labels |= {'valid_masks': labels['masks'] != IGNORE, 'image_info': _whole(2)}
    logits = tf.one_hot(tf.where(labels['valid_masks'], labels['masks'], 0)[..., 0], CLASSES)
    stock.iou_metric.update_state(labels, logits)
    self.assertGreater(float(tf.reduce_sum(stock.iou_metric.result())), CLASSES - 0.01)
    # The state is None after the first batch only, and then it is the batch that is thrown away.
    stock.aggregate_logs(None, {})
    self.assertEqual(float(tf.reduce_sum(stock.iou_metric.result())), 0.0)
    task = _task()
    task.build_metrics(training=False)
    full = {**labels, 'native_masks': labels['masks']}
    task.evaluator.update_state(full, logits)
    self.assertAllClose(task.reduce_aggregated_logs(task.aggregate_logs(None, {}))['mean_iou'], 1.0)


class LabellingFunctionsTest(tf.test.TestCase):
  def _predict(self, settings=None, size=(40, 20)):
    task = _task()
    model = task.build_model()
    image = np.random.default_rng(0).integers(0, 256, [*size, 3]).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, 'PNG')
    preprocess, predict = task.labelling_functions(model, settings)
    inputs = tf.nest.map_structure(lambda x: x[None], preprocess(tf.constant(buffer.getvalue())))
    outputs = task.label_format().postprocess(predict(inputs))
    return {name: value.numpy()[0] for name, value in outputs.items()}, inputs, model

  def test_masks_have_the_size_of_the_image(self):
    outputs, inputs, model = self._predict()
    classes = np.asarray(Image.open(io.BytesIO(outputs['classes'])))
    self.assertEqual(classes.shape, (40, 20))
    full = tf.image.resize(model(inputs['image'])['logits'], [SIZE, SIZE])
    probabilities = tf.nn.softmax(full)[0, :, :16]
    expected = tf.argmax(tf.image.resize(probabilities, [40, 20]), -1)
    self.assertAllEqual(classes, expected)

  def test_scales_and_flip_change_what_is_predicted(self):
    plain, *_ = self._predict()
    several, *_ = self._predict(configs.MaskLabelling(scales=[1.0, 2.0]))
    flipped, *_ = self._predict(configs.MaskLabelling(scales=[1.0], flip=True))
    names = [plain['confidences'], several['confidences'], flipped['confidences']]
    self.assertEqual(len(set(names)), 3)

  def test_size_of_the_settings(self):
    _, inputs, _ = self._predict(configs.MaskLabelling(scales=[1.0], output_size=[64, 96]))
    self.assertEqual(inputs['image'].shape, [1, 64, 96, 3])
    settings = configs.MaskLabelling(scales=[1.0], output_size=[64, 96], at_own_size=True)
    _, inputs, _ = self._predict(settings)
    self.assertAllEqual(inputs['image_info'][0, 2], [1, 1])

  def test_rows_can_be_stored(self):
    outputs, *_ = self._predict()
    features = label_formats.MaskFormat(CLASSES).encode(outputs)
    self.assertEqual(sum(features[keys.PIXEL_COUNTS].int64_list.value), 40 * 20)


if __name__ == '__main__':
  tf.test.main()

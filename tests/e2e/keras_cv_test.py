"""keras-cv's RetinaNet goes the whole way: training, evaluation, labelling, export."""

import os

import pytest
import tensorflow as tf
from official.core import task_factory

from official_selftrain.pipeline import labelling, run
from official_selftrain.serving import exports
from tests.testing import tiny_run

OVERRIDE = (
  'task.model.family=keras_cv,task.model.head.num_convs=1,'
  'task.model.keras_cv.arguments.stackwise_filters=[64,16,16,16]'
)


@pytest.mark.e2e
@pytest.mark.slow
class KerasCVTest(tf.test.TestCase):
  def test_from_training_to_export(self):
    params = tiny_run.load(tiny_run.SUPERVISED, OVERRIDE)
    folder = os.path.join(tiny_run.root(), 'keras_cv')
    run.run(params, 'train_and_eval', folder)

    task = task_factory.get_task(tiny_run.load(override=OVERRIDE).task)
    model = labelling.load_model(task, folder)
    files = tiny_run.data(tiny_run.SUPERVISED)
    record = next(iter(tf.data.TFRecordDataset(tf.io.gfile.glob(files.validation))))
    encoded = task.decoded_validation_example(record)['encoded']
    preprocess, predict = task.labelling_functions(model)
    inputs = tf.nest.map_structure(lambda value: value[None], preprocess(encoded))
    labels = predict(inputs)
    count = int(labels['num_detections'][0])
    self.assertEqual(count, 10)

    export = os.path.join(folder, 'export')
    exports.export_model(params, folder, export)
    found = tf.saved_model.load(export).signatures['serving_default'](inputs=encoded[None])
    self.assertAllClose(found['detection_scores'], labels['scores'], atol=1e-5)
    expected = tf.clip_by_value(labels['boxes'], 0.0, 1.0)
    self.assertAllClose(found['detection_boxes'], expected, atol=1e-4)


if __name__ == '__main__':
  tf.test.main()

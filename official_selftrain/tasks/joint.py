"""Joint training: a classifier of whole images on the shared backbone (Zoph et al. 2020, section 5 and Table 7)."""

import functools

import tensorflow as tf

from official_selftrain.configs import classification as class_configs
from official_selftrain.configs import joint as configs
from official_selftrain.core import errors
from official_selftrain.dataloaders import classification as parsing
from official_selftrain.modeling import classification as modeling
from official_selftrain.modeling import recomputation
from official_selftrain.tasks import labelled_records, multi_stream, passes, run_state, stream_specs

STREAM = 'joint'
# What the weights of a task on a backbone depend on, see `contract.SettingNames`.
TRAINING_SETTINGS = (
  'task.losses',
  'task.train_data',
  'task.init_statistics',
  'task.freeze_backbone',
  'task.backbone_learning_rate',
  'task.gradient_accumulation_steps',
  'task.recompute_blocks',
  'task.joint',
)
_NUM_CLASSES = f'task.{configs.FIELD}.num_classes'
# See `streams.HUMAN_OFFSET`.
_OFFSET = 1_000_000_007

ByStream = multi_stream.ByStream


class JointMixin(multi_stream.MultiStreamMixin):
  """Adds the stream `task.joint` to a task, unless its weight is 0.

  Put it before the `StreamsMixin`. The classifier, `class_head`, is trained with the model and saved in its
  checkpoints, but it is no part of what detects or segments.
  """

  @property
  def _is_joint(self) -> bool:
    return bool(self.task_config.joint.weight)

  def finished(self, model: tf.keras.Model) -> tf.keras.Model:
    """Adds to a model what training needs, and returns it.

    Its backbone is frozen or recomputed as set; it remembers its first non-finite loss; and it has a classifier, if
    there is one to train.

    Raises:
      ConfigError: the backbone has no blocks to recompute.
    """
    config = self.task_config
    if config.freeze_backbone:
      model.backbone.trainable = False
    if config.recompute_blocks and not recomputation.recompute_blocks(model.backbone):
      raise errors.ConfigError(
        'task.recompute_blocks: this backbone has no blocks that can be computed again. ResNet, SpineNet, EfficientNet '
        'and MobileNet of the Model Garden, and those of task.model.family=original, have; else split the batch with '
        'task.gradient_accumulation_steps.'
      )
    run_state.attach(model)
    if self._is_joint:
      joint, losses = self.task_config.joint, self.task_config.losses
      # Not in `checkpoint_items`, which other models must match.
      model.class_head = modeling.ClassHead(
        joint.num_classes, joint.dropout_rate, modeling.regularizer(losses.l2_weight_decay)
      )
      # A detector's backbone is built for one size; its layers, but for those that the settings refuse, take any.
      model.backbone.input_spec = tf.keras.layers.InputSpec(shape=[None, None, None, 3])
      size = configs.model_of(self.task_config).input_size
      model.class_head(model.backbone(tf.keras.Input(size)))
    return model

  def initialize(self, model: tf.keras.Model) -> None:
    """See `StreamsMixin`; a whole model that was trained jointly, too, also gives its classifier."""
    super().initialize(model)
    if self._is_joint:
      self.start_further_part(model, 'class_head', 'the classifier of joint training')

  def training_streams(self) -> tuple[stream_specs.Stream, ...]:
    """The task's streams, then the images with one class each."""
    own = super().training_streams()
    return (*own, self._joint_stream()) if self._is_joint else own

  def _joint_stream(self) -> stream_specs.Stream:
    model = configs.model_of(self.task_config)
    field = f'{configs.FIELD}.data'

    def decoding_steps(params: class_configs.DataConfig) -> labelled_records.DecodingSteps:
      del params
      return parsing.decode, lambda example: parsing.checked(
        example, model.num_classes, _NUM_CLASSES
      )

    def check_record(params: class_configs.DataConfig, record: tf.Tensor) -> None:
      del params
      parsing.check_record(record, model.num_classes, _NUM_CLASSES)

    return stream_specs.Stream(
      name=STREAM,
      field=field,
      config=self.task_config.joint.data,
      seed_offset=_OFFSET,
      read=functools.partial(labelled_records.examples, f'task.{field}.input_path', decoding_steps),
      parser=functools.partial(parsing.TrainingParser, model),
      role=stream_specs.Role.EXTRA,
      weight=self.task_config.joint.weight,
      log_names=('loss', 'accuracy'),
      check_record=check_record,
      find_bad_record=lambda params: labelled_records.find_bad(params, field, check_record),
    )

  def forward(self, model: tf.keras.Model, features: ByStream) -> ByStream:
    """See `MultiStreamMixin`; the images with classes go through the backbone to the classifier."""
    own = {name: value for name, value in features.items() if name != STREAM}
    if STREAM not in features:
      return super().forward(model, own)
    levels = passes.pass_aside(model.backbone, features[STREAM])
    logits = model.class_head(levels, training=True)
    return {**super().forward(model, own), STREAM: logits}

  def stream_losses(
    self, stream: stream_specs.Stream, outputs: multi_stream.Nest, labels: multi_stream.Nest
  ) -> dict[str, tf.Tensor]:
    """See `MultiStreamMixin`; cross-entropy and top-1 accuracy of the classifier."""
    if stream.name != STREAM:
      return super().stream_losses(stream, outputs, labels)
    classes = labels['classes']
    targets = tf.one_hot(classes, outputs.shape[-1])
    loss = tf.keras.losses.categorical_crossentropy(
      targets, outputs, from_logits=True, label_smoothing=self.task_config.joint.label_smoothing
    )
    right = tf.equal(tf.argmax(outputs, axis=-1, output_type=classes.dtype), classes)
    return {
      'model_loss': tf.reduce_mean(loss),
      'accuracy': tf.reduce_mean(tf.cast(right, tf.float32)),
    }

  def stream_statistics(
    self, stream: stream_specs.Stream, labels: multi_stream.Nest
  ) -> dict[str, tf.Tensor]:
    """See `MultiStreamMixin`."""
    return {} if stream.name == STREAM else super().stream_statistics(stream, labels)

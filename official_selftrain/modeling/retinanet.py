"""Builds RetinaNets of all families with one function.

Whatever the family, a model is an `assembly.RetinaNetModel`: `backbone`, `decoder`, `head` and `detection_generator`,
called on normalised images. It returns `cls_outputs` and `box_outputs` by level, and detections when it does not train.
So task, labeller and export need not know the family.
"""

from official_selftrain.configs import detection as configs
from official_selftrain.modeling import assembly, families


@families.names_settings
def build(model: configs.DetectionModel, l2_weight_decay: float = 0.0) -> assembly.RetinaNetModel:
  """Builds a RetinaNet.

  Args:
    model: `task.model`.
    l2_weight_decay: factor of half the sum of squared kernels, 0 for none.

  Returns:
    A model for float32 [batch, height, width, 3] of the size `model.input_size`.

  Raises:
    ConfigError: settings that the family, or the detection generator, cannot follow.
  """
  return families.of(model).detector(model, l2_weight_decay)

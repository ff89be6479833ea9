"""Imported for its side effects: registers experiments, tasks, presentations and export modules."""

from official.vision import registry_imports  # noqa: F401

from official_selftrain.configs import detection as detection_configs  # noqa: F401
from official_selftrain.configs import (  # noqa: F401
  detection_experiments,
  joint_experiments,
  pretraining_experiments,
  segmentation_experiments,
)
from official_selftrain.configs import segmentation as segmentation_configs  # noqa: F401
from official_selftrain.presentation import box_pictures, mask_pictures  # noqa: F401
from official_selftrain.presentation import detection as detection_presentation  # noqa: F401
from official_selftrain.presentation import segmentation as segmentation_presentation  # noqa: F401
from official_selftrain.serving import detection as detection_serving  # noqa: F401
from official_selftrain.serving import segmentation as segmentation_serving  # noqa: F401
from official_selftrain.tasks import classification, contrastive, detection, segmentation  # noqa: F401

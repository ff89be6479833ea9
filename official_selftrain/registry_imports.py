"""Imported for its side effects: registers experiments and tasks with the Model Garden."""

from official.vision import registry_imports  # noqa: F401

from official_selftrain.configs import detection as detection_configs  # noqa: F401
from official_selftrain.configs import segmentation as segmentation_configs  # noqa: F401
from official_selftrain.tasks import detection, segmentation  # noqa: F401

"""Serving modules by the config class of the task they export."""

from official.vision.serving import export_base

from official_selftrain.core import class_registry

MODULES: class_registry.ClassRegistry[type[export_base.ExportModule]] = (
  class_registry.ClassRegistry('export module')
)

"""Serving modules by the config class of the task they export."""

from typing import Any

from official_selftrain.core import class_registry

MODULES: class_registry.ClassRegistry[type[Any]] = class_registry.ClassRegistry('export module')

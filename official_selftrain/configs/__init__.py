"""Dataclasses of all settings, and the registered experiments."""

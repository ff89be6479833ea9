"""Geometry of images and their boxes, driven by a seed that travels in the example."""

"""Augmentation of images, boxes and masks, driven by a seed that travels in the example."""

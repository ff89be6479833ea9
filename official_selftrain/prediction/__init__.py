"""Prediction on folders of images with an exported model."""

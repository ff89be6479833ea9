"""Self-training for TensorFlow vision, in the style of the Model Garden."""

__version__ = '0.1.0'

"""Exported models: SavedModel, ONNX, TensorFlow Lite."""

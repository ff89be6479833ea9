"""SavedModels of trained detectors."""

"""SavedModels of trained models."""

"""Evaluation of detectors, on the Model Garden's evaluators."""

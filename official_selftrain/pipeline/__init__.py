"""Stages of a self-training run, their order, and how they resume."""

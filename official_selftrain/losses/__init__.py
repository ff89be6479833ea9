"""Losses of two-source training."""

"""Pseudo labels: written by a teacher, checked, judged, and joined to their images."""

"""Tasks: the glue between a model, its input streams and its losses."""

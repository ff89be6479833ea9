"""Pure tensor functions: no configs, no files, no state."""

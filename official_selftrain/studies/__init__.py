"""Studies: many runs of one experiment along axes of settings, and what they say together."""

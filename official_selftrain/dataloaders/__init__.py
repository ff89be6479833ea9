"""Reproducible record streams and the parser that turns records into training targets."""

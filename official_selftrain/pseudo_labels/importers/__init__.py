"""Reads labels that another program made or changed, in the formats that `exporters` writes."""

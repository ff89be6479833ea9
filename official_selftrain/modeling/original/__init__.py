"""The networks of the paper's authors, where the Model Garden's compute something different from the TF1 originals."""

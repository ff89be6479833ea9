"""The networks of the paper's authors: the Model Garden's, where they compute something else than the TF1 originals."""

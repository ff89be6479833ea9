"""Networks: the Model Garden's with our additions, the authors' originals, and keras-cv's."""

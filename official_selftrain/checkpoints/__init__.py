"""Checkpoints from elsewhere: the authors' TF1 files, and initialisation that says what it loaded."""

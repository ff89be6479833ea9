"""What the Model Garden's networks need before they fit our experiments."""

"""A page on which people review pseudo labels, and what they decided on the way back."""

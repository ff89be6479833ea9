"""What is wrong with images, boxes and masks, what is repaired, and which images look alike."""

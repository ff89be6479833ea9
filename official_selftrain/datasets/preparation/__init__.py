"""From a user's files to TFRecords, annotations and a data card."""

"""Data sets written as TFRecords and COCO JSON."""

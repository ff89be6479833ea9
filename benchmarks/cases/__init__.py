"""The benchmarks: a module each, with `run(bench) -> list[Row]` and a docstring that says what is compared."""

# In the order in which they run and are printed.
NAMES = (
  'startup',
  'labelling',
  'segmentation_labelling',
  'student_step',
  'segmentation_step',
  'focal_loss',
  'separate_batch_norm',
  'training_memory',
  'evaluation',
  'nms',
  'soft_nms',
  'parser',
  'anchor_targets',
  'input_pipeline',
  'augmentation',
  'late_start',
  'flat_memory',
  'views',
  'pretraining_steps',
  'augmentation_ops',
  'preparation',
)

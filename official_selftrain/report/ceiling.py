"""What more human labels would give, and how much of that self-training gives."""

from official_selftrain.report import contents

# Below this lead of the ceiling a share of it is mostly chance.
_MIN_GAP = 0.01


def sentence(inputs: contents.ReportInputs) -> str:
  """How far the student gets from the control towards the ceiling; '' where one of them is not known."""
  ceiling, control = inputs.metric('ceiling'), inputs.metric('control')
  student = inputs.metric('student')
  if ceiling is None or control is None or student is None:
    return ''
  images = inputs.num_ceiling_images
  labelled = f'all {images:,} images' if images else 'more images'
  reaches = (
    f'With human labels for {labelled} the model reaches {ceiling:.3f} {inputs.primary_metric}'
  )
  gap = ceiling - control
  if gap < _MIN_GAP:
    return f'{reaches}, hardly more than the control: here, more labels of this kind would not help either.'
  given = share(student - control, gap)
  return f'{reaches}: of the {gap:.3f} that these labels are worth, self-training gives {given}.'


def share(gain: float, gap: float) -> str:
  """A gain as a share of a gap above zero, in words."""
  return 'nothing' if gain <= 0 else f'{gain / gap:.0%}'

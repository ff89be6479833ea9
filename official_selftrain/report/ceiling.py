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
  labelled = f'{images:,} images' if images else 'more images'
  reaches = (
    f'With human labels for {labelled} the model reaches {ceiling:.3f} {inputs.primary_metric}'
  )
  gap = ceiling - control
  if gap < _MIN_GAP:
    compared = 'hardly more than' if gap > 0 else 'no more than'
    return (
      f'{reaches}, {compared} the control: here, more labels of this kind alone would not help.'
    )
  worth = f'{reaches}: these labels are worth {gap:.3f}'
  leads = (inputs.comparison(model, 'control') for model in ('ceiling', 'student'))
  if not all(found is not None and found.is_above_zero for found in leads):
    return f'{worth}.'
  return f'{worth}, of which self-training gives {share(student - control, gap)}.'


def share(gain: float, gap: float) -> str:
  """A gain as a share of a gap above zero, in words."""
  return 'nothing' if gain <= 0 else f'{gain / gap:.0%}'

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
  lead, gain = (inputs.comparison(model, 'control') for model in ('ceiling', 'student'))
  if lead is None or not lead.is_above_zero:
    compared = f'{gap:.3f} more than' if gap >= _MIN_GAP else 'hardly more than'
    words = compared if gap > 0 else 'no more than'
    return f'{reaches}, {words} the control: that more labels of this kind alone would help is not shown here.'
  worth = f'{reaches}: these labels are worth {gap:.3f}'
  if gap < _MIN_GAP or gain is None or not gain.is_above_zero:
    return f'{worth}.'
  return f'{worth}, of which self-training gives {share(student - control, gap)}.'


def share(gain: float, gap: float) -> str:
  """A gain as a share of a gap above zero, in words."""
  return 'nothing' if gain <= 0 else f'{gain / gap:.0%}'

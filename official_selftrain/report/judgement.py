"""Did self-training help? The answer in plain English, and what to try when it is not yes."""

import dataclasses

from official_selftrain.core import comparison
from official_selftrain.report import advice, ceiling, contents

Outcome = advice.Outcome


@dataclasses.dataclass(frozen=True)
class Verdict:
  """The answer.

  Attributes:
    helped: True only if the intervals of the student's lead over control and teacher are above zero.
    sentence: the whole answer: `headline`, `details` and `advice`.
    student_minus_control: difference in the primary metric, None when unknown.
    student_minus_teacher: the same against the teacher.
    outcome: why `helped` is what it is.
    headline: the answer in one breath.
    details: steps, teacher, seed.
    advice: what to try next, most promising first; empty when it helped.
  """

  helped: bool
  sentence: str
  student_minus_control: float | None
  student_minus_teacher: float | None
  outcome: Outcome
  headline: str
  details: str
  advice: tuple[str, ...] = ()


def verdict(inputs: contents.ReportInputs) -> Verdict:
  """Judges a run by its primary metric.

  The student must be better than the control, which had the same steps without pseudo labels, and
  better than the teacher, or there would be no reason to use it. What is better is decided by the
  interval of the difference: one that includes zero is too close to call. Being better than a control
  that trained less proves nothing.

  | student - control | student - teacher | outcome    |
  |-------------------|-------------------|------------|
  | below zero        | any               | hurt       |
  | not below zero    | below zero        | not_helped |
  | above zero        | above zero        | helped     |
  | else              |                   | too_close  |

  Without an interval the outcome is unknown, also when the control trained less than a student that
  would have helped. Below `comparison.MIN_IMAGES` validation images the outcome is too_close, wherever
  the intervals are.

  Args:
    inputs: the run's facts.

  Returns:
    The verdict with its texts.
  """
  student = inputs.metric('student')
  to_control = contents.difference(student, inputs.metric('control'))
  to_teacher = contents.difference(student, inputs.metric('teacher'))
  outcome = _outcome(inputs, to_control, to_teacher)
  headline = _headline(inputs, outcome, to_control, to_teacher)
  details = _details(inputs, outcome, to_teacher)
  to_try = () if outcome == 'helped' else advice.advise(inputs, outcome)
  next_steps = f'To try next: {" ".join(to_try)}' if to_try else ''
  return Verdict(
    helped=outcome == 'helped',
    sentence=' '.join(part for part in (headline, details, next_steps) if part),
    student_minus_control=to_control,
    student_minus_teacher=to_teacher,
    outcome=outcome,
    headline=headline,
    details=details,
    advice=to_try,
  )


def _outcome(
  inputs: contents.ReportInputs, to_control: float | None, to_teacher: float | None
) -> Outcome:
  """See `verdict`."""
  control = inputs.comparison('student', 'control')
  teacher = inputs.comparison('student', 'teacher')
  if to_control is None or control is None or (to_teacher is not None and teacher is None):
    return 'unknown'
  if control.is_below_zero:
    return 'hurt'
  if teacher is not None and teacher.is_below_zero:
    return 'not_helped'
  if not control.is_above_zero:
    return 'too_close'
  if advice.control_trained_less(inputs):
    return 'unknown'
  return 'helped' if teacher is None or teacher.is_above_zero else 'too_close'


def _headline(
  inputs: contents.ReportInputs,
  outcome: Outcome,
  to_control: float | None,
  to_teacher: float | None,
) -> str:
  """The answer with the difference that decided it, and its interval."""
  reaches = f'The student reaches {inputs.metric("student") or 0.0:.3f} {inputs.primary_metric}'
  control = inputs.comparison('student', 'control')
  teacher = inputs.comparison('student', 'teacher')
  if outcome == 'unknown' or to_control is None or control is None:
    return f'It is unknown whether self-training helped: {_reason(inputs, to_control, to_teacher)}'
  against_control = f'{_compared(to_control)} the control'
  if outcome == 'helped':
    return f'Yes, self-training helped here. {reaches}, {against_control} ({_interval(control)}).'
  if outcome == 'hurt':
    return f'No, self-training hurt here. {reaches}, {against_control} ({_interval(control)}).'
  if outcome == 'not_helped' and to_teacher is not None and teacher is not None:
    return (
      f'No, self-training did not help here. {reaches}, {_compared(to_teacher)} its teacher '
      f'({_interval(teacher)}).'
    )
  if not control.has_enough_images:
    return (
      f'Too close to call. {reaches}, {against_control}, but {_images(control.images)} cannot show '
      f'whether that is chance: it takes at least {comparison.MIN_IMAGES}.'
    )
  if control.is_above_zero and to_teacher is not None and teacher is not None:
    return (
      f'Too close to call. {reaches}, clearly more than the control, but {_compared(to_teacher)} '
      f'its teacher, and that interval includes zero ({_interval(teacher)}).'
    )
  return (
    f'Too close to call. {reaches}, {against_control}, and the interval includes zero '
    f'({_interval(control)}).'
  )


def _reason(
  inputs: contents.ReportInputs, to_control: float | None, to_teacher: float | None
) -> str:
  """Why nothing can be said."""
  name, student = inputs.primary_metric, inputs.metric('student')
  if student is None:
    return f'the student has no {name}.'
  if to_control is None:
    missing = 'was not trained' if inputs.metrics.get('control') is None else f'has no {name}'
    return (
      f"the control {missing}, so the student's {student:.3f} {name} may come from the extra "
      'steps alone.'
    )
  reaches = f'the student has {student:.3f} {name}, {_compared(to_control)} the control'
  control = inputs.comparison('student', 'control')
  if control is None:
    return f'{reaches}, but without results per image nobody can say how much of that is chance.'
  if to_teacher is not None and inputs.comparison('student', 'teacher') is None:
    return (
      f'{reaches} ({_interval(control)}), and {_compared(to_teacher)} its teacher, but without '
      "the teacher's results per image nobody can say how much of the latter is chance."
    )
  return f'{reaches}, but trained longer.'


def _compared(difference: float) -> str:
  """'0.030 more than', '0.030 less than' or 'exactly as much as'."""
  if not difference:
    return 'exactly as much as'
  return f'{advice.amount(difference)} {"more" if difference > 0 else "less"} than'


def _images(number: int) -> str:
  """Such as '12 validation images'."""
  return f'{number:,} validation image{"" if number == 1 else "s"}'


def _interval(found: comparison.Comparison) -> str:
  """Such as '90% interval +0.010 to +0.050'."""
  return f'{found.confidence:.0%} interval {" to ".join(contents.bounds(found))}'


def _details(inputs: contents.ReportInputs, outcome: Outcome, to_teacher: float | None) -> str:
  parts = [_steps_sentence(inputs)]
  teacher = inputs.comparison('student', 'teacher')
  if to_teacher is not None and outcome != 'not_helped':
    is_known = teacher is not None and teacher.has_enough_images
    interval = f' ({_interval(teacher)})' if teacher is not None and is_known else ''
    where = 'above' if to_teacher > 0 else 'below'
    place = (
      f'{advice.amount(to_teacher)} {inputs.primary_metric} {where}' if to_teacher else 'level with'
    )
    parts.append(f'The student is {place} its teacher{interval}.')
  parts += [ceiling.sentence(inputs), _certainty(inputs)]
  return ' '.join(part for part in parts if part)


def _certainty(inputs: contents.ReportInputs) -> str:
  """A reminder that this is one seed, and of what the intervals cover."""
  known = inputs.comparison('student', 'control') or inputs.comparison('student', 'teacher')
  if known is None or not known.has_enough_images:
    images = inputs.num_validation_images if known is None else known.images
    measured = f', measured on {_images(images)}' if images else ''
    return f'This is one run with one seed, {inputs.seed}{measured}: another seed may differ.'
  return (
    f'This is one run with one seed, {inputs.seed}: the {known.images:,} validation images were '
    f'resampled {known.resamples:,} times, but training was not repeated, and another seed may '
    'differ by more.'
  )


def _steps_sentence(inputs: contents.ReportInputs) -> str:
  teacher, control, student = (inputs.steps.get(model) for model in contents.MODELS)
  if student is None:
    return ''
  start = '' if teacher is None else f'The teacher trained for {teacher:,} steps; '
  if control is None or inputs.metrics.get('control') is None:
    text = f'the student trained for {student:,} steps.'
  elif control == student:
    text = f'control and student then trained for {student:,} steps each.'
  else:
    text = (
      f'the student trained for {student:,} steps but the control for {control:,}, '
      'so they are not compared at equal steps.'
    )
  if len(inputs.rounds) > 1:
    text = f'in each of {len(inputs.rounds)} rounds {text}'
  sentence = start + text
  return sentence[0].upper() + sentence[1:]

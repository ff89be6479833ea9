"""Did self-training help? The answer in plain English, and what to try when it is not yes."""

import dataclasses
from typing import Literal

from official_selftrain.core import comparison
from official_selftrain.report import contents

Outcome = Literal['helped', 'hurt', 'not_helped', 'too_close', 'unknown']

# A count ratio within these bounds counts as "as many labels as people draw".
_RATIO_LOW, _RATIO_HIGH = 0.8, 1.25
# Below this precision at the cut more than one label in three is wrong.
_LOW_PRECISION = 0.67
# Below this recall at the cut most objects of an unlabelled image are taught as background.
_LOW_RECALL = 0.5
# The control's gain over the teacher, relative to the teacher, that shows a teacher stopped too
# early.
_UNFINISHED_TEACHER = 0.1
# Fewer unlabelled images than this for each labelled one leave pseudo labels little to add.
_FEW_UNLABELLED = 5
# Shares of unlabelled images that are worth a word.
_MANY_EMPTY, _MANY_DEAD = 0.4, 0.05
# A class whose share of the pseudo labels is below this part of its share of the human labels is
# starved.
_STARVED = 0.4
_MAX_ADVICE = 3
_CLOSE_ADVICE = (
  'Repeat with two more seeds and compare the medians; more validation images make the interval '
  'shorter.'
)


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
  would have helped.

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
  advice = () if outcome == 'helped' else _advice(inputs, outcome)
  next_steps = f'To try next: {" ".join(advice)}' if advice else ''
  return Verdict(
    helped=outcome == 'helped',
    sentence=' '.join(part for part in (headline, details, next_steps) if part),
    student_minus_control=to_control,
    student_minus_teacher=to_teacher,
    outcome=outcome,
    headline=headline,
    details=details,
    advice=advice,
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
  if _control_trained_less(inputs):
    return 'unknown'
  return 'helped' if teacher is None or teacher.is_above_zero else 'too_close'


def _control_trained_less(inputs: contents.ReportInputs) -> bool:
  control, student = inputs.steps.get('control'), inputs.steps.get('student')
  return control is not None and student is not None and control < student


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
    return f'It is unknown whether self-training helped: {_reason(inputs, to_control)}'
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
  if control.is_above_zero and to_teacher is not None and teacher is not None:
    return (
      f'Too close to call. {reaches}, clearly more than the control, but {_compared(to_teacher)} '
      f'its teacher, and that interval includes zero ({_interval(teacher)}).'
    )
  return (
    f'Too close to call. {reaches}, {against_control}, and the interval includes zero '
    f'({_interval(control)}).'
  )


def _reason(inputs: contents.ReportInputs, to_control: float | None) -> str:
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
  if inputs.comparison('student', 'control') is None or not _control_trained_less(inputs):
    return (
      f'the student has {student:.3f} {name}, {_compared(to_control)} the control, but without '
      'results per image nobody can say how much of that is chance.'
    )
  return f'the student has {_amount(to_control)} {name} more than the control, but trained longer.'


def _compared(difference: float) -> str:
  """'0.030 more than', '0.030 less than' or 'exactly as much as'."""
  if not difference:
    return 'exactly as much as'
  return f'{_amount(difference)} {"more" if difference > 0 else "less"} than'


def _interval(found: comparison.Comparison) -> str:
  """Such as '90% interval +0.010 to +0.050'."""
  return f'{found.confidence:.0%} interval {" to ".join(contents.bounds(found))}'


def _details(inputs: contents.ReportInputs, outcome: Outcome, to_teacher: float | None) -> str:
  parts = [_steps_sentence(inputs)]
  teacher = inputs.comparison('student', 'teacher')
  if to_teacher is not None and outcome != 'not_helped':
    interval = '' if teacher is None else f' ({_interval(teacher)})'
    where = 'above' if to_teacher > 0 else 'below'
    place = f'{_amount(to_teacher)} {inputs.primary_metric} {where}' if to_teacher else 'level with'
    parts.append(f'The student is {place} its teacher{interval}.')
  parts.append(_certainty(inputs))
  return ' '.join(part for part in parts if part)


def _certainty(inputs: contents.ReportInputs) -> str:
  """A reminder that this is one seed, and of what the intervals cover."""
  known = inputs.comparison('student', 'control') or inputs.comparison('student', 'teacher')
  if known is None:
    images = inputs.num_validation_images
    measured = f', measured on {images:,} validation images' if images else ''
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
  sentence = start + text
  return sentence[0].upper() + sentence[1:]


def _advice(inputs: contents.ReportInputs, outcome: Outcome) -> tuple[str, ...]:
  """Advice that this run's own facts support, most promising first."""
  if outcome == 'unknown':
    return (_missing_advice(inputs),)
  candidates = [_teacher_advice(inputs), _overtraining_advice(inputs)]
  if inputs.pseudo_labels is not None:
    facts = inputs.pseudo_labels
    candidates += [
      _cut_advice(inputs, facts),
      _quality_advice(facts),
      _coverage_advice(facts),
      _amount_advice(inputs, facts),
      _class_advice(facts),
    ]
  found = [text for text in candidates if text][:_MAX_ADVICE]
  if outcome == 'too_close':
    found = [_CLOSE_ADVICE] + found[: _MAX_ADVICE - 1]
  return tuple(found) or (_no_finding(inputs),)


def _missing_advice(inputs: contents.ReportInputs) -> str:
  """Advice for a run without an answer."""
  to_control = contents.difference(inputs.metric('student'), inputs.metric('control'))
  if to_control is None or _control_trained_less(inputs):
    return 'Train the control like the student: same start, same steps, human labels only.'
  *first, last = comparison.METRICS
  return (
    f'Evaluate all models on the same images, with {", ".join(first)} or {last} as '
    'report.primary_metric: only these can be recomputed from results per image.'
  )


def _teacher_advice(inputs: contents.ReportInputs) -> str | None:
  teacher, control = inputs.metric('teacher'), inputs.metric('control')
  gain = contents.difference(control, teacher)
  if gain is None or not teacher or gain < _UNFINISHED_TEACHER * teacher:
    return None
  trained = inputs.steps.get('teacher')
  after = f' after its {trained:,} steps' if trained else ''
  return (
    f'Train the teacher longer: it had not converged{after}, because the control '
    f'gained {_amount(gain)} {inputs.primary_metric} from the same human labels alone.'
  )


def _overtraining_advice(inputs: contents.ReportInputs) -> str | None:
  loss = contents.difference(inputs.metric('teacher'), inputs.metric('control'))
  found = inputs.comparison('teacher', 'control')
  if loss is None or found is None or not found.is_above_zero:
    return None
  return (
    f'Use fewer student steps or a lower learning rate: the extra steps cost even the control '
    f'{_amount(loss)} {inputs.primary_metric} against the teacher.'
  )


def _cut_advice(inputs: contents.ReportInputs, facts: contents.PseudoLabelFacts) -> str | None:
  ratio = contents.finite(facts.count_ratio)
  if ratio is None or _RATIO_LOW <= ratio <= _RATIO_HIGH:
    return None
  lower = ratio < _RATIO_LOW
  suggested = facts.suggested_cut
  # A suggestion on the wrong side would contradict the ratio we quote.
  fits = suggested is not None and (suggested < facts.cut if lower else suggested > facts.cut)
  target = f' to {suggested:g}' if fits else ''
  return (
    f'{"Lower" if lower else "Raise"} the cut from {facts.cut:g}{target}: it leaves '
    f'{contents.quantity(facts.labels_per_image)} {inputs.unit} per image where people drew '
    f'{contents.quantity(facts.human_labels_per_image)} (ratio {ratio:.2f}).'
  )


def _quality_advice(facts: contents.PseudoLabelFacts) -> str | None:
  at_cut = facts.quality_at_cut
  if at_cut is None:
    return None
  precision, recall = contents.finite(at_cut.precision), contents.finite(at_cut.recall)
  if precision is not None and precision < _LOW_PRECISION:
    return (
      f'Get a better teacher or use a lower alpha: at the cut only {precision:.0%} of the pseudo '
      'labels are right.'
    )
  if recall is not None and recall < _LOW_RECALL and facts.ignore_cut is None:
    return (
      f'Keep an ignore band below the cut: the pseudo labels find {recall:.0%} of the objects, and '
      'the rest is taught as background.'
    )
  return None


def _coverage_advice(facts: contents.PseudoLabelFacts) -> str | None:
  if not facts.num_images:
    return None
  dead, empty = facts.dead / facts.num_images, facts.empty / facts.num_images
  if dead >= _MANY_DEAD:
    return f'Repair the unlabelled data: {dead:.0%} of the images could not be read.'
  if empty >= _MANY_EMPTY:
    return (
      'Check that the unlabelled images show the same kind of scene: the teacher found nothing in '
      f'{empty:.0%} of them.'
    )
  return None


def _amount_advice(inputs: contents.ReportInputs, facts: contents.PseudoLabelFacts) -> str | None:
  labelled = inputs.num_labelled_images
  if not labelled or facts.num_images >= _FEW_UNLABELLED * labelled:
    return None
  return (
    f'Add unlabelled images: {facts.num_images:,} are few for {labelled:,} labelled ones, and '
    'self-training pays most where human labels are scarce.'
  )


def _class_advice(facts: contents.PseudoLabelFacts) -> str | None:
  pseudo, human = sum(facts.counts_per_class.values()), sum(facts.counts_per_class_human.values())
  if not pseudo or not human:
    return None
  shares = {
    name: (facts.counts_per_class.get(name, 0) / pseudo, count / human)
    for name, count in facts.counts_per_class_human.items()
    if count
  }
  starved = [name for name, (ours, theirs) in shares.items() if ours < _STARVED * theirs]
  if not starved:
    return None
  worst = min(starved, key=lambda name: shares[name][0] / shares[name][1])
  ours, theirs = shares[worst]
  return (
    f'Look at class {worst}: it is {theirs:.1%} of the human labels but {ours:.1%} of the pseudo '
    'labels.'
  )


def _no_finding(inputs: contents.ReportInputs) -> str:
  """Advice when no fact stands out."""
  facts = inputs.pseudo_labels
  seen = ''
  if facts is not None and contents.finite(facts.count_ratio) is not None:
    seen = f' (count ratio {facts.count_ratio:.2f} at the cut {facts.cut:g})'
  steps = inputs.steps.get('student')
  more = f'more than {steps:,} student steps' if steps else 'more student steps'
  return (
    f'Nothing in this run stands out{seen}, so try {more}, stronger augmentation, fewer human '
    'labels or another seed.'
  )


def _amount(value: float) -> str:
  """The size of a difference; a small one with a digit more, so that it does not read as zero."""
  return f'{abs(value):.3f}' if abs(value) >= 0.01 else f'{abs(value):.4f}'

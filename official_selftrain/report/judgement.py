"""Did self-training help? The answer in plain English, and what to try when it is not yes."""

import dataclasses
from typing import Literal

from official_selftrain.report import contents

Outcome = Literal['helped', 'not_helped', 'too_small', 'unknown']

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


@dataclasses.dataclass(frozen=True)
class Verdict:
  """The answer.

  Attributes:
    helped: True only if the student beats control and teacher by at least the margin.
    sentence: the whole answer: `headline`, `details` and `advice`.
    student_minus_control: difference in the primary metric, None when unknown.
    student_minus_teacher: likewise.
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
  better than the teacher, or there would be no reason to use it. Equal is not better, and being
  better than a control that trained less tells nothing.

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
  if to_control is None:
    return 'unknown'
  gains = [to_control] if to_teacher is None else [to_control, to_teacher]
  if min(gains) <= 0:
    return 'not_helped'
  if _control_trained_less(inputs):
    return 'unknown'
  return 'too_small' if min(gains) < inputs.margin else 'helped'


def _control_trained_less(inputs: contents.ReportInputs) -> bool:
  control, student = inputs.steps.get('control'), inputs.steps.get('student')
  return control is not None and student is not None and control < student


def _headline(
  inputs: contents.ReportInputs,
  outcome: Outcome,
  to_control: float | None,
  to_teacher: float | None,
) -> str:
  name = inputs.primary_metric
  student = inputs.metric('student')
  if student is None:
    return f'It cannot be told whether self-training helped: the student has no {name}.'
  if to_control is None:
    missing = 'was not trained' if inputs.metrics.get('control') is None else f'has no {name}'
    return (
      f"It cannot be told whether self-training helped: the control {missing}, so the student's "
      f'{student:.3f} {name} may come from the further steps alone.'
    )
  if outcome == 'unknown':
    return (
      f'It cannot be told whether self-training helped: the student has {_amount(to_control)} '
      f'{name} more than the control, but trained longer.'
    )
  reaches = f'The student reaches {student:.3f} {name}'
  if outcome == 'helped':
    return (
      f'Yes, self-training helped here. {reaches}, {_amount(to_control)} more than the control.'
    )
  if to_control == 0:
    return f'No, self-training did not help here. {reaches}, exactly as much as the control.'
  if to_control < 0:
    return (
      f'No, self-training did not help here. {reaches}, {_amount(to_control)} less than the '
      'control.'
    )
  if to_teacher is not None and to_teacher <= 0:
    return (
      f'No, self-training did not help here. {reaches}, {_amount(to_control)} more than the '
      f'control, but no more than the teacher with {inputs.metric("teacher"):.3f}.'
    )
  other, gain = 'control', to_control
  if to_teacher is not None and to_teacher < to_control:
    other, gain = 'teacher', to_teacher
  return (
    f'Too small to call. {reaches}, {_amount(gain)} more than the {other}; with one seed a '
    f'difference under {inputs.margin:g} cannot be told from chance.'
  )


def _details(inputs: contents.ReportInputs, outcome: Outcome, to_teacher: float | None) -> str:
  parts = [_steps_sentence(inputs)]
  if to_teacher is not None and outcome != 'not_helped':
    word = 'above' if to_teacher >= 0 else 'below'
    parts.append(
      f'The student is {_amount(to_teacher)} {inputs.primary_metric} {word} its teacher.'
    )
  images = inputs.num_validation_images
  measured = f' on {images:,} validation images' if images else ''
  parts.append(
    f'This is one run with seed {inputs.seed}{measured}: one seed is one seed, and another may '
    'differ.'
  )
  return ' '.join(part for part in parts if part)


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
    return ('Train the control as the student: the same start and steps, human labels only.',)
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
  if outcome == 'too_small':
    found = ['Repeat with two more seeds and compare the medians.'] + found[: _MAX_ADVICE - 1]
  return tuple(found) or (_no_finding(inputs),)


def _teacher_advice(inputs: contents.ReportInputs) -> str | None:
  teacher, control = inputs.metric('teacher'), inputs.metric('control')
  gain = contents.difference(control, teacher)
  if gain is None or not teacher or gain < _UNFINISHED_TEACHER * teacher:
    return None
  trained = inputs.steps.get('teacher')
  after = f' after its {trained:,} steps' if trained else ''
  return (
    f'Train the teacher longer: it was not near the end of its learning{after}, since the control '
    f'gained {_amount(gain)} {inputs.primary_metric} from the same human labels alone.'
  )


def _overtraining_advice(inputs: contents.ReportInputs) -> str | None:
  loss = contents.difference(inputs.metric('teacher'), inputs.metric('control'))
  if loss is None or loss < inputs.margin:
    return None
  return (
    f'Use fewer student steps or a lower learning rate: the further steps cost even the control '
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
    f'Add unlabelled images: {facts.num_images:,} beside {labelled:,} labelled ones are few, and '
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

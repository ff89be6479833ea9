"""What to try next when self-training did not clearly help, from the facts of the run."""

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
_FEW_IMAGES_ADVICE = (
  f'Evaluate on at least {comparison.MIN_IMAGES} validation images, better on hundreds.'
)


def advise(inputs: contents.ReportInputs, outcome: Outcome) -> tuple[str, ...]:
  """Advice that this run's own facts support, most promising first."""
  if outcome == 'unknown':
    return _missing_advice(inputs)
  candidates = [_teacher_advice(inputs), _overtraining_advice(inputs)]
  if inputs.pseudo_labels is not None:
    facts = inputs.pseudo_labels
    candidates += [
      _cut_advice(inputs, facts),
      _quality_advice(facts),
      None if facts.source else _views_advice(inputs),
      _alpha_advice(inputs, outcome),
      _coverage_advice(facts),
      _amount_advice(inputs, facts),
      _class_advice(inputs, facts),
    ]
  found = [text for text in candidates if text][:_MAX_ADVICE]
  if outcome == 'too_close':
    control = inputs.comparison('student', 'control')
    has_enough = control is None or control.has_enough_images
    first = _CLOSE_ADVICE if has_enough else _FEW_IMAGES_ADVICE
    found = [first] + found[: _MAX_ADVICE - 1]
  return tuple(found) or (_no_finding(inputs),)


def _missing_advice(inputs: contents.ReportInputs) -> tuple[str, ...]:
  """Advice for a run without an answer: whatever stands in its way."""
  student = inputs.metric('student')
  differences = {
    model: contents.difference(student, inputs.metric(model)) for model in ('control', 'teacher')
  }
  advice = []
  if student is None:
    advice.append('Look at the evaluation of the student: it has no metric to compare.')
  if inputs.metric('control') is None or control_trained_less(inputs):
    advice.append('Train the control like the student: same start, same steps, human labels only.')
  if differences['control'] is not None and any(
    value is not None and inputs.comparison('student', model) is None
    for model, value in differences.items()
  ):
    *first, last = comparison.METRICS
    advice.append(
      f'Evaluate all models on the same images, with {", ".join(first)} or {last} as '
      'report.primary_metric: only these can be recomputed from results per image.'
    )
  return tuple(advice)


def _teacher_advice(inputs: contents.ReportInputs) -> str | None:
  teacher, control = inputs.metric('teacher'), inputs.metric('control')
  gain = contents.difference(control, teacher)
  if gain is None or not teacher or gain < _UNFINISHED_TEACHER * teacher:
    return None
  trained = inputs.steps.get('teacher')
  after = f' after its {trained:,} steps' if trained else ''
  return (
    f'Train the teacher longer: it had not converged{after}, because the control '
    f'gained {amount(gain)} {inputs.primary_metric} from the same human labels alone.'
  )


def _overtraining_advice(inputs: contents.ReportInputs) -> str | None:
  loss = contents.difference(inputs.metric('teacher'), inputs.metric('control'))
  found = inputs.comparison('teacher', 'control')
  if loss is None or found is None or not found.is_above_zero:
    return None
  return (
    f'Use fewer student steps or a lower learning rate: the extra steps cost even the control '
    f'{amount(loss)} {inputs.primary_metric} against the teacher.'
  )


def _cut_advice(inputs: contents.ReportInputs, facts: contents.PseudoLabelFacts) -> str | None:
  ratio = contents.finite(facts.count_ratio)
  if ratio is None or _RATIO_LOW <= ratio <= _RATIO_HIGH:
    return None
  lower = ratio < _RATIO_LOW
  band = facts.ignore_cut
  if lower and band is not None and (facts.suggested_cut is None or facts.suggested_cut <= band):
    return None  # What is missing above the cut is ignored, not taught as background.
  if facts.is_soft and not lower:
    return None  # A low cut is meant.
  if facts.class_cuts is not None:
    return (
      f'{"Lower" if lower else "Raise"} {facts.named_cut}: they leave '
      f'{contents.quantity(facts.labels_per_image)} {inputs.unit} per image where people drew '
      f'{contents.quantity(facts.human_labels_per_image)} (ratio {ratio:.2f}).'
    )
  suggested = facts.suggested_cut
  # A suggestion on the wrong side would contradict the ratio we quote.
  fits = suggested is not None and (suggested < facts.cut if lower else suggested > facts.cut)
  target = f' to {suggested:g}' if fits else ''
  return (
    f'{"Lower" if lower else "Raise"} the cut from {facts.cut:g}{target}: {facts.cut:g} leaves '
    f'{contents.quantity(facts.labels_per_image)} {inputs.unit} per image where people drew '
    f'{contents.quantity(facts.human_labels_per_image)} (ratio {ratio:.2f}).'
  )


def _quality_advice(facts: contents.PseudoLabelFacts) -> str | None:
  at_cut = facts.quality_at_cut
  if at_cut is None:
    return None
  precision, recall = contents.finite(at_cut.precision), contents.finite(at_cut.recall)
  if precision is not None and precision < _LOW_PRECISION and not facts.is_soft:
    better = 'better labels' if facts.source else 'a better teacher'
    return (
      f'Get {better} or use a lower alpha: at the cut only {precision:.0%} of the pseudo '
      'labels are right.'
    )
  if recall is not None and recall < _LOW_RECALL and facts.ignore_cut is None:
    return (
      f'Keep an ignore band below the cut: the pseudo labels find {recall:.0%} of the objects, and '
      'the rest is taught as background.'
    )
  return None


def _views_advice(inputs: contents.ReportInputs) -> str | None:
  """For boxes of one view; where masks are wrong, other views of an image agree on them."""
  settings = inputs.settings
  has_one = settings.get('labels.scales') == [1.0] and settings.get('labels.flip') is False
  if not has_one or 'labels.soft_nms_sigma' not in settings:
    return None
  # Embedded digits mean something else when they are mirrored, and are shown with their name.
  may_flip = (
    'Flip' not in settings.get('dataset.invalid_ops', ()) and 'dataset.name' not in settings
  )
  mirrored, flip = (', and mirrored', ',labels.flip=true') if may_flip else ('', '')
  return (
    f'Let the teacher see each image at several sizes{mirrored} (labels.scales=[0.75,1.0,1.25,1.5]{flip}): with sizes '
    'and mirroring its boxes on 22 photographs of blood cells had 0.41 AP instead of 0.36, and students of all three '
    'seeds were a little better.'
  )


def _alpha_advice(inputs: contents.ReportInputs, outcome: Outcome) -> str | None:
  if outcome != 'hurt' or inputs.settings.get('task.self_training.alpha_decay_steps') != 0:
    return None
  return (
    'Let the student end on human labels (task.self_training.alpha_decay_steps=null), where it can unlearn what wrong '
    'pseudo labels taught: on masks of white blood cells this took the harm away.'
  )


def _coverage_advice(facts: contents.PseudoLabelFacts) -> str | None:
  if not facts.num_images:
    return None
  dead, empty = facts.dead / facts.num_images, facts.empty / facts.num_images
  if dead >= _MANY_DEAD:
    return f'Look at the images that were left out, {dead:.0%} of all; the reasons stand with the pseudo labels.'
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


def _class_advice(inputs: contents.ReportInputs, facts: contents.PseudoLabelFacts) -> str | None:
  pseudo, human = sum(facts.counts_per_class.values()), sum(facts.counts_per_class_human.values())
  if not pseudo or not human:
    return None
  shares = {
    name: (facts.counts_per_class.get(name, 0) / pseudo, count / human)
    for name, count in facts.counts_per_class_human.items()
    if count and name not in facts.spared
  }
  starved = [name for name, (ours, theirs) in shares.items() if ours < _STARVED * theirs]
  if not starved:
    return None
  worst = min(starved, key=lambda name: shares[name][0] / shares[name][1])
  ours, theirs = shares[worst]
  is_one_cut = inputs.unit == 'boxes' and facts.class_cuts is None
  remedy = ' Give each class a cut of its own: task.pseudo_data.cut=matched.' if is_one_cut else ''
  return (
    f'Look at class {worst}: it is {theirs:.1%} of the human labels but {ours:.1%} of the pseudo '
    f'labels.{remedy}'
  )


def _no_finding(inputs: contents.ReportInputs) -> str:
  """Advice when no fact stands out."""
  facts = inputs.pseudo_labels
  seen = ''
  if facts is not None and not facts.is_soft and contents.finite(facts.count_ratio) is not None:
    seen = f' (count ratio {facts.count_ratio:.2f} at {facts.named_cut})'
  steps = inputs.steps.get('student')
  more = f'more than {steps:,} student steps' if steps else 'more student steps'
  return (
    f'Nothing in this run stands out{seen}, so try {more}, stronger augmentation, fewer human '
    'labels or another seed.'
  )


def control_trained_less(inputs: contents.ReportInputs) -> bool:
  """Whether the control had fewer steps than the student."""
  control, student = inputs.steps.get('control'), inputs.steps.get('student')
  return control is not None and student is not None and control < student


def amount(value: float) -> str:
  """The size of a difference; a small one with a digit more, so that it does not read as zero."""
  return f'{abs(value):.3f}' if abs(value) >= 0.01 else f'{abs(value):.4f}'

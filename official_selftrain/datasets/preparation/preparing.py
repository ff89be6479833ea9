"""The steps of a preparation: find the images, examine them, divide them, write them."""

import contextlib
import dataclasses
import functools
import importlib.metadata
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence

from official_selftrain.core import console, dataset_card, errors, files, keys
from official_selftrain.datasets import faults
from official_selftrain.datasets.preparation import (
  coco_writer,
  examination,
  output_directory,
  overlaps,
  parallel,
  plan,
  set_facts,
  shards,
  store,
  unpacking,
  work,
)
from official_selftrain.datasets.preparation import notes as notes_lib
from official_selftrain.datasets.preparation import problems as problems_lib
from official_selftrain.datasets.sources import items, spec

_STORE = 'images.sqlite'
# Under this name the store keeps which files are written.
_WRITTEN = 'written'
_READERS = ('official-selftrain', 'tensorflow', 'pillow')


@dataclasses.dataclass(frozen=True)
class Settings:
  """What is prepared, and how.

  Attributes:
    sources: SPEC by set.
    output: directory for the result.
    split: how labelled images are divided.
    images_per_file: largest number of images in a TFRecord file.
    processes: number of processes.
    allowed: kinds of faults that would stop the preparation and do not.
    drops_leaks: training images that are, or look like, validation images are left out.
    has_instance_masks: records of detection hold a mask for each object.
    teacher: model directory, checkpoint or SavedModel of a model whose classes the data must have; '' for none.
  """

  sources: Mapping[store.Part, str]
  output: str
  split: plan.SplitSettings = dataclasses.field(default_factory=plan.SplitSettings)
  images_per_file: int = 1000
  processes: int = 1
  allowed: frozenset[faults.Kind] = frozenset()
  drops_leaks: bool = False
  has_instance_masks: bool = False
  teacher: str = ''


@dataclasses.dataclass(frozen=True)
class Checked:
  """Examined and divided images.

  Attributes:
    sets: those that have images.
    overlaps: images that are there twice.
    class_names: names from class 1 on.
    unused: classes without an object among the labelled images.
    notes: what was found that belongs to no image, by set.
    problems: why nothing may be written, a sentence each; empty if all is well.
  """

  sets: Mapping[store.Part, plan.SetPlan]
  overlaps: overlaps.Overlaps
  class_names: tuple[str, ...]
  unused: tuple[str, ...]
  notes: Mapping[store.Part, tuple[faults.Fault, ...]]
  problems: tuple[str, ...]


class Preparation:
  """One data set in the making; what is done stays done when the process is killed."""

  def __init__(self, settings: Settings) -> None:
    """Opens the sources and the store.

    Args:
      settings: what is prepared, and how.

    Raises:
      ConfigError: a SPEC or a share is wrong.
      DataError: a source cannot be read, or the output directory cannot be written, has files of other origin that
        would be lost, or is that of another process.
    """
    settings.split.check()
    output_directory.check(settings.output, settings.sources)
    self.settings = settings
    self._sources = {
      part: spec.open_spec(text, f'--{part.value}', part is not store.Part.UNLABELLED)
      for part, text in settings.sources.items()
    }
    if settings.has_instance_masks and self.task is not items.Task.DETECTION:
      raise errors.ConfigError(
        f'--instance_masks is for labelled boxes, and the task of these images is {self.task.value!r}: leave it out.'
      )
    digest = files.digest_of(
      {
        'sources': {part.value: text for part, text in settings.sources.items()},
        'folder': os.getcwd(),
        'versions': versions(),
      }
    )
    self._workers = parallel.Workers(settings.processes)
    self._work = os.path.join(settings.output, output_directory.WORK)
    self._unpacker = unpacking.Unpacker(self._work)
    self.store_path = os.path.join(self._work, _STORE)
    try:
      with contextlib.ExitStack() as stack:
        stack.enter_context(output_directory.hold(settings.output))
        self.store = store.open_store(self.store_path, digest)
        self._held = stack.pop_all()
    except OSError as error:
      raise errors.DataError(
        f'{settings.output} cannot be written: {error.strerror}. Give another --output.'
      ) from error

  def close(self) -> None:
    """Ends the processes, closes the store and lets others into the output directory."""
    self._end_work()
    self._held.close()

  def _end_work(self) -> None:
    self._workers.close()
    self.store.close()

  @property
  def class_names(self) -> tuple[str, ...]:
    """Names from class 1 on: those of the labelled images, or of the validation images without any."""
    for part in (store.Part.LABELLED, store.Part.VALIDATION):
      if part in self._sources:
        return self._sources[part].class_names
    return ()

  @property
  def task(self) -> items.Task:
    """What the annotations teach."""
    for part in (store.Part.LABELLED, store.Part.VALIDATION):
      if part in self._sources:
        return self._sources[part].task
    return items.Task.NONE

  def check(self) -> Checked:
    """Finds, examines and divides all images.

    Returns:
      What was found.

    Raises:
      DataError: the share for validation leaves no image for training, or the teacher has no class names.
    """
    # First, because a teacher without class names is refused, and examining may take hours.
    unlike = problems_lib.unlike_teacher(self.settings.teacher, self.class_names)
    meanings = {part: self._meaning(part, each) for part, each in self._sources.items()}
    if self.store.fact(work.MEANINGS) != meanings:
      # An edited list of classes changes what is found in masks and boxes that are as they were.
      self.store.forget_findings()
      self.store.keep(_WRITTEN, {})
      self.store.keep(work.MEANINGS, meanings)
    self.store.forget_unsure_findings()
    for part, source in self._sources.items():
      for _ in self.store.add(part, self._items(part, source)):
        pass
    self._examine()
    sets = plan.divide(self.store, self.settings.split)
    found = self._overlaps(sets)
    if self.settings.drops_leaks and any(p.kind is faults.Kind.LEAK for p in found.pairs):
      sets = _without_leaks(sets, found)
      found = self._overlaps(sets)
    notes = {part: notes_lib.of_source(part, source) for part, source in self._sources.items()}
    if self.task is items.Task.DETECTION:
      for part in (each for each in sets if each in notes and each is not store.Part.UNLABELLED):
        entries = self.store.entries_of(sets[part].keys)
        notes[part] += notes_lib.of_boxes(entries, self.settings.has_instance_masks)
    if unlike and store.Part.LABELLED in notes:
      notes[store.Part.LABELLED] += (unlike,)
    problems = problems_lib.find(
      self.store, self._sources, sets, found, notes, self.settings.allowed
    )
    return Checked(sets, found, self.class_names, self._unused(sets), notes, problems)

  def _meaning(self, part: store.Part, source: items.Source) -> examination.Meaning:
    if part is store.Part.UNLABELLED:
      return examination.Meaning(items.Task.NONE)
    values = _values_of(source, self.class_names)
    return examination.Meaning(source.task, self.class_names, values)

  def _items(self, part: store.Part, source: items.Source) -> Iterator[items.Item]:
    """The images of a source as they go into the store."""
    found = source.items()
    if part is store.Part.UNLABELLED:
      found = map(items.without_annotations, found)
    return map(self._unpacker.in_copy, found)

  def _examine(self) -> None:
    waiting = self.store.unexamined()
    if not waiting:
      return
    function = functools.partial(work.examine, self.store_path)
    examining = parallel.Work(function, work.after_crash)
    with console.Progress('check', len(waiting), 'images') as progress:
      for done in self.store.set_findings(self._workers.map(examining, waiting)):
        progress.update(done)

  def _overlaps(self, sets: Mapping[store.Part, plan.SetPlan]) -> overlaps.Overlaps:
    validation = sets.get(store.Part.VALIDATION)
    used = frozenset(key for each in sets.values() for key in each.keys)
    return overlaps.find(self.store, frozenset(validation.keys if validation else ()), used)

  def _unused(self, sets: Mapping[store.Part, plan.SetPlan]) -> tuple[str, ...]:
    """Classes without an object among the labelled images, if there are any."""
    if store.Part.LABELLED not in sets:
      return ()
    entries = (self.store.entry(key) for key in sets[store.Part.LABELLED].keys)
    objects = set_facts.collect(entries, self.task, self.class_names).objects
    return tuple(name for name in self.class_names if not objects[name])

  def write(self, checked: Checked) -> dataset_card.Card:
    """Writes records, annotations and, last, the data card.

    Args:
      checked: what `check` returned, without problems.

    Returns:
      The card.

    Raises:
      DataError: a file has changed since it was examined, or cannot be written.
    """
    settings, output = self.settings, self.settings.output
    pathlib.Path(output, dataset_card.FILE_NAME).unlink(missing_ok=True)
    jobs = {
      part: list(
        plan.jobs(self.store, each, output, settings.images_per_file, settings.has_instance_masks)
      )
      for part, each in checked.sets.items()
    }
    digests = self._write_records([job for each in jobs.values() for job in each])
    sets = {}
    for part, each in checked.sets.items():
      annotations = self._write_annotations(each)
      sets[part.value] = self._facts(each, jobs[part], digests, annotations)
    card = dataset_card.Card(
      task=self.task.value,
      classes=checked.class_names,
      labelled=sets.get(store.Part.LABELLED.value),
      unlabelled=sets.get(store.Part.UNLABELLED.value),
      validation=sets.get(store.Part.VALIDATION.value),
      split=settings.split.as_dict(),
      versions=versions(),
    )
    self._remove_old(card)
    dataset_card.write(card, output)
    self._end_work()
    shutil.rmtree(self._work)
    self.close()
    return card

  def _write_records(self, jobs: Sequence[shards.Job]) -> dict[str, str]:
    """Digests of the files by path. Those that an earlier process has written are not written again."""
    done: dict[str, tuple[str, str]] = self.store.fact(_WRITTEN) or {}
    todo = []
    for job in jobs:
      known = done.get(job.path)
      if not known or known[0] != _identity(job, self.store) or not os.path.exists(job.path):
        todo.append(job)
    function = functools.partial(work.write, self.store_path)
    writing = parallel.Work(function, work.not_written, batch=1)
    with console.Progress('write', len(todo), 'files') as progress:
      results = self._workers.map(writing, todo)
      for number, (job, written) in enumerate(zip(todo, results, strict=True), 1):
        if written.fault:
          raise errors.DataError(f'{job.path} cannot be written: {written.fault}')
        done[job.path] = (_identity(job, self.store), written.digest)
        self.store.keep(_WRITTEN, done)
        progress.update(number)
    return {job.path: done[job.path][1] for job in jobs}

  def _write_annotations(self, each: plan.SetPlan) -> str:
    """COCO JSON of a set that needs one; its name."""
    if self.task is not items.Task.DETECTION:
      return ''
    if each.part is store.Part.VALIDATION:
      name, keys = output_directory.ANNOTATIONS, each.keys
    elif each.part is store.Part.UNLABELLED and each.from_labelled:
      name = output_directory.HELD_OUT_TRUTH
      keys = tuple(key for key in each.keys if key in each.from_labelled)
    else:
      return ''
    path = pathlib.Path(self.settings.output, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = plan.ids_of(self.store, each)

    def images() -> Iterator[tuple[int | str, store.Entry]]:
      return ((ids[key], self.store.entry(key)) for key in keys)

    coco_writer.write(path, self.class_names, images)
    return name

  def _facts(
    self,
    each: plan.SetPlan,
    jobs: Sequence[shards.Job],
    digests: Mapping[str, str],
    annotation_file: str,
  ) -> dataset_card.Set:
    task = items.Task.NONE if each.part is store.Part.UNLABELLED else self.task
    facts = set_facts.collect((self.store.entry(key) for key in each.keys), task, self.class_names)
    sources = self.settings.sources
    # A set that was drawn from another one: from the labelled images, or without these from the unlabelled ones.
    drawn_from = sources.get(store.Part.LABELLED) or sources.get(store.Part.UNLABELLED, '')
    text = sources.get(each.part) or drawn_from
    names = [os.path.basename(job.path) for job in jobs]
    path = os.path.join(self.settings.output, annotation_file)
    return dataset_card.Set(
      pattern=f'{each.part.value}-*-of-{len(jobs):05d}.tfrecord',
      images=len(each.keys),
      objects=dict(facts.objects) if task is not items.Task.NONE else {},
      without_objects=facts.without_objects,
      height=facts.height,
      width=facts.width,
      files={name: digests[job.path] for name, job in zip(names, jobs, strict=True)},
      source=f'{text}: {each.origin}',
      annotation_file=annotation_file,
      annotation_digest=files.sha256(path) if annotation_file else '',
      faults={kind.name.lower(): count for kind, count in facts.faults.items()},
      object_sizes=facts.object_sizes,
      most_objects=facts.most_objects,
    )

  def _remove_old(self, card: dataset_card.Card) -> None:
    """Removes files of an earlier preparation that the patterns of this one would match, or nobody needs."""
    named = {name for each in card.sets().values() for name in (*each.files, each.annotation_file)}
    output = self.settings.output
    written = {
      output_directory.ANNOTATIONS,
      output_directory.HELD_OUT_TRUTH,
      *output_directory.record_files(output),
    }
    for name in written - named:
      pathlib.Path(output, name).unlink(missing_ok=True)


def _without_leaks(
  sets: Mapping[store.Part, plan.SetPlan], found: overlaps.Overlaps
) -> dict[store.Part, plan.SetPlan]:
  """The sets without the training images that are, or look like, validation images."""
  leaking = {pair.first for pair in found.pairs if pair.kind is faults.Kind.LEAK}
  kept = {}
  for part, each in sets.items():
    keys = tuple(key for key in each.keys if key not in leaking)
    origin = each.origin
    if len(keys) < len(each.keys):
      origin += f', without {len(each.keys) - len(keys)} that are, or look like, validation images'
    if keys:
      kept[part] = dataclasses.replace(each, keys=keys, origin=origin)
  return kept


def _values_of(
  source: items.Source, class_names: Sequence[str]
) -> dict[int | tuple[int, int, int], int]:
  """Class ids by the values of a source's masks, in the order of these classes; a value of another class is none."""
  named = dict(enumerate(source.class_names, start=1))
  ids = {class_id: class_id for class_id in (0, keys.IGNORE_LABEL)}
  for class_id, name in named.items():
    if name in class_names:
      ids[class_id] = class_names.index(name) + 1
  return {value: ids[class_id] for value, class_id in source.mask_values.items() if class_id in ids}


def versions() -> dict[str, str]:
  """Versions of this package and of those that read images; '' for one that is not installed."""
  found = {}
  for name in _READERS:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      found[name] = ''
  return found


def _identity(job: shards.Job, source: store.Store) -> str:
  """Digest of all that decides the bytes of a file."""
  findings = [source.entry(place.key).finding for place in job.places]
  return files.digest_of([repr(job), [repr(finding) for finding in findings]])

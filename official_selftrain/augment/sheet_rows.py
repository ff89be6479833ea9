"""Rows of a contact sheet: policies and single ops, drawn for each input."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf

from official_selftrain.augment import (
  build,
  examples,
  mixing,
  ops,
  policy,
  sheet,
  sheet_inputs,
  tables,
)
from official_selftrain.configs import augmentation
from official_selftrain.core import errors, keys

Size = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Shown:
  """One kind of row, shown for every input.

  Attributes:
    title: its name.
    build: from the result's height and width to the policy.
    mixers: applied to the policy's results for this input and those that follow it, the first after the last.
  """

  title: str
  build: Callable[[Size], examples.Transform]
  mixers: tuple[mixing.Mixer, ...] = ()


@dataclasses.dataclass(frozen=True)
class Draws:
  """Number, seed and size of the draws.

  Attributes:
    count: draws per input.
    seed: the only source of randomness; all that is shown of an input sees the same draws.
    size: height and width of results; None takes each input's own.
  """

  count: int
  seed: int
  size: Size | None = None


def of_policy(settings: augmentation.Augmentation) -> list[Shown]:
  """The policy that the settings describe, as training would apply it.

  Raises:
    ConfigError: an op is unknown, or none is left.
  """
  name = 'no policy' if settings.policy == 'none' else f'Augment-{settings.policy}'
  if settings.is_keras_cv:
    name = settings.policy

  def built(size: Size) -> examples.Transform:
    return build.build(settings, size, normalize=False)

  built((1, 1))  # Only for its errors, before anything is read.
  return [Shown(name + ', faithful' * settings.faithful, built, build.mixers(settings))]


def of_ops(
  names: Iterable[str], levels: Iterable[float], settings: augmentation.Augmentation
) -> list[Shown]:
  """Each op at each level, always applied; nothing else happens to the image.

  Args:
    names: ops, see `ops.NAMES`.
    levels: see `tables.Entry`.
    settings: of them count `pixel_scale`, `translate_const`, `cutout_const`, `min_visible` and `faithful`.

  Raises:
    ConfigError: an op is unknown.
  """
  unknown = [name for name in names if name not in ops.NAMES]
  if unknown:
    raise errors.ConfigError(
      f'--op: there is no op {unknown[0]!r}; there are {", ".join(sorted(ops.NAMES))}.'
    )
  still = dataclasses.replace(
    settings, policy='S2', scale_min=1.0, scale_max=1.0, flip_probability=0.0
  )

  def shown(name: str, level: float) -> Shown:
    # Not by way of `auto_augment.sub_policies`, because RandAugment's levels go beyond AutoAugment's.
    def built(size: Size) -> policy.Policy:
      sub_policy = (tables.Entry(name, 1.0, level),)
      whole = build.own(still, size, normalize=False)
      return dataclasses.replace(whole, sub_policies=(sub_policy,))

    return Shown(f'{name}, level {level:g}' + ', faithful' * settings.faithful, built)

  return [shown(name, level) for name in names for level in levels]


def make(
  shown: Sequence[Shown], inputs: Sequence[sheet_inputs.Input], draws: Draws
) -> list[sheet.Row]:
  """Draws all rows of all inputs.

  Args:
    shown: policies and ops.
    inputs: at least one.
    draws: how often, and so on.

  Returns:
    Rows in the order of `shown`, for each of them in the order of `inputs`.

  Raises:
    ConfigError: mixers cannot mix the inputs, because they differ in size or in their labels.
  """
  rows = []
  for one in shown:
    if one.mixers:
      _check_mixing(one.mixers, inputs, draws)
    results = _results(one, inputs, draws)
    for (name, example), made in zip(inputs, results, strict=True):
      title = (one.title, name)
      rows.append(sheet.Row(title, _arrays(example), made, is_mixed=bool(one.mixers)))
  return rows


def _results(
  shown: Shown, inputs: Sequence[sheet_inputs.Input], draws: Draws
) -> list[list[sheet.Arrays]]:
  """Results by input and draw."""
  graphs: dict[tuple[object, ...], Callable[[examples.Example], examples.Example]] = {}
  by_input = []
  for index, (_, example) in enumerate(inputs):
    height, width = draws.size or example['image'].shape[:2]
    key = (height, width, *sorted(example))
    if key not in graphs:
      transform = shown.build((height, width))
      # Transforms need no AutoGraph, which would take seconds to find that out.
      graphs[key] = tf.function(transform, input_signature=[_signature(example)], autograph=False)
    seeds = ([draws.seed, index * draws.count + draw] for draw in range(draws.count))
    by_input.append([graphs[key]({**example, keys.SEED: tf.constant(seed)}) for seed in seeds])
  for mixer in shown.mixers:
    following = [by_input[i:] + by_input[:i] for i in range(len(by_input))]
    # Wraps around more than once when a mixer takes more images than there are.
    around = [(each * mixer.num_examples)[: mixer.num_examples] for each in following]
    by_input = [[mixer(group) for group in zip(*each, strict=True)] for each in around]
  return [[_arrays(result) for result in results] for results in by_input]


def _check_mixing(
  mixers: Sequence[mixing.Mixer], inputs: Sequence[sheet_inputs.Input], draws: Draws
) -> None:
  first = inputs[0].example
  pastes = any(isinstance(mixer, mixing.CopyPaste) for mixer in mixers)
  for name, example in inputs:
    if draws.size is None and example['image'].shape != first['image'].shape:
      raise errors.ConfigError(
        f'images that are mixed must have one size, and {name} has another one than {inputs[0].name}: give --size.'
      )
    if set(example) != set(first):
      raise errors.ConfigError(
        f'images that are mixed must have the same kinds of labels, and {name} has others than {inputs[0].name}.'
      )
    if pastes and keys.GROUNDTRUTH_INSTANCE_MASKS not in example:
      raise errors.ConfigError(
        f'copy_paste_probability needs instance masks ({keys.BOX_MASK}), and {name} has none.'
      )


def _signature(example: examples.Example) -> dict[str, tf.TensorSpec]:
  """Tensors of any height, width and number of boxes, so that one graph serves all images."""
  free = {
    'image': [None, None, 3],
    keys.SEMANTIC_MASK: [None, None, 1],
    keys.GROUNDTRUTH_INSTANCE_MASKS: [None, None, None],
  }
  specs = {
    key: tf.TensorSpec(free.get(key, [None, *value.shape[1:]]), value.dtype)
    for key, value in example.items()
  }
  return {**specs, keys.SEED: tf.TensorSpec([2], tf.int32)}


def _arrays(example: examples.Example) -> dict[str, np.ndarray]:
  return {key: value.numpy() for key, value in example.items()}

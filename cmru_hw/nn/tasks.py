"""The training tasks: real data from installed packages, and two synthetic tasks, for retention and for nested lists.

=========  =========================================  ============================  ==================================
task       one sequence                               classes                       source
=========  =========================================  ============================  ==================================
vowels     an utterance, 12 cepstra, 7 to 29 frames   9 speakers                    JapaneseVowels (``aeon``)
detect     the same                                   one speaker against the rest  JapaneseVowels (``aeon``)
digits     an 8 × 8 image, one row per timestep       10 digits                     ``sklearn.datasets.load_digits``
flipflop   ±1 pulses and long silence in noise        sign of the last pulse        made here from a seed
listops    a nested list, one token per timestep      its value, 0 to 9             made here from a seed
=========  =========================================  ============================  ==================================

No data is downloaded: the packages contain it. They are installed by ``pip install 'cmru_hw[train]'``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmru_hw.core.errors import DataError, InputError
from cmru_hw.nn.sequences import Sequences, load_sequences

TASKS = ("vowels", "detect", "digits", "flipflop", "listops")
DECIDED_LAST = ("flipflop", "listops")
"""Tasks whose classes are those of the last timestep, by default."""

OWN = "own data"
MAX_CLASSES = 1000

DETECTED = 3
"""The speaker to detect: the one with most test utterances (88 of 370), so that both kinds of error can be measured."""

PULSE = 4
"""Length of a flipflop pulse in timesteps: enough for a level to go from −2 to +2 or back."""
SHORTEST_HOLD, LONGEST_HOLD = 50, 1000

LONGEST_LIST, DEEPEST_LIST, MOST_ITEMS = 32, 3, 4
"""Of a listops expression: tokens, operations within each other, and items of an operation."""
NESTED = 0.3
"""Probability that an item of a list is a list, where the depth allows one."""


def _middle(items: Sequence[int]) -> int:
    """The middle one of the sorted items; of two, the lower."""
    return sorted(items)[(len(items) - 1) // 2]


OPERATIONS: Mapping[str, Callable[[Sequence[int]], int]] = {
    "MIN": min,
    "MAX": max,
    "MED": _middle,
    "SM": lambda items: sum(items) % 10,
}
"""What a list stands for: its least, largest or middle item, or the last digit of their sum."""
TOKENS = (*map(str, range(10)), *(f"[{name}" for name in OPERATIONS), "]")
"""Tokens of an expression. Each is a feature, which is 1 in the timestep of that token, else 0."""

_VOWELS: Mapping[str, Any] = {
    "data": "JapaneseVowels: 12 LPC cepstra per frame of nine male speakers saying /ae/",
    "split": "the data's own: 270 training and 370 test utterances, recorded on different occasions",
    "source": "M. Kudo, J. Toyama, M. Shimbo, UCI Machine Learning Repository, doi:10.24432/C5NS47; from package aeon",
    "licence": "CC BY 4.0",
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """Labelled sequences in two parts, the class names, and ``notes`` on data, split, source and licence."""

    name: str
    train: Sequences
    test: Sequences
    classes: tuple[str, ...]
    notes: Mapping[str, Any]


def get(name: str) -> Task:
    """The task ``name``. Raises InputError if it is unknown or the package with its data is missing."""
    makers = {
        "vowels": _vowels,
        "detect": _detect,
        "digits": _digits,
        "flipflop": _flipflop,
        "listops": _listops,
    }
    if name not in makers:
        raise InputError(f"task {name!r} is unknown; it must be one of {', '.join(TASKS)}")
    return makers[name]()


def own(train_path: Path, test_path: Path, classes: tuple[str, ...] | None = None) -> Task:
    """The task of two ``.npz`` files of labelled sequences; ``classes`` defaults to the numbers of the labels.

    Raises DataError, with file, cause and remedy.
    """
    train, test = load_sequences(train_path), load_sequences(test_path)
    largest = 0
    for path, part in ((train_path, train), (test_path, test)):
        if part.labels is None:
            raise DataError(f"{path}: it has no labels; add an array 'labels', one class index for each sequence")
        largest = max(largest, int(part.labels.max()))
        if largest >= MAX_CLASSES:
            raise DataError(f"{path}: label {largest} is too large; labels are class indices, 0 to {MAX_CLASSES - 1}")
    assert train.labels is not None
    if len(np.unique(train.labels)) < 2:
        raise DataError(f"{train_path}: all sequences are of one class; give sequences of two or more")
    if train.inputs.shape[2] != test.inputs.shape[2]:
        sizes = f"{train.inputs.shape[2]} features, {test_path} {test.inputs.shape[2]}"
        raise DataError(f"{train_path} has {sizes}; give two parts of one data set")
    names = classes or tuple(str(label) for label in range(largest + 1))
    if len(names) <= largest:
        raise DataError(f"there are {len(names)} class names, but label {largest} occurs; name every class from 0 on")
    notes = {"data": train_path.name, "split": f"{train_path.name} trains, {test_path.name} tests"}
    return Task(name=OWN, train=train, test=test, classes=names, notes=notes)


def _vowels() -> Task:
    train, test = (_utterances(split) for split in ("train", "test"))
    classes = tuple(f"speaker {number}" for number in range(1, 10))
    return Task(name="vowels", train=train, test=test, classes=classes, notes=_VOWELS)


def _detect() -> Task:
    train, test = (_utterances(split, speaker=DETECTED) for split in ("train", "test"))
    notes = {**_VOWELS, "question": f"is it speaker {DETECTED}?"}
    return Task(name="detect", train=train, test=test, classes=("other", f"speaker {DETECTED}"), notes=notes)


def _utterances(split: str, speaker: int | None = None) -> Sequences:
    """Sequences labelled by speaker, from 0; with ``speaker``, by whether it is that speaker."""
    try:
        from aeon.datasets import load_japanese_vowels
    except ImportError:
        raise InputError("the speech data is not installed; run: pip install 'cmru_hw[train]'") from None
    utterances, speakers = load_japanese_vowels(split=split)  # each (12, frames)
    lengths = np.array([utterance.shape[1] for utterance in utterances])
    inputs = np.zeros((len(utterances), lengths.max(), len(utterances[0])), dtype=np.float32)
    for row, utterance in zip(inputs, utterances, strict=True):
        row[: utterance.shape[1]] = utterance.T
    numbers = speakers.astype(np.int64)
    labels = numbers - 1 if speaker is None else (numbers == speaker).astype(np.int64)
    return Sequences(inputs=inputs, lengths=lengths, labels=labels)


def _digits() -> Task:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError("the digit images are not installed; run: pip install 'cmru_hw[train]'") from None
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8)
    # Not shuffled: neighbours in the file tend to have the same writer, and the test images should have other writers.
    cut = len(images) * 4 // 5
    notes = {
        "data": "digits: 1797 images of 8 × 8 pixels, read row by row",
        "split": f"the first {cut} images train, the other {len(images) - cut} test",
        "source": "E. Alpaydin, C. Kaynak, UCI Machine Learning Repository, doi:10.24432/C50P49; from scikit-learn",
        "licence": "CC BY 4.0",
    }
    return Task(
        name="digits",
        train=Sequences(inputs=images[:cut], labels=labels[:cut]),
        test=Sequences(inputs=images[cut:], labels=labels[cut:]),
        classes=tuple(str(digit) for digit in range(10)),
        notes=notes,
    )


def _flipflop() -> Task:
    rng = np.random.default_rng(2026)
    return Task(
        name="flipflop",
        # Trained on short holds, tested on long ones: a state that is held exactly for 100 steps is held indefinitely.
        train=pulses(rng, rng.integers(SHORTEST_HOLD, 2 * SHORTEST_HOLD, size=256)),
        test=pulses(rng, np.geomspace(SHORTEST_HOLD, LONGEST_HOLD, num=24).round().astype(np.int64)),
        classes=("-1", "+1"),
        notes={
            "data": f"1 to 4 pulses of ±1, {PULSE} timesteps each, in Gaussian noise of 0.05; then silence",
            "split": f"holds of {SHORTEST_HOLD} to {2 * SHORTEST_HOLD} train, {SHORTEST_HOLD} to {LONGEST_HOLD} test",
            "source": "made by cmru_hw.nn.tasks from a fixed seed",
            "licence": "none needed",
        },
    )


def pulses(rng: np.random.Generator, holds: NDArray[np.int64]) -> Sequences:
    """One sequence per hold: some pulses, the last one followed by that many timesteps of noise only."""
    starts = [np.cumsum(rng.integers(PULSE, 4 * PULSE, size=rng.integers(1, 5))) for _ in holds]
    lengths = np.array([start[-1] + PULSE + hold for start, hold in zip(starts, holds, strict=True)])
    inputs = rng.normal(scale=0.05, size=(len(holds), lengths.max(), 1)).astype(np.float32)
    labels = np.empty(len(holds), dtype=np.int64)
    for row, start, length, index in zip(inputs, starts, lengths, range(len(holds)), strict=True):
        signs = rng.choice([-1, 1], size=len(start))
        for begin, sign in zip(start, signs, strict=True):
            row[begin : begin + PULSE] += sign
        row[length:] = 0
        labels[index] = signs[-1] > 0
    return Sequences(inputs=inputs, lengths=lengths, labels=labels)


def _listops() -> Task:
    made = expressions(np.random.default_rng(2027), 2560)
    train, test = made.take(np.arange(2048)), made.take(np.arange(2048, 2560))
    return Task(
        name="listops",
        train=train,
        test=test,
        classes=tuple(str(digit) for digit in range(10)),
        notes={
            "data": f"lists of digits and lists under {', '.join(OPERATIONS)}, up to {LONGEST_LIST} tokens",
            "split": "2048 expressions train, 512 other ones test",
            "source": "made by cmru_hw.nn.tasks from a fixed seed; the idea is that of N. Nangia, S. Bowman, "
            "arXiv:1804.06028",
            "licence": "none needed",
        },
    )


def expressions(rng: np.random.Generator, count: int) -> Sequences:
    """``count`` different expressions such as ``[MAX 2 [SM 7 5 ] 0 ]``, labelled by their values."""
    made: dict[tuple[str, ...], int] = {}
    while len(made) < count:
        tokens, value = _expression(rng, DEEPEST_LIST)
        if len(tokens) <= LONGEST_LIST:
            made[tuple(tokens)] = value
    lengths = np.array([len(tokens) for tokens in made])
    inputs = np.zeros((count, LONGEST_LIST, len(TOKENS)), dtype=np.float32)
    for row, each in zip(inputs, made, strict=True):
        row[np.arange(len(each)), [TOKENS.index(token) for token in each]] = 1
    return Sequences(inputs=inputs, lengths=lengths, labels=np.array(list(made.values())))


def _expression(rng: np.random.Generator, depth: int) -> tuple[list[str], int]:
    """Tokens and value of a list with at most ``depth`` operations within each other."""
    name = list(OPERATIONS)[rng.integers(len(OPERATIONS))]
    tokens, values = [f"[{name}"], []
    for _ in range(rng.integers(2, MOST_ITEMS + 1)):
        if depth > 1 and rng.random() < NESTED:
            inner, value = _expression(rng, depth - 1)
        else:
            value = int(rng.integers(10))
            inner = [str(value)]
        tokens += inner
        values.append(value)
    return [*tokens, "]"], OPERATIONS[name](values)

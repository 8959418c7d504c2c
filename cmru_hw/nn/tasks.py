"""The training tasks: real data from installed packages, and one synthetic task for retention.

=========  =========================================  ============================  ==================================
task       one sequence                               classes                       source
=========  =========================================  ============================  ==================================
vowels     an utterance, 12 cepstra, 7 to 29 frames   9 speakers                    JapaneseVowels (``aeon``)
detect     the same                                   one speaker against the rest  JapaneseVowels (``aeon``)
digits     an 8 × 8 image, one row per timestep       10 digits                     ``sklearn.datasets.load_digits``
flipflop   ±1 pulses and long silence in noise        sign of the last pulse        made here from a seed
=========  =========================================  ============================  ==================================

No data is downloaded: the packages contain it. They are installed by ``pip install 'cmru_hw[train]'``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmru_hw.core.errors import DataError, InputError
from cmru_hw.nn.sequences import Sequences, load_sequences

TASKS = ("vowels", "detect", "digits", "flipflop")

OWN = "own data"
MAX_CLASSES = 1000

DETECTED = 3
"""The speaker to detect: the one with most test utterances (88 of 370), so that both kinds of error can be measured."""

PULSE = 4
"""Length of a flipflop pulse in timesteps: enough for a level to go from −2 to +2 or back."""
SHORTEST_HOLD, LONGEST_HOLD = 50, 1000

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
    makers = {"vowels": _vowels, "detect": _detect, "digits": _digits, "flipflop": _flipflop}
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

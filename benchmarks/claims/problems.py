"""The problems on which the cells are compared. Two use real data; the others are synthetic and test one property each.

=========  ====================================================================  ==============================
problem    one sequence                                                          what it asks
=========  ====================================================================  ==============================
vowels     an utterance of 7 to 29 frames: which of nine speakers?               real data, short
digits     an 8 × 8 image as 64 single pixels: which digit?                      real data, longer
flipflop   ±1 pulses, then 50 to 100 timesteps of noise: sign of the last?       a bit kept in noise
recall-D   one of four symbols, then D timesteps of noise: which was it?         a symbol kept, seen once
leaky      white noise: its moving averages with factors 0.8 and 0.95?           fading memory; linear by nature
listops    up to 32 tokens of nested lists: which digit is their value?          nested operations
=========  ====================================================================  ==============================

Validation sequences choose the learning rate and are never trained on; test sequences are scored once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from cmru_hw.nn import tasks
from cmru_hw.nn.cells import valid_timesteps
from cmru_hw.nn.sequences import Sequences

FACTORS = (0.8, 0.95)
SYMBOLS, STATIC = 4, 0.1
"""Number of symbols to recall, and standard deviation of the noise."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """``inputs`` (sequences, timesteps, features), ``lengths`` (sequences,); ``targets`` (sequences,) of classes.

    For a course, ``targets`` is (sequences, timesteps, outputs).
    """

    inputs: Tensor
    lengths: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """``decision`` is "mean" or "last" timestep, or "course" for a regression at every timestep.

    ``noise``: standard deviation of the noise on training inputs. ``learnt``: the score above which a model counts as
    having learnt; fixed before the study was run.
    """

    name: str
    train: Part
    validation: Part
    test: Part
    outputs: int
    decision: str
    noise: float
    learnt: float

    @property
    def features(self) -> int:
        return self.train.inputs.shape[2]


@cache
def get(name: str) -> Problem:
    """The problem with a name from the table above, such as "vowels" or "recall-100"."""
    kind, _, delay = name.partition("-")
    if kind == "recall":
        return _recall(int(delay))
    return {"vowels": _vowels, "digits": _digits, "flipflop": _flipflop, "leaky": _leaky, "listops": _listops}[kind]()


def of_length(name: str, length: int, count: int, *, quiet: bool = False) -> Part:
    """``count`` test sequences of "flipflop" or "recall" whose answer lies ``length`` timesteps back.

    ``quiet``: without noise after the answer.
    """
    rng = np.random.default_rng(length)
    made = _part(tasks.pulses(rng, np.full(count, length))) if name == "flipflop" else _symbols(rng, count, length)
    if quiet:
        times = torch.arange(made.inputs.shape[1])
        made.inputs[times >= made.lengths[:, None] - length] = 0
    return made


def _vowels() -> Problem:
    task = tasks.get("vowels")
    # Three quarters of each speaker's utterances are for training.
    order = np.arange(len(task.train))
    fitted, held = order[order % 4 != 3], order[order % 4 == 3]
    parts = (task.train.take(fitted), task.train.take(held), task.test)
    return _scaled("vowels", parts, outputs=9, noise=0.2, learnt=0.9)


def _digits() -> Problem:
    task = tasks.get("digits")
    # Not shuffled, as in tasks.py: the writers of the validation digits wrote none of the others.
    cut = len(task.train) * 4 // 5
    order = np.arange(len(task.train))
    parts = (task.train.take(order[:cut]), task.train.take(order[cut:]), task.test)
    pixels = tuple(Sequences(inputs=p.inputs.reshape(len(p), 64, 1), labels=p.labels) for p in parts)
    return _scaled("digits", pixels, outputs=10, noise=0.1, learnt=0.7)


def _listops() -> Problem:
    task = tasks.get("listops")
    order = np.arange(len(task.train))
    cut = len(order) * 3 // 4
    train, validation, test = map(_part, (task.train.take(order[:cut]), task.train.take(order[cut:]), task.test))
    return Problem(
        name="listops",
        train=train,
        validation=validation,
        test=test,
        outputs=len(task.classes),
        decision="last",
        noise=0.0,
        learnt=0.9,
    )


def _scaled(name: str, parts: tuple[Sequences, ...], *, outputs: int, noise: float, learnt: float) -> Problem:
    made = [_part(sequences) for sequences in parts]
    seen = made[0].inputs[valid_timesteps(made[0].lengths, made[0].inputs.shape[1])]
    mean, spread = seen.mean(0), seen.std(0)
    spread = spread.clamp(min=spread.max().item() / 10)
    train, validation, test = (
        Part(inputs=(part.inputs - mean) / spread, lengths=part.lengths, targets=part.targets) for part in made
    )
    return Problem(
        name=name,
        train=train,
        validation=validation,
        test=test,
        outputs=outputs,
        decision="mean",
        noise=noise,
        learnt=learnt,
    )


def _part(sequences: Sequences) -> Part:
    assert sequences.labels is not None
    arrays = (sequences.inputs, sequences.lengths, sequences.labels)
    inputs, lengths, targets = (torch.from_numpy(np.asarray(array)) for array in arrays)
    return Part(inputs=inputs, lengths=lengths, targets=targets)


def _flipflop() -> Problem:
    rng = np.random.default_rng(7)
    low, high = tasks.SHORTEST_HOLD, 2 * tasks.SHORTEST_HOLD
    train, validation, test = (
        _part(tasks.pulses(rng, rng.integers(low, high, size=count))) for count in (512, 256, 512)
    )
    return Problem(
        name="flipflop",
        train=train,
        validation=validation,
        test=test,
        outputs=2,
        decision="last",
        noise=0.0,
        learnt=0.95,
    )


def _recall(delay: int) -> Problem:
    rng = np.random.default_rng(delay)
    train, validation, test = (_symbols(rng, count, delay) for count in (1024, 256, 512))
    return Problem(
        name=f"recall-{delay}",
        train=train,
        validation=validation,
        test=test,
        outputs=SYMBOLS,
        decision="last",
        noise=0.0,
        learnt=0.95,
    )


def _symbols(rng: np.random.Generator, count: int, delay: int) -> Part:
    """One feature of four is 1 in the first timestep; noise on all, always."""
    shown = rng.integers(0, SYMBOLS, size=count)
    inputs = rng.normal(scale=STATIC, size=(count, delay + 1, SYMBOLS)).astype(np.float32)
    inputs[np.arange(count), 0, shown] += 1
    lengths = torch.full((count,), delay + 1)
    return Part(inputs=torch.from_numpy(inputs), lengths=lengths, targets=torch.from_numpy(shown))


def _leaky() -> Problem:
    rng = np.random.default_rng(11)
    train, validation, test = (_averages(rng, count) for count in (512, 128, 256))
    return Problem(
        name="leaky",
        train=train,
        validation=validation,
        test=test,
        outputs=len(FACTORS),
        decision="course",
        noise=0.0,
        learnt=0.9,
    )


def _averages(rng: np.random.Generator, count: int, time: int = 100) -> Part:
    """White noise and y ← a y + √(1 − a²) x for each factor a: averages that tend to unit variance."""
    inputs = rng.normal(size=(count, time, 1)).astype(np.float32)
    factors = np.array(FACTORS)
    targets = np.zeros((count, time, len(FACTORS)), dtype=np.float32)
    state = np.zeros((count, len(FACTORS)))
    for step in range(time):
        state = factors * state + np.sqrt(1 - factors**2) * inputs[:, step]
        targets[:, step] = state
    lengths = torch.full((count,), time)
    return Part(inputs=torch.from_numpy(inputs), lengths=lengths, targets=torch.from_numpy(targets))

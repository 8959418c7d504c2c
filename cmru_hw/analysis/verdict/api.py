"""A verdict on a network from its margins: no netlist is written and nothing is simulated.

Each kind of circuit says what moves its rows and states (:mod:`cmru_hw.circuits.row_errors`). Margins and the expected
share of wrong decisions follow analytically from the software model on the given sequences. The yield is that of a
hundred dies of the software model (:mod:`cmru_hw.analysis.verdict.dies`), in which each row has one error. Causes are
found by the same dies without one source of errors at a time.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from cmru_hw.analysis.montecarlo.interval import clopper_pearson
from cmru_hw.analysis.montecarlo.result import DieAccuracy
from cmru_hw.analysis.verdict import dies, remedies, software
from cmru_hw.analysis.verdict.dies import SoftwareDies
from cmru_hw.analysis.verdict.remedies import Remedy
from cmru_hw.analysis.verdict.result import BUILDS_WELL, Cause, LargestInput, LayerMargin, TrimOffer, Verdict, band
from cmru_hw.analysis.verdict.software import Expected
from cmru_hw.circuits import registry, row_errors
from cmru_hw.circuits.design import AnyDesign
from cmru_hw.circuits.input_range import PERCENTILE
from cmru_hw.circuits.row_errors import LayerErrors, NetworkErrors, RowErrors
from cmru_hw.core.errors import TechnologyError
from cmru_hw.core.signals import Array
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.forward import Model
from cmru_hw.nn.sequences import Sequences

DIES, FEWER = 100, 32
"""Dies of the estimate, and of the search for causes."""
DROP = 0.01
# Sequences are left out, evenly, beyond this number of states (sequences x timesteps x units).
LARGEST_RUN = 1_000_000
# As many states are enough to find the causes of errors; their effect is then that on all sequences.
LARGEST_SEARCH = 100_000
# A cause is named if dies lose this share of the sequences by it.
WORTH_NAMING = 0.001
SHOWN = 4


def judge(
    design: AnyDesign,
    trained: Trained,
    sequences: Sequences,
    *,
    checkpoint: str = "CHECKPOINT",
    technology: str | None = None,
    drop: float = DROP,
    count: int = DIES,
    seed: int = 0,
    explain: bool = True,
    **budget: Any,
) -> Verdict:
    """The verdict on ``design`` of ``trained`` for a task like ``sequences``.

    ``checkpoint`` and ``technology`` are named in commands. ``drop`` is the accuracy that a good die may lose. With
    ``explain=False``, no causes are sought. ``budget`` is passed on to the kind of circuit, such as ``offsets`` of the
    charge domain. Raises InputError for a design that has no estimate.
    """
    trained.check(sequences)
    chosen = _some(trained, sequences)
    errors = registry.of(design).row_errors(design, trained, chosen, **budget)
    expected = Expected.of(trained, errors.inputs, chosen)
    run = partial(dies.run, trained, sequences=chosen, seed=seed, expected=expected)
    found = run(errors, dies=count)
    share = float(found.good(drop).mean())
    names = {"checkpoint": checkpoint, "technology": technology or design.technology.name}
    costs = _of_software(trained, errors, chosen)
    offer: TrimOffer | None = None
    if band(share) != BUILDS_WELL and explain:
        costs += _of_sources(run, trained, errors, chosen, found, drop)
        costs += _of_outliers(run, design, trained, chosen, found, drop, budget)
        if any(one.cause in (row_errors.OFFSETS, row_errors.AMPLIFIERS) for one in costs) and not budget:
            offer = _trim(run, design, trained, chosen, found, drop, names)
    return Verdict(
        verdict=band(share),
        yield_=clopper_pearson(int(found.good(drop).sum()), count),
        accuracy=DieAccuracy(
            software=found.software,
            median=float(np.median(found.accuracy)),
            p05=float(np.quantile(found.accuracy, 0.05)),
            min=float(found.accuracy.min()),
        ),
        accuracy_of="labels" if chosen.labels is not None else "software's classes",
        drop=drop,
        sequences=len(chosen),
        layers=_margins(trained, errors, chosen, found),
        largest_input=largest_input(sequences),
        smallest_part=errors.smallest,
        causes=tuple(_cause(one, names) for one in sorted(costs, key=lambda one: -one.accuracy)),
        assumptions=errors.assumptions,
        trim=offer,
    )


def _some(trained: Trained, sequences: Sequences, largest: int = LARGEST_RUN) -> Sequences:
    """All sequences, or as many as have ``largest`` states, at equal distances."""
    states = sequences.inputs.shape[1] * sum(trained.config.units)
    count = max(1, largest // states)
    if count >= len(sequences):
        return sequences
    return sequences.take(np.linspace(0, len(sequences) - 1, count).round().astype(np.int64))


def largest_input(sequences: Sequences) -> LargestInput:
    """The input that is most standard deviations away from the mean of its feature."""
    values = sequences.inputs[sequences.valid].astype(np.float64)
    spread = values.std(axis=0)
    far = np.abs(values - values.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    place, feature = np.unravel_index(int(np.argmax(far)), far.shape)
    return LargestInput(
        feature=int(feature), value=float(values[place, feature]), deviations=float(far[place, feature])
    )


# --- Margins -----------------------------------------------------------------------------------------------------


def _margins(
    trained: Trained, errors: NetworkErrors, sequences: Sequences, found: SoftwareDies
) -> tuple[LayerMargin, ...]:
    """Distances of the rows of software from their thresholds, layer by layer."""
    out = errors.inputs.model(trained, dtype=np.float32).run(sequences.inputs, sequences.lengths)
    valid = sequences.valid
    layers = []
    for index, (one, candidate, threshold) in enumerate(
        zip(errors.layers, out.candidates, out.thresholds, strict=True)
    ):
        sigma = np.sqrt(one.rows.variance())
        rows = rows_of(candidate, threshold, fixed=trained.config.cell == "fq-bmru")
        far = [_over(row, sigma[min(place, len(sigma) - 1)])[valid] for place, row in enumerate(rows)]
        nearer = np.minimum(*far)
        wrong = 1 - (1 - ndtr(-far[0])) * (1 - ndtr(-far[1]))
        layers.append(
            LayerMargin(
                layer=index,
                unit=errors.unit,
                sigma=_typical(one, sigma, valid),
                p05=float(np.quantile(nearer, 0.05)),
                median=float(np.median(nearer)),
                wrong_own=float(wrong.mean()),
                wrong=found.wrong[index],
            )
        )
    return tuple(layers)


def rows_of(candidate: Array, threshold: Array, *, fixed: bool) -> tuple[Array, Array]:
    """The weighted sums of the two rows of each unit, which it compares with zero: (sequences, timesteps, units).

    ``fixed``: ``threshold`` has the rows β_lo and β_hi (2, units).
    """
    if fixed:
        return candidate - threshold[0], candidate - threshold[1]
    return candidate - threshold, candidate + threshold


def _over(row: Array, sigma: Array) -> Array:
    """Distances in units of ``sigma``; without any error, further than any that counts."""
    return np.asarray(np.abs(row) / np.maximum(sigma, np.abs(row) / 1e6 + 1e-30))


def _typical(errors: LayerErrors, sigma: Array, valid: NDArray[np.bool_]) -> float:
    """Median standard deviation of a row in the circuit's own unit."""
    if sigma.ndim == 2:
        return float(np.median(sigma * errors.scale))
    live = sigma[:, valid] * errors.scale[:, None]
    return float(np.median(live[live > 0])) if (live > 0).any() else 0.0


# --- Causes ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Cost:
    """The accuracy that dies lose by one cause, and their yield without it."""

    cause: str
    accuracy: float
    yield_: float | None


def _cause(cost: _Cost, names: dict[str, str]) -> Cause:
    remedy = remedies.of(cost.cause)
    return Cause(
        cause=cost.cause,
        accuracy=cost.accuracy,
        yield_=cost.yield_,
        remedy=remedy.words,
        command=_command(remedy, names),
    )


def _command(remedy: Remedy, names: Mapping[str, str]) -> str:
    return remedy.command.format(**{key: shlex.quote(name) for key, name in names.items()})


def _of_software(trained: Trained, errors: NetworkErrors, sequences: Sequences) -> list[_Cost]:
    """The accuracy that software itself loses with clamped inputs, and without parts too small to be drawn."""
    own, clamped, drawn = (
        software.accuracy(trained, model, sequences)
        for model in (
            Model.of(trained, dtype=np.float32),
            errors.inputs.model(trained, dtype=np.float32),
            errors.inputs.model(errors.drawn, dtype=np.float32),
        )
    )
    lost = {row_errors.CLAMPED: own - clamped, errors.smallest.cause: clamped - drawn}
    return [_Cost(cause=name, accuracy=one, yield_=None) for name, one in lost.items() if one >= WORTH_NAMING]


def _of_outliers(
    run: Any,
    design: AnyDesign,
    trained: Trained,
    sequences: Sequences,
    found: SoftwareDies,
    drop: float,
    budget: Mapping[str, Any],
) -> list[_Cost]:
    """The accuracy that dies lose because the range of the inputs has room for outliers."""
    if design.calibration.percentile <= PERCENTILE:
        return []
    kind = registry.of(design)
    narrower = kind.map_network(trained, design.technology, kind.calibrate(trained, sequences))
    better = run(kind.row_errors(narrower, trained, sequences, **budget), dies=len(found.accuracy))
    gain = _gain(better, found)
    if gain < WORTH_NAMING:
        return []
    return [_Cost(cause=row_errors.OUTLIERS, accuracy=gain, yield_=float(better.good(drop).mean()))]


def _trim(
    run: Any,
    design: AnyDesign,
    trained: Trained,
    sequences: Sequences,
    found: SoftwareDies,
    drop: float,
    names: Mapping[str, str],
) -> TrimOffer | None:
    """The same dies with an offset trim; None where a trim does not exist or does not help."""
    kind = registry.of(design)
    if design.technology.trim_bits:
        return None
    try:
        technology = kind.with_trim(design.technology, remedies.TRIM_BITS)
    except TechnologyError:
        return None
    trimmed = kind.map_network(trained, technology, design.calibration)
    better = run(kind.row_errors(trimmed, trained, sequences), dies=len(found.accuracy))
    gain = _gain(better, found)
    if gain < WORTH_NAMING:
        return None
    return TrimOffer(
        bits=remedies.TRIM_BITS,
        accuracy=gain,
        yield_=float(better.good(drop).mean()),
        remedy=remedies.TRIM.words,
        command=_command(remedies.TRIM, names),
    )


def _gain(better: SoftwareDies, found: SoftwareDies) -> float:
    """The accuracy that ``better`` dies have more, on average."""
    return float(better.accuracy.mean() - found.accuracy.mean())


def _of_sources(
    run: Any, trained: Trained, errors: NetworkErrors, sequences: Sequences, found: SoftwareDies, drop: float
) -> list[_Cost]:
    """The dearest sources of errors."""
    fewer = _some(trained, sequences, LARGEST_SEARCH)
    search = partial(
        run,
        errors,
        dies=min(FEWER, len(found.accuracy)),
        sequences=fewer,
        expected=Expected.of(trained, errors.inputs, fewer),
    )
    before = float(search().accuracy.mean())
    without = {one: search(without=(one,)).accuracy.mean() - before for one in sources(errors)}
    dearest = sorted((one for one, gain in without.items() if gain >= WORTH_NAMING), key=lambda one: -without[one])
    costs = []
    for one in dearest[:SHOWN]:
        better = run(errors, dies=len(found.accuracy), without=(one,))
        gain = _gain(better, found)
        if gain >= WORTH_NAMING:
            costs.append(_Cost(cause=one, accuracy=gain, yield_=float(better.good(drop).mean())))
    return costs


def sources(errors: NetworkErrors) -> tuple[str, ...]:
    """Names of all sources of errors of a network that are not zero."""
    found: list[str] = [row_errors.MIRRORS] if errors.linear else []
    rows: list[RowErrors] = [errors.readout]
    for layer in errors.layers:
        rows += [one for one in (layer.rows, layer.alpha) if one is not None]
        states = layer.states
        parts: Sequence[tuple[str, Array]] = (
            (row_errors.AMPLIFIERS, np.hypot(states.offset, states.kick)),
            (row_errors.REFERENCES, states.kick_die + states.size_die),
            (row_errors.GAIN, states.short + states.lost),
            (row_errors.LEAKAGE, states.droop),
            (row_errors.LIMITS, states.limit),
            (row_errors.NOISE, states.walk),
            *states.size.items(),
        )
        found += [name for name, value in parts if value.any()]
    for one in rows:
        kinds = (one.per_row, one.per_unit, one.per_die)
        found += [name for kind in kinds for name, value in kind.items() if value.any()]
        found += [row_errors.NOISE] if one.noise.any() else []
        found += [row_errors.TRIMMED] if one.trim is not None else []
    return tuple(dict.fromkeys(found))

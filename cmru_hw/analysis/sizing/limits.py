"""The laws that limit a sized design: which class of elements costs most, and which sizes it depends on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.scheduler import kind
from cmru_hw.analysis.montecarlo.shards import Block
from cmru_hw.analysis.montecarlo.statistics import passed
from cmru_hw.analysis.montecarlo.workers import Workers
from cmru_hw.analysis.sizing.result import Limit

# Dies for each class of elements, alone and without it.
DIES = 64
# Laws that a failure names at most.
MOST_LAWS = 4

LAWS = {
    "offset": "comparator offset, A_VT / root of W L: pair_width, pair_length, trim_bits, trim_reach",
    "amplifier": "amplifier offset and gain: amplifier_width, amplifier_length, mirror_length",
    "limit": "offset of the level limit, A_VT / root of W L: limit_width, swing",
    "weights": "mismatch of weight capacitors, A_C / root of area: row",
    "packet": "mismatch of packet capacitors, A_C / root of area: integrator",
    "integrator": "mismatch of integrating capacitors, A_C / root of area: integrator",
    "leak": "leakage of the held state: integrator",
    "injection": "injected charge: row, integrator",
    "trim": "mismatch of trim taps: row",
    "readout/weights": "mismatch of the readout's capacitors, A_C / root of area: row; or of its arms: output",
    "readout/offset": "offset of readout rows: trim_bits, trim_reach",
    "readout/injection": "injected charge of the readout: row",
    "readout/trim": "mismatch of the readout's trim taps: row",
    "noise/row": "sampled noise of rows, kT/C: row",
    "noise/decision": "noise of comparators: pair_width, pair_length",
    "noise/wander": "1/f noise of comparators: pair_width, pair_length",
    "noise/charge": "sampled noise of packets, kT/C: integrator",
    "noise/class": "sampled noise of the readout, kT/C: row",
    "inputs/diodes": "mismatch of the inputs' mirrors, A / root of N W L: inputs, constant",
    "entry": "mismatch of the projection's arms and diodes, A / root of N W L: inputs, entry",
    "candidate": "mismatch of the candidates' arms and diodes, A / root of N W L: entry, output, thresholds, constant",
    "cells": "mismatch of the cells, A / root of N W L: thresholds, levels",
    "references": "mismatch of the bias diodes, A / root of N W L: thresholds, levels",
    "output": "mismatch of the arms and diodes behind a layer, A / root of N W L: levels, output",
}
DIE_TO_DIE = "variation of a whole die, which no size changes"
NOMINAL = "the circuit without any variation: finite gain, capacitors that are left out, range of states"


def effects(job: Job, workers: Workers, *, drop: float) -> tuple[Limit, ...]:
    """Every class of elements that varies in ``job``, the worst first."""
    found = []
    for name, members in _classes(job.varied).items():
        found.append(
            Limit(
                element=name,
                law=LAWS.get(name, DIE_TO_DIE),
                agreement_alone=_scored(job, members, workers, drop).agreement,
                yield_without=_scored(job, job.varied - members, workers, drop).yield_,
            )
        )
    return tuple(sorted(found, key=lambda one: (one.agreement_alone, one.element)))


def limited_by(job: Job, workers: Workers, *, drop: float, goal: float) -> tuple[str, ...]:
    """The laws that keep the yield below ``goal``, the costliest first; at most MOST_LAWS.

    One law after the other is taken away, each time the one without which the yield is highest (and then the mean
    accuracy), until the yield reaches ``goal``. Of two laws that each ruin every die, both are therefore named.
    """
    if _scored(job, frozenset(), workers, drop, dies=1).yield_ < 1.0:
        return (NOMINAL,)
    left, laws = job.varied, list[str]()
    while left and len(laws) < MOST_LAWS:
        without = {name: _scored(job, left - members, workers, drop) for name, members in _classes(left).items()}
        name = max(without, key=lambda one: (without[one].yield_, without[one].accuracy))
        left -= _classes(left)[name]
        law = LAWS.get(name, DIE_TO_DIE)
        laws += [law] if law not in laws else []
        if without[name].yield_ >= goal:
            break
    return tuple(laws)


def _classes(varied: frozenset[str]) -> dict[str, frozenset[str]]:
    """The elements of ``varied`` by class, in order of the name."""
    names = sorted({kind(leaf) for leaf in varied})
    return {name: frozenset(leaf for leaf in varied if kind(leaf) == name) for name in names}


@dataclass(frozen=True, kw_only=True)
class _Score:
    """Of some dies: yield, share of decisions as in software, mean accuracy of those that were simulated."""

    yield_: float
    agreement: float
    accuracy: float


def _scored(job: Job, varied: frozenset[str], workers: Workers, drop: float, dies: int = DIES) -> _Score:
    one = replace(job, varied=varied)
    tables = [table for _, table in workers(one, [Block(number=0, dies=tuple(range(dies)))])]
    table = pa.concat_tables(tables)
    decisions = int(table["decisions"].to_numpy().sum())
    accuracy = table.filter(pc.equal(table["status"], "ok"))["accuracy"].to_numpy()
    return _Score(
        yield_=float(passed(table, one.goal.accuracy, drop).mean()),
        agreement=int(table["decisions_agree"].to_numpy().sum()) / max(decisions, 1),
        accuracy=float(accuracy.mean()) if len(accuracy) else 0.0,
    )

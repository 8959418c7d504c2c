"""The laws that limit a sized design: which class of elements costs most, and which sizes it depends on."""

from __future__ import annotations

from dataclasses import replace

from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.scheduler import kind
from cmru_hw.analysis.montecarlo.shards import Block
from cmru_hw.analysis.montecarlo.statistics import passed
from cmru_hw.analysis.montecarlo.workers import Workers
from cmru_hw.analysis.sizing.result import Limit

# Dies for each class of elements, alone and without it.
DIES = 64

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
    "readout/weights": "mismatch of the readout's capacitors, A_C / root of area: row",
    "readout/offset": "offset of readout rows: trim_bits, trim_reach",
    "readout/injection": "injected charge of the readout: row",
    "readout/trim": "mismatch of the readout's trim taps: row",
    "noise/row": "sampled noise of rows, kT/C: row",
    "noise/decision": "noise of comparators: pair_width, pair_length",
    "noise/wander": "1/f noise of comparators: pair_width, pair_length",
    "noise/charge": "sampled noise of packets, kT/C: integrator",
    "noise/class": "sampled noise of the readout, kT/C: row",
}
DIE_TO_DIE = "variation of a whole die, which no size changes"
NOMINAL = "the circuit without any variation: finite gain, capacitors that are left out, range of states"


def effects(job: Job, workers: Workers, *, drop: float) -> tuple[Limit, ...]:
    """Every class of elements that varies in ``job``, the worst first."""
    found = []
    for name in sorted({kind(leaf) for leaf in job.varied}):
        members = frozenset(leaf for leaf in job.varied if kind(leaf) == name)
        _, agreement = _scored(job, members, workers, drop)
        without, _ = _scored(job, job.varied - members, workers, drop)
        found.append(
            Limit(element=name, law=LAWS.get(name, DIE_TO_DIE), agreement_alone=agreement, yield_without=without)
        )
    return tuple(sorted(found, key=lambda one: (one.agreement_alone, one.element)))


def nominal_is_good(job: Job, workers: Workers, *, drop: float) -> bool:
    """Whether the die without any variation is good."""
    return _scored(job, frozenset(), workers, drop, dies=1)[0] == 1.0


def hindrance(found: tuple[Limit, ...], nominal: bool) -> str:
    """The law that stands in the way of a higher yield: without it, the yield is highest."""
    if not nominal:
        return NOMINAL
    return max(found, key=lambda one: (one.yield_without, -one.agreement_alone)).law


def _scored(job: Job, varied: frozenset[str], workers: Workers, drop: float, dies: int = DIES) -> tuple[float, float]:
    """Yield and share of decisions as in software."""
    one = replace(job, varied=varied)
    good = agree = total = count = 0
    for _, table in workers(one, [Block(number=0, dies=tuple(range(dies)))]):
        good += int(passed(table, one.goal.accuracy, drop).sum())
        agree += int(table["decisions_agree"].to_numpy().sum())
        total += int(table["decisions"].to_numpy().sum())
        count += len(table)
    return good / count, agree / max(total, 1)

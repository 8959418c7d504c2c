"""Measure the power-gated chip: a unit behind power headers, and the sequencer that derives all clocks from a strobe.

Between two windows every supply falls to zero, and a capacitor between two open transistors holds the state. This
module measures the sequencer separately, and the smallest complete chip: headers, sequencer, V_cm, one unit, one
readout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cmru_hw.characterize.blocks import ChipBlocks
from cmru_hw.characterize.decisions import offsets
from cmru_hw.characterize.testbench import Conditions, MeasurementSource, Sigma, Testbench, draws, run_testbench, sample
from cmru_hw.core.errors import SimulationError
from cmru_hw.core.signals import Array, Traces
from cmru_hw.core.units import si
from cmru_hw.spice import Engine

# Levels of the testbench: power-on, its packet, up to the limit of two and beyond, hold, down beyond the other, up.
EXPECTED = (0, -1, 0, 1, 2, 2, 2, 1, 0, -1, -2, -2, -1)
# Packet of the testbench over VDD: cs / cint.
PACKET = 0.02
BLOCKS = {
    "logic": "md",
    "comparators": "mc",
    "amplifier": "ma",
    "clocks": "mk",
    "sequencer": "ms",
    "V_cm": "mh",
    "wake": "mw",
    "readout": "mr",
}
# Edges of one window in the order that they must have: of layer 1, layer 2, and the readout (rising +, falling -).
ORDER = (
    *("r1-", "f1-", "e1+", "ckn1-", "n1-", "en1+", "pb1+", "pc1+", "pb1-"),
    *("r2-", "f2-", "e2+", "ckn2-", "n2-", "en2+", "pb2+", "pc2+", "pb2-"),
    *("rr-", "fr-", "er+", "cknr-", "n3-"),
)
# Edges outside of that order: an amplifier switches off when its reader has decided; its packet's plate follows.
FOLLOWS = (("n2-", "en1-"), ("en1-", "pc1-"), ("n3-", "en2-"), ("en2-", "pc2-"))
# A row of transistor_power_gated_comparator.cir [F].
ROW = 200e-15
# The level limit's row [F] with seven levels of 28.6 mV, and the part of it that samples the state.
_LIMIT_ROW, _LIMIT_SAMPLE = 145e-15, 120e-15
# The search varies a voltage below all of the limit's capacitors, but a state drives only some of them.
LIMIT_SHARE = _LIMIT_ROW / _LIMIT_SAMPLE
# Of transistor_power_gated_unit.cir [s].
_FRAME = 3e-6
# A charge meter is a capacitor of 1 nF: cells/transistor/supply.cir.
_METER = 1e-9


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """One window of the sequencer: ``edges`` [s] after the strobe's, by name (``e1+``: e of layer 1 rises).

    ``overlap`` [V]: the most that e and f of one group are ever high together. ``energy`` [J] per frame and block.
    """

    edges: Mapping[str, tuple[float, ...]]
    overlap: float
    energy: Mapping[str, float]
    provenance: MeasurementSource

    @property
    def ordered(self) -> bool:
        """True if every edge occurs once in a window, and all are in ORDER."""
        first = [self.edges.get(name, ()) for name in (*ORDER, *(late for _, late in FOLLOWS))]
        if any(len(times) != 1 for times in first):
            return False
        times = [self.edges[name][0] for name in ORDER]
        return bool((np.diff(times) > 0).all()) and all(self.edges[b][0] > self.edges[a][0] for a, b in FOLLOWS)

    @property
    def length(self) -> float:
        """Time [s] from the strobe to the last decision."""
        return self.edges[ORDER[-1]][0]


@dataclass(frozen=True, kw_only=True)
class Chip:
    """The smallest chip over its testbench's frames: simulated ``levels`` (real), ``expected`` levels, ``reads`` of the
    readout. ``energy`` [J] per frame and block, mean of all frames but the first; ``static`` [J]: power in the part of
    the hold without switching, times the frame.

    ``state_low`` [V]: minimum voltage of the virtual ground; below 0 V the state would be lost.
    """

    levels: tuple[float, ...]
    expected: tuple[int, ...]
    reads: tuple[bool, ...]
    energy: Mapping[str, float]
    static: Mapping[str, float]
    common_mode: tuple[float, ...]
    state_low: float
    provenance: MeasurementSource

    @property
    def right(self) -> bool:
        levels = tuple(round(level) for level in self.levels)
        return levels == self.expected and self.reads == tuple(level >= 0 for level in self.expected)

    @property
    def total(self) -> float:
        return sum(self.energy.values())


@dataclass(frozen=True, kw_only=True)
class UnitDie:
    """One unit with the mismatch of its devices, all in V.

    ``threshold_up`` and ``threshold_down`` are the candidates at which the unit begins to step up and down.
    ``offset_low`` and ``offset_high`` are the corresponding voltages of its two rows. ``packet_up`` and ``packet_down``
    are sizes of packets, ``state`` is the error of the middle level from V_cm.
    """

    threshold_up: float
    threshold_down: float
    offset_low: float
    offset_high: float
    packet_up: float
    packet_down: float
    state: float


# The search of transistor_power_gated_unit.cir: its frames up, its frames down, and its final uncertainty [V].
_UP, _DOWN = np.arange(4, 9), np.arange(9, 14)
RESOLUTION = 0.5e-3


def unit_testbench(parameters: Mapping[str, float]) -> Testbench:
    """Testbench of one unit with the sizes ``parameters``: see :func:`unit_die` for the measured quantities."""
    saved = ("o", "vcm", "a", "b", "fa", "fb", "ckn", "qa", "qb", "tu", "td")
    return Testbench(name="transistor_power_gated_unit", saved=saved, stop=14 * _FRAME, parameters=parameters)


def unit_die(traces: Traces, conditions: Conditions, parameters: Mapping[str, float]) -> UnitDie:
    """Measurements from one run of :func:`unit_testbench`."""
    starts: Array = _FRAME * np.arange(14, dtype=np.float64)
    # The next layer reads from 1.5 us on; a decision begins when ckn falls.
    state = traces.at("o", starts + 1.49e-6) - traces.at("vcm", starts + 1.49e-6)
    fired = starts + 0.4725e-6
    found = {}
    for meter, row, replica, frames in (("tu", "a", "fa", _UP), ("td", "b", "fb", _DOWN)):
        tried = traces.at(meter, starts[frames])
        last = float(traces.values[meter][-1])
        # The row follows its line linearly, so its voltage at the end of the search can be extrapolated.
        slope, level = np.polyfit(tried, (traces.at(row, fired) - traces.at(replica, fired))[frames], 1)
        found[meter] = (last, float(level + slope * last))
    threshold = conditions.vdd * parameters["tap"] / parameters["cw"]
    return UnitDie(
        threshold_up=threshold + found["tu"][0],
        threshold_down=-threshold + found["td"][0],
        offset_low=found["tu"][1],
        offset_high=found["td"][1],
        packet_up=float(state[2] - state[1]),
        packet_down=float(state[2] - state[3]),
        # Before state 1 a packet moved the state from the middle level; the next packet moves it back.
        state=float(state[2]),
    )


def slowest(traces: Traces, conditions: Conditions, die: UnitDie) -> tuple[float, float]:
    """Overdrive [V] and clock-to-output delay [s] of the slowest decision against a step of a unit."""
    found = []
    for row, replica, answer, offset, frames in (
        ("a", "fa", "qa", die.offset_low, _UP),
        ("b", "fb", "qb", die.offset_high, _DOWN),
    ):
        for start in _FRAME * frames:
            fired = np.array([start + 0.4725e-6])
            during = (traces.time > start + 0.45e-6) & (traces.time < start + 0.9e-6)
            time = traces.time[during]
            # Both outputs are high before a decision: only the falling output shows the decision.
            clock, fall = (
                time[np.flatnonzero(traces.values[name][during] < conditions.vdd / 2)] for name in ("ckn", answer)
            )
            if len(fall):
                step = traces.at(row, fired) - traces.at(replica, fired)
                found.append((abs(float(step[0]) - offset), float(fall[0] - clock[0])))
    return max(found, key=lambda pair: pair[1])


def amplifier_gain(engine: Engine, conditions: Conditions) -> float:
    """Gain of the amplifier, of equal devices, from one end of the states to the other."""
    traces, _ = run_testbench(
        engine, Testbench(name="transistor_power_gated_amplifier", saved=("x", "o"), stop=20e-6), conditions
    )
    output, ground = (np.diff(traces.at(node, np.array([9.9e-6, 19.9e-6])))[0] for node in "ox")
    return float(abs(output / ground))


def row_parasitic(engine: Engine, conditions: Conditions) -> float:
    """Parasitic capacitance [F] of a row, without mismatch, from the attenuation of its line's step."""
    period = 2e-6
    testbench = Testbench(name="transistor_power_gated_comparator", saved=("trim", "a", "f"), stop=10 * period)
    traces, _ = run_testbench(engine, testbench, conditions)
    before: Array = period * (np.arange(10, dtype=np.float64) + 0.59)
    moved: Array = traces.at("a", before) - traces.at("f", before)
    share = np.polyfit(traces.at("trim", before), moved, 1)[0]
    return float(ROW * (1 / share - 1))


def blocks(engine: Engine, conditions: Conditions, *, dies: int, seed: int = 1) -> ChipBlocks:
    """Comparators, packets and amplifier of the chip over ``dies`` draws of mismatch, each block separately."""
    ratio, testbench = 7.94 / 500, packet_testbench()
    _, provenance = run_testbench(engine, testbench, conditions)
    drawn = draws(engine, testbench, conditions, range(seed, seed + dies))
    packets = [packet(traces) for traces in drawn]
    up, down = (np.array([getattr(one, way) for one in packets]) for way in ("up", "down"))
    failed = dies - len(drawn)
    return ChipBlocks(
        offset=comparator_offset(engine, conditions, dies=dies, seed=seed),
        limit=comparator_offset(engine, conditions, dies=dies, seed=seed, limit=True),
        packet=sample(((up + down) / 2 / (ratio * conditions.vdd)).tolist(), failed=failed),
        amplifier=sample(((up - down) / (2 * ratio)).tolist(), failed=failed),
        provenance=replace(
            provenance,
            testbench="transistor_power_gated_comparator.cir, transistor_power_gated_packet",
            dies=dies,
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Packets:
    """A packet ``up`` and one ``down``, and the ``middle`` level less V_cm, as the next layer reads them [V]."""

    middle: float
    up: float
    down: float


def packet_testbench(**parameters: float) -> Testbench:
    """Testbench of one integrator; ``cs`` and ``cint`` are its capacitors [F]."""
    return Testbench(name="transistor_power_gated_packet", saved=("o", "vcm"), stop=4 * _FRAME, parameters=parameters)


def packet(traces: Traces) -> Packets:
    """Measurements from one run of :func:`packet_testbench`."""
    read: Array = _FRAME * np.arange(1, 4, dtype=np.float64) + 1.49e-6
    middle, moved, back = traces.at("o", read) - traces.at("vcm", read)
    return Packets(middle=float(middle), up=float(moved - middle), down=float(moved - back))


def offset_testbench(*, limit: bool = False) -> Testbench:
    """Search for the offset of a comparator of a row, or of the level ``limit``: minus that is the last v(trim)."""
    parameters = {"wi": 3e-6, "li": 0.6e-6, "c": _LIMIT_ROW} if limit else {}
    return Testbench(name="transistor_power_gated_comparator", saved=("trim",), stop=20e-6, parameters=parameters)


def comparator_offset(
    engine: Engine, conditions: Conditions, *, dies: int, seed: int = 1, limit: bool = False
) -> Sigma:
    """Offset [V] over ``dies`` draws of mismatch: a row's comparator's at the row, the level ``limit``'s as a state."""
    found, failed = offsets(engine, offset_testbench(limit=limit), conditions, range(seed, seed + dies), "trim")
    share = LIMIT_SHARE if limit else ROW / (ROW + row_parasitic(engine, conditions))
    return sample([-share * trim for trim in found], failed=failed)


def sequencer(engine: Engine, conditions: Conditions, *, frame: float = 100e-6, window: float = 6e-6) -> Sequence:
    """The last of three windows of the sequencer, with the wires of two layers and a readout as its only load."""
    clocks = [
        f"{name}{layer}" for layer in "12" for name in ("r", "e", "f", "ckn", "n", "en", "enb", "pb", "pc", "pcb")
    ]
    clocks += ["rr", "er", "fr", "cknr", "n3"]
    meters = {name: BLOCKS[name] for name in ("clocks", "sequencer", "V_cm", "wake")}
    testbench = Testbench(
        name="transistor_sequencer",
        saved=("strobe", *clocks, *meters.values()),
        stop=3 * frame,
        parameters={"frame": frame, "window": window},
    )
    traces, provenance = run_testbench(engine, testbench, conditions)
    half, starts = conditions.vdd / 2, 2.5 * frame
    # The supplies rise together with the strobe: a clock that is high then has not switched.
    during = (traces.time > starts + 0.12e-6) & (traces.time < starts + window)
    edges: dict[str, tuple[float, ...]] = {}
    for name in clocks:
        high = traces.values[name][during] > half
        time = traces.time[during][1:] - starts
        for sign, there in (("+", high[1:] & ~high[:-1]), ("-", ~high[1:] & high[:-1])):
            edges[name + sign] = tuple(_crossings(traces, name, half, starts + time[there]) - starts)
    overlap = max(
        float(np.minimum(traces.values[f"e{group}"], traces.values[f"f{group}"]).max()) for group in ("1", "2", "r")
    )
    return Sequence(
        edges=edges,
        overlap=overlap,
        energy={name: float(_energy(traces, meter, conditions, frame, 3)[1:].mean()) for name, meter in meters.items()},
        provenance=provenance,
    )


def chip(
    engine: Engine,
    conditions: Conditions,
    *,
    frame: float = 10e-3,
    window: float = 6e-6,
    frames: int = len(EXPECTED),
) -> Chip:
    """Simulate the smallest chip over the first ``frames`` of its testbench; the strobe is its only clock input."""
    testbench = Testbench(
        name="transistor_power_gated_chip",
        saved=("o", "xunit.x", "vcm", "q", "cknr", *BLOCKS.values()),
        stop=frames * frame,
        parameters={"frame": frame, "window": window, "frames": float(frames)},
    )
    traces, provenance = run_testbench(engine, testbench, conditions)
    starts: Array = frame * (np.arange(frames, dtype=np.float64) + 0.5)
    # A state is valid until the readout decides: afterwards the amplifier is off.
    read = np.asarray(
        [_last_high(traces, "cknr", 0.97 * conditions.vdd, start, start + 0.9 * window) for start in starts]
    )
    levels = (traces.at("o", read) - traces.at("vcm", read)) / (PACKET * conditions.vdd)
    static = {}
    for block, meter in BLOCKS.items():
        before, after = (traces.at(meter, starts[1:] - frame * share) for share in (0.3, 0.01))
        static[block] = float((after - before).mean()) * _METER * conditions.vdd / 0.29
    return Chip(
        levels=tuple(levels.tolist()),
        expected=EXPECTED[:frames],
        reads=tuple((traces.at("q", starts + 0.97 * window) > conditions.vdd / 2).tolist()),
        energy={
            name: float(_energy(traces, meter, conditions, frame, frames)[1:].mean()) for name, meter in BLOCKS.items()
        },
        static=static,
        common_mode=tuple(traces.at("vcm", read).tolist()),
        state_low=float(traces.values["xunit.x"][traces.time > frame].min()),
        provenance=provenance,
    )


def _energy(traces: Traces, meter: str, conditions: Conditions, frame: float, frames: int) -> Array:
    """Energy [J] of every frame: (frames,)."""
    edges = np.minimum(np.arange(frames + 1) * frame, traces.time[-1])
    return np.diff(traces.at(meter, edges)) * _METER * conditions.vdd


def _crossings(traces: Traces, name: str, level: float, after: Array) -> Array:
    """Times at which the curve crosses ``level`` within the time steps that end at ``after``."""
    found = []
    for instant in after:
        end = int(np.searchsorted(traces.time, instant * (1 - 1e-12)))
        v0, v1 = traces.values[name][end - 1 : end + 1]
        t0, t1 = traces.time[end - 1 : end + 1]
        found.append(t0 + (level - v0) / (v1 - v0) * (t1 - t0))
    return np.array(found)


def _last_high(traces: Traces, name: str, level: float, begin: float, end: float) -> float:
    high = (traces.time > begin) & (traces.time < end) & (traces.values[name] > level)
    if not high.any():
        raise SimulationError(f"{name} was never high in the window at {si(begin, 's')}: lengthen the window")
    return float(traces.time[np.flatnonzero(high)[-1]])

"""Design × Stimulus → Deck.

A deck is three texts and their templates: ``network.cir`` (every capacitor and unit by name), ``deck.cir`` (supplies,
clocks, stimulus, what to save) and the cells it includes. The same files run by hand with ``ngspice deck.cir``.

Names. Layer l, unit i, input j: rows ``a0_3 b0_3 g0_3``, weight capacitors ``ca0_3_7``, bias and threshold taps
``ca0_3_bias ca0_3_threshold``, state ``o0_3``, decisions ``qa0_3 qb0_3``, inputs ``x7``, lines ``p0_7 n0_7``, readout
rows ``y2``. Every number is written num, because in SPICE ``1M`` is a thousandth.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cmru_hw import shipped
from cmru_hw.errors import DataError, InputError, MappingError
from cmru_hw.mapping import Design, Layer, Row
from cmru_hw.signals import Array, Traces

# filesource reads lines of at most about 500 characters and then repeats the first row without a word
COLUMNS_PER_FILE = 24
# Inputs change this far into a timestep, in the middle of the hold
INPUT_CHANGE = 0.2
# Cells that exist with accounts inside
_METERED = ("line", "integrator", "source")
# The power-on frame moves the comparators' references this far [V]: more than any row can
START_SHIFT = 1.0


@dataclass(frozen=True, kw_only=True)
class Deck:
    """A complete ngspice input: one transient analysis and the files beside it.

    ``text`` is the deck after its title line; the title is the content hash of all the rest, so a plot that bears it
    can only have come from this deck. ``files`` maps a relative path, as the deck names it, to its bytes.
    ``stop`` [s] is the end of the transient; ``saved`` are the vectors that must come back, in ngspice's spelling.
    ``settings`` count before ngspice reads the deck (``"ngbehavior=hsa"``); ``libraries`` are the absolute paths of
    model files that the deck may include and that are not looked into.
    """

    text: str
    stop: float
    saved: tuple[str, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When to read something: ``offset`` [s] into a frame, and the ``clocks`` that are then at ``high`` [V].

    Where latches keep decisions until then, they must be what they were at the offset ``decided`` [s].
    """

    offset: float
    clocks: tuple[str, ...]
    high: float
    decided: float | None = None


@dataclass(frozen=True, kw_only=True)
class Edge:
    """When to read something that no outside clock times: as ``clock`` begins to fall.

    That is at the last point above ``level`` [V] before it falls through half of that, ``begin`` to ``end`` [s] into a
    frame.
    """

    clock: str
    level: float
    begin: float
    end: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The instants [s] of an :class:`Edge` in all frames (frames,); NaN in a frame where there is none."""

    clock: str
    instants: Array


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Where each sequence lies in a deck: some power-on frames, then its timesteps, one frame each.

    ``starts`` (sequences,) is the frame of each first timestep, ``lengths`` (sequences,) the number of timesteps.
    Everything is sampled the share ``sampled`` of a timestep before its end, unless there are ``moments``: one for each
    layer, and one for the readout. A layer that does not keep its decisions until its state is read has them sampled
    when they have been ``used``; by then they must be what they were when they were ``taken``. A circuit that makes its
    own V_cm has it on the node ``common``, and one whose signals are ratios of the supply runs at ``supply`` [V].
    """

    timestep: float
    sampled: float
    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    moments: tuple[Moment | Edge | Found, ...] = ()
    used: tuple[Moment | Edge | Found, ...] = ()
    taken: tuple[Moment | Edge | Found, ...] = ()
    common: str | None = None
    supply: float | None = None

    @property
    def frames(self) -> int:
        return self.starts[-1] + self.lengths[-1]

    def edges(self, sequence: int) -> Array:
        """Beginnings of all timesteps of ``sequence`` and the end of the last (length + 1,) [s]."""
        frames = self.starts[sequence] + np.arange(self.lengths[sequence] + 1)
        return np.asarray(frames * self.timestep, dtype=np.float64)

    def instants(self, sequence: int, group: int = -1) -> Array:
        """Sampling instants (length,) [s] of ``sequence`` in layer ``group``, or the readout's."""
        if not self.moments:
            return self.edges(sequence)[1:] - self.sampled * self.timestep
        return self._at(self.moments[group], sequence)

    def deciding(self, sequence: int, group: int) -> Array:
        """When the decisions of layer ``group`` are sampled (length,) [s]."""
        return self._at(self.used[group], sequence) if self.used else self.instants(sequence, group)

    def _at(self, moment: Moment | Edge | Found, sequence: int) -> Array:
        if isinstance(moment, Moment):
            return self.edges(sequence)[:-1] + moment.offset
        if isinstance(moment, Edge):
            raise TypeError(f"when {moment.clock} fell is in the traces: ask the schedule that `located` returns")
        begin = self.starts[sequence]
        return moment.instants[begin : begin + self.lengths[sequence]]

    def located(self, traces: Traces) -> Schedule:
        """This schedule with its edges found in ``traces``."""
        found = {
            name: tuple(self._found(moment, traces) if isinstance(moment, Edge) else moment for moment in moments)
            for name, moments in (("moments", self.moments), ("used", self.used), ("taken", self.taken))
        }
        return replace(self, moments=found["moments"], used=found["used"], taken=found["taken"])

    @property
    def clocks(self) -> tuple[str, ...]:
        """The clocks that tell when to sample, each once."""
        every = (*self.moments, *self.used, *self.taken)
        named = [moment.clocks if isinstance(moment, Moment) else (moment.clock,) for moment in every]
        return tuple(dict.fromkeys(clock for clocks in named for clock in clocks))

    def unclocked(self, traces: Traces, sequence: int) -> str | None:
        """What is wrong with the clocks at the sampling instants of ``sequence``, or None: then samples mean something.

        XSPICE can miss an edge, and a chip that makes its own clocks can fail to.
        """
        for moment in (*self.moments, *self.used, *self.taken):
            instants = self._at(moment, sequence)
            if not isinstance(moment, Moment):
                absent = {moment.clock: np.isnan(instants)}
            else:
                absent = {clock: traces.at(clock, instants) < 0.999 * moment.high for clock in moment.clocks}
            for clock, missing in absent.items():
                if missing.any():
                    late = int(np.argmax(missing))
                    return f"clock {clock} did not come in timestep {late} of sequence {sequence}"
        return None

    def _found(self, edge: Edge, traces: Traces) -> Found:
        high = traces.values[edge.clock] > edge.level / 2
        falls = np.flatnonzero(high[:-1] & ~high[1:])
        above = np.flatnonzero(traces.values[edge.clock] > edge.level)
        instants = np.full(self.frames, np.nan)
        for frame in range(self.frames):
            begin, end = (frame * self.timestep + offset for offset in (edge.begin, edge.end))
            first = np.searchsorted(traces.time[falls], begin)
            if first < len(falls) and traces.time[falls[first]] <= end:
                last = np.searchsorted(above, falls[first], side="right") - 1
                instants[frame] = traces.time[above[last]] if last >= 0 else np.nan
        return Found(clock=edge.clock, instants=instants)

    def decided(self, sequence: int, group: int) -> Array | None:
        """When the latches of layer ``group`` took their decisions (length,) [s]; None where none keeps any."""
        if self.taken:
            return self._at(self.taken[group], sequence)
        moment = self.moments[group] if self.moments else None
        offset = moment.decided if isinstance(moment, Moment) else None
        return None if offset is None else self.edges(sequence)[:-1] + offset


def schedule(timestep: float, sampled: float, lengths: Sequence[int], *, lead: int = 1, **more: Any) -> Schedule:
    """Lay sequences of ``lengths`` timesteps one after the other, ``lead`` power-on frames before each.

    ``more`` are the other fields of a Schedule.
    """
    if not lengths or min(lengths) < 1:
        raise DataError("there is nothing to simulate: every sequence needs at least one timestep")
    ends = np.cumsum(np.asarray(lengths) + lead)
    starts = ends - np.asarray(lengths)
    return Schedule(timestep=timestep, sampled=sampled, starts=tuple(starts.tolist()), lengths=tuple(lengths), **more)


def network_text(design: Design, *, driven: Collection[str] = ()) -> str:
    """``network.cir``: the weights, units and readout of ``design``, without supplies and clocks.

    ``driven`` are the precharge nodes whose voltage comes from outside, from a stimulus.
    """
    config = design.config
    lines = [
        f"* {config.cell} network: {config.features} inputs, units {' + '.join(map(str, config.units))}, "
        f"{len(design.readout.bias)} readout rows",
        f"* technology {design.technology.name} ({design.technology.level}); model sha256 {design.model_sha256[:16]}",
        f"* an input of 1 after scaling is {design.input_unit:.6g} V above V_cm",
    ]
    sources = line_sources(design)
    for index, layer in enumerate(design.layers):
        lines += _layer(design, index, layer, sources[str(index)], driven)
    lines.append(
        "\n* ==== readout: one row per class, all of the same total capacitance, so that their voltages compare"
    )
    lines += _lines("r", sources["r"], "r")
    for k in range(len(design.readout.bias)):
        lines.append(f"* ---- class {k}")
        lines += _row(design.readout, "y", "r", k, f"y{k}")
        pre = _precharge(f"zy{k}", design.readout.offset[k], driven, lines)
        lines.append(f"xry{k} y{k} {pre} r vcm row cp={num(_parasitic(design))}")
    return "\n".join(lines) + "\n"


def deck(
    design: Design,
    inputs: Sequence[Array],
    *,
    network: str | None = None,
    noise: Sequence[Mapping[str, Array]] | None = None,
    save: Sequence[str] = (),
    refine: int = 0,
    metered: bool = False,
) -> tuple[Deck, Schedule]:
    """A deck that runs ``inputs``, sequences of shape (timesteps, features), one after the other.

    ``network`` replaces :func:`network_text` (an edited file that the user asked for by name). ``noise`` has for each
    sequence the noise [V] of every precharge node (:func:`offsets`), on top of its offset: one value for the power-on
    frame, then one for each timestep. ``save`` adds vectors. ``refine`` halves the largest step that many times.
    ``metered`` gives every driver and source an account of the charge that it delivers (:func:`meters`).
    """
    technology = design.technology
    timing = technology.timing
    # everything has settled, and the clocks have not fallen yet
    end = Moment(offset=(1 - design.phase / 4) * design.timestep, clocks=design.phases, high=1.0)
    moments = (end,) * (len(design.layers) + 1)
    plan = schedule(design.timestep, design.phase / 4, [len(x) for x in inputs], moments=moments)
    common = technology.supply.common_mode
    columns: dict[str, Array] = {f"x{j}": np.full(plan.frames, common) for j in range(design.config.features)}
    start = np.zeros(plan.frames, dtype=bool)
    for first, sequence in zip(plan.starts, inputs, strict=True):
        start[first - 1] = True
        for j, voltage in enumerate(design.voltages(np.asarray(sequence)).T):
            columns[f"x{j}"][first : first + len(voltage)] = voltage
    columns["ref_up"] = np.where(start, common - START_SHIFT, common)
    columns["ref_down"] = np.where(start, common + START_SHIFT, common)
    driven = noise[0].keys() if noise else ()
    for node, offset in offsets(design).items():
        if noise and node in driven:
            # inputs and sequences lie the same way: one frame for power-on, then the timesteps
            columns[node] = common + offset + np.concatenate([one[node] for one in noise])
    files = {"network.cir": (network if network is not None else network_text(design, driven=driven)).encode()}
    cells = cell_files(design, metered=metered)
    files |= cells
    stimulus = []
    names = list(columns)
    for number, first in enumerate(range(0, len(names), COLUMNS_PER_FILE)):
        chosen = names[first : first + COLUMNS_PER_FILE]
        path = f"stimulus{number}.txt"
        files[path] = _stimulus_file(timing.timestep, np.stack([columns[name] for name in chosen], axis=1))
        stimulus += _filesource(f"stimulus{number}", path, chosen)
    files["start.txt"] = _start_file(plan, start, design.phase / 2)
    stimulus += _filesource("start", "start.txt", ["init"])
    saved = [
        f"{node}{index}_{i}"
        for index, layer in enumerate(design.layers)
        for i in range(layer.units)
        for node in ("o", "qa", "qb")
    ]
    saved += [f"y{k}" for k in range(len(design.readout.bias))]
    saved += design.phases
    saved += [name for name in save if name not in saved]
    if metered:
        saved += [TOTAL, *[meter.vector for meter in meters(design)]]
    stop = (plan.frames + INPUT_CHANGE / 2) * timing.timestep
    # a metered hold needs a step or two of its own between the change of the inputs and the first clock
    step = timing.timestep / 2 ** max(refine, 4 if metered else 0)
    lines = [
        f".param v_cm={num(common)}",
        *[f".include {path}" for path in cells],
        *_source_lines(design, metered),
        *clock_lines(design),
        *stimulus,
        ".include network.cir",
        *save_lines(saved),
        # Charge conservation makes one step across a switching event exact; truncation control would only add steps.
        ".options method=gear maxord=2 chgtol=1",
        f".tran {num(step)} {num(stop)} 0 {num(step)} uic",
    ]
    return Deck(text="\n".join(lines) + "\n", stop=stop, saved=tuple(saved), files=files), plan


def offsets(design: Design) -> dict[str, float]:
    """Every precharge node and how far it is off V_cm [V]: ``za0_3 zb0_3 zg0_3 zy2`` of rows, ``zp0_3`` of packets."""
    found: dict[str, float] = {}
    for index, layer in enumerate(design.layers):
        kinds = {"a": layer.low.offset, "b": layer.high.offset, "p": layer.packet_offset}
        if layer.packet_row is not None:
            kinds["g"] = layer.packet_row.offset
        found |= {f"z{kind}{index}_{i}": float(values[i]) for kind, values in kinds.items() for i in range(layer.units)}
    return found | {f"zy{k}": float(value) for k, value in enumerate(design.readout.offset)}


def clock_lines(design: Design) -> list[str]:
    """One clock instance per phase; all pulses end with the timestep, so that an earlier phase is a longer pulse."""
    period, names, share = design.technology.timing.timestep, design.phases, design.phase
    return [
        f"xclock_{name} {name} clock period={num(period)} "
        f"duty={num(share * (len(names) + 1 - place))} edge={num(share * period)}"
        for place, name in enumerate(names)
    ]


def cell_files(design: Design, *, metered: bool = False) -> dict[str, bytes]:
    """The templates that ``design`` instantiates: path in the deck → content, in the order to include them.

    ``metered`` cells are the same circuits with accounts inside; raises InputError where the design has its own.
    """
    if design.technology.level != "macro":
        raise MappingError(
            "this needs a netlist of macros, and the design is of transistors: export with --level macro"
        )
    folder = shipped.folder("netlists")
    own = {name: text.encode() for name, text in design.templates}
    names = ["clock", "line", "row", "comparator", "integrator", _unit_cell(design)]
    files = {"devices/ideal.lib": (folder / "devices" / "ideal.lib").read_bytes()}
    for name in [*names, "source"] if metered else names:
        with_account = metered and name in _METERED
        if with_account and name in own:
            raise InputError(f"a template of one's own for {name} keeps no account of its charge: export without it")
        path = folder / "cells" / design.technology.level
        path = path / "metered" if with_account else path
        files[f"cells/{name}.cir"] = own.get(name) or (path / f"{name}.cir").read_bytes()
    return files


def line_sources(design: Design) -> dict[str, list[str]]:
    """Which node each line pair of a group reads: group (``"0"``, ``"1"``, …, ``"r"``) → nodes of its lines 0, 1, …

    Every group has one more line, ``bias``.
    """
    config = design.config
    found: dict[str, list[str]] = {}
    sources = [f"x{j}" for j in range(config.features)]
    for index, layer in enumerate(design.layers):
        found[str(index)] = sources
        own = [f"o{index}_{i}" for i in range(layer.units)]
        sources = own + sources if config.skip else own
    found["r"] = [f"o{len(design.layers) - 1}_{i}" for i in range(design.layers[-1].units)]
    return found


@dataclass(frozen=True, kw_only=True)
class Meter:
    """The account of one driver or source: node ``vector`` rises by 1 mV for each picocoulomb that it delivers.

    ``driver`` is ``"line"`` (``node`` is what the line reads, ``group`` its layer), ``"amplifier"`` (of unit ``node``;
    its output takes its charge from V_cm), or ``"source"`` (the supply called ``node``).
    """

    vector: str
    driver: str
    node: str
    group: str = ""


# All charge once more, metered where it comes back from lines and sources.
TOTAL = "account_total"


def meters(design: Design) -> list[Meter]:
    """The accounts of a metered deck, :data:`TOTAL` apart.

    The comparators' supply has none: what an ideal comparator draws through its pull-down is no comparator's energy.
    """
    found = []
    for group, nodes in line_sources(design).items():
        named = [*((str(j), node) for j, node in enumerate(nodes)), ("bias", "bias")]
        found += [
            Meter(vector=f"xline{group}_{name}.m{side}", driver="line", node=node, group=group)
            for name, node in named
            for side in "pn"
        ]
    for index, layer in enumerate(design.layers):
        found += [
            Meter(vector=f"xunit{index}_{i}.xi.ma", driver="amplifier", node=f"{index}_{i}") for i in range(layer.units)
        ]
    return found + [Meter(vector=f"account_{name}", driver="source", node=name) for name in _sources(design)]


def _sources(design: Design) -> dict[str, float]:
    """Reference voltages [V] by node."""
    common = design.technology.supply.common_mode
    return {
        "vcm": common,
        "bias": float(common + design.bias),
        "vrp": float(common + design.reference_down),
        "vrn": float(common - design.reference_up),
    }


def _source_lines(design: Design, metered: bool) -> list[str]:
    sources, supply = _sources(design).items(), f"vdd vdd 0 {num(design.technology.supply.vdd)}"
    if not metered:
        return [supply, *[f"v{name} {name} 0 {num(volts)}" for name, volts in sources]]
    returns = ["vreturn", *[f"vlines{group}" for group in line_sources(design)]]
    return [
        supply,
        *[f"xsource_{name} {name} account_{name} return source volts={num(volts)}" for name, volts in sources],
        "vreturn return 0 0",
        *[f"ftotal{place} {TOTAL} 0 {name} 1" for place, name in enumerate(returns)],
        f"ctotal {TOTAL} 0 1n ic=0",
    ]


def _unit_cell(design: Design) -> str:
    if design.config.cell == "acmru":
        return "unit_alpha"
    return "unit_replace" if design.config.epsilon == 0.0 else "unit_accumulate"


def _layer(design: Design, index: int, layer: Layer, sources: Sequence[str], driven: Collection[str]) -> list[str]:
    cell, technology = _unit_cell(design), design.technology
    parasitic = _parasitic(design)
    lines = [
        f"\n* ==== layer {index}: {layer.units} units; 1 software unit of its output is {layer.unit:.6g} V",
        *_lines(str(index), sources, f"e{index}"),
    ]
    for i in range(layer.units):
        here = f"{index}_{i}"
        ladder = "no ladder" if cell == "unit_alpha" else f"one level {layer.step[i]:.6g} V"
        if layer.sign[i] < 0:
            ladder += ", alpha negative: its readers count it negative"
        threshold = layer.high.threshold[i] / layer.high.scale[i] * technology.signal.bias
        lines.append(f"* ---- unit {here}: {ladder}; constant part of its threshold {threshold:.6g}")
        lines += _row(layer.low, "a", str(index), i, f"a{here}")
        lines += _row(layer.high, "b", str(index), i, f"b{here}")
        za = _precharge(f"za{here}", layer.low.offset[i], driven, lines)
        zb = _precharge(f"zb{here}", layer.high.offset[i], driven, lines)
        zp = _precharge(f"zp{here}", layer.packet_offset[i], driven, lines)
        up = layer.initial[i] > 0
        same = ("ref_up", "ref_up") if up else ("ref_down", "ref_down")
        common = f"qa{here} qb{here}"
        values = (
            f"cint={num(layer.integrator[i])} cp={num(parasitic)} gain={num(layer.gain[i])} leak={num(layer.leak[i])}"
        )
        if layer.unsettled[i]:
            values += f" unsettled={num(layer.unsettled[i])}"
        packet = f"cs={num(layer.packet[i])}"
        if cell == "unit_alpha":
            assert layer.packet_row is not None
            lines += _row(layer.packet_row, "g", str(index), i, f"g{here}")
            zg = _precharge(f"zg{here}", layer.packet_row.offset[i], driven, lines)
            lines.append(
                f"xunit{here} a{here} b{here} g{here} o{here} {common} {za} {zb} {zg} {zp} ref_up ref_down "
                f"e{index} u{index} init vcm {'vrn' if up else 'vrp'} vdd {cell}\n"
                f"+ {packet} cs0={num(layer.start_packet[i])} {values}"
            )
        elif cell == "unit_replace":
            lines.append(
                f"xunit{here} a{here} b{here} o{here} {common} {za} {zb} {zp} {same[0]} {same[1]} "
                f"e{index} m{index} u{index} init vcm vrp vrn vdd {cell}\n+ {packet} {values}"
            )
        else:
            # without a ladder limit the state may go anywhere: the limit is then out of reach
            limit = min(layer.limit[i], 1e3)
            lines.append(
                f"xunit{here} a{here} b{here} o{here} {common} {za} {zb} {zp} {same[0]} {same[1]} "
                f"e{index} u{index} init vcm vrp vrn vdd {cell}\n"
                f"+ {packet} {values} ch={num(technology.capacitor.sample)} vlimit={num(limit)}"
            )
    return lines


def _lines(group: str, sources: Sequence[str], clock: str) -> list[str]:
    """Bottom-plate line pairs of a layer: one per input, and one for the constant 1."""
    named = [*((str(j), source) for j, source in enumerate(sources)), ("bias", "bias")]
    return [
        f"vlines{group} ret{group} 0 0",
        *[f"xline{group}_{j} {source} p{group}_{j} n{group}_{j} {clock} vcm ret{group} line" for j, source in named],
    ]


def _row(row: Row, kind: str, group: str, i: int, top: str) -> list[str]:
    """The capacitors of one row: positive weights on the p lines, negative ones on the n lines."""
    unit = f"{group}_{i}" if group != "r" else str(i)
    elements = [(f"c{kind}{unit}_{j}", str(j), value) for j, value in enumerate(row.weights[i])]
    elements += [(f"c{kind}{unit}_bias", "bias", row.bias[i]), (f"c{kind}{unit}_threshold", "bias", row.threshold[i])]
    lines = [
        f"{name} {top} {'p' if c > 0 else 'n'}{group}_{line} {num(abs(c))}" for name, line, c in elements if c != 0
    ]
    if row.pad[i] > 0:
        lines.append(f"c{kind}{unit}_pad {top} vcm {num(row.pad[i])}")
    return lines


def _precharge(node: str, offset: float, driven: Collection[str], lines: list[str]) -> str:
    """The node that is precharged to: V_cm, or ``node`` with a source of its own if it has an offset or is driven."""
    if node in driven:
        return node
    if offset == 0:
        return "vcm"
    lines.append(f"v{node} {node} vcm {num(offset)}")
    return node


def _parasitic(design: Design) -> float:
    return design.technology.capacitor.parasitic


def _stimulus_file(timestep: float, values: Array) -> bytes:
    """One row per change; the last one repeated past the end, because filesource needs something to interpolate to."""
    frames = len(values)
    times = np.concatenate(([0.0], (np.arange(1, frames + 3) + INPUT_CHANGE) * timestep))
    held = values[np.minimum(np.arange(frames + 3), frames - 1)]
    rows = np.column_stack((times, held))
    return "".join(" ".join(f"{v:.10g}" for v in row) + "\n" for row in rows.tolist()).encode()


def _start_file(plan: Schedule, start: Array, early: float) -> bytes:
    """The power-on line: up in the hold before a start frame, down ``early``, before that frame's clocks fall."""
    rows: list[tuple[float, int]] = []
    for frame in np.flatnonzero(start).tolist():
        rows.append(((frame + INPUT_CHANGE) * plan.timestep if frame else 0.0, 1))
        rows.append(((frame + 1 - early) * plan.timestep, 0))
    rows += [((plan.frames + extra) * plan.timestep, 0) for extra in (1, 2)]
    return "".join(f"{time:.10g} {value}\n" for time, value in rows).encode()


def _filesource(name: str, path: str, columns: Sequence[str]) -> list[str]:
    zeros, ones = (" ".join([value] * len(columns)) for value in ("0", "1"))
    return [
        f"a{name} %v([{' '.join(columns)}]) {name}_source",
        f'.model {name}_source filesource(file="{path}" amploffset=[{zeros}] amplscale=[{ones}] amplstep=true)',
    ]


def save_lines(saved: Sequence[str]) -> list[str]:
    """The cards that keep ``saved``, in lines that ngspice reads whole."""
    return [".save " + " ".join(saved[first : first + 20]) for first in range(0, len(saved), 20)]


def num(value: float | Array) -> str:
    """A num number with all its digits: no suffixes."""
    return repr(float(value))

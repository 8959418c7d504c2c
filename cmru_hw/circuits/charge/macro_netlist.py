"""Design × Stimulus → Deck, as a macromodel.

A deck consists of ``network.cir`` (every capacitor and unit by name), ``deck.cir`` (supplies, clocks, stimulus, saved
vectors) and the templates that it includes. ``ngspice deck.cir`` runs the same files.

Names. Layer l, unit i, input j: rows ``a0_3 b0_3 g0_3``, weight capacitors ``ca0_3_7``, bias and threshold taps
``ca0_3_bias ca0_3_threshold``, state ``o0_3``, decisions ``qa0_3 qb0_3``, inputs ``x7``, lines ``p0_7 n0_7``, readout
rows ``y2``; with trim, replicas ``fa0_3 fy2`` and taps ``xta0_3_4``. Numbers are written without SI suffixes: SPICE
reads ``1M`` as 1e-3.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cmru_hw.circuits import input_range
from cmru_hw.circuits.charge import deck_builder, macro_stimulus, trim_netlist
from cmru_hw.circuits.charge.design import Design, Layer, Row
from cmru_hw.circuits.charge.macro_stimulus import INPUT_CHANGE, Sources
from cmru_hw.circuits.charge.part import Part, whole
from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError, MappingError
from cmru_hw.core.signals import Array
from cmru_hw.spice.deck import Deck, num
from cmru_hw.spice.schedule import Moment, Schedule, schedule

# Cells that also exist with a charge meter inside.
_METERED = ("line", "integrator", "source")


def network_text(design: Design, *, driven: Collection[str] = ()) -> str:
    """``network.cir``: the weights, units and readout of ``design``, without supplies and clocks.

    Stimulus sources drive the precharge nodes ``driven``; the network contains no source for them.
    """
    config = design.config
    lines = [
        f"* {config.cell} network: {config.features} inputs, units {' + '.join(map(str, config.units))}, "
        f"{len(design.readout.bias)} readout rows",
        f"* technology {design.technology.name} ({design.technology.level}); model sha256 {design.model_sha256[:16]}",
        f"* an input of 1 after scaling is {input_range.span(design.input_unit)} V above V_cm; inputs end at "
        f"{design.technology.signal.input_swing:.6g} V",
    ]
    sources = line_sources(design)
    for index, layer in enumerate(design.layers):
        lines += _layer(design, index, layer, sources[str(index)], driven)
    lines.append(
        "\n* ==== readout: one row per class, all of the same total capacitance, so that their voltages compare"
    )
    lines += _lines("r", sources["r"], "r")
    lines += trim_netlist.lines(design, "r", "r")
    for k in range(len(design.readout.bias)):
        lines.append(f"* ---- class {k}")
        lines += _row(design.readout, "y", "r", k, f"y{k}")
        pre = _precharge(f"zy{k}", design.readout.offset[k], driven, lines)
        lines.append(f"xry{k} y{k} {pre} r vcm row cp={num(_parasitic(design))}")
        lines += trim_netlist.class_row(design, k)
    return "\n".join(lines) + "\n"


def comparator_inputs(design: Design) -> list[tuple[str, str]]:
    """Rows a and b of every unit in order, each with its replica, or "" if it is compared with V_cm."""
    units = [f"{index}_{i}" for index, layer in enumerate(design.layers) for i in range(layer.units)]
    tops = [f"{row}{here}" for here in units for row in "ab"]
    return [(top, f"f{top}" if design.technology.trim_bits else "") for top in tops]


def deck(
    design: Design,
    inputs: Sequence[Array],
    *,
    network: str | None = None,
    noise: Sequence[Mapping[str, Array]] | None = None,
    save: Sequence[str] = (),
    refine: int = 0,
    metered: bool = False,
    calibrating: bool = False,
    part: Part | None = None,
    recorded: Sources | None = None,
) -> tuple[Deck, Schedule]:
    """A deck that runs ``inputs``, sequences of shape (timesteps, features), one after the other.

    ``network`` replaces :func:`network_text` (an edited file that the user named explicitly). ``noise`` holds, for each
    sequence, the noise [V] of every precharge node (`cmru_hw.circuits.charge.macro_stimulus.offsets`), which is added
    to the node's offset: one value for the power-on frame, then one per timestep. ``save`` adds vectors. ``refine`` is
    how often the largest step is halved. ``metered`` gives every driver and source a meter of the charge that it
    delivers (:func:`meters`). ``calibrating`` gives the circuit during the search of trim codes: states stay empty, the
    power-on frame forces no decision, and the comparators of the readout rows are saved too. ``part`` is what
    ``network`` contains, the whole design if None; ``recorded`` drives the states that it reads and does not contain.
    """
    technology = design.technology
    timing = technology.timing
    part = part or whole(design)
    plan = plan_of(design, inputs)
    driven = noise[0].keys() if noise else ()
    cells = cell_files(design, metered=metered)
    features = _features(design, part)
    sources = macro_stimulus.stimulus(
        design, part, inputs, plan, features=features, noise=noise, calibrating=calibrating
    )
    also = recorded or Sources(lines=(), files={})
    saved = _saved(design, part, metered, (*save, *(trim_netlist.readout_comparators(design) if calibrating else ())))
    stop = (plan.frames + INPUT_CHANGE / 2) * timing.timestep
    # A metered hold needs a step or two of its own, between the change of the inputs and the first clock.
    step = timing.timestep / 2 ** max(refine, 4 if metered else 0)
    built = deck_builder.build(
        network=network if network is not None else network_text(design, driven=driven),
        cells=cells,
        files={**sources.files, **also.files},
        head=[f".param v_cm={num(technology.supply.common_mode)}"],
        sources=[
            *_source_lines(design, part, metered),
            *([f"vcal cal 0 {int(calibrating)}"] if technology.trim_bits else []),
            *clock_lines(design, calibrating=calibrating),
            *sources.lines,
            *also.lines,
        ],
        saved=saved,
        # Charge conservation makes one step across a switching event exact; truncation control would only add steps.
        analysis=[".options method=gear maxord=2 chgtol=1", f".tran {num(step)} {num(stop)} 0 {num(step)} uic"],
        stop=stop,
    )
    return built, plan


def plan_of(design: Design, inputs: Sequence[Array]) -> Schedule:
    """The schedule of a deck that runs ``inputs``, whatever part of ``design`` it contains."""
    # At this moment everything has settled, and the clocks have not fallen yet.
    end = Moment(offset=(1 - design.phase / 4) * design.timestep, clocks=design.phases, high=1.0)
    moments = (end,) * (len(design.layers) + 1)
    return schedule(design.timestep, design.phase / 4, [len(x) for x in inputs], moments=moments)


def _features(design: Design, part: Part) -> list[int]:
    """The inputs that ``part`` reads."""
    read = {node for group in part.groups for node in line_sources(design)[group]}
    return [j for j in range(design.config.features) if f"x{j}" in read]


def _saved(design: Design, part: Part, metered: bool, more: Sequence[str]) -> list[str]:
    saved = deck_builder.signal_nodes(part)
    saved += trim_netlist.readout_replicas(design, part)
    saved += design.phases
    known = set(saved)
    saved += [name for name in more if name not in known]
    return saved + ([TOTAL, *[meter.vector for meter in meters(design, part)]] if metered else [])


def clock_lines(design: Design, *, calibrating: bool = False) -> list[str]:
    """One clock instance per phase. All pulses end with the timestep, so an earlier phase has a longer pulse.

    A part of a network has all of them, too: ngspice conserves the charge of a row exactly only if the lines of the row
    stand still before its clock rises, and the edges of the earlier clocks make it take a time step in between. During
    the search of trim codes, no packet is sent and no state is emptied.
    """
    period, names, share = design.technology.timing.timestep, design.phases, design.phase
    return [
        f"xclock_{name} {name} clock period={num(period)} "
        f"duty={num(share * (len(names) + 1 - place))} edge={num(share * period)}"
        if not (calibrating and name.startswith(("u", "m")))
        else f"v{name} {name} 0 0"
        for place, name in enumerate(names)
    ]


def cell_files(design: Design, *, metered: bool = False) -> dict[str, bytes]:
    """The templates that ``design`` instantiates: path in the deck → content, in the order to include them.

    ``metered`` cells are the same circuits with charge meters inside. Raises InputError if the user replaced one.
    """
    if design.technology.level != "macro":
        raise MappingError(
            "this needs a macro-level netlist, and the design is at transistor level: export with --level macro"
        )
    folder = package_data.folder("netlists")
    own = {name: text.encode() for name, text in design.templates}
    names = ["clock", "line", "row", "comparator", "integrator", _unit_cell(design)]
    names += trim_netlist.CELLS if design.technology.trim_bits else []
    files = {"devices/ideal.lib": (folder / "devices" / "ideal.lib").read_bytes()}
    for name in [*names, "source"] if metered else names:
        with_meter = metered and name in _METERED
        if with_meter and name in own:
            raise InputError(f"your template {name} has no charge meter, so its energy is unknown: export without it")
        path = folder / "cells" / design.technology.level
        path = path / "metered" if with_meter else path
        files[f"cells/{name}.cir"] = own.get(name) or (path / f"{name}.cir").read_bytes()
    return files


def line_sources(design: Design) -> dict[str, list[str]]:
    """Source nodes of each group's line pairs: group (``"0"``, ``"1"``, …, ``"r"``) → nodes of its lines 0, 1, …

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
    """The charge meter of one driver or source: node ``vector`` rises by 1 mV for each picocoulomb that it delivers.

    ``driver`` is ``"line"`` (``node`` is the line's source, ``group`` its layer), ``"amplifier"`` (of unit ``node``,
    whose output takes its charge from V_cm), or ``"source"`` (the supply ``node``).
    """

    vector: str
    driver: str
    node: str
    group: str = ""


# The vector of the total charge, metered where it returns from lines and sources.
TOTAL = "meter_total"


def meters(design: Design, part: Part | None = None) -> list[Meter]:
    """The charge meters of a metered deck with ``part`` of ``design`` (None: all of it), without :data:`TOTAL`.

    The comparators' supply has no meter: the current through the pull-down of an ideal comparator is not physical.
    """
    found = []
    part = part or whole(design)
    sources = line_sources(design)
    for group in part.groups:
        nodes = sources[group]
        named = [*((str(j), node) for j, node in enumerate(nodes)), ("bias", "bias")]
        found += [
            Meter(vector=f"xline{group}_{name}.m{side}", driver="line", node=node, group=group)
            for name, node in named
            for side in "pn"
        ]
    for index, units in enumerate(part.units):
        found += [Meter(vector=f"xunit{index}_{i}.xi.ma", driver="amplifier", node=f"{index}_{i}") for i in units]
    return found + [Meter(vector=f"meter_{name}", driver="source", node=name) for name in _sources(design)]


def _sources(design: Design) -> dict[str, float]:
    """Reference voltages [V] by node."""
    common = design.technology.supply.common_mode
    return {
        "vcm": common,
        "bias": float(common + design.bias),
        "vrp": float(common + design.reference_down),
        "vrn": float(common - design.reference_up),
    }


def _source_lines(design: Design, part: Part, metered: bool) -> list[str]:
    sources, supply = _sources(design).items(), f"vdd vdd 0 {num(design.technology.supply.vdd)}"
    if not metered:
        return [supply, *[f"v{name} {name} 0 {num(volts)}" for name, volts in sources]]
    returns = ["vreturn", *[f"vlines{group}" for group in part.groups]]
    return [
        supply,
        *[f"xsource_{name} {name} meter_{name} return source volts={num(volts)}" for name, volts in sources],
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
        f"\n* ==== layer {index}: {layer.units} units; 1 software unit of its output is "
        f"{input_range.span(layer.unit)} V",
        *_lines(str(index), sources, f"e{index}"),
        *trim_netlist.lines(design, str(index), f"e{index}"),
    ]
    for i in range(layer.units):
        here = f"{index}_{i}"
        levels = "no levels" if cell == "unit_alpha" else f"one level {layer.step[i]:.6g} V"
        if layer.sign[i] < 0:
            levels += ", alpha negative: its readers count it negative"
        threshold = layer.high.threshold[i] / layer.high.scale[i] * technology.signal.bias
        lines.append(f"* ---- unit {here}: {levels}; constant part of its threshold {threshold:.6g}")
        lines += _row(layer.low, "a", str(index), i, f"a{here}")
        lines += _row(layer.high, "b", str(index), i, f"b{here}")
        za = _precharge(f"za{here}", layer.low.offset[i], driven, lines)
        zb = _precharge(f"zb{here}", layer.high.offset[i], driven, lines)
        zp = _precharge(f"zp{here}", layer.packet_offset[i], driven, lines)
        up = layer.initial[i] > 0
        starts = ("ref_up" if up else "ref_down",) * 2 if cell != "unit_alpha" else ("ref_up", "ref_down")
        ra, rb = starts
        if technology.trim_bits:
            lines += trim_netlist.replica(design, layer.low, i, f"a{here}", ra, f"e{index}")
            lines += trim_netlist.replica(design, layer.high, i, f"b{here}", rb, f"e{index}")
            ra, rb = f"fa{here}", f"fb{here}"
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
                f"xunit{here} a{here} b{here} g{here} o{here} {common} {za} {zb} {zg} {zp} {ra} {rb} "
                f"e{index} u{index} init vcm {'vrn' if up else 'vrp'} vdd {cell}\n"
                f"+ {packet} cs0={num(layer.start_packet[i])} {values}"
            )
        elif cell == "unit_replace":
            lines.append(
                f"xunit{here} a{here} b{here} o{here} {common} {za} {zb} {zp} {ra} {rb} "
                f"e{index} m{index} u{index} init vcm vrp vrn vdd {cell}\n+ {packet} {values}"
            )
        else:
            # Without a level limit the state may take any value, so the limit is set out of reach.
            limit = min(layer.limit[i], 1e3)
            lines.append(
                f"xunit{here} a{here} b{here} o{here} {common} {za} {zb} {zp} {ra} {rb} "
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
    """The precharge node: V_cm, or ``node`` if it is driven or has an offset; its source is then added to ``lines``."""
    if node in driven:
        return node
    if offset == 0:
        return "vcm"
    lines.append(f"v{node} {node} vcm {num(offset)}")
    return node


def _parasitic(design: Design) -> float:
    return design.technology.capacitor.parasitic

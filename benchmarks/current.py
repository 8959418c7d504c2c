"""Current-mode figures: cells, a network compared with software, power by block, dies, network width, temperature, and
the first projection of networks with skip connections.

Run: ``python -m benchmarks.current [cell|network|dies|width|heat|projection ...]`` (default: all; needs GF180MCU).
``network`` also prints the statements of the abstract of arXiv:2605.15216 on the published circuit.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

from cmru_hw import spice
from cmru_hw.analysis.energy import scaling
from cmru_hw.circuits.comparison import classes_of
from cmru_hw.circuits.current import characterize, compare, mapping, netlist, simulate, technology, variation, verify
from cmru_hw.circuits.current import fast as fast_engine
from cmru_hw.core import package_data
from cmru_hw.nn import checkpoint, training
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences, load_sequences
from cmru_hw.process import device_models

PUBLISHED = (
    "published (arXiv:2605.15216, abstract; 180 nm, simulated): keyword spotting at less than a microwatt at the RNN "
    "core, noise suppressed at least 20-fold at each cell boundary"
)
MODELS = ("detect-fq-bmru-2x4", "detect-fq-bmru-2x8")
UTTERANCES = 50
DIES, DIE_UTTERANCES = 4, 10
# Growing parts; features (0: equal to the units); exponent of n by which weights in sums of n terms exceed 1/sqrt(n).
GROWTHS = (
    ("12 features, weights of size 1/sqrt(n)", 12, 0.0),
    ("as many features as units, weights of size 1/sqrt(n)", 0, 0.0),
    ("as many features as units, weights of one size", 0, 0.5),
)
HEAT_UTTERANCES = 4
WIDTHS, NETWORKS = (4, 8, 16, 32), 20
RAMPS = (1000.0, 1.0, 4.0, 16.0)
EDGE = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
# w and l of a cell's devices [um]; the ones that sink bias currents are twice as long.
SIZES = ((2, 5), (5, 5), (10, 5), (10, 10), (1, 1))


def cell() -> None:
    """The cell by itself: corrected biases, mismatch over size, switching."""
    kind = technology.load("gf180")
    with spice.open_engine() as engine:
        _corrected(kind, engine)
        _mismatch(kind, engine)
        _charge(kind, engine)
        _edge(kind, engine)


def _corrected(kind: technology.CurrentTechnology, engine: spice.Engine) -> None:
    """Largest relative errors of threshold, width and level, for wanted values from 0.1 to 3 nA."""
    up, share, high = np.meshgrid(np.geomspace(0.1e-9, 3e-9, 6), (0.05, 0.2, 0.5, 0.95), (0.1e-9, 3e-9))
    up, width, high = up.ravel(), (up * share).ravel(), high.ravel()
    biases = zip(*kind.cell.biases(up, width, high), strict=True)
    points = [characterize.Point(thresh=t, width=w, gain=g) for t, w, g in biases]
    found = characterize.cells(points, [device_models.devices(kind.process)] * len(points), engine)
    print(f"{len(points)} cells of corrected biases, thresholds and levels of 0.1 to 3 nA, widths of 5 to 95 %")
    for name, wanted in (("up", up), ("width", width), ("high", high)):
        off = np.abs([getattr(x, name) for x in found] / wanted - 1)
        print(f"  {name}: off by {off.max():.2%} at most, {np.median(off):.3%} in the median")


def _mismatch(kind: technology.CurrentTechnology, engine: spice.Engine) -> None:
    """Hysteresis and σ over 200 dies of the PDK's own mismatch, for sizes of the cell's devices."""
    count = 200
    print(f"{count} dies of the PDK's mismatch at 0.3/0.1/0.3 nA; next to each sigma, the value of the 1/sqrt(w l) law")
    print("w/l [um], sinks 2 l  dies with hysteresis     sigma up        sigma width       sigma high")
    for w, l in SIZES:  # noqa: E741
        point = characterize.Point(thresh=0.3e-9, width=0.1e-9, gain=0.3e-9, w=w * 1e-6, l=l * 1e-6, sink=2 * l * 1e-6)
        drawn = [device_models.devices(kind.process, mismatch=seed + 1) for seed in range(count)]
        found = characterize.cells([point] * count, drawn, engine)
        laws = characterize.spreads(kind, point)
        shown = []
        for name, law in laws.items():
            values = np.array([getattr(x, name) for x in found])
            shown.append(f"{np.nanstd(values) / np.nanmean(values):7.2%} ({law:6.2%})")
        alive = sum(x.width > 0 for x in found)
        print(f"{w:2}/{l:<5}  {alive:3} of {count}             " + "  ".join(shown))


def _charge(kind: technology.CurrentTechnology, engine: spice.Engine) -> None:
    """Charge that switches a cell: on a ramp it switches late by √(2 Q slope)."""
    print("charge that a cell needs to switch, from how far it is behind a ramp of its candidate")
    slow, *steep = RAMPS
    for thresh in (0.1e-9, 0.3e-9, 1e-9):
        point = characterize.Point(thresh=thresh, width=0.3 * thresh, gain=thresh)
        devices = [device_models.devices(kind.process)]
        (still,) = characterize.cells([point], devices, engine, half=slow)
        for half in steep:
            (found,) = characterize.cells([point], devices, engine, half=half)
            slope = characterize.PEAK * thresh / half
            up, down = (found.up - still.up) ** 2 / (2 * slope), (still.down - found.down) ** 2 / (2 * slope)
            print(f"  {thresh * 1e9:.1f} nA, {half:2g} s for a ramp: {up * 1e15:.1f} fC up, {down * 1e15:.1f} fC down")


def _edge(kind: technology.CurrentTechnology, engine: spice.Engine) -> None:
    """Output error of a set cell while its candidate falls towards its lower threshold."""
    point = characterize.Point(thresh=0.3e-9, width=0.1e-9, gain=0.3e-9)
    moved = characterize.edge(point, device_models.devices(kind.process), engine, EDGE)
    print("output of a set cell at 0.3/0.1/0.3 nA: off its level with the candidate so far above the lower threshold")
    print("  " + ", ".join(f"{above:.0%}: {off:.3%}" for above, off in zip(EDGE, moved.tolist(), strict=True)))


def network() -> None:
    """The shipped networks at transistor level, on utterances from the complete test set."""
    for model in MODELS:
        trained, data = _shipped(model, UTTERANCES)
        for unit in (1.0, 0.3):
            kind = _scaled(unit)
            design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
            with spice.open_engine() as engine:
                verified = verify.verify(design, trained, data, engine)
            result, run = verified.comparison, verified.simulation
            assert isinstance(result, compare.CurrentComparison)
            assert isinstance(run, simulate.CurrentSimulation)
            signal = (data.lengths.sum() + len(data)) * kind.timestep
            lowest, highest = run.power_range
            print(f"{model}, 1 software unit = {unit:g} nA, {sum(netlist.transistors(design).values())} transistors")
            print(f"  decisions {result.agree} of {result.total}, states {result.states_agree}")
            print(f"  classes {result.classified_alike} of {result.classified}, correct {result.correct_circuit}")
            print(f"  wrong by their own margin {result.roots}, the largest {result.root_margin:.1%} of the threshold")
            print(
                f"  errors: candidate {result.candidate_error:.2%}, output {result.state_error:.3%}: "
                f"{result.suppression:.1f} times less"
            )
            clear = result.clear
            print(
                f"  {clear.share:.1%} of cells, {compare.CLEAR:.0%} or more off their thresholds: candidate "
                f"{clear.candidate:.2%}, output {clear.state:.3%}: {clear.suppression:.1f} times less"
            )
            blocks = ", ".join(f"{block} {power * 1e9:.1f}" for block, power in run.power.items())
            print(f"  power [nW]: {blocks}; {sum(run.power.values()) * 1e9:.1f} in all", end="")
            print(
                f" ({lowest * 1e9:.1f} to {highest * 1e9:.1f}); {sum(run.energy.values()) * 1e12:.0f} pJ per timestep"
            )
            repeated = len(run.attempts)
            print(f"  CPU {run.cpu_seconds / signal:.1f} s for one second of signal; {repeated} decks repeated")
            assert verified.certificate is not None
            for name, text in verified.certificate.remarks():
                print(f"  {name}: {text}")
    print(f"  {PUBLISHED}")


def fast() -> None:
    """Both engines on the same dies."""
    trained, data = _shipped(MODELS[0], DIE_UTTERANCES)
    design = mapping.map_network(trained, _scaled(1.0), mapping.calibrate(trained, data))
    drawn = variation.draw(design, seed=0, dies=range(DIES))
    run = fast_engine.run(drawn, data)
    expected = compare.reference(design, trained, data)
    print("die  decisions alike: SPICE and fast, SPICE and software   classes as in software")
    with spice.open_engine() as engine:
        for die in range(DIES):
            text = netlist.network_text(design, strengths=drawn.one(die))
            response = simulate.simulate(design, data, engine, network=text).response
            both, total = fast_engine.agreement(run.response(die), response)
            software, _ = fast_engine.agreement(expected.response, response)
            classes = classes_of(response, trained.config.decision) == expected.classes
            print(f"{die:3}  {both / total:.2%}  {software / total:.2%}  {classes.sum()} of {len(classes)}")


def heat() -> None:
    """Whether cells or mirrors cause the errors of a circuit drawn for 27 degrees Celsius at other temperatures."""
    trained, data = _shipped(MODELS[0], HEAT_UTTERANCES)
    calibration = mapping.calibrate(trained, _shipped(MODELS[0], 370)[1])
    room = technology.load("gf180")
    with spice.open_engine() as engine:
        for warm in (125.0, -40.0):
            there = characterize.technology(room.process, engine, temperature=warm)
            kinds = {"all drawn for 27": room, "cells drawn for it": replace(room, cell=there.cell)}
            kinds["cells and mirrors drawn for it"] = replace(room, cell=there.cell, mirror=there.mirror)
            for what, kind in kinds.items():
                drawn = mapping.map_network(trained, kind, calibration)
                design = mapping.at_corner(drawn, corner="typical", temperature=warm, vdd=room.vdd)
                result = verify.verify(design, trained, data, engine).comparison
                assert isinstance(result, compare.CurrentComparison)
                print(f"{warm:4g} degrees, {what}: {result.agree} of {result.total} decisions, ", end="")
                print(f"candidates off by {result.candidate_error:.1%}", flush=True)


def width() -> None:
    """Power of random networks of two layers, and the exponents of its growth, for three kinds of growth.

    Exponents come from many networks of each width, by the static mirrors of the fast engine. One network of each width
    is also simulated in SPICE, to show the accuracy of the static mirrors.
    """
    for title, features, size in GROWTHS:
        print(f"{title}; {NETWORKS} networks of each width, 1 unit = 1 nA")
        print("width  FC transistors  mean power [nW], static mirrors: " + ", ".join(netlist.BLOCKS))
        cost: dict[str, list[float]] = {name: [] for name in ("FC transistors", *netlist.BLOCKS)}
        for units in WIDTHS:
            for seed in range(NETWORKS):
                design, data = _grown(units, features or units, size, seed)
                cost["FC transistors"].append(netlist.transistors(design)["fc"])
                for block, power in _static(design, data).items():
                    cost[block].append(power * 1e9)
            mean = {name: np.mean(values[-NETWORKS:]) for name, values in cost.items()}
            shown = ", ".join(f"{mean[block]:.1f}" for block in netlist.BLOCKS)
            print(f"{units:5}  {mean['FC transistors']:14.0f}  {shown}", flush=True)
        for name in ("FC transistors", "cells", "references", "fc"):
            found = scaling.fit(np.repeat(WIDTHS, NETWORKS).tolist(), cost[name])
            print(f"  {name}: n ^ {found.exponent:.2f} ({found.low:.2f} to {found.high:.2f}, 95 %)")
    print(f"simulated power over that of static mirrors, one network of each width: {GROWTHS[0][0]}")
    with spice.open_engine() as engine:
        for units in WIDTHS:
            design, data = _grown(units, GROWTHS[0][1], GROWTHS[0][2], 0)
            run, static = simulate.simulate(design, data, engine), _static(design, data)
            shown = ", ".join(f"{block} {run.power[block] / static[block]:.3f}" for block in netlist.BLOCKS)
            print(f"{units:5}  {shown}; fc {run.power['fc'] * 1e9:.1f} nW, {run.cpu_seconds:.0f} s of CPU", flush=True)


def projection() -> None:
    """Power of the first projection in networks with skip connections, which draw it once for each reader.

    The networks are trained for this purpose. Currents are those of nominal mirrors, without the constants of the rows.
    """
    data = _shipped(MODELS[0], UTTERANCES)[1]
    for layers in (2, 3):
        trained = training.train("detect", cell="fq-bmru", units=(4,) * layers, skip=True, seed=0)
        design = mapping.map_network(trained, technology.load("gf180"), mapping.calibrate(trained, data))
        vdd, whole = design.technology.vdd, sum(_static(design, data).values())
        currents = _projected(design, data)
        print(f"{layers} layers of 4 units with skip connections, {whole * 1e9:.1f} nW in all; the projection [nW]:")
        print("  " + ", ".join(f"{name} {current * vdd * 1e9:.2f}" for name, current in currents.items()))


def _projected(design: mapping.CurrentDesign, data: Sequences) -> dict[str, float]:
    """Mean supply current [A] of the parts of the first projection: lines and folds of inputs, arms by reader.

    ``negative`` is the current of a second row for each unit, which passes the negative part of the projection, and
    ``copies`` that of a copy of the positive part for each later layer; a copy of the negative part sinks its current
    from the row. Both would replace the arms of later layers.
    """
    lines = design.currents(data.inputs[data.valid].astype(float))
    folded = netlist.folds(design)
    found = {
        "lines": sum(float(current.mean()) for current in lines.values()),
        "folds": sum(float(current.mean()) for line, current in lines.items() if line in folded),
    }
    readers = {f"arms of layer {k}": layer.entry for k, layer in enumerate(design.layers)}
    readers["arms of the readout"] = design.readout
    for name, rows in readers.items():
        if rows is None:
            continue
        parts = [
            np.stack([lines[line] * ratio for line, ratio in zip(rows.lines, row, strict=True) if line in lines])
            for row in rows.ratio
        ]
        # The supply delivers the current that arms source; those that sink take theirs from the row.
        found[name] = sum(float(np.maximum(part, 0).sum(axis=0).mean()) for part in parts)
        if name == "arms of layer 0":
            found["negative"] = sum(float(np.maximum(-part, 0).sum(axis=0).mean()) for part in parts)
            positive = sum(float(np.maximum(part.sum(axis=0), 0).mean()) for part in parts)
            found["copies"] = (len(design.layers) - 1) * positive
    return found


def _static(design: mapping.CurrentDesign, data: Sequences) -> dict[str, float]:
    """Mean power [W] of each block in the fast engine."""
    run = fast_engine.run(variation.draw(design, seed=0, dies=[0], varied=frozenset()), data)
    return {block: float(current.mean()) * design.technology.vdd for block, current in run.supply.items()}


def _grown(units: int, features: int, power: float, seed: int) -> tuple[mapping.CurrentDesign, Sequences]:
    """A random network of two layers of ``units``, and its inputs; weights in sums of n terms are times n^``power``.

    Before this factor their size is 1/√n. For any ``power``, sums of four terms have weights of size 1/2.
    """
    data = Sequences(inputs=np.random.default_rng(0).normal(size=(1, 8, features)).astype(np.float32))
    config = replace(_shipped(MODELS[0], 1)[0].config, features=features)
    trained = scaling.random_network(config, (units, units), seed)
    tensors = {
        name: values * (values.shape[1] / WIDTHS[0]) ** power if name.endswith("weight") else values
        for name, values in trained.tensors.items()
    }
    trained = Trained(config=trained.config, tensors=tensors)
    return mapping.map_network(trained, _scaled(1.0), mapping.calibrate(trained, data)), data


def _scaled(unit: float) -> technology.CurrentTechnology:
    """GF180 with a software unit of ``unit`` nA."""
    kind = technology.load("gf180")
    current = unit * 1e-9
    return replace(kind, unit=current, bias=current, full_scale=2 * current)


def _shipped(model: str, count: int) -> tuple[Trained, Sequences]:
    """A shipped network and ``count`` test utterances, spread over the file, which is ordered by speaker."""
    folder = package_data.folder("models")
    data = load_sequences(folder / "detect-eval.npz")
    # The same as --sequences COUNT --spread.
    spread = np.linspace(0, len(data) - 1, count).round().astype(np.int64)
    return checkpoint.load(folder / f"{model}.safetensors"), data.take(spread)


def main() -> None:
    parts = {"cell": cell, "network": network, "dies": fast, "width": width, "heat": heat, "projection": projection}
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()

"""Current mode in figures: cells, a network against software, power by block, die by die, and growth with width.

Run: ``python -m benchmarks.current [cell|network|dies|width ...]`` (all, if none is named; GF180MCU must be installed).
Beside each figure stands the published one: 180 nm, 1.8 V, 13→4→4→2, 10 ms, 50 utterances (arXiv:2605.15216).
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import torch

from cmru_hw import checkpoint, pdk, shipped, spice
from cmru_hw.checkpoint import ModelConfig, Sequences, Trained
from cmru_hw.compare import classes_of
from cmru_hw.current import behavioral, characterize, dies, mapping, netlist, simulate, technology

PUBLISHED = "published: 82.6 nW (60.6 to 117.7), cells 43.7 nW, FC 39.7 nW, 826 pJ; 49 of 50 classes; suppression >= 20"
MODELS = ("detect-fq-bmru-2x4", "detect-fq-bmru-2x8")
UTTERANCES = 50
DIES, DIE_UTTERANCES = 4, 10
WIDTHS = (4, 8, 16, 32)
SIZES = ((2, 5), (5, 5), (10, 5), (10, 10), (1, 1))


def cell() -> None:
    """σ of threshold, width and level over 200 dies, for sizes of the cell's devices."""
    print("w/l [um]  dies with hysteresis  sigma up  sigma width  sigma high")
    count = 200
    with spice.open_engine() as engine:
        for w, l in SIZES:  # noqa: E741
            point = characterize.Point(thresh=0.3e-9, width=0.1e-9, gain=0.3e-9, w=w * 1e-6, l=l * 1e-6)
            drawn = [pdk.devices("gf180", mismatch=seed + 1) for seed in range(count)]
            found = characterize.cells([point] * count, drawn, engine)
            up, width, high = (np.array([getattr(x, name) for x in found]) for name in ("up", "width", "high"))
            spread = [np.nanstd(values) / np.nanmean(values) for values in (up, width, high)]
            print(f"{w:2}/{l:<5}  {int((width > 0).sum()):3} of {count}  " + "  ".join(f"{s:9.2%}" for s in spread))


def network() -> None:
    """The shipped networks in transistors, on utterances from all over the test set."""
    for model in MODELS:
        trained, data = _shipped(model, UTTERANCES)
        for unit in (1.0, 0.3):
            kind = _scaled(unit)
            design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
            with spice.open_engine() as engine:
                verified = simulate.verify(design, trained, data, engine)
            result, run = verified.comparison, verified.simulation
            assert isinstance(result, simulate.CurrentComparison)
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
                f"  {clear.share:.1%} of cells, {simulate.CLEAR:.0%} or more off their thresholds: candidate "
                f"{clear.candidate:.2%}, output {clear.state:.3%}: {clear.suppression:.1f} times less"
            )
            blocks = ", ".join(f"{block} {power * 1e9:.1f}" for block, power in run.power.items())
            print(f"  power [nW]: {blocks}; {sum(run.power.values()) * 1e9:.1f} in all", end="")
            print(
                f" ({lowest * 1e9:.1f} to {highest * 1e9:.1f}); {sum(run.energy.values()) * 1e12:.0f} pJ per timestep"
            )
            print(f"  CPU {run.cpu_seconds / signal:.1f} s for one second of signal")
    print(f"  {PUBLISHED}")


def fast() -> None:
    """Both engines on the same dies."""
    trained, data = _shipped(MODELS[0], DIE_UTTERANCES)
    design = mapping.map_network(trained, _scaled(1.0), mapping.calibrate(trained, data))
    drawn = dies.draw(design, seed=0, dies=range(DIES))
    run = behavioral.run(drawn, data)
    expected = simulate.reference(design, trained, data)
    print("die  decisions alike: SPICE and fast, SPICE and software   classes as in software")
    with spice.open_engine() as engine:
        for die in range(DIES):
            text = netlist.network_text(design, strengths=drawn.one(die))
            response = simulate.simulate(design, data, engine, network=text).response
            both, total = behavioral.agreement(run.response(die), response)
            software, _ = behavioral.agreement(expected.response, response)
            classes = classes_of(response, trained.config.decision) == expected.classes
            print(f"{die:3}  {both / total:.2%}  {software / total:.2%}  {classes.sum()} of {len(classes)}")


def width() -> None:
    """Power of random networks of two layers, and the exponents of its growth."""
    power: dict[str, list[float]] = {block: [] for block in netlist.BLOCKS}
    rng = np.random.default_rng(0)
    data = Sequences(inputs=rng.normal(size=(1, 8, 12)).astype(np.float32))
    print("width  transistors  " + "  ".join(f"{block} [nW]" for block in netlist.BLOCKS) + "  CPU [s]")
    with spice.open_engine() as engine:
        for units in WIDTHS:
            trained = _random(units)
            design = mapping.map_network(trained, _scaled(1.0), mapping.calibrate(trained, data))
            run = simulate.simulate(design, data, engine)
            for block in netlist.BLOCKS:
                power[block].append(run.power[block] * 1e9)
            shown = "  ".join(f"{power[block][-1]:8.2f}" for block in netlist.BLOCKS)
            print(f"{units:5}  {sum(netlist.transistors(design).values()):6}  {shown}  {run.cpu_seconds:.1f}")
    for block in ("cells", "references", "fc"):
        slope, error = _exponent(np.array(WIDTHS), np.array(power[block]))
        print(f"{block}: width ^ {slope:.2f} +- {error:.2f} (95 %)")


def _exponent(sizes: np.ndarray, costs: np.ndarray) -> tuple[float, float]:
    """Slope on logarithmic scales and half of its 95 % interval."""
    from scipy.stats import linregress, t

    fit = linregress(np.log(sizes), np.log(costs))
    return float(fit.slope), float(fit.stderr * t.ppf(0.975, len(sizes) - 2))


def _random(units: int) -> Trained:
    """Twelve features; weights that keep a row's sum of the same size whatever its number of inputs."""
    config = ModelConfig(
        cell="fq-bmru",
        epsilon=0.0,
        levels=None,
        skip=False,
        decision="mean",
        classes=("no", "yes"),
        features=12,
        units=(units, units),
        widths=(units,) * 3,
    )
    generator = torch.Generator().manual_seed(units)
    tensors = {}
    for name, tensor in config.network().state_dict().items():
        values = torch.randn(tensor.shape, generator=generator)
        if name.endswith("weight"):
            values = values / tensor.shape[1] ** 0.5
        elif name.endswith("initial_state"):
            values = (values > 0).float()
        elif name.endswith(("low", "width")):
            values = torch.full_like(values, 0.3)
        elif name.endswith(("alpha", "scale")):
            values = torch.ones_like(values)
        else:
            values = 0.3 * values
        tensors[name] = values
    return Trained(config=config, tensors=tensors)


def _scaled(unit: float) -> technology.CurrentTechnology:
    """GF180 with a software unit of ``unit`` nA."""
    kind = technology.load("gf180")
    current = unit * 1e-9
    return replace(kind, unit=current, bias=current, full_scale=2 * current)


def _shipped(model: str, count: int) -> tuple[Trained, Sequences]:
    """A shipped network and ``count`` test utterances; the file has them in the order of their speakers."""
    folder = shipped.folder("models")
    data = checkpoint.load_sequences(folder / "detect-eval.npz")
    spread = np.linspace(0, len(data) - 1, count).astype(np.int64)
    return checkpoint.load(folder / f"{model}.safetensors"), data.take(spread)


def main() -> None:
    parts = {"cell": cell, "network": network, "dies": fast, "width": width}
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()

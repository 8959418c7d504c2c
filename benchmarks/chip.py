"""Complete chips of GF180MCU transistors for shipped networks: decisions compared with software, energy, 45 corners.

Run: ``python -m benchmarks.chip utterances|flipflop|units|memories|trimmed|dies|corners DIR [--jobs N]
[--only CORNER] [--dies N]``, for ``units`` also ``[--model NAME] [--unit LAYER.NUMBER] [--sequences N]``. This takes
hours of simulation. Finished simulations stay in DIR, and the same command resumes.

- ``utterances``: the detector on the first held-out utterances of the file with 100 timesteps in total, on the first
  two of its speaker, and on as many more as are needed to see every unit go up, hold and go down.
- ``flipflop``: the flip-flop on its two shortest sequences.
- ``units``: each unit of the detector, or of ``--model``, as a single-unit chip, with the inputs of software, over the
  shortest utterance of each tenth of the file, or of each of ``--sequences`` parts.
- ``corners``: the detector on the shortest utterance in which every row stays at least 4 mV from its threshold in
  software, because a corner may decide either way below that margin.
- ``trimmed``: that utterance with an offset trim, whose codes the chip finds at power-on.
- ``dies``: that utterance on ``--dies`` dies of the chip with the mismatch of all devices, each without trim and with
  it. Devices that both chips have deviate alike. The codes are found at power-on.
- ``memories``: that utterance with the other two memories, whose clocks and V_cm are external.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cmru_hw import spice
from cmru_hw.analysis.corners.api import run_corners
from cmru_hw.analysis.corners.result import CornerFigures
from cmru_hw.analysis.energy.api import run_energy
from cmru_hw.analysis.energy.result import EnergyResult
from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.circuits.charge import (
    chip_dies,
    compare,
    device_draws,
    fidelity,
    mapping,
    power_gated_netlist,
    power_gated_trim,
    simulate,
    single_unit,
)
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.simulate import ChargeSimulation
from cmru_hw.circuits.charge.verify import verify
from cmru_hw.circuits.comparison import Reference
from cmru_hw.core import package_data
from cmru_hw.core.errors import SimulationError
from cmru_hw.core.signals import Response
from cmru_hw.design_folder import folder as design_folder
from cmru_hw.design_folder.folder import Exported
from cmru_hw.nn import checkpoint
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences, load_sequences
from cmru_hw.process import technology
from cmru_hw.process.technology import Technology

TIMESTEPS = 100
OF_CLASS = 2
ALONE = 10
# Smallest row voltage [V] at which a corner must decide correctly.
CLEAR = 4e-3


def exported(
    folder: Path, model: str = "detect-cmru-2x4", memory: str = "power-gated", *, trimmed: bool = False
) -> tuple[Exported, Sequences]:
    """A shipped network at transistor level, and all of its held-out sequences."""
    models = package_data.folder("models")
    trained = checkpoint.load(models / f"{model}.safetensors")
    data = load_sequences(models / f"{model.partition('-')[0]}-eval.npz")
    kind = fidelity.at_level(technology.load("gf180"), "transistor", memory)
    kind = fidelity.with_trim(kind, power_gated_trim.BITS) if trimmed else kind
    design = with_one_range(trained, data, kind)
    return design_folder.write(folder / "design", trained, design, data, force=True), data


def with_one_range(trained: Trained, data: Sequences, kind: Technology) -> Design:
    """The network with one range for all inputs, which ends at the largest of them."""
    found = mapping.calibrate(trained, data)
    common = replace(found, inputs=(max(found.largest),) * len(found.inputs), percentile=100.0)
    return mapping.map_network(trained, kind, common)


def chosen(data: Sequences, indices: list[int]) -> Sequences:
    """The sequences at ``indices``, cut to the length of the longest of them."""
    some = data.take(np.array(indices))
    return replace(some, inputs=some.inputs[:, : int(some.lengths.max())])


def first(data: Sequences) -> list[int]:
    """As many of the first sequences as give TIMESTEPS timesteps, and the first OF_CLASS of class 1."""
    front = range(int(np.searchsorted(np.cumsum(data.lengths), TIMESTEPS)) + 1)
    positive = [] if data.labels is None else np.flatnonzero(data.labels == 1)[:OF_CLASS].tolist()
    return sorted({*front, *positive})


def covering(design: Design, trained: Trained, data: Sequences, picked: list[int]) -> list[int]:
    """``picked``, and sequences for all missing moves of the software; those with the most moves per timestep first."""
    decisions = compare.reference(design, trained, data).response.decisions
    made = [
        {
            (layer, unit, move)
            for layer, values in enumerate(decisions)
            for unit in range(values.shape[2])
            for move in np.unique(values[i, :length, unit]).tolist()
        }
        for i, length in enumerate(data.lengths)
    ]
    found, missing = list(picked), set().union(*made) - set().union(*(made[i] for i in picked))
    while missing:
        best = max(range(len(made)), key=lambda i: len(made[i] & missing) / int(data.lengths[i]))
        found.append(best)
        missing -= made[best]
    return sorted(found)


def drawn(mine: Exported) -> Design:
    """The design of ``mine``, as `exported` mapped it."""
    assert isinstance(mine.design, Design)
    return mine.design


def clear(design: Design, trained: Trained, data: Sequences) -> int:
    """The shortest sequence whose smallest margin is at least CLEAR."""
    margins = compare.reference(design, trained, data).margins
    least = [min(m[i, :length].min() for m in margins) for i, length in enumerate(data.lengths)]
    return min((int(length), i) for i, length in enumerate(data.lengths) if least[i] >= CLEAR)[1]


def network(folder: Path, jobs: int, mine: Exported, picked: Sequences) -> None:
    with spice.open_engine(jobs=jobs, timeout=36000, cache=folder / "cache") as engine:
        verified = verify(drawn(mine), mine.trained, picked, engine)
        joules = run_energy(mine, picked, engine, folder=folder / "energy")
    found = verified.comparison
    print(f"sequences {len(picked)}, timesteps {int(picked.lengths.sum())}")
    alike = found.total - found.differ - len(found.undecided)
    print(f"decisions {alike} of {found.total} as in software, classes: {found.classes}")
    print(
        f"judged {found.judged}: {found.differ} differ; not judged {found.excluded}: {len(found.undecided)} differ; "
        f"tolerance up to {found.largest_tolerance * 1e3:.2f} mV"
    )
    for difference in (*found.divergences, *found.undecided):
        print(f"  {difference}")
    for attempt in verified.simulation.attempts:
        print(f"  {attempt}")
    print(f"largest state error {found.level_error:.3f} level")
    assert verified.certificate is not None
    for name, words in (*verified.certificate.remarks(), *verified.simulation.remarks()):
        print(f"{name} {words}".strip())
    print("never seen:", ", ".join(found.unseen) or "nothing: every unit went up, held and went down")
    lead = power_gated_trim.LEAD if drawn(mine).technology.trim_bits else power_gated_netlist.LEAD
    frames = int(picked.lengths.sum()) + lead * len(picked)
    print(f"simulator {verified.simulation.cpu_seconds / frames:.2f} s of CPU per timestep, power-on counted")
    report(joules)


def utterances(folder: Path, jobs: int) -> None:
    mine, data = exported(folder)
    network(folder, jobs, mine, chosen(data, covering(drawn(mine), mine.trained, data, first(data))))


def flipflop(folder: Path, jobs: int) -> None:
    mine, data = exported(folder, "flipflop-cmru-1x2")
    network(folder, jobs, mine, chosen(data, np.argsort(data.lengths, kind="stable")[:2].tolist()))


def units(
    folder: Path, jobs: int, model: str = "detect-cmru-2x4", only: Sequence[str] = (), count: int = ALONE
) -> None:
    mine, data = exported(folder, model)
    parts = np.array_split(np.arange(len(data)), count)
    picked = chosen(data, [int(part[np.argmin(data.lengths[part])]) for part in parts])
    print(f"{model}: sequences {len(picked)}, timesteps {int(picked.lengths.sum())}", flush=True)
    expected = compare.reference(drawn(mine), mine.trained, picked)
    for layer, group in enumerate(drawn(mine).layers):
        inputs, software = single_unit.recorded(drawn(mine), mine.trained, picked, layer)
        for number in (number for number in range(group.units) if not only or f"{layer}.{number}" in only):
            with spice.open_engine(jobs=jobs, timeout=36000, cache=folder / "cache") as engine:
                simulated = simulate.simulate(single_unit.unit(drawn(mine), layer, number), inputs, engine)
            one_unit(drawn(mine), expected, software, simulated, layer, number)


def one_unit(
    design: Design, expected: Reference, software: Response, simulated: ChargeSimulation, layer: int, number: int
) -> None:
    """Print the decisions of a single unit, compared with those of software."""
    valid = expected.response.valid
    wanted = software.decisions[layer][..., number][valid]
    got = simulated.response.decisions[0][..., 0][valid]
    margins = expected.margins[layer][..., number][valid]
    states = np.abs(simulated.response.states[0][..., 0] - software.states[layer][..., number])[valid].max()
    moves = ", ".join(f"{name} {int((got == move).sum())}" for name, move in (("up", 1), ("held", 0), ("down", -1)))
    share = float(design.layers[layer].step[number]) / design.technology.signal.state_swing
    error = f"{states * share:.3f} of the swing" if design.config.cell == "acmru" else f"{states:.3f} level"
    print(
        f"unit {layer}.{number}: {int((wanted == got).sum())} of {len(got)} decisions agree; {moves}; "
        f"largest state error {error}; {simulated.cpu_seconds / len(got):.2f} s of CPU per timestep",
        flush=True,
    )
    for margin in np.sort(margins[wanted != got]):
        print(f"  differs at a margin of {margin * 1e3:.3g} mV")


def memories(folder: Path, jobs: int) -> None:
    chip_design, data = exported(folder / "power-gated")
    index = clear(drawn(chip_design), chip_design.trained, data)
    for memory in ("integrator", "counter"):
        print(f"{memory}: utterance {index}")
        mine, _ = exported(folder / memory, memory=memory)
        network(folder / memory, jobs, mine, chosen(data, [index]))


def trimmed(folder: Path, jobs: int) -> None:
    mine, data = exported(folder, trimmed=True)
    network(folder, jobs, mine, chosen(data, [clear(drawn(mine), mine.trained, data)]))


def dies(folder: Path, jobs: int, count: int) -> None:
    """Dies 1 to ``count``, each before and after its calibration."""
    chips = {name: exported(folder / name, trimmed=name == "trimmed") for name in ("untrimmed", "trimmed")}
    mine, data = chips["untrimmed"]
    picked = chosen(data, [clear(drawn(mine), mine.trained, data)])
    for number in range(1, count + 1):
        for name, (one, _) in chips.items():
            with spice.open_engine(jobs=jobs, timeout=36000, cache=folder / "cache") as engine:
                try:
                    one_die(f"die {number}, {name}", one, picked, number, engine)
                except SimulationError as error:
                    print(f"die {number}, {name}: {error}", flush=True)


def one_die(title: str, mine: Exported, picked: Sequences, number: int, engine: spice.Engine) -> None:
    """The decisions of a die that differ from software, and from the fast engine on the die's macro twin."""
    varied = frozenset(device_draws.LEAVES)
    job = Job(
        design=drawn(mine), trained=mine.trained, sequences=picked, seed=0, varied=varied, engine="spice", timeout=36000
    )
    die = chip_dies.ChipDie(number=number, design=chip_dies.die(drawn(mine), seed=0, number=number))
    simulated = simulate.simulate(die.design, picked, engine)
    found = chip_dies.scores(job, die, simulated, engine)
    length = int(picked.lengths[0])
    expected = compare.reference(drawn(mine), mine.trained, picked).response
    layers = enumerate(zip(simulated.response.decisions, expected.decisions, strict=True))
    wrong = [
        f"{layer}.{unit} at {time}"
        for layer, (got, wanted) in layers
        for time, unit in np.argwhere(got[0, :length] != wanted[0, :length]).tolist()
    ]
    print(
        f"{title}: {found.decisions_agree} of {found.decisions} decisions, class "
        f"{'right' if found.accuracy else 'wrong'}, "
        f"{simulated.delivered[0, :length].sum() / length * 1e12:.2f} pJ per timestep, largest state error "
        f"{found.level_error_max:.2f} level, {simulated.cpu_seconds:.0f} s of CPU; differ: {', '.join(wrong) or 'none'}"
    )
    print(f"  fast engine: {found.engines_agree} alike, {found.engines_close} too close to call")
    for name, words in (*simulated.remarks(), *(("attempt", text) for text in simulated.attempts)):
        print(f"  {name}: {words}")
    print(f"  codes {simulated.codes[0]}" if simulated.codes else "  no codes", flush=True)


def report(joules: EnergyResult) -> None:
    print(
        f"energy {joules.per_timestep_J * 1e12:.2f} pJ per timestep ({joules.label}); "
        f"closure error {joules.ledger_gap:.2e}"
    )
    for name, entry in joules.blocks.items():
        assert entry.static_J is not None and entry.dynamic_J is not None
        print(f"  {name:12} {entry.static_J * 1e12:7.3f} static {entry.dynamic_J * 1e12:7.3f} dynamic pJ")


def corners(folder: Path, jobs: int, only: list[str]) -> None:
    mine, data = exported(folder)
    index = clear(drawn(mine), mine.trained, data)
    picked = chosen(data, [index])
    print(f"utterance {index}, {int(picked.lengths[0])} timesteps", flush=True)

    def progress(done: int, total: int) -> None:
        print(f"{done} of {total}", flush=True)

    place = folder / "corners"
    found = run_corners(mine, picked, folder=place, only=only, jobs=jobs, timeout=36000, progress=progress)
    print(f"every decision right in {found.all_right} of {found.asked} corners, {found.failed} failed")
    for result in found.corners:
        if not isinstance(result, CornerFigures):
            print(f"  {result.corner}: {result.status}")
        elif result.decisions.agree < result.decisions.total:
            print(f"  {result.corner}: {result.decisions.agree} of {result.decisions.total} decisions")
    energies = {result.corner: result.per_timestep_J for result in found.good}
    for name in ("typical/27/1.8", found.worst.energy):
        if name in energies:
            print(f"{name}: {energies[name] * 1e12:.2f} pJ per timestep")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = {"utterances": utterances, "flipflop": flipflop, "memories": memories, "trimmed": trimmed}
    parser.add_argument("what", choices=[*kinds, "units", "dies", "corners"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", action="append", default=[], metavar="CORNER", help="some corners: ff/125/1.98")
    parser.add_argument("--dies", type=int, default=5)
    parser.add_argument("--model", default="detect-cmru-2x4", metavar="NAME", help="network of units")
    parser.add_argument("--unit", action="append", default=[], metavar="LAYER.NUMBER", help="some units: 0.3")
    parser.add_argument("--sequences", type=int, default=ALONE, metavar="N", help="sequences of each unit")
    given = parser.parse_args()
    if given.what == "dies":
        dies(given.folder, given.jobs, given.dies)
    elif given.what == "corners":
        corners(given.folder, given.jobs, given.only)
    elif given.what == "units":
        units(given.folder, given.jobs, given.model, given.unit, given.sequences)
    else:
        kinds[given.what](given.folder, given.jobs)


if __name__ == "__main__":
    main()

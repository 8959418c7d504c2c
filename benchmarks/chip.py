"""The detector as a whole chip of GF180MCU transistors: every decision against software, energy, and all 45 corners.

Run: ``python -m benchmarks.chip utterances|corners DIR [--jobs N] [--only CORNER]``. Hours of simulation, all of it
resumable: what is finished stays in DIR, and the same command goes on. ``utterances`` takes the first held-out
utterances that have 100 timesteps together, as they are in the file; ``corners`` the shortest one in which no row comes
nearer to its threshold than 4 mV in software, because nearer than that a corner may decide either way.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from cmru_hw import checkpoint, compare, design_folder, mapping, shipped, simulate, spice, technology
from cmru_hw.checkpoint import Sequences, Trained
from cmru_hw.corners.whole import run_corners
from cmru_hw.design_folder import Exported
from cmru_hw.energy.whole import run_energy
from cmru_hw.mapping import Design

MODEL = "detect-cmru-2x4"
TIMESTEPS = 100
# A corner's rows decide rightly above this [V]
CLEAR = 4e-3


def exported(folder: Path) -> tuple[Exported, Sequences]:
    """The shipped detector as a chip, and all of its held-out utterances."""
    models = shipped.folder("models")
    trained = checkpoint.load(models / f"{MODEL}.safetensors")
    data = checkpoint.load_sequences(models / "detect-eval.npz")
    kind = technology.at_level(technology.load("gf180"), "transistor", "gated")
    design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
    return design_folder.write(folder / "design", trained, design, data, force=True), data


def chosen(data: Sequences, indices: list[int]) -> Sequences:
    longest = int(data.lengths[indices].max())
    labels = None if data.labels is None else data.labels[indices]
    return Sequences(inputs=data.inputs[indices, :longest], lengths=data.lengths[indices], labels=labels)


def first(data: Sequences) -> list[int]:
    """As many from the front as make TIMESTEPS."""
    return list(range(int(np.searchsorted(np.cumsum(data.lengths), TIMESTEPS)) + 1))


def clear(design: Design, trained: Trained, data: Sequences) -> int:
    """The shortest sequence whose least margin is CLEAR."""
    margins = compare.reference(design, trained, data).margins
    least = [min(m[i, :length].min() for m in margins) for i, length in enumerate(data.lengths)]
    return min((int(length), i) for i, length in enumerate(data.lengths) if least[i] >= CLEAR)[1]


def utterances(folder: Path, jobs: int) -> None:
    mine, data = exported(folder)
    picked = chosen(data, first(data))
    with spice.open_engine(jobs=jobs, timeout=36000, keep=folder / "kept") as engine:
        verified = simulate.verify(mine.design, mine.trained, picked, engine)
        joules = run_energy(mine, picked, engine, folder=folder / "energy")
    found = verified.comparison
    print(f"utterances {len(picked)}, timesteps {int(picked.lengths.sum())}")
    print(f"decisions {found.agree} of {found.total} agree, classes {found.classified_alike} of {found.classified}")
    for difference in found.divergences:
        print(f"  {difference}")
    print("never seen:", ", ".join(found.unseen) or "nothing: every unit went up, held and went down")
    frames = int(picked.lengths.sum()) + 2 * len(picked)
    print(f"simulator {verified.simulation.cpu_seconds / frames:.2f} s of CPU per timestep, power-on counted")
    report(joules)


def report(joules: dict) -> None:
    print(
        f"energy {joules['per_timestep_J'] * 1e12:.2f} pJ per timestep ({joules['label']}); "
        f"ledger gap {joules['ledger_gap']:.2e}"
    )
    for name, entry in joules["blocks"].items():
        print(f"  {name:12} {entry['static_J'] * 1e12:7.3f} static {entry['dynamic_J'] * 1e12:7.3f} dynamic pJ")


def corners(folder: Path, jobs: int, only: list[str]) -> None:
    mine, data = exported(folder)
    index = clear(mine.design, mine.trained, data)
    picked = chosen(data, [index])
    print(f"utterance {index}, {int(picked.lengths[0])} timesteps", flush=True)

    def progress(done: int, total: int) -> None:
        print(f"{done} of {total}", flush=True)

    place = folder / "corners"
    found = run_corners(mine, picked, folder=place, only=only, jobs=jobs, timeout=36000, progress=progress)
    print(f"every decision right in {found['all_right']} of {found['asked']} corners, {found['failed']} failed")
    for result in found["corners"]:
        if result["status"] != "ok":
            print(f"  {result['corner']}: {result['status']}")
        elif result["decisions"]["agree"] < result["decisions"]["total"]:
            print(f"  {result['corner']}: {result['decisions']['agree']} of {result['decisions']['total']} decisions")
    energies = {result["corner"]: result["per_timestep_J"] for result in found["corners"] if result["status"] == "ok"}
    for name in ("typical/27/1.8", found["worst"]["energy"]):
        if name in energies:
            print(f"{name}: {energies[name] * 1e12:.2f} pJ per timestep")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["utterances", "corners"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", action="append", default=[], metavar="CORNER", help="some corners: ff/125/1.98")
    given = parser.parse_args()
    if given.what == "corners":
        corners(given.folder, given.jobs, given.only)
    else:
        utterances(given.folder, given.jobs)


if __name__ == "__main__":
    main()

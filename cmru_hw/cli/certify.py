"""``certify``: how far a result moves with finer time steps, or in another simulator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cmru_hw.cli import common
from cmru_hw.core.atomic_write import write_atomically
from cmru_hw.core.errors import CheckFailed
from cmru_hw.core.units import json_text, si

if TYPE_CHECKING:
    from cmru_hw.circuits.certificate import NumericalCertificate


@click.command()
@common.simulates
@click.option(
    "--simulator",
    type=click.Choice(["ngspice", "vacask"]),
    default="ngspice",
    show_default=True,
    help="Compare with ngspice at halved time steps, or with VACASK (pip install 'cmru_hw[second-opinion]').",
)
@click.option("--frames", type=click.IntRange(1), metavar="N", help="Only N frames, drawn by --seed.  [default: all]")
@common.seed_option
@click.option("-o", "--output", type=common.FILE, metavar="FILE.json", help="Keep the certificate.")
def certify(asked: common.Asked, simulator: str, frames: int | None, seed: int, output: Path | None) -> None:
    """Check a simulation with finer time steps, or in another simulator.

    Simulates the design twice, and compares the results. A frame is one timestep of one sequence. The frame of the
    smallest margin is always among those of --frames. Exit code 1 if a quantity moves by more than its limit
    (charge domain: rows and states 0.3 mV, states 0.5 mV against VACASK, energy 1 %; current mode: currents and energy
    1 %), or if any decision or state changes. Currents of the charge domain are printed without a limit.

    \b
    Example: cmru-hw certify out/chip --input models/detect-eval.npz --sequences 1
    """
    import cmru_hw
    from cmru_hw.spice.vacask import VacaskEngine

    if output is not None:
        common.check_output(output, asked.force)
    exported, data = asked.load()
    design, kind = exported.design, exported.architecture
    count = int(data.lengths.sum()) if frames is None else frames
    with asked.engine() as engine, common.progress("simulating, timesteps") as report:
        # Fail before the simulation if VACASK is missing.
        other = VacaskEngine(timeout=asked.timeout) if simulator == "vacask" else engine
        refine = 0 if simulator == "vacask" else 1
        result = kind.simulate(design, data, engine, network=exported.network, progress=report, refine=asked.refine)
        certificate = kind.certify(
            design, data, result, other, network=exported.network, frames=count, seed=seed, refine=refine
        )
    doubts = kind.certificate_doubts(design, certificate)
    found = {
        "kind": "certificate",
        **certificate.as_dict(),
        "outside": list(doubts),
        "versions": {"cmru_hw": cmru_hw.__version__, "simulator": result.simulator},
        "netlist_sha256": exported.netlist_sha256,
        "edited": list(exported.edited),
        "command": common.command_line(),
    }
    if output is not None:
        write_atomically(output, lambda place: place.write_text(json_text(found) + "\n", encoding="utf-8"))
    if asked.as_json:
        common.print_json(found)
    else:
        _print(certificate, f"{asked.design_path}, {design.technology.level} level", common.edited_rows(exported))
    if doubts:
        raise CheckFailed(f"the result is not converged: {'; '.join(doubts)}")


def _print(found: NumericalCertificate, title: str, more: list[tuple[str, str]]) -> None:
    rows = [
        ("frames", f"{len(found.frames)} timesteps, with all before them in their sequences"),
        ("result", f"{found.simulator}, {found.options}"),
        ("compared with", found.refined_options),
        *found.remarks(),
        *more,
    ]
    common.print_table(title, rows)
    if found.blocks:
        click.echo()
        total = (sum(one for one, _ in found.blocks.values()), sum(other for _, other in found.blocks.values()))
        common.print_columns(
            "energy per timestep",
            ("", "result", "compared with", "difference"),
            [_block(*entry) for entry in [*found.blocks.items(), ("all", total)]],
        )


def _block(name: str, energies: tuple[float, float]) -> tuple[str, ...]:
    one, other = energies
    return name, si(one, "J"), si(other, "J"), f"{100 * (one / other - 1):+.2f} %" if other else "-"

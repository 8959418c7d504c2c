"""``simulate``, ``compare`` and ``demo``: run an exported design in ngspice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cmru_hw.cli import common
from cmru_hw.core.errors import CheckFailed, InputError
from cmru_hw.core.units import percent, plain, si

if TYPE_CHECKING:
    from cmru_hw.analysis.montecarlo.result import MonteCarloResult
    from cmru_hw.circuits.design import AnyDesign
    from cmru_hw.circuits.simulation import Simulation, Verified
    from cmru_hw.design_folder.folder import Exported
    from cmru_hw.nn.sequences import Sequences

DEMO_MODEL = "vowels-cmru-2x16"
DEMO_SEQUENCES = 20
DEMO_METERED = 3
# The yield that the demo ends with.
DEMO_TRIM, DEMO_DIES = 5, 200


@click.command()
@common.simulates
@click.option(
    "-o", "--output", type=common.FILE, metavar="FILE.npz", help="Write states, decisions and logits as arrays."
)
@click.option(
    "--plot", type=common.FILE, metavar="FILE.svg", help="Plot waveforms of one unit over the first sequence."
)
@click.option(
    "--unit", default="0.0", show_default=True, metavar="LAYER.UNIT", help="The unit for --plot, --raw and --csv."
)
@click.option("--raw", type=common.FILE, metavar="FILE.raw", help="Waveforms of the unit in ngspice's raw format.")
@click.option("--csv", type=common.FILE, metavar="FILE.csv", help="The same waveforms as CSV.")
def simulate(
    asked: common.Asked, output: Path | None, plot: Path | None, unit: str, raw: Path | None, csv: Path | None
) -> None:
    """Run a design in ngspice, and print the classes that the circuit decides.

    \b
    Example: cmru-hw simulate out/vowels --input models/vowels-eval.npz --sequences 5 --plot out/unit.svg
    """
    from cmru_hw.analysis import comparison
    from cmru_hw.circuits.comparison import classes_of
    from cmru_hw.spice import export

    for path in (output, plot, raw, csv):
        if path is not None:
            common.check_output(path, asked.force)
    exported, data = asked.load()
    design, architecture = exported.design, exported.architecture
    shown = _unit(unit, design) if plot or raw or csv else None
    with asked.engine() as engine:
        with common.progress("simulating, timesteps") as report:
            result = architecture.simulate(
                design, data, engine, network=exported.network, progress=report, refine=asked.refine
            )
        if shown is not None:
            waveforms = architecture.waveforms(design, data, engine, unit=shown, network=exported.network)
    if plot is not None:
        expected = architecture.reference(design, exported.trained, data.first(1))
        architecture.draw_unit(design, waveforms, expected, plot)
    if raw is not None:
        export.write_raw(waveforms.traces, raw)
    if csv is not None:
        export.write_csv(waveforms.traces, csv)
    if output is not None:
        _save_arrays(output, result)
    clamped = architecture.reference(design, exported.trained, data).clamped
    classes = classes_of(result.response, design.config.decision)
    named = [design.config.classes[index] for index in classes]
    found = comparison.simulated(
        exported,
        result,
        classes=tuple(named),
        correct=None if data.labels is None else int((classes == data.labels).sum()),
        clamped=clamped,
        command=common.command_line(),
    )
    if asked.as_json:
        common.print_json(found)
        return
    rows = [
        ("sequences", f"{len(data)}, {int(data.lengths.sum())} timesteps of {si(design.timestep, 's')}"),
        ("level", design.technology.level),
        ("classes", " ".join(named)),
    ]
    if found.correct is not None:
        rows.append(("correct", f"{found.correct} of {len(data)}"))
    rows += clamped.rows() + _run_rows(result) + common.edited_rows(exported)
    common.print_table(f"{asked.design_path} in {result.simulator}", rows)


@click.command()
@common.simulates
@click.option(
    "--resolution",
    type=common.Real(0),
    help="Margin below which a decision is too close to call: it is counted, but not judged. In V at a row, in "
    "addition to the errors of states; with cm in A of a candidate.  [default: 1e-6; with cm 0]",
)
@click.option(
    "-o", "--output", type=common.FILE, metavar="DIR", help="Folder for numbers and figures, for cmru-hw report."
)
def compare(asked: common.Asked, resolution: float | None, output: Path | None) -> None:
    """Simulate a design, and compare it with the software model.

    Compares every decision, level and class. A decision is not judged where its row is closer to its threshold than the
    resolution and the errors of the states that the row reads, which may be up to 0.05 levels (0.25 in transistors).
    Exit code 1 if the rest does not agree, or if nothing was judged. In current mode, where no mirror is exact, they
    agree if 98 % of all decisions, of all states and of all classes do.

    \b
    Example: cmru-hw compare out/vowels --input models/vowels-eval.npz --sequences 20
    """
    from cmru_hw.analysis import comparison

    if output is not None:
        common.check_output(output, asked.force)
    exported, data = asked.load()
    architecture = exported.architecture
    with asked.engine() as engine, common.progress("comparing, timesteps") as report:
        verified = architecture.verify(
            exported.design,
            exported.trained,
            data,
            engine,
            network=exported.network,
            resolution=architecture.resolution if resolution is None else resolution,
            progress=report,
            refine=asked.refine,
        )
        if output is not None:
            comparison.keep_comparison(output, exported, data, verified, engine, command=common.command_line())
    if asked.as_json:
        common.print_json(comparison.compared(exported, verified, command=common.command_line()))
    else:
        print_comparison(exported.design, verified, common.edited_rows(exported))
    if not verified.comparison.holds():
        raise CheckFailed("; ".join(verified.comparison.failures()))


@click.command()
@click.option(
    "-o",
    "--output",
    type=common.FILE,
    default=Path("demo"),
    show_default=True,
    metavar="DIR",
    help="Folder of the results.",
)
@common.backend_option
@common.jobs_option
@common.force_option
def demo(output: Path, backend: Any, jobs: int, force: bool) -> None:
    """Run the whole workflow on a shipped network.

    Exports it, simulates held-out speech, compares it with software, and writes energy, figures and a report. It ends
    with the yield of 200 dies, without offset trim and with it.

    \b
    Example: cmru-hw demo -o demo
    """
    from cmru_hw import spice
    from cmru_hw.analysis import comparison
    from cmru_hw.analysis.energy.api import run_energy
    from cmru_hw.circuits import registry
    from cmru_hw.core import package_data
    from cmru_hw.core.output_folder import atomic_folder
    from cmru_hw.design_folder import folder as design_folder
    from cmru_hw.nn import checkpoint
    from cmru_hw.nn.sequences import load_sequences
    from cmru_hw.report import write as report

    common.check_output(output, force)
    models = package_data.folder("models")
    model = models / f"{DEMO_MODEL}.safetensors"
    data = load_sequences(models / f"{DEMO_MODEL.split('-')[0]}-eval.npz")
    trained = checkpoint.load(model)
    with atomic_folder(output, last=comparison.SUMMARY) as scratch:
        kind = registry.fitting(trained)
        design = kind.map_network(trained, kind.load_technology(kind.technology), kind.calibrate(trained, data))
        exported = design_folder.write(
            scratch / "design", trained, design, data, force=force, command=common.command_line()
        )
        click.echo(f"exported   {DEMO_MODEL} to {output / 'design'}: read network.cir, or run ngspice deck.cir there")
        chosen = data.first(DEMO_SEQUENCES)
        with spice.open_engine(backend=backend, jobs=jobs) as engine:
            with common.progress("simulating, timesteps") as follow:
                verified = kind.verify(design, trained, chosen, engine, network=exported.network, progress=follow)
            comparison.keep_comparison(scratch, exported, chosen, verified, engine, command=common.command_line())
            with common.progress("metering, timesteps") as follow:
                some = chosen.first(DEMO_METERED)
                joules = run_energy(
                    exported, some, engine, folder=scratch, progress=follow, command=common.command_line()
                )
        untrimmed, trimmed = _yields(exported, data, scratch)
    report.write([output, output / "yield"], output / "report", force=True)
    report.write([output / "trimmed-design", output / "trimmed-yield"], output / "trimmed-report", force=True)
    print_comparison(design, verified)
    click.echo(
        f"energy     {si(joules.per_timestep_J, 'J')} per timestep ({joules.label}, without comparators, "
        f"amplifiers, logic and clocks); by block in {output / 'energy.json'}"
    )
    click.echo(
        f"yield      {percent(untrimmed.yield_.value)} of {untrimmed.dies} dies; with {DEMO_TRIM} bits of offset trim "
        f"{percent(trimmed.yield_.value)}"
    )
    click.echo(f"figures    {output / 'unit.svg'}, {output / 'states.svg'}; numbers in {output / 'summary.json'}")
    click.echo(f"report     {output / 'report' / 'index.html'}: open it in a browser")
    if not verified.comparison.holds():
        raise CheckFailed("; ".join(verified.comparison.failures()))


def _yields(exported: Exported, data: Sequences, output: Path) -> tuple[MonteCarloResult, MonteCarloResult]:
    """Dies of the design, and dies of the same network with trim, in ``output``."""
    from cmru_hw.analysis.montecarlo.api import run_montecarlo
    from cmru_hw.design_folder import folder as design_folder

    kind, design, command = exported.architecture, exported.design, common.command_line()
    untrimmed = run_montecarlo(exported, data, dies=DEMO_DIES, folder=output / "yield")
    technology = kind.with_trim(design.technology, DEMO_TRIM)
    mapped = kind.map_network(exported.trained, technology, design.calibration)
    trimmed = design_folder.write(
        output / "trimmed-design", exported.trained, mapped, data, force=True, command=command
    )
    return untrimmed, run_montecarlo(trimmed, data, dies=DEMO_DIES, folder=output / "trimmed-yield")


def print_comparison(design: AnyDesign, verified: Verified, more: Sequence[tuple[str, str]] = ()) -> None:
    """The table of a comparison, with ``more`` rows at its end."""
    result = verified.comparison
    resolution = si(result.resolution, result.margin_unit)
    margin = si(result.smallest_margin, result.margin_unit) if result.judged else "none judged"
    share = "of the swing" if design.config.cell == "acmru" else "level"
    tolerance = f"resolution {resolution}"
    if result.largest_tolerance > result.resolution:
        tolerance += f", up to {si(result.largest_tolerance, 'V')} on rows that read states"
    rows = [
        (
            "decisions",
            f"{result.agree} of {result.total} agree, {result.differ} differ, {result.excluded} too close to call",
        ),
        ("smallest margin", f"{margin} ({tolerance})"),
        ("largest state error", f"{plain(result.level_error)} {share}"),
        ("largest readout error", f"{percent(result.logit_error)} of the largest logit"),
        ("classes", str(result.classes)),
    ]
    if result.correct_software is not None:
        rows.append(
            ("correct", f"software {result.correct_software}, circuit {result.correct_circuit} of {result.classified}")
        )
    if result.first_divergence is not None:
        rows.append(("first divergence", str(result.first_divergence)))
    rows += verified.expected.clamped.rows()
    rows += result.remarks()
    if verified.certificate is not None:
        rows += verified.certificate.remarks()
    rows += [*_run_rows(verified.simulation), *more]
    common.print_table(f"circuit ({design.technology.level} level) compared with software", rows)


def _run_rows(simulation: Simulation) -> list[tuple[str, str]]:
    rows = [("simulator", f"{simulation.simulator}, {simulation.cpu_seconds:.2f} s of CPU")]
    return rows + [("repeated", attempt) for attempt in simulation.attempts] + simulation.remarks()


def _unit(text: str, design: AnyDesign) -> tuple[int, int]:
    parts = text.split(".")
    if len(parts) == 2 and all(part.isascii() and part.isdigit() and len(part) < 8 for part in parts):
        layer, unit = map(int, parts)
        if layer < len(design.layers) and unit < design.layers[layer].units:
            return layer, unit
    raise InputError(f"--unit {text!r} is not a LAYER.UNIT of this design: give one such as 0.0")


def _save_arrays(path: Path, result: Simulation) -> None:
    import numpy as np

    from cmru_hw.core.atomic_write import write_atomically

    response = result.response
    arrays: dict[str, Any] = {"lengths": response.lengths, "logits": response.logits}
    for index, (decisions, states) in enumerate(zip(response.decisions, response.states, strict=True)):
        arrays[f"decisions_{index}"], arrays[f"states_{index}"] = decisions, states

    def write(scratch: Path) -> None:
        with scratch.open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_atomically(path, write)

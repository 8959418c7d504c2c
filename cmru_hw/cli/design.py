"""``inspect`` and ``export``: describe a checkpoint, and write its circuit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cmru_hw.cli import common, own_check, size_options, verdict
from cmru_hw.core.errors import CheckFailed, MappingError
from cmru_hw.core.units import plain
from cmru_hw.nn import levels
from cmru_hw.nn.one_score import ONE_SCORE, REMEDY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cmru_hw.analysis.verdict.result import Verdict
    from cmru_hw.circuits.design import AnyDesign, AnyTechnology
    from cmru_hw.circuits.registry import Architecture
    from cmru_hw.design_folder.folder import Exported
    from cmru_hw.nn.checkpoint import Loaded, Trained
    from cmru_hw.nn.sequences import Sequences
    from cmru_hw.spice import Engine

# Enough to exercise every unit of a small network in seconds. `compare` simulates more.
SEQUENCES_TO_VERIFY = 5
# Key of the calibration inputs that are clamped.
CLAMPED = "calibration_clamped"

architecture_option = click.option(
    "--architecture",
    metavar="NAME",
    help="sc: charge domain; cm: current mode.  [default: the one for the checkpoint's cell]",
)
technology_option = click.option(
    "--technology",
    "technology_name",
    metavar="NAME",
    help="Name of a technology, or path of a TOML file.  [default: macro; with cm gf180]",
)

level_option = click.option(
    "--level",
    type=click.Choice(["macro", "transistor"]),
    help="Ideal parts with the parameters of the technology, or its transistors.  [default: macro; with cm transistor]",
)
memory_option = click.option(
    "--memory",
    metavar="integrator|counter|power-gated",
    help="State storage at transistor level; with --level macro, macromodels of its sizes. power-gated: a capacitor, "
    "on a chip that sleeps between two timesteps; integrator: a capacitor, with external clocks; counter: a 4-bit "
    "saturating counter, with external clocks.  "
    "[default: from the technology]",
)

trim_option = click.option(
    "--trim",
    "trim_bits",
    type=click.IntRange(1, 8),
    metavar="BITS",
    help="Give every row a trim code of BITS bits, which cancels its offset. Each die finds its codes at "
    "power-on. Charge domain only; in transistors 5 bits, on the power-gated chip.  [default: no trim]",
)

unit_current_option = click.option(
    "--unit-current",
    type=common.Real(0, min_open=True),
    metavar="AMPERE",
    help="Current of one software unit in current mode [A], such as 1e-9, 5e-10 or 3e-10.  [default: the technology's]",
)


@click.command()
@click.argument("checkpoint_path", metavar="CHECKPOINT", type=common.FILE)
@architecture_option
@technology_option
@level_option
@memory_option
@trim_option
@size_options.parallel_option
@common.input_option
@common.percentile_option
@own_check.check_option
@common.json_option
def inspect(
    checkpoint_path: Path,
    architecture: str | None,
    technology_name: str | None,
    level: str | None,
    memory: str | None,
    trim_bits: int | None,
    in_parallel: dict[str, int],
    input_path: Path | None,
    percentile: float | None,
    check_path: Path | None,
    as_json: bool,
) -> None:
    """Describe a checkpoint, and the circuit that it would become.

    \b
    Example: cmru-hw inspect models/vowels-cmru-2x16.safetensors
    """
    from cmru_hw.nn import checkpoint

    loaded = checkpoint.read(checkpoint_path)
    trained = loaded.trained
    agreement = own_check.compared(trained, check_path)
    kind = _architecture(architecture, trained)
    technology = _technology(kind, technology_name, level, memory, trim_bits, in_parallel)
    sequences = (
        _evaluation_sequences(checkpoint_path) if input_path is None else common.load_sequences(input_path, None)
    )
    found = {**_describe(trained), **_read(loaded)}
    circuit: dict[str, object]
    judged: Verdict | str
    try:
        design = kind.map_network(trained, technology, _calibrated(kind, trained, sequences, percentile))
    except MappingError as error:
        circuit, judged = {"realisable": False, "reason": str(error)}, "the network has no circuit"
    else:
        circuit = {"realisable": True, **_describe_design(design), **_clamped(kind, design, trained, sequences)}
        judged = verdict.judged(design, trained, sequences, checkpoint=checkpoint_path, technology=technology_name)
    if as_json:
        common.print_json({**found, "circuit": circuit, **verdict.facts(judged), **own_check.facts(agreement)})
    else:
        common.print_table(str(checkpoint_path), _rows(found) + own_check.rows(agreement))
        click.echo()
        common.print_table(f"circuit in {technology.name}", _rows(circuit))
        click.echo()
        verdict.show(judged)
    own_check.require(agreement, checkpoint_path, check_path)


@click.command()
@click.argument("checkpoint_path", metavar="CHECKPOINT", type=common.FILE)
@click.option("-o", "--output", required=True, type=common.FILE, metavar="DIR", help="The design folder to write.")
@architecture_option
@technology_option
@level_option
@memory_option
@trim_option
@size_options.parallel_option
@size_options.centre_option
@common.vdd_option
@unit_current_option
@click.option("--label", default="", metavar="TEXT", help="Name of the design in tables and reports.")
@common.input_option
@common.sequences_option
@common.spread_option
@common.percentile_option
@click.option(
    "--template",
    "own_templates",
    multiple=True,
    metavar="NAME=FILE",
    callback=lambda _context, _option, given: [_named_file(one) for one in given],
    help="Replace a template of netlists/cells with your own subcircuit, which has the same pins. Repeatable.",
)
@own_check.check_option
@click.option("--no-verify", is_flag=True, help="Do not simulate the design and compare it with software.")
@common.backend_option
@common.jobs_option
@common.timeout_option
@common.force_option
@common.json_option
def export(
    checkpoint_path: Path,
    output: Path,
    architecture: str | None,
    technology_name: str | None,
    level: str | None,
    memory: str | None,
    trim_bits: int | None,
    in_parallel: dict[str, int],
    centre_path: Path | None,
    vdd: float | None,
    unit_current: float | None,
    label: str,
    input_path: Path | None,
    sequences: int | None,
    spread: bool,
    percentile: float | None,
    own_templates: list[tuple[str, Path]],
    check_path: Path | None,
    no_verify: bool,
    backend: Any,
    jobs: int,
    timeout: float,
    force: bool,
    as_json: bool,
) -> None:
    """Turn a checkpoint into netlists, and check them against software.

    The sequences set the scales of voltages or currents, and the range of each input, beyond which it is clamped. They
    are the stimulus of the simulation. Without --input, they come from TASK-eval.npz next to the checkpoint; without
    such a file, they are random. Exit code 1: the netlists are written, but do not agree with software.

    \b
    Example: cmru-hw export models/vowels-cmru-2x16.safetensors -o out/vowels
             cmru-hw export models/detect-cmru-2x4.safetensors --technology gf180 --level transistor -o out/t
             cmru-hw export models/vowels-cmru-2x16.safetensors --technology gf180 --trim 5 -o out/trimmed
             cmru-hw export models/detect-fq-bmru-2x4.safetensors --parallel layer1/thresholds=4 -o out/current
             cmru-hw export models/vowels-cmru-2x16.safetensors --technology gf180 --vdd 1.5 --label "1.5 V" -o out/low
    """
    from cmru_hw import spice
    from cmru_hw.circuits.calibration import assumed_sequences
    from cmru_hw.design_folder import folder, templates
    from cmru_hw.nn import checkpoint

    loaded = checkpoint.read(checkpoint_path)
    trained = loaded.trained
    kind = _architecture(architecture, trained)
    common.check_output(output, force)
    if label:
        folder.checked_label(label)
    agreement = own_check.required(trained, checkpoint_path, check_path)
    trained, centring = size_options.centred(trained, centre_path)
    given = _given(checkpoint_path, input_path, sequences, spread=spread)
    technology = _technology(kind, technology_name, level, memory, trim_bits, in_parallel)
    with spice.open_engine(backend=backend, jobs=jobs, timeout=timeout) as engine:
        technology = _operated(kind, technology, vdd, unit_current, engine)
    mapped = kind.map_network(trained, technology, _calibrated(kind, trained, given, percentile))
    design = templates.with_templates(mapped, own_templates)
    stimulus = given if given is not None else assumed_sequences(trained)
    exported = folder.write(output, trained, design, stimulus, force=force, command=common.command_line(), label=label)
    hashed = {"output": str(output), "netlist_sha256": exported.netlist_sha256}
    clamped = _clamped(kind, design, trained, given)
    found: dict[str, object] = {
        **hashed,
        "label": exported.title,
        **_describe_design(design),
        **clamped,
        **_read(loaded),
        **centring,
    }
    judged = verdict.judged(design, trained, given, checkpoint=checkpoint_path, technology=technology_name)
    if not as_json:
        common.print_table(str(output), _rows(found) + own_check.rows(agreement))
        click.echo()
        verdict.show(judged)
    found |= {**verdict.facts(judged), **own_check.facts(agreement)}
    if no_verify:
        if as_json:
            common.print_json({**found, "verified": None})
        return
    count = sequences if sequences is not None else min(SEQUENCES_TO_VERIFY, len(stimulus))
    chosen = common.some(stimulus, min(count, len(stimulus)), spread=spread)
    with spice.open_engine(backend=backend, jobs=jobs, timeout=timeout) as engine:
        _verify(kind, exported, chosen, engine, found=found, as_json=as_json)


def _verify(
    kind: Architecture,
    exported: Exported,
    sequences: Sequences,
    engine: Engine,
    *,
    found: dict[str, object],
    as_json: bool,
) -> None:
    """Simulate the design and print ``found`` with the comparison. Raises CheckFailed unless the two agree."""
    from cmru_hw.analysis.comparison import compared
    from cmru_hw.cli.run import print_comparison

    design = exported.design
    with common.progress("verifying, timesteps") as report:
        verified = kind.verify(design, exported.trained, sequences, engine, progress=report, frames=1)
    holds = verified.comparison.holds()
    if as_json:
        result = compared(exported, verified, command=common.command_line())
        common.print_json({**found, "verified": holds, **result.to_plain()})
    else:
        click.echo()
        print_comparison(design, verified)
    if not holds:
        raise CheckFailed(
            f"{found['output']} is written, but its circuit does not agree with the software model: see cmru-hw compare"
        )


def _named_file(given: str) -> tuple[str, Path]:
    name, equals, path = given.partition("=")
    if not (name and equals and path):
        raise click.BadParameter(f"{given!r} is not NAME=FILE, such as comparator=mine.cir")
    return name, Path(path)


def _architecture(name: str | None, trained: Trained) -> Architecture:
    from cmru_hw.circuits import registry

    return registry.get(name) if name is not None else registry.fitting(trained)


def _technology(
    kind: Architecture,
    name: str | None,
    level: str | None,
    memory: str | None,
    trim_bits: int | None,
    in_parallel: dict[str, int],
) -> AnyTechnology:
    found = kind.load_technology(name or kind.technology)
    if level is not None or memory is not None:
        found = kind.at_level(found, level, memory)
    if in_parallel:
        found = kind.with_parallel(found, in_parallel)
    return found if trim_bits is None else kind.with_trim(found, trim_bits)


def _operated(
    kind: Architecture, technology: AnyTechnology, vdd: float | None, unit_current: float | None, engine: Engine
) -> AnyTechnology:
    """``technology`` with the supply and the unit current that the user gave."""
    from cmru_hw.core import cache_folder

    if unit_current is not None:
        technology = kind.with_unit_current(technology, unit_current)
    if vdd is not None:
        with common.progress("measuring the transistors at this supply"):
            technology = kind.at_supply(technology, vdd, engine, cache_folder.measured())
    return technology


def _evaluation_sequences(path: Path) -> Sequences | None:
    from cmru_hw.nn.sequences import evaluation_file, load_sequences

    found = evaluation_file(path)
    return None if found is None else load_sequences(found)


def _given(checkpoint: Path, path: Path | None, count: int | None, *, spread: bool) -> Sequences | None:
    return _evaluation_sequences(checkpoint) if path is None else common.load_sequences(path, count, spread=spread)


def _calibrated(kind: Architecture, trained: Trained, sequences: Sequences | None, percentile: float | None) -> Any:
    if percentile is None:
        return kind.calibrate(trained, sequences)
    if sequences is None:
        raise click.UsageError("--input-percentile is a percentage of the timesteps of --input: give --input as well")
    return kind.calibrate(trained, sequences, percentile=percentile)


def _clamped(kind: Architecture, design: AnyDesign, trained: Trained, given: Sequences | None) -> dict[str, object]:
    """Which inputs of the calibration are clamped; nothing without data."""
    return {} if given is None else {CLAMPED: kind.reference(design, trained, given).clamped.to_plain()}


def _read(loaded: Loaded) -> dict[str, object]:
    """Everything that was removed or converted on reading; empty if nothing was."""
    return {"read": list(loaded.notes)} if loaded.notes else {}


def _describe(trained: Trained) -> dict[str, object]:
    config = trained.config
    arrays = trained.arrays
    layers = {f"layer {index}": _layer(trained, index) for index in range(len(config.units))}
    return {
        "cell": config.cell,
        "epsilon": config.epsilon,
        "levels": levels.plain(config.levels),
        "skip": config.skip,
        "decision": config.decision,
        "features": config.features,
        "classes": list(config.classes),
        **({"note": f"{ONE_SCORE}: {REMEDY}"} if len(config.classes) == 1 else {}),
        **layers,
        "parameters": sum(array.size for name, array in arrays.items() if not name.endswith("initial_state")),
        "task": config.task.get("name"),
        "scores": dict(config.scores),
        "sha256": trained.sha256,
    }


def _layer(trained: Trained, index: int) -> str:
    largest = float(abs(trained.arrays[f"layers.{index}.candidate.weight"]).max())
    thresholds = _thresholds(trained, index)
    own = levels.of_layer(trained.config.levels, index)
    mixed = f", {levels.counted(own)}" if isinstance(own, tuple) else ""
    return f"{trained.config.units[index]} units, candidate weights within ±{plain(largest)}, {thresholds}{mixed}"


def _thresholds(trained: Trained, index: int) -> str:
    if trained.config.cell == "fq-bmru":
        return "hysteresis between low and low + width"
    fixed = not bool(trained.arrays[f"layers.{index}.threshold.weight"].any())
    return "fixed thresholds" if fixed else "input-dependent thresholds"


def _describe_design(design: AnyDesign) -> dict[str, object]:
    from cmru_hw.circuits import registry

    at = registry.of(design).operating_point(design)
    return {
        "architecture": design.architecture,
        "technology": design.technology.name,
        "level": design.technology.level,
        "supply": f"{at.vdd:g} V",
        "corner": f"{at.process}, {at.temperature:g} °C",
        **registry.of(design).describe(design),
        **({"own templates": [name for name, _ in design.templates]} if design.templates else {}),
    }


def _rows(found: Mapping[str, object]) -> list[tuple[str, str]]:
    from cmru_hw.circuits.input_range import ClampedInputs

    rows = [(key, _shown(value)) for key, value in found.items() if key != CLAMPED]
    return rows + (ClampedInputs.from_plain(found[CLAMPED], where="calibration").rows() if CLAMPED in found else [])


def _shown(value: object) -> str:
    if isinstance(value, list) and value and isinstance(value[0], list):
        # K of each unit
        return "; ".join(map(_shown, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(entry)}" for key, entry in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return {None: "none", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)

"""``inspect`` and ``export``: what a checkpoint holds, and its circuit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cmru_hw.cli import common
from cmru_hw.errors import CheckFailed, MappingError
from cmru_hw.quantity import si

if TYPE_CHECKING:
    from cmru_hw.checkpoint import Sequences, Trained
    from cmru_hw.mapping import Design

# Enough to exercise every unit of a small network in seconds; `compare` is for more.
SEQUENCES_TO_VERIFY = 5

technology_option = click.option(
    "--technology", "technology_name", default="macro", show_default=True, help="By name, or the path of a TOML file."
)


@click.command()
@click.argument("checkpoint_path", metavar="CHECKPOINT", type=common.FILE)
@technology_option
@common.input_option
@common.json_option
def inspect(checkpoint_path: Path, technology_name: str, input_path: Path | None, as_json: bool) -> None:
    """Show what a checkpoint holds and which circuit it would become.

    \b
    Example: cmru-hw inspect models/vowels-cmru-2x16.safetensors
    """
    from cmru_hw import checkpoint, mapping, technology

    trained = checkpoint.load(checkpoint_path)
    sequences = _sequences_beside(checkpoint_path) if input_path is None else common.load_sequences(input_path, None)
    found = _describe(trained)
    try:
        design = mapping.map_network(trained, technology.load(technology_name), mapping.calibrate(trained, sequences))
    except MappingError as error:
        found["circuit"] = {"realisable": False, "reason": str(error)}
    else:
        found["circuit"] = {"realisable": True, **_describe_design(design)}
    if as_json:
        common.print_json(found)
        return
    circuit = found.pop("circuit")
    common.print_table(str(checkpoint_path), [(key, _shown(value)) for key, value in found.items()])
    click.echo()
    common.print_table(f"circuit in {technology_name}", [(key, _shown(value)) for key, value in circuit.items()])


@click.command()
@click.argument("checkpoint_path", metavar="CHECKPOINT", type=common.FILE)
@click.option("-o", "--output", required=True, type=common.FILE, metavar="DIR", help="The design folder to make.")
@click.option(
    "--architecture",
    type=click.Choice(["sc", "cm"]),
    default="sc",
    show_default=True,
    help="sc: comparators and capacitive integrators; cm: current mode.",
)
@technology_option
@common.input_option
@common.sequences_option
@click.option(
    "--template",
    "own_templates",
    multiple=True,
    metavar="NAME=FILE",
    callback=lambda _context, _option, given: [_named_file(one) for one in given],
    help="Your own subcircuit in the place of one of netlists/cells, with the same pins; may be repeated.",
)
@click.option("--no-verify", is_flag=True, help="Do not simulate the design against its software model.")
@common.backend_option
@common.jobs_option
@common.timeout_option
@common.force_option
@common.json_option
def export(
    checkpoint_path: Path,
    output: Path,
    architecture: str,
    technology_name: str,
    input_path: Path | None,
    sequences: int | None,
    own_templates: list[tuple[str, Path]],
    no_verify: bool,
    backend: Any,
    jobs: int,
    timeout: float,
    force: bool,
    as_json: bool,
) -> None:
    """Turn a checkpoint into netlists, and simulate them against the software model.

    The sequences set the voltage scales and are what is simulated; without --input they are the TASK-eval.npz beside
    the checkpoint, or failing that random. Exit code 1: the netlists are written, but do not equal the software.

    \b
    Example: cmru-hw export models/vowels-cmru-2x16.safetensors -o out/vowels
    """
    from cmru_hw import checkpoint, design_folder, mapping, spice, technology, templates
    from cmru_hw.cli.run import print_comparison
    from cmru_hw.results import comparison
    from cmru_hw.simulate import verify

    trained = checkpoint.load(checkpoint_path)
    if architecture == "cm":
        raise MappingError("the current-mode architecture (cm) cannot be exported yet: use --architecture sc")
    common.check_output(output, force)
    given = _sequences_beside(checkpoint_path) if input_path is None else common.load_sequences(input_path, sequences)
    calibration = mapping.calibrate(trained, given)
    design = mapping.map_network(trained, technology.load(technology_name), calibration)
    design = templates.with_templates(design, own_templates)
    stimulus = given if given is not None else mapping.assumed_sequences(trained)
    exported = design_folder.write(output, trained, design, stimulus, force=force, command=common.command_line())
    found: dict[str, Any] = {
        "output": str(output),
        "netlist_sha256": exported.netlist_sha256,
        **_describe_design(design),
    }
    if not as_json:
        common.print_table(str(output), [(key, _shown(value)) for key, value in found.items()])
    if no_verify:
        if as_json:
            common.print_json({**found, "verified": None})
        return
    count = sequences if sequences is not None else min(SEQUENCES_TO_VERIFY, len(stimulus))
    with (
        spice.open_engine(backend=backend, jobs=jobs, timeout=timeout) as engine,
        common.progress("verifying, timesteps") as report,
    ):
        verified = verify(design, trained, stimulus.first(min(count, len(stimulus))), engine, progress=report)
    holds = verified.comparison.holds()
    if as_json:
        common.print_json({**found, "verified": holds, **comparison(design, verified)})
    else:
        click.echo()
        print_comparison(design, verified)
    if not holds:
        raise CheckFailed(
            f"{output} is written, but its circuit does not equal the software model: see cmru-hw compare"
        )


def _named_file(given: str) -> tuple[str, Path]:
    name, equals, path = given.partition("=")
    if not (name and equals and path):
        raise click.BadParameter(f"{given!r} is not NAME=FILE, like comparator=mine.cir")
    return name, Path(path)


def _sequences_beside(path: Path) -> Sequences | None:
    """The evaluation sequences that belong to a checkpoint called TASK-CELL-LxN."""
    from cmru_hw import checkpoint

    beside = path.with_name(f"{path.stem.split('-')[0]}-eval.npz")
    return checkpoint.load_sequences(beside) if beside.is_file() else None


def _describe(trained: Trained) -> dict[str, Any]:
    config = trained.config
    tensors = trained.tensors
    layers = {f"layer {index}": _layer(trained, index) for index in range(len(config.units))}
    return {
        "cell": config.cell,
        "epsilon": config.epsilon,
        "levels": config.levels,
        "skip": config.skip,
        "decision": config.decision,
        "features": config.features,
        "classes": list(config.classes),
        **layers,
        "parameters": sum(tensor.numel() for name, tensor in tensors.items() if not name.endswith("initial_state")),
        "task": config.task.get("name"),
        "scores": dict(config.scores),
        "sha256": trained.sha256,
    }


def _layer(trained: Trained, index: int) -> str:
    largest = float(trained.tensors[f"layers.{index}.candidate.weight"].abs().max())
    return (
        f"{trained.config.units[index]} units, candidate weights within ±{largest:.3g}, {_thresholds(trained, index)}"
    )


def _thresholds(trained: Trained, index: int) -> str:
    if trained.config.cell == "fq-bmru":
        return "hysteresis between low and low + width"
    fixed = not bool(trained.tensors[f"layers.{index}.threshold.weight"].any())
    return "fixed thresholds" if fixed else "input-dependent thresholds"


def _describe_design(design: Design) -> dict[str, Any]:
    import numpy as np

    sizes = [np.abs(row.weights[row.weights != 0]) for layer in design.layers for row in (layer.low, layer.high)]
    dropped = sum(clip.got == 0 for clip in design.clips)
    return {
        "architecture": design.architecture,
        "technology": design.technology.name,
        "level": design.technology.level,
        "smallest weight capacitor": si(float(min(s.min() for s in sizes if len(s))), "F"),
        "largest weight capacitor": si(float(max(s.max() for s in sizes if len(s))), "F"),
        "one level": [si(float(layer.step.min()), "V") + " or more" for layer in design.layers],
        "calibration": design.calibration.source,
        "rounded weights": len(design.clips) - dropped,
        "left-out weights": dropped,
        **({"own templates": [name for name, _ in design.templates]} if design.templates else {}),
    }


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(entry)}" for key, entry in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return {None: "none", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)

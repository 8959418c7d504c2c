"""``handover``: a design for a circuit designer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cmru_hw.cli import common

if TYPE_CHECKING:
    from cmru_hw.design_folder.folder import Exported
    from cmru_hw.nn.sequences import Sequences

# Timesteps of the test deck: a timestep of the speech detector takes 10 s of CPU.
TIMESTEPS = 2


@click.command()
@click.argument("design_path", metavar="DESIGN", type=common.FILE)
@click.option("-o", "--output", required=True, type=common.FILE, metavar="DIR", help="The folder to write.")
@common.input_option
@click.option(
    "--timesteps",
    type=click.IntRange(1, 50),
    default=TIMESTEPS,
    show_default=True,
    help="Timesteps of the test deck, from the beginning of the first sequence.",
)
@common.force_option
@common.json_option
def handover(
    design_path: Path, output: Path, input_path: Path | None, timesteps: int, force: bool, as_json: bool
) -> None:
    """Write a transistor-level design for a circuit designer.

    The folder has the netlist as one subcircuit with named ports (top.cir), the same as CDL (top.cdl), a test deck that
    runs with ngspice as it is (deck.cir) and the decisions that it must measure, and the ports with levels and timing
    in words (README.md). Without --input, the test deck runs random inputs.

    \b
    Example: cmru-hw handover out/chip --input models/detect-eval.npz -o out/handover
    """
    from cmru_hw.design_folder import folder
    from cmru_hw.design_folder import handover as handed

    common.check_output(output, force)
    exported = folder.load(design_path)
    found = handed.write(
        output, exported, _first(exported, input_path, timesteps), force=force, command=common.command_line()
    )
    facts: dict[str, object] = {
        "output": str(found.path),
        "netlist_sha256": exported.netlist_sha256,
        "ports": found.ports,
        "cells": found.cells,
        "transistors": found.transistors,
        "capacitors": found.capacitors,
        "decisions in the test deck": found.measures,
    }
    if as_json:
        common.print_json({**facts, "missing_models": list(found.add)})
        return
    rows = [(name, str(value)) for name, value in facts.items() if name != "output"]
    rows += [("add, because its licence is unknown", name) for name in found.add]
    common.print_table(str(output), rows + common.edited_rows(exported))


def _first(exported: Exported, path: Path | None, timesteps: int) -> Sequences:
    """The beginning of the first sequence of ``path``, or of random inputs."""
    import numpy as np

    from cmru_hw.circuits.calibration import assumed_sequences
    from cmru_hw.nn.sequences import Sequences

    data = assumed_sequences(exported.trained) if path is None else common.load_sequences(path, 1)
    exported.trained.check(data)
    count = min(int(data.lengths[0]), timesteps)
    return Sequences(inputs=data.inputs[:1, :count], lengths=np.array([count]), labels=None)

"""``convert``: make a checkpoint from tensors that another program saved."""

from __future__ import annotations

from pathlib import Path

import click

from cmru_hw.cli import common


@click.command()
@click.argument("tensors_path", metavar="TENSORS", type=common.FILE)
@click.option(
    "--names", "names_path", required=True, type=common.FILE, metavar="FILE.toml", help="Map of tensor names."
)
@click.option(
    "-o", "--output", required=True, type=common.FILE, metavar="FILE.safetensors", help="The checkpoint to write."
)
@common.force_option
@common.json_option
def convert(tensors_path: Path, names_path: Path, output: Path, force: bool, as_json: bool) -> None:
    """Make a checkpoint from tensors that another program saved as .npz or .safetensors.

    FILE.toml maps the names of the tensors. docs/bring-your-own.md has an example for JAX and Flax.

    \b
    Example: cmru-hw convert params.npz --names names.toml -o model.safetensors
    """
    from cmru_hw.nn import checkpoint
    from cmru_hw.nn.import_weights import convert

    common.check_output(output, force)
    trained = convert(tensors_path, names_path)
    checkpoint.save(trained, output, force=force)
    units = " + ".join(map(str, trained.config.units))
    if as_json:
        common.print_json({"output": str(output), "sha256": trained.sha256, "units": list(trained.config.units)})
    else:
        rows = [("cell", trained.config.cell), ("units", units), ("sha256", trained.sha256)]
        common.print_table(str(output), rows)

"""``convert``: make a checkpoint from tensors that another program saved."""

from __future__ import annotations

from pathlib import Path

import click

from cmru_hw.cli import common, own_check


@click.command()
@click.argument("tensors_path", metavar="TENSORS", type=common.FILE)
@click.option(
    "--names",
    "names_path",
    type=common.FILE,
    metavar="FILE.toml",
    help="Map of tensor names; not needed where the tensors have the names of a checkpoint.",
)
@click.option(
    "-o", "--output", required=True, type=common.FILE, metavar="FILE.safetensors", help="The checkpoint to write."
)
@own_check.check_option
@common.force_option
@common.json_option
def convert(
    tensors_path: Path, names_path: Path | None, output: Path, check_path: Path | None, force: bool, as_json: bool
) -> None:
    """Make a checkpoint from tensors that another program saved as .pt, .pth, .ckpt, .npz or .safetensors.

    FILE.toml maps the names of the tensors. docs/bring-your-own.md has examples for PyTorch, Lightning, JAX and Flax.
    With --check, the checkpoint is written only if its outputs equal those of the original. Exit code 1: they differ.

    \b
    Example: cmru-hw convert params.npz --names names.toml -o model.safetensors --check outputs.npz
    """
    from cmru_hw.nn import checkpoint, import_weights

    common.check_output(output, force)
    loaded = checkpoint.read(tensors_path) if names_path is None else import_weights.read(tensors_path, names_path)
    trained = loaded.trained
    agreement = own_check.required(trained, tensors_path, check_path)
    checkpoint.save(trained, output, force=force)
    if as_json:
        found = {"output": str(output), "sha256": trained.sha256, "units": list(trained.config.units)}
        common.print_json({**found, "notes": list(loaded.notes), **own_check.facts(agreement)})
        return
    units = " + ".join(map(str, trained.config.units))
    rows = [("cell", trained.config.cell), ("units", units), ("sha256", trained.sha256)]
    rows += [("read", note) for note in loaded.notes]
    common.print_table(str(output), rows + own_check.rows(agreement))

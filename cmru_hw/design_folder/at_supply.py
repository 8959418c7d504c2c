"""An exported design at another supply voltage, without a folder of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cmru_hw.circuits import registry
from cmru_hw.core.errors import InputError
from cmru_hw.design_folder.folder import Exported
from cmru_hw.spice import Engine


def at_supply(exported: Exported, vdd: float, engine: Engine, folder: Path) -> Exported:
    """The same trained network and calibration at ``vdd`` [V]: see `Architecture.at_supply`.

    Raises InputError for a design that was edited after export, because the edits cannot be applied to it.
    """
    kind = registry.of(exported.design)
    technology = kind.at_supply(exported.design.technology, vdd, engine, folder)
    if technology.sha256 == exported.design.technology.sha256:
        return exported
    if exported.edited:
        raise InputError(
            f"{exported.path} was edited after export ({', '.join(exported.edited)}), so it cannot be moved to "
            "another supply: export the network with --vdd, and edit that design"
        )
    mapped = kind.map_network(exported.trained, technology, exported.design.calibration)
    design = kind.with_templates(mapped, exported.design.templates)
    return replace(exported, design=design, network=kind.network_text(design))

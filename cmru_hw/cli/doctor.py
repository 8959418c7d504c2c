"""``doctor``: check the installation."""

from __future__ import annotations

from dataclasses import asdict

import click

from cmru_hw.cli import common
from cmru_hw.core.errors import SimulatorMissing


@click.command()
@common.json_option
def doctor(as_json: bool) -> None:
    """Check the installation.

    Checks Python packages, ngspice with its library and code models, and a simulation in both backends against theory.

    \b
    Example: cmru-hw doctor
    """
    from cmru_hw.process import device_models
    from cmru_hw.spice import doctor as examination

    checks = examination.checks(device_models.packages())
    wrong = [check for check in checks if check.required and not check.ok]
    if as_json:
        common.print_json({"ok": not wrong, "checks": [asdict(check) for check in checks]})
    else:
        marks = {True: "ok", False: "MISSING"}
        rows = [
            (f"{'ok' if c.ok else marks[not c.required] if c.required else 'absent'}", f"{c.name}: {c.detail}")
            for c in checks
        ]
        common.print_table("cmru-hw doctor", rows)
        for check in checks:
            if not check.ok:
                click.echo(f"{check.name}: {check.remedy}")
    if wrong:
        raise SimulatorMissing(f"{wrong[0].name}: {wrong[0].detail}; {wrong[0].remedy}")

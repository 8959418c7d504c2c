"""User templates: which ones are accepted as a replacement, and that they are then used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cmru_hw import spice
from cmru_hw.circuits.charge import macro_netlist, mapping
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.verify import verify
from cmru_hw.cli import group
from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError
from cmru_hw.design_folder import folder as design_folder
from cmru_hw.design_folder import templates
from cmru_hw.nn import checkpoint
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences, load_sequences
from cmru_hw.process import technology
from tests.narrow import charge_design

MODELS = package_data.folder("models")
COMPARATOR = """* mine
.subckt comparator INP inn
+ ck q vdd load = 20f ; the load of an input pair
cp inp 0 {load}
es s 0 inp inn 0.01
s1 q m s 0 sense
s2 m vdd ck 0 on_high
r1 q 0 1e9
.ends comparator
"""


@pytest.fixture(scope="module")
def flipflop() -> tuple[Trained, Sequences, Design]:
    trained = checkpoint.load(MODELS / "flipflop-cmru-1x2.safetensors")
    data = load_sequences(MODELS / "flipflop-eval.npz").first(1)
    data = replace(data, inputs=data.inputs[:, :30], lengths=np.array([30]))
    return trained, data, mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, data))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("", "no .subckt comparator"),
        (COMPARATOR.replace("comparator", "latch"), "no .subckt comparator"),
        (COMPARATOR.replace("INP inn", "inn inp"), "has, in this order, inp inn ck q vdd"),
        (COMPARATOR.replace("+ ck q vdd", "+ ck q vdd vss"), "pins inp inn ck q vdd vss"),
        (COMPARATOR + "r1 a 0 1\n", "'r1 a 0 1' is outside a subcircuit"),
        (COMPARATOR + ".control\nshell rm -rf /\n.endc\n", "not a card of a circuit"),
        (COMPARATOR + ".include /etc/passwd\n", "neither a file of this deck"),
    ],
)
def test_what_does_not_fit_is_refused(flipflop: tuple[Trained, Sequences, Design], wrong: str, message: str) -> None:
    with pytest.raises(InputError, match="template comparator") as raised:
        templates.with_texts(flipflop[2], {"comparator": wrong})
    assert message in str(raised.value)


def test_a_parameter_that_the_network_sets_must_be_there(flipflop: tuple[Trained, Sequences, Design]) -> None:
    folder = package_data.folder("netlists") / "cells" / "macro"
    row = (folder / "row.cir").read_text().replace(" cp=0", "").replace("{cp}", "1f")
    with pytest.raises(InputError, match="lacks parameters of row: cp; give each a default"):
        templates.with_texts(flipflop[2], {"row": row})


def test_names_and_files_that_are_not_there(flipflop: tuple[Trained, Sequences, Design], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no template 'opamp': it has clock, comparator, integrator, line, row, unit_"):
        templates.with_templates(flipflop[2], [("opamp", MODELS / "flipflop-cmru-1x2.md")])
    with pytest.raises(InputError, match=r"template .*gone.cir cannot be read"):
        templates.with_templates(flipflop[2], [("comparator", tmp_path / "gone.cir")])


def test_every_shipped_template_fits_its_own_place() -> None:
    for path in (package_data.folder("netlists") / "cells").glob("*/*.cir"):
        text = path.read_text()
        if templates.interface(text, path.stem) is not None:
            templates.check(text, path.stem, text)


def test_the_option_says_what_it_wants(tmp_path: Path) -> None:
    model = str(MODELS / "flipflop-cmru-1x2.safetensors")
    done = CliRunner().invoke(group, ["export", model, "-o", str(tmp_path / "out"), "--template", "mine.cir"])
    assert done.exit_code == 2 and "'mine.cir' is not NAME=FILE, such as comparator=mine.cir" in done.output


@pytest.mark.spice
def test_an_own_template_is_what_is_simulated(flipflop: tuple[Trained, Sequences, Design], tmp_path: Path) -> None:
    trained, data, design = flipflop
    mine = tmp_path / "mine.cir"
    mine.write_text(COMPARATOR)
    loaded = charge_design(templates.with_templates(design, [("comparator", mine)]))
    # A comparator with exchanged inputs is accepted too, and is easy to see.
    swapped = COMPARATOR.replace("es s 0 inp inn", "es s 0 inn inp")
    turned = charge_design(templates.with_texts(design, {"comparator": swapped}))
    assert len({mapping.fingerprint(one) for one in (design, loaded, turned)}) == 3
    with spice.open_engine() as engine:
        assert verify(loaded, trained, data, engine).comparison.holds()
        assert not verify(turned, trained, data, engine).comparison.holds()


def test_a_design_folder_keeps_its_templates(flipflop: tuple[Trained, Sequences, Design], tmp_path: Path) -> None:
    trained, data, design = flipflop
    own = charge_design(templates.with_texts(design, {"comparator": COMPARATOR}))
    design_folder.write(tmp_path / "out", trained, own, data)
    assert (tmp_path / "out" / "cells" / "comparator.cir").read_text() == COMPARATOR
    again = charge_design(design_folder.load(tmp_path / "out").design)
    assert again.templates == own.templates
    assert macro_netlist.cell_files(again) == macro_netlist.cell_files(own) != macro_netlist.cell_files(design)
    manifest = tmp_path / "out" / "design.json"
    manifest.write_text(manifest.read_text().replace(".subckt comparator INP", ".subckt comparator OUT"))
    with pytest.raises(InputError, match="template comparator has pins out inn ck q vdd"):
        design_folder.load(tmp_path / "out")

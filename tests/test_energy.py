"""Energy: charges of the netlist compared with the analytic estimate, and the error if they do not add up."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from cmru_hw import spice
from cmru_hw.analysis.energy.api import run_energy
from cmru_hw.analysis.energy.scaling import fit, run_scaling
from cmru_hw.circuits.charge import macro_netlist, mapping
from cmru_hw.circuits.charge.energy import macro
from cmru_hw.circuits.energy import measure
from cmru_hw.core import package_data
from cmru_hw.core.errors import CheckFailed
from cmru_hw.design_folder import folder as design_folder
from cmru_hw.process import technology
from cmru_hw.spice.deck import Deck
from tests.narrow import charge_design, known
from tests.networks import Shape, random_network, random_sequences
from tests.test_cli import refused, run

SOURCE = (package_data.folder("netlists") / "cells" / "macro" / "metered" / "source.cir").read_bytes()
LIBRARY = (package_data.folder("netlists") / "devices" / "ideal.lib").read_bytes()


@pytest.fixture(scope="module")
def engine() -> Iterator[spice.Engine]:
    with spice.open_engine() as opened:
        yield opened


def exported(folder: Path, shape: Shape, **sections: dict[str, float]) -> design_folder.Exported:
    """A random network in the macro technology with changed values in its ``sections``."""
    kind = asdict(technology.load("macro"))
    for name, numbers in sections.items():
        kind[name] = {**(kind[name] or {}), **numbers}
    trained, data = random_network(shape), random_sequences(shape)
    design = mapping.map_network(trained, technology.from_dict(kind, where="test"), mapping.calibrate(trained, data))
    return design_folder.write(folder, trained, design, data)


# ---- charge


@pytest.mark.spice
@pytest.mark.parametrize("points", [40, 4000])
def test_a_capacitor_charged_through_a_switch_dissipates_half_of_what_it_takes(
    engine: spice.Engine, points: int
) -> None:
    volts, farad = 1.8, 1e-12
    deck = Deck(
        text=".include ideal.lib\n.include source.cir\nxs in meter ret source volts=1.8\nvret ret 0 0\n"
        "vck ck 0 pwl(0 0 1e-8 0 1.1e-8 1)\nvm in sw 0\ns1 sw c ck 0 on_high\nc1 c 0 1e-12 ic=0\n"
        "bheat 0 heat i=(v(in)-v(c))*i(vm)\ncheat heat 0 1e-9 ic=0\n"
        f".options reltol=1e-6\n.tran {4e-8 / points} 4e-8 0 {4e-8 / points} uic\n.save meter heat c\n",
        stop=4e-8,
        saved=("meter", "heat", "c"),
        files={"source.cir": SOURCE, "ideal.lib": LIBRARY},
    )
    values = engine.run(deck).traces.values
    taken, stored = values["meter"][-1] * 1e-9 * volts, farad * values["c"][-1] ** 2 / 2
    # The charge meter is exact for any step. Heat is a product, which only small steps integrate accurately.
    assert taken == pytest.approx(farad * volts**2, rel=1e-4)
    assert taken - stored == pytest.approx(farad * volts**2 / 2, rel=1e-3)
    if points > 1000:
        assert values["heat"][-1] * 1e-9 == pytest.approx(farad * volts**2 / 2, rel=0.01)


@pytest.mark.spice
@pytest.mark.parametrize(
    "shape",
    [
        Shape(),
        Shape(units=(5, 3, 2), skip=True, seed=3),
        Shape(units=(2, 4), skip=False, levels=None, seed=4),
        Shape(cell="bmru", seed=5),
        Shape(cell="bmru", units=(3,), skip=False, seed=6),
        Shape(cell="acmru", units=(3, 2), seed=7),
    ],
    ids=lambda shape: f"{shape.cell}-{'x'.join(map(str, shape.units))}",
)
def test_the_breakdown_closes_and_the_analytic_estimate_agrees(
    engine: spice.Engine, tmp_path: Path, shape: Shape
) -> None:
    found = run_energy(exported(tmp_path / "d", shape), random_sequences(shape), engine)
    assert abs(found.ledger_gap) < 1e-9
    modelled = {name: entry for name, entry in found.blocks.items() if entry.static_J is not None}
    assert set(modelled) == set(macro.NETLIST)
    whole = sum(known(entry.total) for entry in modelled.values())
    assert whole == pytest.approx(found.per_timestep_J) == pytest.approx(found.supply_total_J)
    assert found.per_inference_J == pytest.approx(whole * random_sequences(shape).lengths.mean())
    for name, entry in modelled.items():
        simulated = known(entry.total)
        # A source follows its load in several steps, the estimate assumes one: a difference of a few percent at most.
        assert simulated == pytest.approx(entry.analytic_J, rel=0.25, abs=1e-17), name
    # Ideal parts do not leak.
    assert sum(known(entry.static_J) for entry in modelled.values()) < 1e-4 * whole


@pytest.mark.spice
def test_charge_without_a_meter_is_missed(engine: spice.Engine, tmp_path: Path) -> None:
    design = charge_design(exported(tmp_path / "d", Shape()).design)
    deck, plan = macro_netlist.deck(design, [random_sequences(Shape()).inputs[1].astype(float)], metered=True)
    traces, meters = engine.run(deck).traces, macro.charge_meters(design)
    frames = macro.frames(design, plan, 0)
    measure(traces, meters, macro_netlist.TOTAL, frames).check()
    for vector in ("xline0_bias.mp", "meter_vrp"):
        some = [meter for meter in meters if meter.vector != vector]
        with pytest.raises(CheckFailed, match="does not close"):
            measure(traces, some, macro_netlist.TOTAL, frames).check()


@pytest.mark.spice
def test_leakage_is_static_and_scales(engine: spice.Engine, tmp_path: Path) -> None:
    shape = Shape(units=(3,))
    leak = 2e-13
    found = [
        run_energy(
            exported(tmp_path / str(n), shape, leakage={"integrator": n * leak}), random_sequences(shape), engine
        )
        for n in (1, 2)
    ]
    static = [known(one.blocks["amplifiers"].static_J) for one in found]
    # Three amplifiers replace the leakage of their virtual grounds, for all of 10 ms, from VDD.
    assert static[0] == pytest.approx(3 * leak * 10e-3 * 1.8, rel=0.02)
    assert static[1] == pytest.approx(2 * static[0], rel=0.02)


@pytest.mark.spice
def test_a_measured_unit_is_counted_once_for_every_unit(engine: spice.Engine, tmp_path: Path) -> None:
    shape, names = Shape(units=(3, 2)), technology.Energy.__annotations__
    unit = {name: 1e-12 * (place + 1) for place, name in enumerate(names)}
    found = run_energy(exported(tmp_path / "d", shape, energy=unit), random_sequences(shape), engine)
    entry = found.blocks["comparators"]
    assert entry.dynamic_J == pytest.approx(5 * unit["comparators"])
    assert entry.static_J == pytest.approx(5 * 10e-3 * unit["comparators_leakage"])
    assert found.label == "estimate" and entry.source == "measured unit"
    # The amplifiers' bias delivers the charge of the states; it is not added to it.
    amplifiers = found.blocks["amplifiers"]
    assert amplifiers.dynamic_J == pytest.approx(5 * unit["amplifier"]) and known(amplifiers.load_J) > 0
    assert found.per_timestep_J == pytest.approx(found.supply_total_J)
    assert not any("no measured unit" in what for what in found.excludes)


def test_a_measured_unit_survives_the_technology_file() -> None:
    macro_kind = technology.load("macro")
    assert macro_kind.energy is None
    energy = technology.Energy(**dict.fromkeys(technology.Energy.__annotations__, 1e-12))
    kind = replace(macro_kind, energy=energy)
    assert technology.from_dict(asdict(kind), where="test") == kind
    assert kind.sha256 != macro_kind.sha256
    assert technology.load("gf180").energy is not None


# ---- command


@pytest.mark.spice
def test_the_command_leaves_tables_and_figures(tmp_path: Path) -> None:
    design, out = tmp_path / "d", tmp_path / "out"
    models = package_data.folder("models")
    arguments = ("--input", models / "detect-eval.npz", "--sequences", 2)
    assert run("export", models / "detect-cmru-2x4.safetensors", "-o", design, "--no-verify").returncode == 0
    done = run("energy", design, *arguments, "-o", out)
    assert done.returncode == 0, done.stderr
    assert "estimate" in done.stdout and "not modelled" in done.stdout and "not included" in done.stdout
    found = json.loads((out / "energy.json").read_text())
    assert {"level", "timestep_s", "per_timestep_J", "per_inference_J", "blocks", "supply_total_J", "excludes"} <= set(
        found
    )
    assert found["command"].startswith("cmru-hw energy") and len(found["netlist_sha256"]) == 64
    rows = {row["block"]: row for row in csv.DictReader(io.StringIO((out / "energy.csv").read_text()))}
    assert float(rows["inputs"]["dynamic_J"]) == found["blocks"]["inputs"]["dynamic_J"]
    assert rows["clocks"]["dynamic_J"] == ""
    assert r"\toprule" in (out / "energy.tex").read_text()
    assert (out / "energy.svg").stat().st_size > 5000 and (out / "energy.pdf").is_file()
    again = json.loads(run("energy", design, *arguments, "--json").stdout)
    assert again["blocks"] == found["blocks"]
    assert "--force" in refused("energy", design, *arguments, "-o", out)


@pytest.mark.spice
def test_a_source_without_a_charge_meter_is_exit_1(tmp_path: Path) -> None:
    design = tmp_path / "d"
    models = package_data.folder("models")
    assert run("export", models / "detect-cmru-2x4.safetensors", "-o", design, "--no-verify").returncode == 0
    with (design / "network.cir").open("a") as file:
        file.write("xline0_extra x0 p0_extra n0_extra e0 vcm ret0 line\ncextra p0_extra vcm 5e-13\n")
    arguments = ("energy", design, "--input", models / "detect-eval.npz", "--sequences", 1)
    assert "--allow-edited" in refused(*arguments)
    assert "does not close" in refused(*arguments, "--allow-edited", code=1)


def test_energy_needs_sequences(tmp_path: Path) -> None:
    assert "is not a design folder" in refused("energy", tmp_path)


# ---- size


def test_a_law_is_found_with_its_interval() -> None:
    rng = np.random.default_rng(0)
    sizes = np.repeat([2, 4, 8, 16], 3)
    law = fit(sizes.tolist(), (3e-12 * sizes**1.5 * np.exp(rng.normal(0, 0.05, len(sizes)))).tolist())
    assert law.low < 1.5 < law.high and law.high - law.low < 0.2
    assert law.factor == pytest.approx(3e-12, rel=0.1)


@pytest.mark.spice
def test_energy_grows_with_units_and_layers(engine: spice.Engine, tmp_path: Path) -> None:
    unit = dict.fromkeys(technology.Energy.__annotations__, 1e-12)
    design = exported(tmp_path / "d", Shape(skip=False), energy=unit)
    found = run_scaling(design, engine, folder=tmp_path / "out", widths=(2, 4, 8), depths=(1, 2, 3), seed=4)
    laws = found.laws
    # A measured unit is counted once per unit.
    assert laws["units"]["comparators"].exponent == pytest.approx(1)
    # Inputs feed the first layer only, and every one of its units.
    assert laws["units"]["inputs"].exponent > 0.6 and abs(laws["layers"]["inputs"].exponent) < 0.5
    rows = list(csv.DictReader((tmp_path / "out" / "scaling.csv").open()))
    assert len(rows) == len(found.points) == 18
    assert (tmp_path / "out" / "scaling.svg").stat().st_size > 5000
    again = run_scaling(design, engine, widths=(2, 4, 8), depths=(1, 2, 3), seed=4)
    assert again.points == found.points

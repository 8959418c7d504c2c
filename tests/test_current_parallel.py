"""Size classes of current mode: devices in parallel, their mismatch, their area, and the circuits they make."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from cmru_hw import spice
from cmru_hw.circuits.current import (
    architecture,
    characterize,
    compare,
    mapping,
    netlist,
    parallel,
    technology,
    variation,
    verify,
)
from cmru_hw.circuits.current import fast as fast_engine
from cmru_hw.core.errors import MappingError, SimulationError, TechnologyError
from cmru_hw.core.signals import Array
from cmru_hw.process import device_models
from cmru_hw.spice import Engine
from cmru_hw.spice.deck import Deck
from tests.test_cli import MODELS, SMALL, refused, run
from tests.test_current import BENCHES, network, sequences, share_alike

FQ = MODELS / "detect-fq-bmru-2x4.safetensors"
SIZES = {"layer0/levels": 3, "output": 2, "layer1/thresholds": 4, "constant": 2, "inputs": 2}


def sized(given: dict[str, int], *, units: tuple[int, ...] = (3, 3), seed: int = 5) -> mapping.CurrentDesign:
    trained = network(units=units, seed=seed)
    data = sequences(lengths=(20, 20), seed=3)
    kind = technology.with_parallel(technology.load("gf180"), given)
    return mapping.map_network(trained, kind, mapping.calibrate(trained, data))


# --- Names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, 1),
        ({"all": 2}, 2),
        ({"all": 2, "levels": 3}, 3),
        ({"levels": 3, "layer1/levels": 4, "all": 2}, 4),
        ({"layer0/levels": 4, "thresholds": 5}, 1),
    ],
)
def test_the_most_specific_name_wins(given: dict[str, int], expected: int) -> None:
    assert parallel.count(given, "layer1/levels") == expected


def test_every_line_has_a_class_of_its_network() -> None:
    design = sized({})
    lines = {line for rows in design.rows for line in rows.lines} | {f"c{k}_{i}" for k in range(2) for i in range(3)}
    assert {parallel.class_of(line) for line in lines} | {"layer1/output"} == set(mapping.classes(design.config))


@pytest.mark.parametrize("given", [{"all": 0}, {"all": 65}, {"all": 1.5}, {"all": True}])
def test_numbers_out_of_range_are_named(given: dict[str, int]) -> None:
    with pytest.raises(TechnologyError, match=r"all is .*whole number from 1 to 64"):
        technology.with_parallel(technology.load("gf180"), given)


def test_unknown_classes_are_named_with_those_there_are() -> None:
    with pytest.raises(MappingError, match=r"'layer2/levels'.*layer1/levels"):
        sized({"layer2/levels": 2})


def test_more_devices_than_the_sweep_allows_are_refused() -> None:
    with pytest.raises(MappingError, match=r"64 devices in parallel need 1.92 nA.*take fewer") as error:
        kind = replace(technology.load("gf180"), largest=1.5e-9, parallel={"levels": 64})
        trained = network()
        mapping.map_network(trained, kind, mapping.calibrate(trained, sequences()))
    assert "layers.0" in str(error.value)


# --- The design --------------------------------------------------------------------------------------------------


def test_one_device_is_the_circuit_without_size_classes() -> None:
    plain, one = sized({}), sized({"all": 1})
    assert netlist.network_text(plain) == netlist.network_text(one)
    assert "k=" not in netlist.network_text(plain)
    # Designs from before there were size classes keep their technology's hash, and are read back.
    values = asdict(plain.technology)
    del values["parallel"]
    again = technology.from_dict(values, where="old")
    assert again.sha256 == plain.technology.sha256 != one.technology.sha256


def test_a_technology_with_size_classes_survives_its_text() -> None:
    kind = technology.with_parallel(technology.load("gf180"), SIZES)
    again = technology.parse(characterize.toml(kind), where="again")
    assert again == kind
    with pytest.raises(TechnologyError, match="parallel must be a table"):
        technology.from_dict({**asdict(kind), "parallel": 3}, where="broken")


def test_area_counts_every_device_and_currents_stay() -> None:
    plain, large = sized({}), sized(dict.fromkeys(("inputs", "constant", *parallel.KINDS), 4))
    switches = 3 * 2 * 2 * 10e-12  # m3 and m6 of six cells, 2/5 um each
    assert netlist.gate_area(large) == pytest.approx(4 * (netlist.gate_area(plain) - switches) + switches, rel=0.03)
    counted = architecture.parts(large)
    resets = 6 * 0.3e-12
    assert counted.gates == pytest.approx(netlist.gate_area(large) + resets, rel=1e-6)
    data = sequences(lengths=(20, 20), seed=3)
    supplies = []
    for design in (plain, large):
        run_ = fast_engine.run(variation.draw(design, seed=0, dies=[0], varied=frozenset()), data)
        supplies.append(sum(float(current.mean()) for current in run_.supply.values()))
    assert supplies[1] == pytest.approx(supplies[0], rel=0.02)


def test_mismatch_falls_with_the_root_of_the_number() -> None:
    design, dies = sized(SIZES), range(2000)
    strengths = variation.draw(design, seed=0, dies=dies).strengths
    for name, several in {"cell1_0.m2": 4, "t1_0": 4, "cell0_0.m4": 3, "cell0_0.m2": 1, "diode_one": 2}.items():
        device = netlist.devices(design)[name]
        assert device.count == several
        coefficient = {"n": design.technology.mismatch_n, "p": design.technology.mismatch_p}[device.polarity]
        law = coefficient / np.sqrt(several * device.width * device.length)
        assert np.log(strengths[name]).std() == pytest.approx(law, rel=0.06), name


@pytest.mark.spice
@pytest.mark.parametrize("several", [3, 8])
def test_the_law_of_mismatch_holds_for_real_devices_in_parallel(several: int) -> None:
    """Mirrors of ``several`` separate devices, each with the PDK's own mismatch; coefficients are from single ones."""
    kind, dies = technology.load("gf180"), 60
    with spice.open_engine() as engine:
        found = _mirrors(several, dies, engine)
    for polarity, coefficient in (("n", kind.mismatch_n), ("p", kind.mismatch_p)):
        law = np.sqrt(2) * coefficient / np.sqrt(several * kind.width * kind.length)
        # 60 draws know a standard deviation to 18 % (95 %)
        assert np.log(found[polarity]).std(ddof=1) == pytest.approx(law, rel=0.25), polarity


def _mirrors(several: int, dies: int, engine: Engine) -> dict[str, Array]:
    """Output currents (dies,) of mirrors by type. Every device of the testbench is written ``several`` times."""
    lines = (BENCHES / "current_mirror.cir").read_text().splitlines()
    body = [line for line in lines if not line.startswith((".include", ".param", ".meas", ".end", ".tran", ".options"))]
    text = []
    for line in body[1:]:
        copies = range(several) if line.startswith(("xn ", "xp ", "xna ", "xpa ")) else [None]
        for copy in copies:
            name, _, rest = line.partition(" ")
            text.append(line if copy is None else f"{name}{copy} {rest}")
    decks = []
    for die in range(dies):
        models = device_models.devices("gf180", mismatch=die + 1)
        template = (BENCHES.parent / "cells" / "current" / "mirror.cir").read_bytes()
        decks.append(
            Deck(
                text="\n".join([
                    models.text.rstrip(),
                    f".param vdd=1.8 i={several * 0.3e-9!r} w=2e-6 l=5e-6 wd=2e-6 ld=5e-6",
                    ".include cells/mirror.cir",
                    *text,
                    ".save i(vna) i(vpa)",
                    ".options method=gear gmin=1e-15 abstol=1e-16 reltol=1e-5",
                    ".tran 1 2",
                ]) + "\n",
                stop=2,
                saved=("i(vna)", "i(vpa)"),
                files={"cells/mirror.cir": template, **models.files},
                settings=models.settings,
                libraries=models.libraries,
            )
        )  # fmt: skip
    values = np.zeros((dies, 2))
    for index, outcome in engine.map(decks):
        if isinstance(outcome, SimulationError):
            raise outcome
        values[index] = [float(outcome.traces.values[name][-1]) for name in ("i(vna)", "i(vpa)")]
    return {"n": values[:, 0], "p": values[:, 1]}


# --- The circuit -------------------------------------------------------------------------------------------------


@pytest.mark.spice
def test_a_network_of_several_sizes_is_its_software() -> None:
    """Tables of single devices hold for several in parallel, each at its share of the current."""
    trained = network(units=(4, 3), widths=(4, 4, 4), seed=7, decades=0.2)
    data = sequences(lengths=(20, 30), seed=7)
    found = {}
    with spice.open_engine() as engine:
        for name, given in {"one": {}, "several": SIZES}.items():
            kind = technology.with_parallel(technology.load("gf180"), given)
            design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
            result = verify.verify(design, trained, data, engine).comparison
            assert isinstance(result, compare.CurrentComparison)
            found[name] = result
    assert found["several"].holds()
    assert found["several"].candidate_error < 0.02
    assert found["several"].states_agree >= found["one"].states_agree - 0.01 * found["one"].total


@pytest.mark.spice
def test_both_engines_agree_on_dies_of_several_sizes() -> None:
    design = sized(SIZES)
    data = sequences(lengths=(20, 20), seed=3)
    assert share_alike(design, data) >= 0.98


# --- The command -------------------------------------------------------------------------------------------------


def test_export_writes_the_sizes_that_it_prints(tmp_path: Path) -> None:
    arguments = ("--parallel", "levels=2", "--parallel", "layer1/thresholds=3")
    done = run("export", FQ, *arguments, "--no-verify", "-o", tmp_path / "d", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["devices in parallel"] == {"levels": 2, "layer1/thresholds": 3}
    text = (tmp_path / "d" / "network.cir").read_text()
    assert "xt1_0 t1_0 diode_n w=2e-06 l=1e-05 k=3.0" in text
    assert "xt0_0 t0_0 diode_n w=2e-06 l=1e-05\n" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--parallel", "levels"), "CLASS=N"),
        (("--parallel", "levels=-1"), "CLASS=N"),
        (("--parallel", "levels=99"), "1 to 64"),
        (("--parallel", "layer7/levels=2"), "layer7/levels"),
    ],
)
def test_wrong_sizes_are_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in refused("export", FQ, *arguments, "--no-verify", "-o", tmp_path / "d")


def test_the_charge_domain_has_no_size_classes(tmp_path: Path) -> None:
    assert "current mode" in refused("export", SMALL, "--parallel", "all=2", "--no-verify", "-o", tmp_path / "d")

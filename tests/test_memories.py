"""A memory is one module and one entry of the registry: commands, mapping, netlist and energy need nothing else."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cmru_hw import cli
from cmru_hw.circuits.charge import fidelity, mapping, transistor_netlist
from cmru_hw.circuits.charge.architecture import CHARGE
from cmru_hw.circuits.charge.design import HEADROOM, Design
from cmru_hw.circuits.charge.memories import registry
from cmru_hw.circuits.charge.memories.integrator import INTEGRATOR
from cmru_hw.circuits.charge.transistor_parts import MeteredSupply
from cmru_hw.core import package_data
from cmru_hw.core.errors import MappingError, TechnologyError
from cmru_hw.design_folder import folder
from cmru_hw.process import technology
from tests.narrow import transistors
from tests.networks import Shape, random_network, random_sequences

SHAPE = Shape(features=2, units=(2, 1), levels=2, skip=True, seed=3)


def design_of(memory: str, process: str = "gf180") -> Design:
    trained = random_network(SHAPE)
    kind = fidelity.at_level(technology.load(process), "transistor", memory)
    return mapping.map_network(trained, kind, mapping.calibrate(trained, random_sequences(SHAPE)))


@pytest.mark.parametrize("memory", registry.MEMORIES)
def test_every_supply_has_one_charge_meter_and_one_block(memory: str) -> None:
    design = design_of(memory)
    deck, plan = fidelity.deck(design, [np.zeros((2, 2)), np.ones((1, 2))])
    meters = transistor_netlist.charge_meters(design)
    found = [line.split()[2] for line in deck.text.splitlines() if line.startswith("xs_")]
    assert [*found, "meter_inputs"] == list(meters)
    assert {*meters, "meter_total", *plan.clocks} <= set(deck.saved)
    model = CHARGE.energy_model(design)
    assert [meter.vector for meter in model.meters] == list(meters)
    assert 0 < model.duty < 1 and set(model.estimate_differences) <= set(model.modelled)


@pytest.mark.parametrize("memory", registry.MEMORIES)
def test_weights_are_the_same_capacitors_on_one_line_each(memory: str) -> None:
    design = design_of(memory)
    lines = fidelity.network_text(design).splitlines()
    drawn = {line.split()[0]: line.split() for line in lines if line.startswith("xca0_")}
    for i, row in enumerate(design.layers[0].low.weights):
        for j, weight in enumerate(row):
            if weight:
                _, top, node, _, size = drawn[f"xca0_{i}_{j}"]
                assert (top, node) == (f"a0_{i}", f"{'p' if weight > 0 else 'n'}0_{j}")
                assert float(size.removeprefix("c=")) == abs(weight)


@pytest.mark.parametrize("memory", ["integrator", "power-gated"])
def test_the_limit_of_an_unbounded_unit_is_beyond_its_largest_state(memory: str) -> None:
    shape = replace(SHAPE, levels=None)
    trained = random_network(shape)
    kind = fidelity.at_level(technology.load("gf180"), "transistor", memory)
    calibration = replace(mapping.calibrate(trained, random_sequences(shape)), states=(9.0, 9.0))
    design = mapping.map_network(trained, kind, calibration)
    sizes = fidelity.network_text(design).partition(" cla=")[2].splitlines()[0]
    first, second = (float(size) for size in sizes.partition(" lt=")[0].split(" clb="))
    ratio = float(design.layers[0].packet[0] / design.layers[0].integrator[0])
    # The limit is half a level below the largest one, which exceeds the 9 levels of the calibration.
    assert second / first / ratio + 0.5 == pytest.approx(HEADROOM * 9.0) and HEADROOM > 1


def test_a_fourth_memory_is_an_entry_of_the_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(levels: int | None, place: str) -> None:
        if levels is None or levels > 2:
            raise MappingError(f"{place}: a toy counts to two")

    supplies = {"toy": MeteredSupply(node="vtoy", share=0.25), **INTEGRATOR.supplies}
    toy = replace(INTEGRATOR, name="toy", comment="toy", supplies=supplies, check_levels=refuse)
    with pytest.raises(TechnologyError, match="no memory is called 'toy': choose one of integrator"):
        design_of("toy")
    monkeypatch.setitem(registry.MEMORIES, "toy", toy)
    design = design_of("toy", "generic180")
    assert "(toy)" in fidelity.network_text(design)
    assert CHARGE.energy_model(design).meters[0].volts == pytest.approx(0.25 * design.supply)

    model = package_data.folder("models") / "detect-cmru-2x4.safetensors"
    chosen = f"--technology generic180 --level transistor --memory toy --no-verify -o {tmp_path / 'd'}"
    refused = CliRunner().invoke(cli.group, ["export", str(model), *chosen.split()])
    assert isinstance(refused.exception, MappingError)
    assert "layers.0, unit 0: a toy counts to two" in str(refused.exception)
    monkeypatch.setitem(registry.MEMORIES, "toy", replace(toy, check_levels=INTEGRATOR.check_levels))
    assert CliRunner().invoke(cli.group, ["export", str(model), *chosen.split()]).exit_code == 0
    assert transistors(folder.load(tmp_path / "d").design).memory == "toy"


def test_a_memory_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    model = package_data.folder("models") / "detect-cmru-2x4.safetensors"
    chosen = f"--technology gf180 --level transistor --memory flipflop --no-verify -o {tmp_path / 'd'}"
    refused = CliRunner().invoke(cli.group, ["export", str(model), *chosen.split()])
    assert isinstance(refused.exception, TechnologyError) and "no memory is called" in str(refused.exception)
    data = asdict(technology.load("gf180"))
    data["transistor"]["memory"] = "flipflop"
    with pytest.raises(TechnologyError, match=r"transistor\.memory is 'flipflop', must be one of integrator"):
        fidelity.technology_from(data, where="a design")


@pytest.mark.parametrize("command", ["export", "inspect", "characterize"])
def test_commands_list_the_memories_of_the_registry(command: str) -> None:
    (option,) = (one for one in cli.group.commands[command].params if one.name == "memory")
    assert option.metavar == "|".join(registry.MEMORIES)


def test_characterize_refuses_an_unknown_memory() -> None:
    refused = CliRunner().invoke(cli.group, ["characterize", "generic180", "--memory", "flux"])
    assert isinstance(refused.exception, TechnologyError) and "'flux': choose one of" in str(refused.exception)

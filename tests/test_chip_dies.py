"""Dies of a chip in transistors: deviations that follow from paths, the macro twin, and Monte-Carlo."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import cmru_hw
from cmru_hw import spice
from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.results import KINDS
from cmru_hw.circuits.charge import (
    chip_dies,
    device_draws,
    die_blocks,
    fast,
    fidelity,
    mapping,
    simulate,
    trim,
    variation,
)
from cmru_hw.circuits.charge.architecture import CHARGE
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.device_draws import DeviceDraws
from cmru_hw.cli import group
from cmru_hw.core.errors import InputError
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences, save_sequences
from cmru_hw.process import device_count, technology
from cmru_hw.spice.deck import Deck
from cmru_hw.spice.individual import individual
from tests.networks import Shape, random_network, random_sequences

# A row of layer 1 reads the state of layer 0 with a negative weight, the other with a positive one.
TINY = Shape(features=2, units=(1, 1), levels=2, skip=True, seed=9)
ALL = frozenset(device_draws.LEAVES)


def made(*, trimmed: bool = False, memory: str = "power-gated") -> tuple[Trained, Sequences, Design]:
    kind = fidelity.at_level(technology.load("gf180"), "transistor", memory)
    kind = fidelity.with_trim(kind, 5) if trimmed else kind
    trained, sequences = random_network(TINY), random_sequences(TINY, lengths=(2,))
    return trained, sequences, mapping.map_network(trained, kind, mapping.calibrate(trained, sequences))


def deck(design: Design) -> Deck:
    return fidelity.deck(design, [np.zeros((1, 2))])[0]


# ---- numbers by path


def drawn(design: Design) -> dict[tuple[str, int], tuple[str, ...]]:
    """Every number that a die of ``design`` draws: (path, index) → subcircuits around it."""
    found: dict[tuple[str, int], tuple[str, ...]] = {}

    def draw(path: str, within: tuple[str, ...], index: int) -> float:
        assert (path, index) not in found
        found[path, index] = within
        return 0.0

    individual(deck(design), draw)
    return found


def test_every_device_draws_its_own_numbers(need: Callable[[str], None]) -> None:
    need("gf180")
    _, _, design = made()
    parts = [part.kind for part in device_count.devices(fidelity.network_text(design), fidelity.cell_files(design))]
    kinds = [next(name for name in within if name in device_draws.DEVICES) for within in drawn(design).values()]
    # Threshold and current of a transistor, size of a capacitor.
    for kind, numbers in (("nf", 2), ("pf", 2), ("cmim", 1), ("cmom", 1)):
        assert kinds.count(kind) == numbers * parts.count(kind) > 0, kind


def test_devices_of_two_chips_deviate_alike_where_they_are_the_same(need: Callable[[str], None]) -> None:
    need("gf180")
    plain, trimmed = drawn(made()[2]), drawn(made(trimmed=True)[2])
    assert len(plain) < len(trimmed)
    # A trimmed readout row has its precharge switch in a cell with those of its replica.
    assert {path.split(".")[0] for path, _ in plain.keys() - trimmed.keys()} == {"xry0", "xry1"}
    assert ("xunit0_0.xca.xi1.x0", 1) in plain and ("xunit0_0.xca.xi1.x0", 1) in trimmed
    one, other = DeviceDraws(seed=4, die=7), DeviceDraws(seed=4, die=8)
    path = ("xunit0_0.xca.xi1.x0", ("power_gated_unit", "power_gated_comparator", "pf", "pfet_03v3"), 1)
    assert one.normal(*path) == DeviceDraws(seed=4, die=7).normal(*path) != other.normal(*path)
    assert one.normal(*path) != one.normal("xunit0_0.xca.xi2.x0", *path[1:])
    assert DeviceDraws(seed=4, die=7, varied=ALL - {"devices/pf"}).normal(*path) == 0.0


def test_a_die_keeps_the_netlist_and_a_design_without_one_its_deck(need: Callable[[str], None]) -> None:
    need("gf180")
    _, _, design = made()
    plain, one, again = (deck(each) for each in (design, *(chip_dies.die(design, seed=0, number=n) for n in (3, 3))))
    assert "zdie" not in plain.text and "sw_stat_mismatch=0" in plain.text
    assert one == again != deck(chip_dies.die(design, seed=0, number=4))
    assert one.saved == plain.saved and one.files.keys() == plain.files.keys()
    without = re.sub(rb"\n\+ zdie[^\n]*", b"", one.files["network.cir"]).replace(b"_drawn", b"")
    # Continuation lines are joined.
    assert [word for word in without.split() if word != b"+"] == [
        word for word in plain.files["network.cir"].split() if word != b"+"
    ]


def test_normal_numbers_only() -> None:
    def text(value: str) -> Deck:
        return Deck(
            text=f".subckt r a b\n.param v={{{value}}}\nr0 a b {{v}}\n.ends r\nxr a 0 r\n", stop=1.0, saved=("a",)
        )

    def draw(path: str, within: tuple[str, ...], index: int) -> float:
        assert (path, within, index) == ("xr", ("r",), 0)
        return 2.0

    found = individual(text("1k*(1+agauss(0, 0.3, 3))"), draw).text
    assert "xr a 0 r_drawn\n+ zdie0=2.0" in found and ".param v={1k*(1+((0)+(0.3)/(3)*zdie0))}" in found
    with pytest.raises(InputError, match="only agauss and gauss with three values"):
        individual(text("1k+aunif(0, 1)"), draw)
    with pytest.raises(InputError, match=r"no random value .agauss, gauss., so dies cannot be drawn"):
        individual(text("1k"), draw)


@pytest.mark.spice
def test_both_normal_functions_have_the_values_of_the_simulator() -> None:
    def values(mean: str) -> list[float]:
        text = f".subckt s a\n.param v={{{mean}}}\nv0 a 0 {{v}}\n.ends s\nxs a s\nr a 0 1\n.tran 1m 1m\n"
        with spice.open_engine(timeout=60) as engine:
            return [
                float(
                    engine.run(individual(Deck(text=text, stop=1e-3, saved=("a",)), lambda *_, z=z: z)).traces.values[
                        "a"
                    ][-1]
                )
                for z in (0.0, 1.0, -2.0)
            ]

    assert values("agauss(2, 0.3, 3)") == pytest.approx([2.0, 2.1, 1.8], rel=1e-6)
    assert values("gauss(2, 0.3, 3)") == pytest.approx([2.0, 2.2, 1.6], rel=1e-6)


# ---- what is refused


def test_a_chip_in_transistors_has_no_dies_in_the_fast_engine() -> None:
    trained, sequences, design = made()
    with pytest.raises(InputError, match="simulated in SPICE only: give --engine spice, or export"):
        Job(design=design, trained=trained, sequences=sequences, seed=0, varied=ALL)
    assert CHARGE.select_variations(design) == ALL
    assert CHARGE.select_variations(design, without=["cmim", "cmom"]) == {"devices/nf", "devices/pf"}
    with pytest.raises(InputError, match="nothing that varies is called 'offset'"):
        CHARGE.select_variations(design, only=["offset"])
    assert KINDS["montecarlo"].more(design) == " --engine spice -n 5"


@pytest.mark.parametrize("memory", ["integrator", "counter"])
def test_dies_are_those_of_power_gated_chips(memory: str) -> None:
    trained, sequences, design = made(memory=memory)
    with pytest.raises(InputError, match="of power-gated chips only: export with --memory power-gated"):
        Job(design=design, trained=trained, sequences=sequences, seed=0, varied=ALL, engine="spice")


def test_commands_for_a_chip_refuse_what_needs_the_fast_engine(tmp_path: Path) -> None:
    trained, sequences, _ = made()
    cmru_hw.save_model(trained, tmp_path / "net.safetensors")
    save_sequences(sequences, tmp_path / "data.npz")

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(group, words)
        return done.exit_code, str(done.exception or done.output)

    design, data = str(tmp_path / "chip"), str(tmp_path / "data.npz")
    options = ("--technology", "gf180", "--level", "transistor", "--no-verify", "--input", data, "-o", design)
    assert run("export", str(tmp_path / "net.safetensors"), *options)[0] == 0
    for more in ((), ("--paired", "1"), ("--engine", "spice", "--sensitivity")):
        code, said = run("montecarlo", design, "--input", data, "-n", "2", *more)
        assert code != 0 and "give --engine spice" in said, more


# ---- the macro twin


def test_a_twin_without_deviations_is_the_nominal_design() -> None:
    _, _, design = made(trimmed=True)
    one = chip_dies.die(design, seed=0, number=1, varied=frozenset())
    nothing = [
        die_blocks.LayerOffsets(**{**dict.fromkeys(names, np.zeros(1)), "packet": np.ones(1)})
        for names in 2 * [("low", "high", "limit", "state", "packet_offset")]
    ]
    # In use a chip's rows are half a step lower.
    codes = dict.fromkeys(("a0_0", "b0_0", "a1_0", "b1_0", "y0", "y1"), 0)
    found = die_blocks.twin(one, nothing, codes, [np.ones(1)] * 2).batch
    nominal = variation.draw(design, seed=0, dies=[1], varied=frozenset()).batch
    for layer, other in zip(nominal.layers, found.layers, strict=True):
        # The replica of a row below the full size is as small as the row, so a step moves it further.
        total = layer.low.total + design.technology.capacitor.parasitic
        step = trim.step(layer.low, design.technology) * trim.replica(design.technology) / total
        assert np.array_equal(layer.low.weights, other.low.weights) and np.array_equal(layer.packet, other.packet)
        assert other.low.offset - layer.low.offset == pytest.approx(-step / 2, rel=1e-6)
        assert np.array_equal(layer.limit, other.limit)


def test_a_twin_has_the_deviations_of_its_die() -> None:
    _, _, design = made()
    one = chip_dies.die(design, seed=0, number=1)
    plain = dict.fromkeys(("low", "high", "limit", "packet_offset"), np.zeros(1)) | {"packet": np.ones(1)}
    shifts = [die_blocks.LayerOffsets(**plain, state=np.array([state])) for state in (5e-3, -3e-3)]
    found = die_blocks.twin(one, shifts, {}, [np.ones(1), -np.ones(1)]).batch
    nominal = variation.draw(design, seed=0, dies=[1], varied=frozenset()).batch
    first, second = found.layers[1].low, nominal.layers[1].low
    # The first line of layer 1 is the state of layer 0; inputs have no offset.
    expected = first.weights[0, 0, 0] * 5e-3 / (first.total + design.technology.capacitor.parasitic)
    assert first.offset - second.offset == pytest.approx(expected, rel=1e-9)
    spread = found.readout.weights / nominal.readout.weights - 1
    assert 0 < np.abs(spread[np.isfinite(spread)]).max() < 0.05
    assert np.array_equal(found.layers[0].limit, nominal.layers[0].limit)


# ---- simulated


@pytest.mark.spice
def test_blocks_of_a_die_are_measured_with_its_deviations(need: Callable[[str], None]) -> None:
    need("gf180")
    _, _, design = made()
    with spice.open_engine(timeout=600) as engine:
        one, other, equal = (
            die_blocks.measured(die, engine)
            for die in (
                chip_dies.die(design, seed=0, number=1),
                chip_dies.die(design, seed=0, number=1, varied=ALL - {"devices/cmom", "devices/cmim"}),
                chip_dies.die(design, seed=0, number=1, varied=frozenset()),
            )
        )
    for name in ("low", "high", "limit", "state"):
        values, alike, none = (
            np.concatenate([getattr(layer, name) for layer in layers]) for layers in (one, other, equal)
        )
        assert (none == 0).all()
        assert (np.abs(values) > 20e-6).any() and (np.abs(values) < 40e-3).all(), name
        # Offsets are those of transistors: capacitors hardly matter.
        assert values == pytest.approx(alike, abs=0.6e-3), name


@pytest.mark.spice
@pytest.mark.slow
def test_dies_of_a_chip_go_from_the_command_line_to_rows_and_resume(
    need: Callable[[str], None], tmp_path: Path
) -> None:
    need("gf180")
    trained, sequences, _ = made()
    cmru_hw.save_model(trained, tmp_path / "net.safetensors")
    save_sequences(sequences, tmp_path / "data.npz")

    def run(*words: str) -> str:
        done = CliRunner().invoke(group, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    data, design, out = (str(tmp_path / name) for name in ("data.npz", "chip", "dies"))
    options = ("--technology", "gf180", "--level", "transistor", "--no-verify", "--input", data, "-o", design)
    run("export", str(tmp_path / "net.safetensors"), *options)
    command = ("montecarlo", design, "--input", data, "--engine", "spice", "-o", out, "--json")
    first = json.loads(run(*command, "-n", "1"))
    shards = {path: path.stat().st_mtime_ns for path in Path(out, "shards").rglob("*.parquet")}
    both = json.loads(run(*command, "-n", "2", "--force"))
    # The first die was not simulated again.
    assert len(shards) == 1 and all(path.stat().st_mtime_ns == time for path, time in shards.items())
    assert (first["dies"], both["dies"], both["failed"], both["level"]) == (1, 2, 0, "transistor")
    assert both["varies"] == sorted(ALL) and "certificate" not in both
    replayed = json.loads(run(*command, "--die", "0"))
    assert replayed["engines_agree"] + replayed["engines_close"] == replayed["decisions"] == 4
    assert "zdie0" in (Path(replayed["folder"]) / "network.cir").read_text()


@pytest.mark.spice
@pytest.mark.slow
def test_codes_of_a_die_are_those_that_its_blocks_need(need: Callable[[str], None]) -> None:
    """Rows of the second layer read an amplifier's offset, on lines of either sign."""
    need("gf180")
    _, sequences, design = made(trimmed=True)
    one = replace(sequences, inputs=sequences.inputs[:, :1], lengths=np.array([1]))
    die = chip_dies.die(design, seed=0, number=2)
    with spice.open_engine(timeout=600) as engine:
        (codes,) = simulate.simulate(die, one, engine).codes
        blocks = die_blocks.measured(die, engine)
    assert abs(blocks[0].state[0]) > 10e-3
    found = die_blocks.twin(die, blocks, {}, [np.ones(1)] * 2).batch
    for index, layer in enumerate(found.layers):
        for kind, row in (("a", layer.low), ("b", layer.high)):
            total = row.total + design.technology.capacitor.parasitic
            step = trim.step(row, design.technology) * trim.replica(design.technology) / total
            needed = float((row.offset / step).item())
            # Half a step of rounding, and the kick of the other comparators.
            assert codes[f"{kind}{index}_0"] + 0.5 == pytest.approx(needed, abs=1.7), (kind, index)


@pytest.mark.spice
@pytest.mark.slow
def test_a_unit_without_deviations_is_the_nominal_unit(need: Callable[[str], None]) -> None:
    """Numbers as parameters change nothing but the deviations."""
    need("gf180")
    _, sequences, design = made()
    one = replace(sequences, inputs=sequences.inputs[:, :1], lengths=np.array([1]))
    with spice.open_engine(timeout=600) as engine:
        nominal, same, other = (
            simulate.simulate(die, one, engine)
            for die in (
                design,
                chip_dies.die(design, seed=0, number=1, varied=frozenset()),
                chip_dies.die(design, seed=0, number=1),
            )
        )
    for ours, theirs in zip(nominal.response.states, same.response.states, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
    moved = [np.abs(a - b).max() for a, b in zip(nominal.response.states, other.response.states, strict=True)]
    assert max(moved) > 0.01
    assert fast.respond(variation.draw(design, seed=0, dies=[0], varied=frozenset()), one)

"""Offset trim: codes that dies find by their own comparators, the same in both engines, and what they leave."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from cmru_hw import spice
from cmru_hw.analysis.hardware_aware import software_of
from cmru_hw.analysis.montecarlo import statistics
from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.circuits.charge import (
    fidelity,
    macro_netlist,
    mapping,
    trim,
    trim_drift,
    trim_search,
    trim_windows,
    variation,
)
from cmru_hw.circuits.charge.architecture import CHARGE
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.energy import macro
from cmru_hw.circuits.charge.variation import Dies
from cmru_hw.circuits.current.architecture import CURRENT
from cmru_hw.cli.design import export
from cmru_hw.cli.montecarlo import montecarlo
from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError, TechnologyError
from cmru_hw.core.signals import Array
from cmru_hw.design_folder import folder as design_folder
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process import technology
from cmru_hw.process.technology import Technology
from tests.networks import Shape, random_network, random_sequences
from tests.test_behavioral import lossy

CELLS = ("cmru", "bmru", "acmru")


def trimmed(of: Technology, bits: int = 5, **changes: Any) -> Technology:
    found = trim.with_bits(of, bits)
    assert found.trim is not None
    return replace(found, trim=replace(found.trim, **changes))


def make(shape: Shape, of: Technology) -> tuple[Trained, Sequences, Design]:
    trained, sequences = random_network(shape), random_sequences(shape)
    return trained, sequences, mapping.map_network(trained, of, mapping.calibrate(trained, sequences))


def drawn(design: Design, dies: Iterable[int], *, only: Sequence[str] = ()) -> Dies:
    varied = variation.select_variations(design, only=only)
    return variation.draw(design, seed=3, dies=list(dies), varied=varied)


def save(sequences: Sequences, path: Path) -> None:
    assert sequences.labels is not None
    np.savez(path, inputs=sequences.inputs, lengths=sequences.lengths, labels=sequences.labels)


def left(dies: Dies) -> dict[str, Array]:
    """What trim leaves of the offset of every row [V]."""
    kind = dies.nominal.technology
    return {name: row.offset - trim.shift(row, kind) for name, row in trim.rows(dies.batch).items()}


# --- The bank ----------------------------------------------------------------------------------------------------


def test_the_bank_of_gf180_has_the_steps_that_were_measured() -> None:
    """Steps of 0.86 to 1.11 mV from -17.10 to 15.44 mV at codes -16 to 15, code 0 at -0.29 mV; GF180MCU, typical."""
    _, _, design = make(Shape(), trimmed(technology.load("gf180")))
    row = design.readout
    codes = np.arange(-16, 16)
    shifts = np.array([trim.shift(row, design.technology, np.full_like(row.code, code))[0] for code in codes])
    steps = np.diff(shifts)
    assert steps.min() == pytest.approx(0.86e-3, abs=0.03e-3) and steps.max() == pytest.approx(1.11e-3, abs=0.03e-3)
    assert shifts[0] == pytest.approx(-17.10e-3 + 0.29e-3, abs=0.05e-3)
    assert shifts[-1] == pytest.approx(15.44e-3 + 0.29e-3, abs=0.25e-3)
    assert shifts[16] == 0


def test_more_bits_are_finer_and_reach_as_far() -> None:
    _, _, five = make(Shape(), trimmed(technology.load("gf180"), 5))
    _, _, six = make(Shape(), trimmed(technology.load("gf180"), 6))
    one, other = trim.figures(five), trim.figures(six)
    assert one is not None and other is not None
    assert other.step == one.step / 2 and other.lowest == pytest.approx(one.lowest)
    assert trim.figures(make(Shape(), technology.load("gf180"))[2]) is None


@pytest.mark.parametrize("cell", CELLS)
def test_a_design_with_trim_is_the_same_network(cell: str) -> None:
    shape = Shape(cell=cell)
    trained, _, design = make(shape, trimmed(technology.load("macro")))
    _, _, plain = make(shape, technology.load("macro"))
    for name, tensor in mapping.realised(design).tensors.items():
        assert (tensor == mapping.realised(plain).tensors[name]).all() and (tensor == trained.tensors[name]).all()


# --- Codes that comparators find ---------------------------------------------------------------------------------


def test_codes_of_known_offsets_are_the_nearest() -> None:
    _, _, design = make(Shape(units=(6, 4)), trimmed(technology.load("macro")))
    dies = drawn(design, range(50), only=["offset"])
    found = trim_search.search(dies)
    for name, row in trim.rows(dies.batch).items():
        step = trim.step(row, design.technology)
        assert np.ptp(row.offset) > 10 * step[0, 0]
        assert np.array_equal(found.codes[name], np.clip(np.round(row.offset / step), -16, 15)), name
        assert (found.margins[name] <= step / 2 + 1e-12).all()
    for name, volts in left(trim_search.calibrated(dies)).items():
        assert np.abs(volts).max() <= 0.5 * 1.2e-3 * (1 + 1e-9), name


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_any_number_of_bits(bits: int) -> None:
    _, _, design = make(Shape(), trimmed(technology.load("macro"), bits))
    dies = drawn(design, range(40), only=["offset"])
    calibrated = trim_search.calibrated(dies)
    for name, row in trim.rows(calibrated.batch).items():
        step = trim.step(row, design.technology)
        wanted = np.clip(np.round(row.offset / step), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        assert np.array_equal(row.code, wanted), name


def test_injection_and_amplifiers_of_the_layer_before_go_with_the_code() -> None:
    kind = trimmed(technology.load("macro"))
    kind = replace(
        kind,
        switch=technology.Switch(row_injection=8e-16, packet_injection=0.0),
        mismatch=replace(kind.mismatch, amplifier=5e-3),
    )
    _, _, design = make(Shape(units=(5, 4)), kind)
    dies = drawn(design, range(60), only=["amplifier", "injection"])
    before = {name: np.abs(row.offset).max() for name, row in trim.rows(dies.batch).items()}
    assert before["a0_"] > 1.5e-3 and before["a1_"] > 3e-3 and before["y"] > 3e-3
    for name, volts in left(trim_search.calibrated(dies)).items():
        assert np.abs(volts).max() <= 0.6e-3 + 1e-9, name


def test_repeated_decisions_average_the_noise_of_the_search() -> None:
    spread = {}
    for repeats in (1, 9):
        kind = trimmed(technology.load("macro"), 6, repeats=repeats)
        _, _, design = make(Shape(units=(6, 4)), replace(kind, noise=replace(kind.noise, comparator=1e-3)))
        dies = trim_search.calibrated(drawn(design, range(200), only=["offset", "noise"]))
        spread[repeats] = np.concatenate([volts.ravel() for volts in left(dies).values()]).std()
    assert spread[1] > 0.8e-3
    assert spread[9] < 0.6 * spread[1]


def test_codes_do_not_depend_on_company() -> None:
    _, _, design = make(Shape(units=(3, 2)), trimmed(lossy()))
    together = trim_search.search(drawn(design, range(20)))
    for numbers in ([7], [7, 2, 15]):
        alone = trim_search.search(drawn(design, numbers))
        for place, number in enumerate(numbers):
            for name, codes in alone.codes.items():
                assert np.array_equal(codes[place], together.codes[name][number])
                assert np.array_equal(alone.margins[name][place], together.margins[name][number])
    assert any(np.ptp(codes) > 4 for codes in together.codes.values())


def test_offsets_out_of_range_end_at_its_end_and_are_counted() -> None:
    # 1.2 mV of reach for offsets of 3.75 mV
    _, _, design = make(Shape(units=(6, 4)), trimmed(technology.load("macro"), 3, reach=1.2e-3))
    dies = trim_search.calibrated(drawn(design, range(30), only=["offset"]))
    count = np.zeros(30, dtype=int)
    for row in trim.rows(dies.batch).values():
        far = (row.offset > 1.2e-3) | (row.offset < -1.5e-3)
        assert np.array_equal(row.code[far], np.where(row.offset[far] > 0, 3, -4))
        count += far.sum(-1)
    assert np.array_equal(trim_search.beyond(dies), count) and count.min() > 5


def test_rows_drift_after_their_codes_are_found() -> None:
    kind = trimmed(technology.load("gf180"))
    _, _, design = make(Shape(units=(6, 4)), kind)
    assert kind.trim is not None
    varied = variation.select_variations(design, drift=["temperature", "supply"])
    dies = variation.draw(design, seed=3, dies=list(range(300)), varied=varied)
    still, moved = trim_search.calibrated(dies), trim_drift.in_use(dies)
    inputs = np.hypot(kind.trim.drift_temperature, kind.trim.drift_supply)
    states = np.hypot(kind.trim.drift_temperature, kind.trim.drift_supply_states)
    rows = trim.rows(moved.batch)
    for name, row in trim.rows(still.batch).items():
        assert np.array_equal(row.code, rows[name].code)
        sigma = inputs if name in ("a0_", "b0_") else states
        assert (rows[name].offset - row.offset).std() == pytest.approx(sigma, rel=0.08)
    before = trim.rows(trim_drift.in_calibration(moved).batch)
    for name, row in trim.rows(dies.batch).items():
        assert before[name].offset == pytest.approx(row.offset, abs=1e-15)


def test_a_drift_is_part_of_a_run_only_if_it_is_asked_for() -> None:
    _, _, design = make(Shape(), trimmed(technology.load("gf180")))
    usual = variation.select_variations(design)
    assert not [leaf for leaf in usual if "drift" in leaf]
    more = variation.select_variations(design, drift=["supply"])
    assert {leaf.partition("/")[2] for leaf in more - usual} == {"drift_supply"}
    for kind in (technology.load("gf180"), trimmed(technology.load("macro"))):
        with pytest.raises(InputError, match="no drift with supply is known of this design: export it with --trim"):
            variation.select_variations(make(Shape(), kind)[2], drift=["supply"])


@pytest.mark.spice
def test_a_die_that_drifted_decides_alike_in_both_engines(tmp_path: Path) -> None:
    kind = trimmed(technology.load("gf180"), drift_supply=2e-3, drift_supply_states=3e-3, repeats=1)
    trained, sequences, design = make(Shape(units=(4, 3), classes=3), kind)
    design_folder.write(tmp_path / "design", trained, design, sequences)
    save(sequences, tmp_path / "data.npz")
    call = [str(tmp_path / "design"), "--input", str(tmp_path / "data.npz"), "-n", "40", "--json"]
    agreement = []
    for name, options in (("still", []), ("moved", ["--drift", "supply", "--paired", "2"])):
        done = CliRunner().invoke(montecarlo, [*call, *options, "-o", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
        found = json.loads(done.output)
        agreement.append(found["decision_agreement"])
    assert agreement[1] < agreement[0]
    assert found["paired"]["unexplained"] == 0 and found["paired"]["dies"] == 2
    assert "layer0/drift_supply" in found["varies"] and "layer0/drift_temperature" not in found["varies"]


def test_taps_vary_by_their_own_law() -> None:
    _, _, design = make(Shape(units=(6, 4)), trimmed(technology.load("macro")))
    dies = drawn(design, range(300), only=["trim"])
    nominal, law = design.layers[0].low.taps, design.technology.mismatch
    relative = dies.batch.layers[0].low.taps / nominal - 1
    sigma = variation.capacitor_sigma(nominal, law)
    assert (relative.std(0) / sigma) == pytest.approx(np.ones_like(sigma), abs=0.2)
    # without trim there is nothing of that name to vary
    assert not [leaf for leaf in variation.leaves(make(Shape(), technology.load("macro"))[2]) if "trim" in leaf]


# --- Both engines ------------------------------------------------------------------------------------------------


@pytest.mark.spice
@pytest.mark.parametrize(("cell", "bits", "repeats"), [("cmru", 5, 1), ("bmru", 4, 3), ("acmru", 6, 1)])
def test_spice_finds_the_same_codes(cell: str, bits: int, repeats: int) -> None:
    """All non-idealities and noise: every window is simulated."""
    kind = trimmed(lossy(), bits, repeats=repeats, bridge=1.05)
    kind = replace(kind, mismatch=replace(kind.mismatch, amplifier=4e-3))
    _, _, design = make(Shape(cell=cell, units=(4, 3)), kind)
    with spice.open_engine() as engine:
        for number in range(3):
            dies = drawn(design, [number])
            fast, simulated = trim_search.search(dies), trim_windows.search(dies, engine)
            for name, codes in fast.codes.items():
                near = fast.margins[name] < 5e-6
                assert np.array_equal(codes[~near], simulated[name][~near]), (number, name)
                assert near.sum() <= 1
            assert len(np.unique(np.concatenate([codes.ravel() for codes in simulated.values()]))) > 3


@pytest.mark.spice
@pytest.mark.parametrize("cell", CELLS)
def test_a_calibrated_die_decides_alike_in_both_engines(cell: str) -> None:
    trained, sequences, design = make(Shape(cell=cell, units=(4, 3), classes=3), trimmed(lossy(), repeats=1))
    varied = variation.select_variations(design)
    job = Job(design=design, trained=trained, sequences=sequences, seed=1, varied=varied, engine="spice")
    table = statistics.scores(job, [0, 4])
    found = statistics.engine_agreement(table)
    assert found is not None and found.dies == 2
    assert found.unexplained == 0 and found.agree >= found.decisions - found.margin_limited
    fast = statistics.scores(replace(job, engine="fast"), [0, 4])
    for name in ("accuracy", "decisions_agree", "classes_alike", "trim_beyond"):
        assert table[name].to_pylist() == fast[name].to_pylist()


def test_rows_do_not_depend_on_workers_or_order(tmp_path: Path) -> None:
    trained, sequences, design = make(Shape(units=(4, 3)), trimmed(technology.load("macro")))
    design_folder.write(tmp_path / "design", trained, design, sequences)
    save(sequences, tmp_path / "data.npz")
    tables = []
    for jobs in ("1", "2"):
        out = tmp_path / f"jobs{jobs}"
        call = [str(tmp_path / "design"), "--input", str(tmp_path / "data.npz"), "-n", "300", "-o", str(out)]
        done = CliRunner().invoke(montecarlo, [*call, "--jobs", jobs])
        assert done.exit_code == 0, done.output
        assert "trim codes" in done.output and "every row is within their range" in done.output
        tables.append((out / "dies.parquet").read_bytes())
    assert tables[0] == tables[1]


def test_the_command_says_that_the_range_is_too_small(tmp_path: Path) -> None:
    trained, sequences, design = make(Shape(units=(4, 3)), trimmed(technology.load("macro"), 3, reach=1e-3))
    design_folder.write(tmp_path / "design", trained, design, sequences)
    save(sequences, tmp_path / "data.npz")
    call = [str(tmp_path / "design"), "--input", str(tmp_path / "data.npz"), "-n", "20", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(montecarlo, call)
    assert re.search(r"trim codes +\d+ rows on 20 dies are out of their range: raise trim.reach", done.output)


# --- Trim in a design --------------------------------------------------------------------------------------------


def test_training_sees_what_trim_leaves() -> None:
    _, _, design = make(Shape(units=(4, 3)), trimmed(technology.load("macro")))
    _, _, plain = make(Shape(units=(4, 3)), technology.load("macro"))
    found = []
    for one in (design, plain):
        nominal = software_of(one, one)
        dies = trim_search.calibrated(drawn(one, range(20), only=["offset"]))
        made = [software_of(one, dies.one(place)) for place in range(20)]
        found.append(np.mean([float((die["readout.bias"] - nominal["readout.bias"]).abs().mean()) for die in made]))
    assert found[0] < found[1] / 5


def test_a_dies_netlist_has_its_codes() -> None:
    _, _, design = make(Shape(), trimmed(technology.load("macro")))
    die = trim_search.calibrated(drawn(design, [2], only=["offset"])).one(0)
    text = macro_netlist.network_text(die)
    for i, code in enumerate(die.layers[0].low.code.tolist()):
        taps = re.findall(rf"^xta0_{i}_(\d) fa0_{i} t([ud])0 trim_tap .* bit=([01])$", text, re.M)
        assert [(int(bit), line) for bit, line, _ in taps] == [(0, "u"), (1, "u"), (2, "u"), (3, "u"), (4, "d")]
        assert sum((-16 if bit == "4" else 1 << int(bit)) * int(value) for bit, _, value in taps) == code
        assert re.search(rf"^xunit0_{i} .* fa0_{i} fb0_{i} e0 u0 ", text, re.M)
    assert len(set(die.layers[0].low.code.tolist())) > 1


def test_identity_follows_the_trim() -> None:
    plain = technology.load("gf180")
    assert plain.trim is not None
    other = replace(plain, trim=replace(plain.trim, reach=1e-3))
    # numbers of a bank that is not there do not matter
    assert plain.sha256 == other.sha256 == replace(plain, trim=None).sha256
    assert len({plain.sha256, trim.with_bits(plain, 5).sha256, trim.with_bits(plain, 6).sha256}) == 3
    assert trim.with_bits(plain, 5).sha256 != trim.with_bits(other, 5).sha256


def test_a_design_folder_keeps_the_trim(tmp_path: Path) -> None:
    trained, sequences, design = make(Shape(), trimmed(technology.load("gf180")))
    written = design_folder.write(tmp_path / "design", trained, design, sequences)
    loaded = design_folder.load(tmp_path / "design")
    assert loaded.design.technology == design.technology and not loaded.edited
    assert loaded.netlist_sha256 == written.netlist_sha256
    plain = design_folder.write(tmp_path / "plain", *make(Shape(), technology.load("gf180"))[::2], sequences)
    assert plain.netlist_sha256 != written.netlist_sha256
    lines = (tmp_path / "design" / "mapping.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines if "trim code" in line] == [
        "layers.0.a.trim", "layers.0.b.trim", "layers.1.a.trim", "layers.1.b.trim", "readout.r.trim",
    ]  # fmt: skip
    assert CHARGE.describe(design)["rounded weights"] == 0


def test_a_bank_takes_energy_in_every_row() -> None:
    _, _, design = make(Shape(), trimmed(technology.load("gf180")))
    model = macro.energy_model(design)
    rows = 2 * (3 + 2) + 2
    # measured on rows of half the size
    assert model.unit["trim"][1] == pytest.approx(rows * 38e-15 * 2)
    assert "trim" in model.modelled
    assert "trim" not in macro.energy_model(make(Shape(), technology.load("gf180"))[2]).unit


def test_macros_have_the_sizes_of_the_chip(tmp_path: Path) -> None:
    sizes = fidelity.at_level(technology.load("gf180"), "macro", "power-gated")
    assert sizes.level == "macro" and sizes.capacitor.row == 200e-15
    model = package_data.folder("models") / "detect-cmru-2x4.safetensors"
    options = ["--technology", "gf180", "--level", "macro", "--memory", "power-gated", "--trim", "5", "--no-verify"]
    done = CliRunner().invoke(export, [str(model), "-o", str(tmp_path / "twin"), *options])
    assert done.exit_code == 0, done.output
    assert "5 bits on each of 18 rows" in done.output
    loaded = design_folder.load(tmp_path / "twin")
    assert isinstance(loaded.design, Design) and not loaded.edited
    assert loaded.design.technology.capacitor.row == 200e-15
    with pytest.raises(TechnologyError, match="a counter has no macromodel"):
        fidelity.at_level(technology.load("gf180"), "macro", "counter")


# --- Refusals ----------------------------------------------------------------------------------------------------


def test_trim_is_refused_where_there_is_none() -> None:
    gf180 = technology.load("gf180")
    for memory, bits in (("integrator", 5), ("counter", 5), ("power-gated", 6)):
        with pytest.raises(TechnologyError, match="only the power-gated chip has an offset trim, of 5 bits: choose"):
            fidelity.with_trim(fidelity.at_level(gf180, "transistor", memory), bits)
    with pytest.raises(TechnologyError, match=r"no section \[trim\]"):
        trim.with_bits(replace(gf180, trim=None), 5)
    with pytest.raises(TechnologyError, match="charge domain"):
        CURRENT.with_trim(CURRENT.load_technology("gf180"), 5)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("bits", 9, "trim.bits is 9"),
        ("bits", 2.5, "whole number"),
        ("repeats", 2, "must be odd"),
        ("reach", 0, "reach"),
    ],
)
def test_impossible_banks_are_refused_by_name(key: str, value: float, message: str) -> None:
    data = asdict(technology.load("macro"))
    data["trim"][key] = value
    with pytest.raises(TechnologyError, match=message):
        technology.from_dict(data, where="mine")

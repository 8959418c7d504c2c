"""Networks of counters: weights in bits, netlist, and comparison with software."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cmru_hw import cli, spice
from cmru_hw.analysis.energy.api import run_energy
from cmru_hw.circuits.charge import clocked_netlist as circuit
from cmru_hw.circuits.charge import compare, fidelity, mapping, simulate, single_unit
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.energy import transistor as energy_transistor
from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError, MappingError, TechnologyError
from cmru_hw.design_folder import folder
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process import technology
from tests.narrow import charge_design, transistors
from tests.networks import Shape, random_network, random_sequences

TINY = Shape(features=2, units=(1, 1), levels=2, skip=False, seed=3)
BITS = (1, 2, 4, -8)


def design_of(trained: Trained, sequences: Sequences | None, memory: str = "counter") -> Design:
    kind = fidelity.at_level(technology.load("generic180"), "transistor", memory)
    return mapping.map_network(trained, kind, mapping.calibrate(trained, sequences))


@pytest.fixture(scope="module")
def engine() -> Iterator[spice.Engine]:
    with spice.open_engine(timeout=3600) as opened:
        yield opened


@pytest.mark.parametrize("skip", [False, True])
def test_weights_come_back_from_their_bits(skip: bool) -> None:
    trained = random_network(Shape(features=3, units=(2, 3), levels=7, skip=skip, seed=5))
    design = design_of(trained, None)
    # Weights without a realizable capacitor are deviations; all others are exact, alpha included.
    clipped = {re.sub(r"\.[abr]\.weight.*", "", deviation.element) for deviation in design.deviations}
    back = mapping.realised(design)
    for name in ("layers.0.candidate.weight", "layers.0.threshold.bias", "readout.bias"):
        assert back.tensors[name].numpy() == pytest.approx(trained.tensors[name].numpy(), rel=1e-5)
    for name in ("layers.1.candidate.weight", "layers.1.threshold.weight", "readout.weight"):
        largest = float(np.abs(trained.tensors[name].numpy()).max())
        close = 0.1 if name.rsplit(".", 2)[0] in clipped else 1e-5
        assert back.tensors[name].numpy() == pytest.approx(trained.tensors[name].numpy(), abs=close * largest)
    # A row has the same size as before, whatever its lines carry.
    assert np.maximum(design.layers[1].low.total, design.layers[1].high.total) == pytest.approx(
        design.technology.capacitor.row, rel=0.02
    )


def test_bits_of_a_weight_are_in_the_ratio_of_what_they_count() -> None:
    design = design_of(random_network(Shape(features=3, units=(2, 2), levels=7, skip=False, seed=1)), None)
    row = design.layers[1].high.weights.reshape(2, 2, 4)
    assert row[np.abs(row).min(-1) > 1e-15] == pytest.approx(
        row[np.abs(row).min(-1) > 1e-15][:, :1] * np.array(BITS), rel=1e-9
    )


def test_the_netlist_has_bits_and_no_amplifier() -> None:
    trained, sequences = random_network(TINY), random_sequences(TINY, lengths=(3,))
    design = design_of(trained, sequences)
    text = fidelity.network_text(design)
    assert "unit_counter" in text and "unit_accumulate" not in text
    # Bits of layer 0 are lines of layer 1, whose inputs stay analog.
    assert re.search(r"^xline1_0 q0_0_0 p1_0 n1_0 e1 vl counter_line$", text, re.MULTILINE)
    assert re.search(r"^xline_p0_0 x0 .* halfline$", text, re.MULTILINE)
    deck, _ = fidelity.deck(design, [sequences.inputs[0].astype(float)])
    assert "amplifier" not in "".join(deck.files) and "meter_amplifiers" not in deck.saved
    assert {"meter_memory", "meter_lines"} <= set(deck.saved)
    # The end gate is that of K = 2.
    assert b"This is K = 2" in deck.files["cells/counter_end.cir"]


def test_a_window_of_counters_is_shorter_and_in_order() -> None:
    trained = random_network(TINY)
    clocks, longer = (
        circuit.window(design_of(trained, None, memory), counts=memory == "counter")
        for memory in ("counter", "integrator")
    )
    pulses = clocks.pulses
    assert clocks.length < longer.length - transistors(design_of(trained, None)).settle
    for layer in range(2):
        r, e, ck, en, pb = (pulses[f"k{name}_{layer}"] for name in ("r", "e", "ck", "en", "pb"))
        assert r.fall < e.rise < ck.rise < ck.fall <= en.rise < pb.rise < pb.fall < en.fall
    assert not {"kpl_0", "kpc_0", "ks_0"} & set(pulses)


@pytest.mark.parametrize("levels", [None, 8])
def test_a_counter_too_short_for_its_bits_is_refused(levels: int | None) -> None:
    trained = random_network(Shape(features=2, units=(1,), levels=levels, skip=False))
    with pytest.raises(MappingError, match="--memory integrator"):
        design_of(trained, None)


def test_a_unit_alone_cannot_read_bits() -> None:
    design = design_of(random_network(TINY), None)
    assert "unit_counter" in fidelity.network_text(single_unit.unit(design, 0, 0))
    with pytest.raises(InputError, match="only units of layer 0"):
        single_unit.unit(design, 1, 0)


def test_memory_is_a_choice_in_transistors_only() -> None:
    with pytest.raises(TechnologyError, match="--level transistor"):
        fidelity.at_level(technology.load("gf180"), "macro", "counter")


def test_export_takes_the_memory(tmp_path: Path) -> None:
    model, out = package_data.folder("models") / "detect-cmru-2x4.safetensors", tmp_path / "d"
    chosen = f"--technology generic180 --level transistor --memory counter --no-verify -o {out}"
    done = CliRunner().invoke(cli.group, ["export", str(model), *chosen.split()])
    assert done.exit_code == 0, done.output
    loaded = folder.load(tmp_path / "d")
    assert transistors(loaded.design).memory == "counter"
    assert loaded.network == fidelity.network_text(charge_design(loaded.design))


def test_nothing_is_calculated_analytically_for_counters() -> None:
    trained, sequences = random_network(TINY), random_sequences(TINY, lengths=(3,))
    design = design_of(trained, sequences)
    expected = compare.reference(design, trained, sequences)
    assert energy_transistor.energy_model(design).analytic(expected, sequences.inputs[0].astype(float), 0) == {}


@pytest.mark.slow
@pytest.mark.spice
def test_a_network_of_counters_equals_software(engine: spice.Engine, tmp_path: Path) -> None:
    trained, sequences = random_network(TINY), random_sequences(TINY, lengths=(3,))
    design = design_of(trained, sequences)
    joules = run_energy(folder.write(tmp_path / "d", trained, design, sequences), sequences, engine)
    assert joules.per_timestep_J > 0 and {"memory", "lines"} <= joules.blocks.keys()
    deck, plan = fidelity.deck(design, [sequences.inputs[0].astype(float)])
    piece = simulate.decode(design, engine.run(deck).traces, plan, 0)
    expected = compare.reference(design, trained, sequences).response
    for layer in range(2):
        assert (piece.decisions[layer] == expected.decisions[layer][0]).all()
        assert piece.states[layer] == pytest.approx(expected.states[layer][0], abs=1e-3)

"""Every template runs by itself, and does what its first lines state."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cmru_hw.circuits.charge import macro_netlist, mapping
from cmru_hw.circuits.charge.design import Design
from cmru_hw.core import package_data
from cmru_hw.process import technology
from cmru_hw.spice import complete_text, refuse_code
from cmru_hw.spice.schedule import schedule
from tests.networks import Shape, random_network, random_sequences

BENCHES = package_data.folder("netlists") / "testbenches"

# bench -> measurement -> (expected, absolute tolerance). Voltages follow from capacitor ratios, times from duty cycles.
EXPECTED = {
    "macro_weighted_sum": {
        "precharged": (0.9, 1e-6), "evaluated": (0.9 + 0.65 / 3.5, 1e-6), "again": (0.9 + 0.65 / 3.5, 1e-6),
    },
    "macro_comparator": {"above": (1.8, 1e-4), "idle": (0.0, 1e-4), "below": (0.0, 1e-4)},
    "macro_integrator": {"one": (0.94, 2e-6), "five": (1.1, 5e-6), "reset": (0.9, 1e-6)},
    "macro_clock": {
        "e_rise": (9.95e-3, 1e-6), "u_rise": (9.97e-3, 1e-6), "e_fall": (10.01e-3, 1e-6), "u_fall": (10.01e-3, 1e-6),
    },
    "macro_unit_accumulate": {
        "start": (0.86, 5e-6), "one": (0.90, 5e-6), "two": (0.94, 5e-6), "three": (0.98, 5e-6),
        "held": (0.98, 5e-6), "hold": (0.98, 5e-6), "down": (0.94, 5e-6),
    },
    "macro_unit_replace": {
        "start": (0.86, 5e-6), "one": (0.94, 5e-6), "two": (0.94, 5e-6), "three": (0.94, 5e-6),
        "held": (0.94, 5e-6), "hold": (0.94, 5e-6), "down": (0.86, 5e-6),
    },
    "macro_unit_alpha": {
        "start": (0.86, 5e-6), "one": (0.88, 5e-6), "two": (0.90, 5e-6), "three": (0.92, 5e-6),
        "held": (0.94, 5e-6), "hold": (0.94, 5e-6), "down": (0.96, 5e-6),
    },
    "macro_trim": {
        "precharged": (0.9, 1e-6), "five": (0.9 + 5 * 4.5e-3, 1e-6), "lowest": (0.9 - 8 * 4.5e-3, 1e-6),
        "five_searched": (0.9 + 4.5 * 4.5e-3, 1e-6), "again": (0.9, 1e-6),
    },
    "macro_layer": {
        "o0_1": (0.94, 5e-6), "o1_1": (0.98, 5e-6), "y_1": (0.92, 5e-6),
        "o0_3": (1.02, 1e-5), "o1_3": (1.14, 1e-5), "y_3": (0.96, 1e-5),
    },
}  # fmt: skip


def test_every_macro_testbench_has_an_expectation() -> None:
    assert {path.stem for path in BENCHES.glob("macro_*.cir")} == set(EXPECTED)


@pytest.mark.spice
@pytest.mark.parametrize("bench", sorted(EXPECTED))
def test_testbench(bench: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["ngspice", "-b", str(BENCHES / f"{bench}.cir")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    measured = {name: float(value) for name, value in re.findall(r"^(\w+)\s+=\s+(\S+)", done.stdout, re.MULTILINE)}
    for name, (expected, tolerance) in EXPECTED[bench].items():
        assert measured[name] == pytest.approx(expected, abs=tolerance), name


def design_of(shape: Shape, kind: str = "macro") -> Design:
    trained = random_network(shape)
    return mapping.map_network(trained, technology.load(kind), mapping.calibrate(trained, random_sequences(shape)))


def test_a_designer_finds_weights_thresholds_and_units_by_name() -> None:
    design = design_of(Shape(units=(4, 2)))
    text = macro_netlist.network_text(design)
    layer = design.layers[0]
    size = re.search(r"^ca0_3_threshold a0_3 [pn]0_bias (\S+)$", text, re.MULTILINE)
    assert size is not None and float(size[1]) == pytest.approx(abs(layer.low.threshold[3]), rel=1e-12)
    for i in range(4):
        for j in range(3):
            found = re.search(rf"^cb0_{i}_{j} b0_{i} ([pn])0_{j} (\S+)$", text, re.MULTILINE)
            assert found is not None
            assert float(found[2]) * (1 if found[1] == "p" else -1) == pytest.approx(
                layer.high.weights[i, j], rel=1e-12
            )
    assert re.search(r"^\* ---- unit 0_3: one level [\d.e-]+ V", text, re.MULTILINE)
    packet = re.search(r"^xunit0_3 .*\n\+ cs=(\S+)", text, re.MULTILINE)
    assert packet is not None and float(packet[1]) == layer.packet[3]


def test_a_deck_says_nothing_but_circuit() -> None:
    design = design_of(Shape())
    deck, _ = macro_netlist.deck(design, [np.zeros((4, 3))])
    refuse_code(deck.text, files=deck.files)
    code = [line for line in deck.files["network.cir"].decode().splitlines() if not line.startswith("*")]
    numbers = [word for line in code for word in re.findall(r"(?:^|[\s=])(\d\S*)", line)]
    # float() knows no suffixes: ngspice reads its numbers identically.
    assert len(numbers) > 40 and all(float(number) >= 0 for number in numbers)
    assert complete_text(deck).endswith(".end\n")


def test_the_same_design_is_the_same_text() -> None:
    shape = Shape(seed=5)
    assert macro_netlist.network_text(design_of(shape)) == macro_netlist.network_text(design_of(shape))


def test_wide_inputs_are_split_over_files_whose_lines_ngspice_reads_whole() -> None:
    shape = Shape(features=60, units=(2,), skip=False)
    deck, _ = macro_netlist.deck(design_of(shape), [np.random.default_rng(0).normal(size=(3, 60)) * 1e3])
    stimuli = [content for name, content in deck.files.items() if name.startswith("stimulus")]
    assert len(stimuli) == 3
    assert max(len(line) for content in stimuli for line in content.splitlines()) < 500


def test_sequences_follow_each_other_with_a_power_on_frame_before_each() -> None:
    design = design_of(Shape())
    plan = schedule(design.timestep, 0.1, [3, 5])
    assert plan.starts == (1, 5) and plan.frames == 10
    assert (np.diff(plan.instants(1)) == pytest.approx(plan.timestep)) and len(plan.instants(1)) == 5
    assert plan.instants(0)[-1] < 4 * plan.timestep < plan.instants(1)[0]

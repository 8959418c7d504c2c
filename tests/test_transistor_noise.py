"""Noise of the chip's transistors: sensitivities of a testbench against the simulator's own noise analysis."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import decision_noise
from benchmarks import transistor_noise as benchmark
from cmru_hw import spice
from cmru_hw.characterize import transistor_noise
from cmru_hw.characterize.testbench import Conditions
from cmru_hw.circuits.charge import fidelity, mapping
from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError
from cmru_hw.nn import checkpoint
from cmru_hw.nn.sequences import load_sequences
from cmru_hw.process import device_models, technology

# The amplifier of the testbench in the simulator's noise analysis. An inductor closes the loop at its operating point.
SMALL_SIGNAL = """* noise
{devices}
.include {cells}/power_gated_amplifier.cir
.include {cells}/power_gated_integrator.cir
xi l r x h o vcm va 0 va 0 0 vcm va va power_gated_integrator cs=7.94f cint=500f lt=9.3u
xca h vcm cmom c=120f
co o 0 300f
lx x o2 1e9
eo o2 0 o 0 1
va va 0 1.8
vcm vcm 0 dc 0.5 ac 1
vl l 0 1.8
.control
noise v(o) vcm dec 20 1e4 1e11 1
setplot noise2
print onoise_total
.endc
.end
"""


@pytest.fixture(scope="module")
def comparator() -> transistor_noise.ComparatorNoise:
    with spice.open_engine(backend="batch") as engine:
        return transistor_noise.comparator_noise(engine, Conditions())


@pytest.mark.spice
@pytest.mark.needs("gf180")
def test_a_decision_has_the_noise_of_its_input_pair(comparator: transistor_noise.ComparatorNoise) -> None:
    # a build of the same circuit elsewhere found 0.30 +- 0.05 mV by transient noise
    assert 0.25e-3 < comparator.sigma < 0.4e-3
    assert comparator.sigma**2 == pytest.approx(sum(part**2 for part in comparator.parts.values()))
    assert comparator.parts["xi1"] > 0.9 * comparator.sigma
    for node, sensitivity in comparator.sensitivity.items():
        largest = np.abs(sensitivity).max()
        # closed switches remove charge before the edge, and what comes after the decision changes nothing
        assert abs(sensitivity[0]) < 1e-3 * largest, node
        assert sensitivity[-1] == 0
        # a step of one fC at the capacitance of a node of a few fF, over the voltage gain from the input
        assert 1e-15 < 1 / largest < 1e-12
    # switches that are closed before the edge are open in the decision
    assert (
        comparator.conductance["xr1"][0] > 1e-5 > 1e-9 > comparator.conductance["xr1"][comparator.delays > 16e-9].max()
    )


@pytest.mark.spice
@pytest.mark.needs("gf180")
def test_an_amplifier_has_the_noise_that_the_simulator_finds(tmp_path: Path) -> None:
    with spice.open_engine(backend="batch") as engine:
        found = transistor_noise.amplifier_noise(engine, Conditions())
    devices = device_models.devices("gf180")
    for name, content in devices.files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / ".spiceinit").write_text("".join(f"{line}\n" for line in devices.settings))
    cells = package_data.folder("netlists") / "cells" / "transistor"
    (tmp_path / "noise.cir").write_text(SMALL_SIGNAL.format(devices=devices.text, cells=cells))
    printed = subprocess.run(["ngspice", "-b", "noise.cir"], cwd=tmp_path, capture_output=True, text=True, check=False)
    total = re.search(r"onoise_total = (\S+)", printed.stdout)
    assert total, printed.stdout + printed.stderr
    # the models have more white noise in weak inversion than two thirds of gm, and 1/f noise
    assert 0.8 < found.sigma / float(total[1]) < 1.05
    assert found.parts["xt"] < 0.1 * found.sigma


def test_the_simulators_names_follow_the_structure_of_a_device(tmp_path: Path) -> None:
    assert transistor_noise.parameter("gf180", "xi1", "gm") == "@m.xcomparator.xi1.x0.m0[gm]"
    assert transistor_noise.parameter("generic180", "xt", "gds", "xi.xa") == "@m.xi.xa.xt.m0[gds]"
    (tmp_path / "own.lib").write_text(".subckt nf d g s b w=1u l=1u k=1\nr1 d s 1k\n.ends\n")
    with pytest.raises(InputError, match=r"own\.lib are no MOSFET models"):
        transistor_noise.parameter(str(tmp_path / "own.lib"), "xt", "gm")


def test_noise_is_recovered_from_decisions() -> None:
    rng = np.random.default_rng(1)
    margins = np.resize(np.array(benchmark.MARGINS), 4000)
    right = np.abs(margins) + 0.35e-3 * rng.normal(size=4000) > 0
    assert benchmark.fitted(margins, right) == pytest.approx(0.35e-3, rel=0.06)


@pytest.mark.spice
@pytest.mark.needs("gf180")
def test_injected_noise_has_the_density_of_its_conductance(comparator: transistor_noise.ComparatorNoise) -> None:
    currents = benchmark.noise_currents(comparator, 400, np.random.default_rng(0))
    after = (np.arange(len(currents)) * benchmark.STEP - benchmark.EDGE) % benchmark.PERIOD
    late = currents[np.abs(after - 36e-9) < 1e-10]
    conductance = np.interp(36e-9, comparator.delays, comparator.conductance["xi1"])
    # variance times step is the two-sided density of white noise
    expected = np.sqrt(2 * 1.380649e-23 * 300.15 * conductance / benchmark.STEP)
    assert late[:, 0].std() == pytest.approx(expected, rel=0.1)
    assert abs(np.corrcoef(late[:, 0], late[:, 5])[0, 1]) < 0.2


def test_flips_follow_from_margins_and_noise() -> None:
    models = package_data.folder("models")
    trained, data = checkpoint.load(models / "detect-cmru-2x4.safetensors"), load_sequences(models / "detect-eval.npz")
    # ten times the noise, so that a few sequences have enough flips
    own = fidelity.at_level(technology.load("gf180"), "macro", "power-gated")
    kind = replace(own, noise=replace(own.noise, comparator=3e-3))
    some = data.first(40)
    design = mapping.map_network(trained, kind, mapping.calibrate(trained, some))
    share = decision_noise.expected(design, trained, some)[0][some.valid].mean()
    counted = decision_noise.flips(design, some, dies=10)[0]
    assert 0.005 < share < 0.1
    assert counted == pytest.approx(share, rel=0.15)

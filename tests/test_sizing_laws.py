"""Sizing laws agree with simulations at sizes that they were not fitted at, and resize a technology as they say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from cmru_hw import spice
from cmru_hw.characterize import sizing as measured
from cmru_hw.characterize.testbench import Conditions
from cmru_hw.circuits.charge import fidelity, mapping, noise, variation
from cmru_hw.core.errors import InputError, TechnologyError
from cmru_hw.process import sizes, sizing_laws, technology
from cmru_hw.process.sizing_laws import LAWS, Amplifier
from tests.networks import Shape, random_network, random_sequences

GF180 = sizing_laws.load("gf180")
# Sizes between those of the fit, in no point of it.
PAIR = (4e-6, 0.7e-6)
AMPLIFIER = Amplifier(width=6e-6, length=0.7e-6, mirror=3e-6, tail=13e-6, load=420e-15)
DIES = 30


@pytest.fixture(scope="module")
def engine() -> Iterator[spice.Engine]:
    with spice.open_engine() as opened:
        yield opened


@pytest.fixture
def at(need: Callable[[str], None]) -> Conditions:
    need("gf180")
    return Conditions(process="gf180")


def test_the_sizes_of_these_tests_were_not_fitted() -> None:
    assert PAIR not in measured.PAIRS
    assert AMPLIFIER not in measured.AMPLIFIERS
    assert all(abs(1.9 - vdd) > 0.05 for vdd in measured.SUPPLIES)


@pytest.mark.spice
def test_laws_of_a_comparator_predict_another_pair(engine: spice.Engine, at: Conditions) -> None:
    found = measured.comparator(engine, at, width=PAIR[0], length=PAIR[1])
    limits = {"parasitic": 0.01, "energy": 0.05, "delay": 0.1, "kick": 0.1}
    for name, limit in limits.items():
        assert GF180.comparator(name, *PAIR) == pytest.approx(found[name], rel=limit), name


@pytest.mark.spice
def test_laws_of_an_amplifier_predict_other_sizes(engine: spice.Engine, at: Conditions) -> None:
    found, _ = measured.amplifier(engine, at, AMPLIFIER)
    for name, limit in {"current": 0.03, "time": 0.08, "gain": 0.12}.items():
        assert GF180.of_amplifier(name, AMPLIFIER) == pytest.approx(found[name], rel=limit), name


@pytest.mark.spice
def test_pelgrom_law_of_the_amplifier_predicts_other_sizes(engine: spice.Engine, at: Conditions) -> None:
    # the same draws at both sizes: their ratio is much more precise than either
    own, _ = measured.amplifier_offset(engine, at, measured.AMPLIFIER, dies=DIES)
    other, _ = measured.amplifier_offset(engine, at, AMPLIFIER, dies=DIES)
    law = math.sqrt(
        GF180.of_amplifier("offset_variance", AMPLIFIER) / GF180.of_amplifier("offset_variance", measured.AMPLIFIER)
    )
    assert other / own == pytest.approx(law, rel=0.12)
    assert other / own != pytest.approx(1, rel=0.12)  # the test sees a law that ignores sizes


@pytest.mark.slow
@pytest.mark.spice
def test_pelgrom_law_of_the_comparator_predicts_another_pair(engine: spice.Engine, at: Conditions) -> None:
    own, _ = measured.comparator_offset(engine, at, width=6e-6, length=1e-6, dies=DIES)
    other, _ = measured.comparator_offset(engine, at, width=PAIR[0], length=PAIR[1], dies=DIES)
    law = math.sqrt(GF180.comparator("offset_variance", *PAIR) / GF180.comparator("offset_variance", 6e-6, 1e-6))
    assert other / own == pytest.approx(law, rel=0.1)
    assert law > 1.3


@pytest.mark.slow
@pytest.mark.spice
def test_energy_goes_with_the_square_of_the_supply(engine: spice.Engine, at: Conditions) -> None:
    found = [measured.supply_energy(engine, process="gf180", vdd=vdd) for vdd in (1.8, 1.9)]
    assert GF180.supply(1.9) == pytest.approx(found[1] / found[0], rel=0.01)


def test_the_pair_of_the_fit_is_that_of_the_pdk() -> None:
    # A_VT of the PDK's PMOS pair over the effective area, found again from simulated offsets
    (area,) = [term for term in GF180.laws["comparator_offset_variance"].terms if dict(term.exponents) == {"area": -1}]
    assert math.sqrt(area.coefficient) == pytest.approx(6.66e-9, rel=0.05)


def test_the_file_of_laws_is_what_its_points_give() -> None:
    from importlib import resources

    from cmru_hw.core import toml_file

    text = (resources.files("cmru_hw.process") / "laws" / "gf180.toml").read_text(encoding="utf-8")
    data = toml_file.parse(text)
    for name in LAWS:
        points = [
            measured.Point(
                variables={key: value for key, value in point.items() if key not in ("value", "error")},
                value=point["value"],
            )
            for point in data[name]["points"]
        ]
        law = measured.fit(name, points)
        assert law.residual == pytest.approx(GF180.laws[name].residual, rel=0.02, abs=2e-4), name
        for point in points:
            assert law.at(point.variables) == pytest.approx(GF180.laws[name].at(point.variables), rel=2e-3), name
        # a spread of 60 dies is known to 9 %, and no law is further off than that
        assert law.residual < 0.12, name


def test_ranges_are_where_laws_were_fitted() -> None:
    for name, axis in {"pair_width": 0, "pair_length": 1}.items():
        fitted = [pair[axis] for pair in measured.PAIRS]
        low, high = sizes.RANGES[name].low, sizes.RANGES[name].high
        assert min(fitted) <= low < high <= max(fitted), name
    for name, field in {
        "amplifier_width": "width",
        "amplifier_length": "length",
        "mirror_length": "mirror",
        "tail": "tail",
    }.items():
        fitted = [getattr(one, field) for one in measured.AMPLIFIERS]
        assert min(fitted) <= sizes.RANGES[name].low < sizes.RANGES[name].high <= max(fitted), name


@pytest.mark.parametrize("memory", [None, "power-gated", "integrator"])
def test_own_sizes_give_the_technology_itself(memory: str | None) -> None:
    gf180 = technology.load("gf180")
    own = gf180 if memory is None else fidelity.at_level(gf180, "macro", memory)
    assert sizes.applied(own, sizes.of(own, GF180), GF180) is own


def test_sizes_move_what_their_laws_say() -> None:
    own = technology.load("gf180")
    base = sizes.of(own, GF180)
    larger = sizes.applied(own, replace(base, pair_width=12e-6), GF180)
    ratio = GF180.comparator("offset_variance", 12e-6, 1e-6) / GF180.comparator("offset_variance", 6e-6, 1e-6)
    assert variation.offset_sigma(larger.mismatch) == pytest.approx(
        variation.offset_sigma(own.mismatch) * math.sqrt(ratio), rel=1e-3
    )
    assert sizes.offset(larger) == pytest.approx(variation.offset_sigma(larger.mismatch))
    assert larger.energy is not None and own.energy is not None
    assert larger.energy.comparators > own.energy.comparators
    assert larger.energy.clocks == own.energy.clocks
    assert larger.capacitor.parasitic > own.capacitor.parasitic
    long = sizes.applied(own, replace(base, mirror_length=8e-6), GF180)
    assert long.mismatch.amplifier < 0.8 * own.mismatch.amplifier
    assert long.mismatch.comparator_rest == pytest.approx(own.mismatch.comparator_rest)
    low = sizes.applied(own, replace(base, supply=1.62), GF180)
    assert low.energy is not None
    assert low.energy.clocks == pytest.approx(own.energy.clocks * 0.9**2.14, rel=0.01)
    assert low.supply.common_mode == pytest.approx(0.81)


def test_sampled_noise_of_a_row_goes_with_its_size() -> None:
    own = technology.load("gf180")
    base = sizes.of(own, GF180)
    shape = Shape(features=3, units=(4,), classes=2, cell="cmru", levels=3)
    trained, data = random_network(shape), random_sequences(shape)
    found = []
    for row in (base.row, base.row / 2):
        kind = sizes.applied(own, replace(base, row=row), GF180)
        design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
        dies = variation.draw(design, seed=0, dies=[0], varied=frozenset({"noise/row"}))
        expected = np.sqrt(2 * noise.BOLTZMANN * 300 / (design.layers[0].low.total + kind.capacitor.parasitic))
        sigma = noise.layer_noise(dies, 0).low.sigma[0, 0]
        assert sigma == pytest.approx(expected, rel=1e-9)
        found.append(sigma)
    assert (found[1] > 1.3 * found[0]).all()


def test_a_resized_technology_is_not_resized_again() -> None:
    own = technology.load("gf180")
    base = sizes.of(own, GF180)
    once = sizes.applied(own, replace(base, row=2.5e-13), GF180)
    with pytest.raises(TechnologyError, match="resized already"):
        sizes.of(once, GF180)


def test_technologies_without_laws_are_refused() -> None:
    with pytest.raises(TechnologyError, match=r"no sizing laws: choose a technology of gf180"):
        sizing_laws.load("generic180")
    with pytest.raises(TechnologyError, match="lacks"):
        sizes.of(technology.load("macro"), GF180)
    with pytest.raises(TechnologyError, match="damaged"):
        sizing_laws.parse('process = "x"\n', where="x.toml")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rows": 1.0}, "no size is called 'rows'"),
        ({"row": 400.0}, "write it in SI units"),
        ({"row": math.nan}, "must be"),
        ({"trim_bits": 2.5}, "whole number"),
    ],
)
def test_impossible_sizes_are_refused(given: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sizes.fixed(given, sizes.of(technology.load("gf180"), GF180))

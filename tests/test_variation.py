"""Draws are pure functions of their place, and follow the stated laws."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from cmru_hw.circuits.charge import fidelity, mapping, noise, variation
from cmru_hw.circuits.charge.design import Design, Row
from cmru_hw.core import counter_rng, kernels
from cmru_hw.core.errors import InputError
from cmru_hw.process import technology
from cmru_hw.process.technology import Mismatch
from tests.networks import Shape, random_network, random_sequences

DIES = 400


def design(shape: Shape | None = None) -> Design:
    trained = random_network(shape or Shape(units=(6, 4)))
    return mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, None))


def every(of: Design) -> frozenset[str]:
    return variation.select_variations(of)


# --- Streams -----------------------------------------------------------------------------------------------------


def test_a_number_is_a_function_of_its_key_and_counter_alone() -> None:
    keys, counters = counter_rng.keys(3, "some/stream", range(50)), np.arange(70, dtype=np.uint64)
    together = counter_rng.normals(keys[:, None], counters)
    for die, place in itertools.product((0, 17, 49), (0, 1, 69)):
        assert counter_rng.normals(keys[die : die + 1], counters[place : place + 1]) == together[die, place]
    assert np.array_equal(counter_rng.normals(keys[7:12, None], counters[5:9]), together[7:12, 5:9])
    assert np.array_equal(counter_rng.keys(3, "some/stream", [17]), keys[17:18])


def test_the_hash_is_splitmix64() -> None:
    # Vigna's reference implementation, seeded with 1234567.
    found = np.empty(3, dtype=np.uint64)
    kernels.mixed(counter_rng.advanced(np.array([1234567], dtype=np.uint64), np.arange(1, 4, dtype=np.uint64)), found)
    assert found.tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_halves_of_a_hash_become_a_number_by_box_and_muller() -> None:
    counters = np.arange(20_000, dtype=np.uint64)
    hashes = np.empty_like(counters)
    kernels.mixed(counter_rng.advanced(np.zeros(1, dtype=np.uint64), counters), hashes)
    found = counter_rng.normals(np.zeros(1, dtype=np.uint64), counters)
    for value, (low, high) in zip(found.tolist(), hashes.view(np.int32).reshape(-1, 2).tolist(), strict=True):
        radius = math.sqrt(-2 * math.log((max(low, -1 - low) + 0.5) / 2**31))
        assert value == pytest.approx(radius * math.cos(math.pi * high / 2**31), rel=0, abs=1e-8)


def test_numbers_are_the_same_where_nothing_compiled_can_be_kept() -> None:
    """As on a machine with a read-only package folder and a read-only user cache."""
    code = (
        "from numba.core import caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "from cmru_hw.core import counter_rng\n"
        "print(counter_rng.keys(3, 'some/stream', range(4)).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(counter_rng.keys(3, "some/stream", range(4)).tolist())


def test_numbers_are_normal_and_bounded() -> None:
    numbers = counter_rng.normals(
        counter_rng.keys(0, "normal", range(1000))[:, None], np.arange(1000, dtype=np.uint64)
    ).ravel()
    assert stats.kstest(numbers, "norm").pvalue > 1e-3
    assert np.abs(numbers).max() <= counter_rng.BOUND


@pytest.mark.parametrize("other", [(1, "a", 5), (0, "b", 5), (0, "a", 6)], ids=["seed", "name", "die"])
def test_streams_that_differ_in_anything_are_independent(other: tuple[int, str, int]) -> None:
    def stream(seed: int, name: str, die: int) -> np.ndarray:
        return counter_rng.normals(counter_rng.keys(seed, name, [die]), np.arange(20_000, dtype=np.uint64))

    assert stats.pearsonr(stream(0, "a", 5), stream(*other)).pvalue > 1e-3


# --- Purity ------------------------------------------------------------------------------------------------------


def arrays(of: Design) -> dict[str, np.ndarray]:
    found = {"bias": of.bias, "reference_up": of.reference_up, "reference_down": of.reference_down}
    rows = {"readout": of.readout}
    for index, layer in enumerate(of.layers):
        rows |= {f"{index}.low": layer.low, f"{index}.high": layer.high}
        for name in variation._VARYING_LAYER:
            found[f"{index}.{name}"] = getattr(layer, name)
    for where, row in rows.items():
        found |= {f"{where}.{name}": getattr(row, name) for name in variation._VARYING_ROW}
    return found


def test_a_die_does_not_depend_on_its_company() -> None:
    nominal = design()
    alone = arrays(variation.draw(nominal, seed=1, dies=[41], varied=every(nominal)).one(0))
    among = arrays(variation.draw(nominal, seed=1, dies=[99, 41, 3], varied=every(nominal)).one(1))
    for name, value in alone.items():
        assert np.array_equal(value, among[name]), name


def test_nothing_on_is_the_nominal_design_bit_by_bit() -> None:
    nominal = design()
    die = variation.draw(nominal, seed=1, dies=[4], varied=frozenset()).one(0)
    for name, value in arrays(nominal).items():
        assert np.array_equal(value, arrays(die)[name]), name


def test_a_leaf_draws_the_same_whatever_else_is_on() -> None:
    nominal = design()
    alone = variation.draw(nominal, seed=1, dies=range(5), varied=frozenset({"layer1/integrator"})).batch
    together = variation.draw(nominal, seed=1, dies=range(5), varied=every(nominal) - {"global/capacitor"}).batch
    assert np.array_equal(alone.layers[1].integrator, together.layers[1].integrator)
    assert not np.array_equal(alone.layers[1].integrator, np.broadcast_to(nominal.layers[1].integrator, (5, 4)))


def test_a_larger_network_keeps_the_draws_of_a_smaller_one() -> None:
    small, large = design(Shape(units=(3, 2))), design(Shape(units=(7, 5), features=5))
    relative = []
    for nominal in (small, large):
        on = frozenset({"layer0/offset", "layer0/packet"})
        batch = variation.draw(nominal, seed=0, dies=[2], varied=on).batch
        relative.append(batch.layers[0].low.offset[0, :3])
    assert np.array_equal(relative[0], relative[1])


def test_names_choose_branches_leaves_and_kinds() -> None:
    nominal = design()
    assert variation.select_variations(nominal, only=["layer1"]) == {
        f"layer1/{leaf}" for leaf in variation.LAYER_LEAVES
    }
    assert variation.select_variations(nominal, only=["weights"]) == {
        "layer0/weights",
        "layer1/weights",
        "readout/weights",
    }
    assert variation.select_variations(nominal, only=["noise"], without=["noise/row"]) == {
        f"noise/{leaf}" for leaf in variation.NOISE_LEAVES if leaf != "row"
    }
    with pytest.raises(InputError, match="nothing that varies is called 'weight'"):
        variation.select_variations(nominal, without=["weight"])
    with pytest.raises(InputError, match=r"no variation is left: without layer0 and layer1 and .* less$"):
        variation.select_variations(nominal, without=["layer0", "layer1", "readout", "global", "noise"])


# --- Laws --------------------------------------------------------------------------------------------------------


def standard(values: np.ndarray, nominal: np.ndarray, sigma: np.ndarray | float) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = (values - nominal) / sigma
    finite: np.ndarray = scaled[np.isfinite(scaled)]
    return finite


def normal(values: np.ndarray) -> bool:
    return bool(stats.kstest(values.ravel(), "norm").pvalue > 1e-3)


def test_capacitors_follow_pelgrom() -> None:
    nominal = design()
    law = nominal.technology.mismatch
    batch = variation.draw(
        nominal, seed=0, dies=range(DIES), varied=variation.select_variations(nominal, only=["weights"])
    ).batch
    weights = nominal.layers[0].low.weights
    sigma = law.capacitor / np.sqrt(np.abs(weights) / law.density)
    assert normal(standard(batch.layers[0].low.weights, weights, np.abs(weights) * sigma))
    # Four times the area, half the spread.
    sizes = variation.capacitor_sigma(np.array([10e-15, 40e-15, 0.0]), law)
    assert sizes[0] == pytest.approx(2 * sizes[1]) and sizes[2] == 0
    assert sizes[0] == pytest.approx(1e-8 / np.sqrt(10e-12))


def test_comparator_offsets_follow_their_pair() -> None:
    nominal = design()
    law = nominal.technology.mismatch
    batch = variation.draw(
        nominal, seed=0, dies=range(DIES), varied=variation.select_variations(nominal, only=["offset"])
    ).batch
    pair = law.threshold / np.sqrt(law.pair_width * law.pair_length)
    sigma = np.sqrt(pair**2 + law.comparator_rest**2)
    assert variation.offset_sigma(law) == pytest.approx(sigma) == pytest.approx(3.75e-3, rel=0.01)
    for row in (batch.layers[0].low, batch.layers[1].high, batch.readout):
        assert normal(row.offset / sigma)
    assert stats.pearsonr(batch.layers[0].low.offset.ravel(), batch.layers[0].high.offset.ravel()).pvalue > 1e-3


def test_integrators_and_packets_vary_by_their_own_size() -> None:
    nominal = design()
    law = nominal.technology.mismatch
    on = variation.select_variations(nominal, only=["packet", "integrator"])
    batch = variation.draw(nominal, seed=0, dies=range(DIES), varied=on).batch
    for name in ("packet", "integrator"):
        size = getattr(nominal.layers[0], name)
        sigma = size * variation.capacitor_sigma(size, law)
        assert normal(standard(getattr(batch.layers[0], name), size, sigma))


def test_gain_and_leakage_are_lognormal_locally_and_globally() -> None:
    nominal = design()
    leaky = replace(nominal.technology, leakage=technology.Leakage(integrator=1e-15))
    trained = random_network(Shape(units=(6, 4)))
    nominal = mapping.map_network(trained, leaky, mapping.calibrate(trained, None))
    law = nominal.technology.mismatch
    local = variation.draw(
        nominal, seed=0, dies=range(DIES), varied=frozenset({"layer0/leak", "layer0/amplifier"})
    ).batch.layers[0]
    assert normal(np.log(local.leak / 1e-15) / law.leakage)
    assert normal(np.log(local.gain / nominal.technology.amplifier.gain) / law.gain)
    die_wide = variation.draw(nominal, seed=0, dies=range(DIES), varied=frozenset({"global/leak"})).batch
    shared = np.concatenate([layer.leak for layer in die_wide.layers], axis=1)
    assert (shared == shared[:, :1]).all()
    assert normal(np.log(shared[:, 0] / 1e-15) / law.global_leakage)


def test_an_amplifiers_offset_is_in_its_packets_and_in_what_reads_its_state() -> None:
    macro = technology.load("macro")
    law = replace(macro.mismatch, amplifier=5e-3)
    trained = random_network(Shape(units=(6, 4)))
    kind = replace(macro, mismatch=law)
    nominal = mapping.map_network(trained, kind, mapping.calibrate(trained, None))

    def draw(leaf: str) -> Design:
        return variation.draw(nominal, seed=0, dies=range(DIES), varied=frozenset({leaf})).batch

    batch = draw("layer0/amplifier")
    first, second = batch.layers
    shifts = -first.packet_offset
    assert normal(shifts / 5e-3) and (second.packet_offset == 0).all()
    assert stats.pearsonr(np.log(first.gain).ravel(), shifts.ravel()).pvalue > 1e-3
    # Inputs are not states. The second layer reads the first, and the readout the second.
    assert (first.low.offset == 0).all() and (batch.readout.offset == 0).all()
    row = nominal.layers[1].low
    expected = shifts @ row.weights[:, :6].T / (row.total + macro.capacitor.parasitic)
    assert np.allclose(second.low.offset, expected, rtol=1e-12, atol=1e-15)
    assert np.ptp(draw("layer1/amplifier").readout.offset) > 0


def test_global_capacitor_spread_changes_no_ratio() -> None:
    nominal = design()
    batch = variation.draw(nominal, seed=0, dies=range(DIES), varied=frozenset({"global/capacitor"})).batch
    layer = batch.layers[0]
    assert normal(standard(layer.integrator[:, 0], nominal.layers[0].integrator[0], 0.033 * 250e-15))
    assert np.allclose(layer.packet / layer.integrator, nominal.layers[0].packet / nominal.layers[0].integrator)


def test_references_differ_up_from_down() -> None:
    nominal = design()
    batch = variation.draw(nominal, seed=0, dies=range(DIES), varied=frozenset({"global/reference"})).batch
    sigma = nominal.technology.mismatch.global_reference * nominal.technology.signal.reference
    for value in (batch.reference_up, batch.reference_down):
        assert normal((value - nominal.technology.signal.reference) / sigma)
    assert stats.pearsonr(batch.reference_up, batch.reference_down).pvalue > 1e-3


def pelgrom(row: Row, name: str, nominal: Row) -> np.ndarray:
    """Deviations of capacitors ``name`` of ``row``, in standard deviations of the law, without absent capacitors."""
    size = np.where(np.abs(getattr(nominal, name)) > 1e-21, getattr(nominal, name), 0.0)
    law = technology.load("macro").mismatch
    return standard(getattr(row, name), size, law.capacitor * np.sqrt(np.abs(size) * law.density))


def test_every_capacitor_of_every_row_follows_pelgrom() -> None:
    trained = random_network(Shape(cell="acmru", units=(6, 4), classes=3))
    nominal = mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, None))
    on = variation.select_variations(nominal, only=["weights"])
    batch = variation.draw(nominal, seed=0, dies=range(DIES), varied=on).batch
    rows = [(batch.readout, nominal.readout)]
    for drawn, layer in zip(batch.layers, nominal.layers, strict=True):
        rows += [(drawn.low, layer.low), (drawn.high, layer.high)]
        assert drawn.packet_row is not None and layer.packet_row is not None
        rows.append((drawn.packet_row, layer.packet_row))
    for found, row in rows:
        for name in ("weights", "bias", "threshold", "pad"):
            if (np.abs(getattr(row, name)) > 1e-21).any():
                assert normal(pelgrom(found, name, row)), name
    on = variation.select_variations(nominal, only=["packet"])
    layer, drawn = nominal.layers[0], variation.draw(nominal, seed=0, dies=range(DIES), varied=on).batch.layers[0]
    for name in ("packet", "start_packet"):
        size = getattr(layer, name)
        assert normal(standard(getattr(drawn, name), size, size * variation.capacitor_sigma(size, law_of(nominal))))
    assert stats.pearsonr(drawn.packet.ravel(), drawn.start_packet.ravel()).pvalue > 1e-3


def law_of(nominal: Design) -> Mismatch:
    return nominal.technology.mismatch


def test_limits_injection_gain_and_the_constant_have_their_sigmas() -> None:
    macro = technology.load("macro")
    charged = replace(macro, switch=technology.Switch(row_injection=2e-16, packet_injection=5e-17))
    trained = random_network(Shape(units=(6, 4)))
    nominal = mapping.map_network(trained, charged, mapping.calibrate(trained, None))
    law, layer = macro.mismatch, nominal.layers[0]

    def draw(leaf: str) -> Design:
        return variation.draw(nominal, seed=0, dies=range(DIES), varied=frozenset({leaf})).batch

    assert normal((draw("layer0/limit").layers[0].limit - layer.limit) / law.limit)
    local = draw("layer0/injection").layers[0]
    assert normal(np.log(local.packet_offset / layer.packet_offset) / law.injection)
    assert normal(np.log(local.low.offset / layer.low.offset) / law.injection)
    die_wide = draw("global/injection")
    shared = np.log(die_wide.layers[1].high.offset / nominal.layers[1].high.offset)
    assert np.allclose(shared, shared[:, :1]) and normal(shared[:, 0] / law.global_injection)
    gain = np.log(draw("global/amplifier").layers[0].gain / layer.gain)
    assert (gain == gain[:, :1]).all() and normal(gain[:, 0] / law.global_gain)
    assert normal((draw("global/bias").bias / nominal.bias - 1) / law.global_bias)


@pytest.mark.parametrize(("name", "bits", "replicas"), [("macro", 0, 0), ("gf180", 0, 1), ("gf180", 5, 1)])
def test_a_row_and_its_replica_have_the_noise_of_their_capacitors(name: str, bits: int, replicas: int) -> None:
    """kT/C of each: σ² = kT (1/C_row + 1/C_replica), in the samples that both engines take."""
    kind = technology.load(name)
    if bits:
        kind = fidelity.with_trim(kind, bits)
    shape = Shape(features=3, units=(4,), classes=2, cell="cmru", levels=3)
    trained, data = random_network(shape), random_sequences(shape)
    design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
    dies = variation.draw(design, seed=3, dies=[0, 5], varied=frozenset({"noise/row", "noise/class"}))
    row = design.layers[0].low.total + kind.capacitor.parasitic
    other = np.full_like(row, kind.capacitor.row + kind.capacitor.parasitic) if bits else row
    expected = np.sqrt(1.380649e-23 * kind.noise.temperature * (1 / row + replicas / other))
    # what a netlist takes, and the fast engine
    found = noise.columns(dies, 1, 0, 4000)
    same = noise.layer_noise(dies, 0).low.at(1, noise.moments(0, np.arange(1, 4001)))
    for unit in range(4):
        assert found[f"za0_{unit}"].std() == pytest.approx(expected[unit], rel=0.04)
        np.testing.assert_array_equal(found[f"za0_{unit}"][1:], same[unit])
    # classes are compared with each other; only a trim gives their rows a replica
    total = design.readout.total + kind.capacitor.parasitic
    classes = np.sqrt(1.380649e-23 * kind.noise.temperature * (1 / total + bool(bits) / other[0]))
    assert found["zy1"].std() == pytest.approx(classes[1], rel=0.04)

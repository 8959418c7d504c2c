"""The choice of frames for a numerical certificate, and its output."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cmru_hw.circuits.certificate import NumericalCertificate, choose_frames, last_frames, margins_inside
from cmru_hw.core.units import json_text

LENGTHS = np.array([5, 3, 7])


def margins(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    found = [rng.uniform(1, 2, (3, 7, units)) for units in (4, 2)]
    found[1][2, 6, 1] = 0.5
    # Padding after a sequence is not a frame of it.
    found[0][1, 5, 0] = 0.0
    return found


@pytest.mark.parametrize("seed", range(5))
def test_frames_are_a_function_of_the_seed_and_hold_the_smallest_margin(seed: int) -> None:
    chosen = choose_frames(LENGTHS, margins(), count=4, seed=seed)
    assert chosen == choose_frames(LENGTHS, margins(), count=4, seed=seed)
    assert (2, 6) in chosen and len(set(chosen)) == 4 and list(chosen) == sorted(chosen)
    assert all(timestep < LENGTHS[sequence] for sequence, timestep in chosen)


def test_other_seeds_choose_other_frames_and_many_are_all() -> None:
    assert len({choose_frames(LENGTHS, margins(), count=4, seed=seed) for seed in range(20)}) > 10
    everything = choose_frames(LENGTHS, margins(), count=15, seed=0)
    assert everything == choose_frames(LENGTHS, margins(), count=1000, seed=1) and len(everything) == 15
    assert choose_frames(LENGTHS, margins(), count=1, seed=3) == ((2, 6),)
    with pytest.raises(ValueError, match="certifies nothing"):
        choose_frames(LENGTHS, margins(), count=0, seed=0)


def test_a_sequence_runs_up_to_its_last_frame() -> None:
    assert last_frames([(0, 4), (0, 2), (2, 1)]) == {0: 4, 2: 1}


def test_margins_of_real_frames_are_counted() -> None:
    inside, count = margins_inside(LENGTHS, margins(), 0.6)
    assert (inside, count) == (1, 15 * 6)


def test_a_certificate_is_plain_json_with_its_units() -> None:
    certificate = NumericalCertificate(
        architecture="cm",
        simulator="ngspice 39",
        options="reltol=0.0001",
        refined_options="reltol=1e-05",
        frames=((0, 0), (0, 1)),
        row_difference=2e-13,
        row_unit="A",
        state_difference=0.003,
        current_difference=0.001,
        energy_difference=None,
        decisions_changed=0,
        states_changed=1,
        margins_inside=3,
        margins=90,
        seed=7,
    )
    found = json.loads(json_text(certificate.as_dict()))
    assert found["row_difference_A"] == 2e-13 and found["state_difference_levels"] == 0.003
    assert found["frames"] == [[0, 0], [0, 1]] and found["energy_difference"] is None and found["seed"] == 7
    rows = " ".join(text for _, text in certificate.remarks())
    assert "200 fA" in rows and "1 states change" in rows and "3 of 90" in rows and "energy" not in rows

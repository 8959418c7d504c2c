"""Certificate: the change of a transistor-level result when the simulator takes finer steps.

The architecture simulates a sample of frames again with refined options and compares every quantity that the result
depends on. This module chooses the frames and defines the contents of a certificate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cmru_hw.core.signals import Array, valid_mask
from cmru_hw.core.units import percent, plain, si

Frame = tuple[int, int]
"""(sequence, timestep), both from 0."""


@dataclass(frozen=True, kw_only=True)
class NumericalCertificate:
    """Largest differences between a result and a run of some of its ``frames`` with ``refined_options``.

    ``architecture``: "sc" or "cm". ``simulator``: name and version. ``options`` and ``refined_options``: the option
    lines of both runs, with the largest step. ``frames`` that were compared, chosen with ``seed``.

    ``row_difference`` [``row_unit``: V at a row, A of a candidate] and ``state_difference`` [levels] are the largest
    absolute differences over all units and frames. ``current_difference`` is the largest difference of a current,
    relative to that current's nominal full value (charge domain: of a supply current averaged over a frame);
    ``energy_difference`` is that of the energy of all frames together, relative to the refined run; both are None where
    an architecture does not measure them. ``decisions_changed`` and ``states_changed`` count units and timesteps of
    these frames whose decision or level differs. ``margins`` is the number of decisions of the complete result, and
    ``margins_inside`` the number of those with a margin below ``row_difference``: a finer step could change these.
    ``blocks``: energy per timestep of these frames by block [J], of the result and of the refined run.
    """

    architecture: str
    simulator: str
    options: str
    refined_options: str
    frames: tuple[Frame, ...]
    row_difference: float
    row_unit: Literal["V", "A"]
    state_difference: float
    current_difference: float | None
    energy_difference: float | None
    decisions_changed: int
    states_changed: int
    margins_inside: int
    margins: int
    seed: int
    blocks: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON, with the unit in the key of the row difference."""
        found = asdict(self)
        unit = found.pop("row_unit")
        found[f"row_difference_{unit}"] = found.pop("row_difference")
        found["state_difference_levels"] = found.pop("state_difference")
        found["frames"] = [list(frame) for frame in self.frames]
        return found

    def remarks(self) -> list[tuple[str, str]]:
        """The same, formatted: rows of a table."""
        moved = [f"rows by {si(self.row_difference, self.row_unit)}", f"states by {plain(self.state_difference, 2)}"]
        if self.current_difference is not None:
            moved.append(f"currents by {percent(self.current_difference)}")
        if self.energy_difference is not None:
            moved.append(f"energy by {percent(self.energy_difference)}")
        changed = f"{self.decisions_changed} decisions and {self.states_changed} states"
        return [
            ("with finer steps", f"{len(self.frames)} frames move: {', '.join(moved)} at most; {changed} change"),
            ("", f"{self.margins_inside} of {self.margins} margins lie inside that"),
        ]


def choose_frames(
    lengths: Sequence[int] | NDArray[np.int64], margins: Sequence[Array], *, count: int, seed: int
) -> tuple[Frame, ...]:
    """``count`` frames in order, including the one with the smallest margin. The choice depends only on the arguments.

    ``lengths`` (sequences,) are numbers of timesteps. ``margins`` has one array (sequences, timesteps, units) per
    layer; entries past a sequence's length are ignored. Returns all frames if there are no more than ``count``.
    """
    if count < 1:
        raise ValueError(f"a certificate of {count} frames certifies nothing")
    frames = [(sequence, timestep) for sequence, length in enumerate(lengths) for timestep in range(int(length))]
    if count >= len(frames):
        return tuple(frames)
    nearest = min(frames, key=lambda frame: min(float(margin[frame].min()) for margin in margins))
    others = [frame for frame in frames if frame != nearest]
    places = np.random.Generator(np.random.PCG64(seed)).choice(len(others), size=count - 1, replace=False)
    return tuple(sorted([nearest, *(others[place] for place in places.tolist())]))


def last_frames(frames: Sequence[Frame]) -> dict[int, int]:
    """Sequence → its last chosen timestep. A circuit with a state must run from the beginning up to this timestep."""
    last: dict[int, int] = {}
    for sequence, timestep in frames:
        last[sequence] = max(timestep, last.get(sequence, 0))
    return last


def margins_inside(
    lengths: Sequence[int] | NDArray[np.int64], margins: Sequence[Array], limit: float
) -> tuple[int, int]:
    """Number of margins below ``limit``, and number of all margins. See :func:`choose_frames` for the arrays."""
    valid = valid_mask(lengths, margins[0].shape[1])
    inside = sum(int((margin[valid] < limit).sum()) for margin in margins)
    return inside, sum(int(margin[valid].size) for margin in margins)

"""What mends a cause of errors, in words and as a command."""

from __future__ import annotations

from dataclasses import dataclass

from cmru_hw.circuits import row_errors


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """``command`` has the places {checkpoint} and {technology}."""

    words: str
    command: str


TRIM_BITS = 5

ON_DIES = Remedy(
    words="continue training with the errors of dies",
    command="cmru-hw train --data TRAIN.npz --test TEST.npz --from {checkpoint} --hardware-aware "
    "--technology {technology} -o tuned.safetensors",
)
TRIM = Remedy(
    words="an offset trim of every row",
    command=f"cmru-hw export {{checkpoint}} --technology {{technology}} --trim {TRIM_BITS} -o trimmed",
)
MORE_TRIM = Remedy(
    words="more bits of trim; rows beyond its range need a technology with a larger trim.reach",
    command="cmru-hw export {checkpoint} --technology {technology} --trim 7 -o trimmed",
)
FEWER_WEIGHTS = Remedy(
    words="train rows of few, large weights",
    command="cmru-hw train --data TRAIN.npz --test TEST.npz --from {checkpoint} --row-margin 0.1 -o wide.safetensors",
)
LONGER_ARMS = Remedy(
    words="a technology with longer arms (longest)",
    command="cmru-hw export {checkpoint} --technology LONGER.toml -o longer",
)
FEWER_LEVELS = Remedy(
    words="train with fewer levels, which are further apart",
    command="cmru-hw train --data TRAIN.npz --test TEST.npz --levels 3 -o fewer.safetensors",
)
SHORTER = Remedy(
    words="a technology with a shorter timestep",
    command="cmru-hw export {checkpoint} --technology FASTER.toml -o faster",
)
LARGER = Remedy(
    words="more devices in parallel: four halve the mismatch",
    command="cmru-hw export {checkpoint} --parallel all=4 -o larger",
)
WIDER_RANGE = Remedy(
    words="a range up to the largest input",
    command="cmru-hw export {checkpoint} --input FILE.npz --input-percentile 100 -o wider",
)
NARROWER_RANGE = Remedy(
    words="a range that leaves out the largest inputs, which are clamped",
    command="cmru-hw export {checkpoint} --input FILE.npz --input-percentile 99.9 -o narrower",
)

OF_SOURCE = {
    row_errors.TRIMMED: MORE_TRIM,
    row_errors.LIMITS: FEWER_LEVELS,
    row_errors.LEAKAGE: SHORTER,
    row_errors.MIRRORS: LARGER,
    row_errors.CELLS: LARGER,
    row_errors.CLAMPED: WIDER_RANGE,
    row_errors.OUTLIERS: NARROWER_RANGE,
    row_errors.SMALL_CAPACITORS: FEWER_WEIGHTS,
    row_errors.SMALL_ARMS: LONGER_ARMS,
}


def of(source: str) -> Remedy:
    """The remedy of a source of errors."""
    return OF_SOURCE.get(source, ON_DIES)

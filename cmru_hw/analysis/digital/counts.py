"""Operations of one timestep of a network in a digital datapath, counted from its weights.

Weights have ``bits`` bits with sign (1 stands for ternary: -1, 0, 1). An input sample has eight bits; a state has as
many as its levels need, the binary state of a BMRU or FQ-BMRU one. A layer's weights of zero cost nothing. A sum of n
products has log2 n more bits than a product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmru_hw.core.errors import InputError
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.levels import Levels

INPUT_BITS = 8
# Of a CMRU without a level limit: 16 levels.
FREE_STATE_BITS = 4
# The mean over timesteps needs a sum of so many timesteps.
SUMMED_TIMESTEPS = 256
TERNARY = 1
CELLS = ("cmru", "bmru", "eps", "fq-bmru")
WEIGHT_BITS = (8, 4, TERNARY)
# Weights above this share of the mean magnitude become +1 or -1 (ternary weight networks, arXiv:1605.04711).
_TERNARY_SHARE = 0.7


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Weighted sums of one kind in one layer.

    ``rows`` sums of ``columns`` values of ``value_bits``; ``products``: weights that are not 0; ``digits``: signed
    digits that are not 0 in all of them, for constants in hardware; ``width``: bits of a sum.
    """

    name: str
    rows: int
    columns: int
    value_bits: int
    products: int
    digits: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Operations:
    """Operations of one timestep. ``state_bits`` are bits of all states, ``decisions`` the units.

    ``input_bits``: bits of all inputs, registered once. ``score_bits``: bits of the running sums of the scores.
    ``weight_bits``: stored bits of all weights and biases.
    """

    bits: int
    sums: tuple[Sums, ...]
    decisions: int
    decision_width: int
    state_bits: int
    input_bits: int
    scores: int
    score_bits: int
    weight_bits: int

    @property
    def products(self) -> int:
        """Multiply-accumulate operations."""
        return sum(part.products for part in self.sums)


def count(trained: Trained, bits: int) -> Operations:
    """The operations of ``trained`` with weights of ``bits``. Raises InputError for a cell without a count."""
    config = trained.config
    if config.cell not in CELLS:
        raise InputError(
            f"the operations of {config.cell} networks are not counted, because their step is a third weighted sum: "
            f"give one of {', '.join(CELLS)}"
        )
    if bits not in WEIGHT_BITS:
        raise InputError(f"weights of {bits} bits are not counted: choose one of {', '.join(map(str, WEIGHT_BITS))}")
    binary = config.cell in ("bmru", "fq-bmru")
    state = 1 if binary else _state_bits(config.levels)
    sums: list[Sums] = []
    stored = 0
    for name, tensor in trained.tensors.items():
        if not name.endswith("weight"):
            continue
        weights = np.asarray(tensor, dtype=np.float64)
        whole = quantized(weights, bits)
        stored += whole.size * max(bits, 2) + weights.shape[0] * INPUT_BITS
        sums += _of(name, whole, bits, _columns(name, weights.shape[1], trained, state))
    units = sum(config.units)
    classes = len(config.classes)
    width = max(part.width for part in sums)
    return Operations(
        bits=bits,
        sums=tuple(sums),
        decisions=units,
        decision_width=width,
        state_bits=units * state,
        input_bits=config.features * INPUT_BITS,
        scores=classes,
        score_bits=classes * (width + round(math.log2(SUMMED_TIMESTEPS))),
        weight_bits=stored,
    )


def quantized(weights: NDArray[np.float64], bits: int) -> NDArray[np.int64]:
    """Whole numbers in proportion to ``weights``, the largest of them 2^(bits-1) - 1; -1, 0 and 1 for ternary ones."""
    magnitude = np.abs(weights)
    if not magnitude.any():
        return np.zeros(weights.shape, dtype=np.int64)
    if bits == TERNARY:
        kept = magnitude > _TERNARY_SHARE * magnitude.mean()
        return np.where(kept, np.sign(weights), 0).astype(np.int64)
    whole: NDArray[np.int64] = np.rint(weights / magnitude.max() * (2 ** (bits - 1) - 1)).astype(np.int64)
    return whole


def rounded_network(trained: Trained, bits: int) -> Trained:
    """``trained`` with the weights that its digital datapath has, and all else as it is; it was not trained again."""
    tensors = dict(trained.tensors)
    for name, tensor in trained.tensors.items():
        weights = np.asarray(tensor, dtype=np.float64)
        if not name.endswith("weight") or not weights.any():
            continue
        whole = quantized(weights, bits)
        # The scale that comes closest to the trained weights.
        scale = float((weights * whole).sum() / (whole * whole).sum())
        tensors[name] = tensor.new_tensor(scale * whole)
    return Trained(config=trained.config, tensors=tensors)


def signed_digits(value: int) -> int:
    """Digits -1 and 1 in the canonical signed form of ``value``: additions of a multiplication by a constant."""
    left, found = abs(value), 0
    while left:
        if left & 1:
            left -= 2 - (left & 3)
            found += 1
        left >>= 1
    return found


def _state_bits(levels: Levels) -> int:
    """Bits of a state that holds the largest level of all units."""
    if levels is None:
        return FREE_STATE_BITS
    largest = levels if isinstance(levels, int) else max(level for layer in levels for level in layer)
    return math.ceil(math.log2(2 * largest + 1))


def _columns(name: str, columns: int, trained: Trained, state: int) -> list[tuple[int, int]]:
    """(columns, bits of their values): states come first, inputs last; in an FQ-BMRU sums are values as well."""
    config = trained.config
    if config.cell == "fq-bmru":
        return [(columns, state if name.endswith("output.weight") else INPUT_BITS)]
    if name.startswith("layers.0."):
        return [(columns, INPUT_BITS)]
    inputs = config.features if config.skip and name.startswith("layers.") else 0
    return [part for part in ((columns - inputs, state), (inputs, INPUT_BITS)) if part[0]]


def _of(name: str, whole: NDArray[np.int64], bits: int, columns: list[tuple[int, int]]) -> list[Sums]:
    found, first = [], 0
    for number, value_bits in columns:
        part = whole[:, first : first + number]
        first += number
        products = int(np.count_nonzero(part))
        if products:
            found.append(
                Sums(
                    name=name.removesuffix(".weight"),
                    rows=part.shape[0],
                    columns=number,
                    value_bits=value_bits,
                    products=products,
                    digits=sum(signed_digits(int(value)) for value in part.flat),
                    width=(0 if bits == TERNARY else bits) + value_bits + math.ceil(math.log2(max(2, whole.shape[1]))),
                )
            )
    return found

"""Dies of the software model: the network runs with the errors of its rows and states, without a circuit.

A die is one normal number for each row and each state, times the standard deviations of
:class:`~cmru_hw.circuits.row_errors.NetworkErrors`. The consequences of a wrong decision are those of the software
model: the state that it leaves, the layers that read that state, and the class. Dies of one seed are the same with and
without a source of errors, so that their difference is its effect. Some dies run at once, as arrays (places, dies,
units): see :mod:`cmru_hw.analysis.verdict.software`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from cmru_hw.analysis.montecarlo.interval import within_drop
from cmru_hw.analysis.verdict.software import Expected, Places, Single
from cmru_hw.circuits import row_errors
from cmru_hw.circuits.row_errors import LayerErrors, NetworkErrors, RowErrors, RowTrim, StateErrors
from cmru_hw.core.signals import Array
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.forward import Model, recurred
from cmru_hw.nn.sequences import Sequences

# Numbers of one array at a time: more do not fit a processor's cache.
AT_ONCE = 200_000
# glibc takes new memory from the operating system for each array above the size of those that were freed [bytes].
REUSED = 31 << 20
# Random numbers that noise is taken from, at a random place each time.
POOL = 1 << 21


@dataclass(frozen=True, kw_only=True, eq=False)
class SoftwareDies:
    """Results of dies. ``accuracy`` (dies,), ``wrong`` (layers,): share of decisions other than in software.

    ``software`` is the accuracy of software itself; without labels, a class is right that is software's own.
    """

    accuracy: Array
    software: float
    wrong: tuple[float, ...]

    def good(self, drop: float) -> NDArray[np.bool_]:
        """(dies,): whether a die is at most ``drop`` below software."""
        return within_drop(self.accuracy, self.software, drop)


def run(
    trained: Trained,
    errors: NetworkErrors,
    sequences: Sequences,
    *,
    dies: int,
    seed: int = 0,
    without: Collection[str] = (),
    expected: Expected | None = None,
) -> SoftwareDies:
    """Run ``dies`` dies of ``errors`` on ``sequences``; sources of ``without`` have no errors.

    Decisions are compared with those of ``trained`` with clamped inputs, and classes with labels or, without labels,
    with those of ``trained``. ``expected`` is that software run, if it is known.
    """
    if expected is None or not expected.clamps_to(errors.inputs):
        expected = Expected.of(trained, errors.inputs, sequences)
    places = expected.places
    model = errors.inputs.model(errors.realised, dtype=np.float32)
    # a die with errors of weights has weights of its own
    numbers = len(places.time) * max(trained.config.units)
    count = 1 if errors.linear else max(1, AT_ONCE // numbers)
    shared = _Shared(model, places)
    accuracy, wrong = [], np.zeros(len(errors.layers))
    for first in range(0, dies, count):
        numbered = range(first, min(first + count, dies))
        logits, decisions = _Dies(shared, errors, numbered, seed, without).forward()
        classes = places.classes(logits, trained.config.decision)
        accuracy.append((classes == expected.right[:, None]).mean(axis=0))
        for index, (got, wanted) in enumerate(zip(decisions, expected.decisions, strict=True)):
            wrong[index] += np.count_nonzero(got != wanted[:, None])
    totals = dies * len(places.time) * np.array(trained.config.units)
    return SoftwareDies(
        accuracy=np.concatenate(accuracy),
        software=expected.software,
        wrong=tuple((wrong / totals).tolist()),
    )


class _Shared:
    """What all dies have in common: the network, its scaled inputs, and their part of every row."""

    def __init__(self, model: Model, places: Places) -> None:
        self.model, self.places = model, places
        self.window = model.config.cell != "fq-bmru"
        self.inputs: Single = model.scaled(places.inputs)[:, None].astype(np.float32)
        self.rows: list[tuple[Single, Single]] = []
        for index in range(len(model.config.units)) if self.window else ():
            candidate, threshold = (model.weights[f"layers.{index}.{part}.weight"] for part in _PARTS)
            weight = np.concatenate((candidate - threshold, candidate + threshold))
            candidate, threshold = (model.weights[f"layers.{index}.{part}.bias"] for part in _PARTS)
            bias = np.concatenate((candidate - threshold, candidate + threshold))
            self.rows.append((weight, self._of_inputs(index, weight, bias)))

    def _of_inputs(self, index: int, weight: Single, bias: Single) -> Single:
        """The part of rows that all dies share: biases, and the inputs if layer ``index`` reads them, (places or 1, 1,
        rows)."""
        if index and not self.model.config.skip:
            return bias[None, None]
        return np.asarray(self.inputs @ weight[:, -self.inputs.shape[-1] :].T + bias)

    def alpha(self, index: int, states: Sequence[Single]) -> Single:
        """α(x) of an αCMRU, (places, dies, units)."""
        name = f"layers.{index}.alpha"
        found = _weighed(self.model.weights[f"{name}.weight"], [*states, *self.own_inputs(index)])
        found += self.model.weights[f"{name}.bias"]
        return found

    def own_inputs(self, index: int) -> list[Single]:
        return [self.inputs] if index == 0 or self.model.config.skip else []


_PARTS = ("candidate", "threshold")


def _weighed(weight: Single, parts: Sequence[Single]) -> Single:
    """The rows of ``weight`` over ``parts``, one after the other: (places, dies, rows)."""
    first, total = 0, None
    for part in parts:
        columns = weight[:, first : first + part.shape[-1]]
        found = (part.reshape(-1, part.shape[-1]) @ columns.T).reshape(*part.shape[:2], len(weight))
        if total is None:
            total = found
        else:
            total += found
        first += part.shape[-1]
    assert total is not None
    return total


class _Dies:
    """Some dies of a network at once."""

    def __init__(
        self, shared: _Shared, errors: NetworkErrors, numbers: range, seed: int, without: Collection[str]
    ) -> None:
        self.shared, self.without, self.count = shared, without, len(numbers)
        self.places = shared.places
        self.draws = [np.random.default_rng([seed, number]) for number in numbers]
        self.rng = np.random.default_rng([seed, numbers.start, numbers.stop])
        self.pool = _pool(seed)
        # common to all units of a die: the constant's line, and mean and difference of the packet references
        self.bias, self.mean, self.difference = (self.normal(1) for _ in range(3))
        self.layers = [_LayerDies(self, index, one) for index, one in enumerate(errors.layers)]
        self.readout = _Rows(self, errors.readout)
        self.model = self._drawn(errors) if errors.linear and self.on(row_errors.MIRRORS) else shared.model

    def _drawn(self, errors: NetworkErrors) -> Model:
        """The network with the weights and biases of the first die."""
        known = self.shared.model.weights
        found = dict(known)
        constant = float(self.normal(1).item())
        for name, one in errors.linear.items():
            rows, columns = one.weight.shape
            own = self.normal(rows * columns).reshape(rows, columns) * _single(one.weight)
            shared = self.normal(columns).reshape(columns), self.normal(columns).reshape(columns)
            factor = 1 + own + shared[0] * _single(one.line) + shared[1] * _single(one.fold)
            row = (1 + self.normal(rows).reshape(rows) * _single(one.row))[:, None]
            bias = 1 + self.normal(rows).reshape(rows) * _single(one.bias) + np.float32(constant * one.constant)
            found[f"{name}.weight"] = known[f"{name}.weight"] * factor * row
            found[f"{name}.bias"] = known[f"{name}.bias"] * bias * row[:, 0]
        return Model(config=self.shared.model.config, weights=found, limits=self.shared.model.limits)

    def forward(self) -> tuple[Single, list[NDArray[np.int8]]]:
        """Classes' logits (places, dies, classes), and decisions (places, dies, units) by layer."""
        seen, decisions = self._windows() if self.shared.window else self._hysteresis()
        logits = self.model.linear("readout", seen) + self.readout.static[0]
        return self.readout.noisy(logits, 0), decisions

    def _windows(self) -> tuple[Single, list[NDArray[np.int8]]]:
        """The last layer's outputs, and decisions by layer."""
        states: list[Single] = []
        decisions = []
        model = self.shared.model
        for index, layer in enumerate(self.layers):
            weight, common = self.shared.rows[index]
            static = np.concatenate(layer.rows.static, axis=-1)
            if states:
                rows = _weighed(weight, states)
                rows += common
                rows += static
            else:
                rows = common + static
            if not layer.rows.quiet:
                rows += self.noise(rows.shape) * np.concatenate(layer.rows.sigma, axis=-1)
            above = (rows > 0).view(np.int8)
            units = rows.shape[-1] // 2
            decision = above[..., :units] + above[..., units:]
            decision -= np.int8(1)
            decisions.append(decision)
            packets: Single = decision.astype(np.float32)
            wrong: Single | None = None
            if layer.alpha is not None:
                errors = np.broadcast_to(layer.alpha.static[0], packets.shape)
                wrong = self._summed(packets * layer.alpha.noisy(errors, 0))
                packets = packets * self.shared.alpha(index, states)
            initial = model.weights[f"layers.{index}.initial_state"]
            found = recurred(model.config.epsilon, decision, packets, initial, model.highest(index), self.places.alive)
            alpha = None if layer.alpha is not None else model.weights[f"layers.{index}.alpha"]
            h = found if alpha is None else found * alpha
            h = layer.output(h, decision, wrong)
            states = [h, *states] if model.config.skip else [h]
        return states[0], decisions

    def _hysteresis(self) -> tuple[Single, list[NDArray[np.int8]]]:
        """The input of the readout, and decisions by layer, of an fq-bmru."""
        model, decisions = self.model, []
        # the scaled inputs of all dies are the same
        seen = np.repeat(self.shared.inputs, self.count, axis=1)
        seen = model.linear("projection", seen)
        for index, layer in enumerate(self.layers):
            name = f"layers.{index}"
            candidate = np.maximum(model.linear(f"{name}.candidate", np.maximum(seen, 0)), 0)
            low = model.weights[f"{name}.low"]
            high = low + model.weights[f"{name}.width"]
            # a row that is off by an error has its threshold off by as much the other way
            low, high = (own - error for own, error in zip((low, high), layer.rows.static, strict=True))
            decision = (candidate >= low).view(np.int8) + (candidate >= high).view(np.int8) - np.int8(1)
            decisions.append(decision)
            bits = recurred(
                None,
                decision,
                decision.astype(np.float32),
                model.weights[f"{name}.initial_state"],
                None,
                self.places.alive,
            )
            h = layer.output(model.weights[f"{name}.alpha"] * bits, decision, None)
            seen = model.following(index, seen, h)
        return seen, decisions

    def _summed(self, values: Single) -> Single:
        """Running sums (places, dies, units) over the timesteps of each sequence."""
        found = values.astype(np.float32)
        before, first = 0, self.places.alive[0]
        for count in self.places.alive[1:]:
            found[first : first + count] += found[before : before + count]
            before, first = first, first + count
        return found

    def packets(self, value: Single, begun: Single) -> Single:
        """The number of packets so far where a packet changes ``value``; the power-on packet is the first."""
        changed = np.empty_like(value)
        before: Single = np.broadcast_to(begun, value.shape)
        first = 0
        for count in self.places.alive:
            now = value[first : first + count]
            np.not_equal(now, before[:count], out=changed[first : first + count], casting="unsafe")
            before, first = now, first + count
        found = self._summed(changed)
        found += 1
        return found

    def normal(self, units: int) -> Single:
        """(1, dies, units) standard normal numbers, a function of seed and die."""
        return np.stack([one.standard_normal(units) for one in self.draws])[None].astype(np.float32)

    def noise(self, shape: tuple[int, ...]) -> Single:
        """Standard normal numbers of a shape, others at each call."""
        count = int(np.prod(shape))
        if count > POOL // 2:
            return self.rng.standard_normal(shape, dtype=np.float32)
        first = int(self.rng.integers(POOL - count))
        return self.pool[first : first + count].reshape(shape)

    def on(self, source: str) -> np.float32:
        return np.float32(source not in self.without)

    def grid(self, value: Array) -> Single:
        """(units,) or (sequences, timesteps, units) → (1 or places, 1, units)."""
        return _single(value)[None, None] if value.ndim == 1 else _single(self.places.packed(value))[:, None]


class _Rows:
    """Errors of rows. ``static`` has one entry per row, (1 or places, dies, units)."""

    def __init__(self, dies: _Dies, errors: RowErrors) -> None:
        self.dies = dies
        count, units = errors.noise.shape
        self.static: list[Single] = [np.zeros((1, dies.count, units), dtype=np.float32) for _ in range(count)]
        for name, sigma in errors.per_row.items():
            self._add(name, sigma, [dies.normal(units) for _ in range(count)])
        for name, sigma in errors.per_unit.items():
            self._add(name, sigma, [dies.normal(units)] * count)
        for name, sigma in errors.per_die.items():
            self._add(name, sigma, [dies.bias] * count)
        if errors.trim is not None:
            self._trim(errors.trim, [(dies.normal(units), dies.normal(units)) for _ in range(count)])
        noise = errors.noise * dies.on(row_errors.NOISE)
        self.sigma, self.quiet = [dies.grid(row) for row in noise], not noise.any()

    def _add(self, name: str, sigma: Array, drawn: Sequence[Single]) -> None:
        for row, normal in enumerate(drawn):
            own = sigma[min(row, len(sigma) - 1)]
            if own.any() and self.dies.on(name):
                self.static[row] = self.static[row] + self.dies.grid(own) * normal

    def _trim(self, trim: RowTrim, drawn: Sequence[tuple[Single, Single]]) -> None:
        """Add the offsets that the codes of each row leave."""
        if not self.dies.on(row_errors.TRIMMED):
            return
        for row, (offset, noise) in enumerate(drawn):
            left = trim.left(offset.astype(np.float64) * trim.before[row], noise.astype(np.float64) * trim.noise[row])
            self.static[row] = self.static[row] + _single(left / trim.scale[row])

    def noisy(self, value: Single, row: int) -> Single:
        """``value`` with the noise of a row."""
        return value if self.quiet else value + self.dies.noise(value.shape) * self.sigma[row]


class _LayerDies:
    """The errors of one layer, in the places where a network takes them."""

    def __init__(self, dies: _Dies, index: int, errors: LayerErrors) -> None:
        self.dies, self.window = dies, dies.shared.window
        weights, name = dies.shared.model.weights, f"layers.{index}"
        self.rows, states = _Rows(dies, errors.rows), errors.states
        self.alpha = None if errors.alpha is None else _Rows(dies, errors.alpha)
        self.size_of_level = weights.get(f"{name}.alpha", np.ones(1, dtype=np.float32))
        self.begun = self.size_of_level * weights[f"{name}.initial_state"]
        self.highest = dies.shared.model.highest(index)
        self._draw(states, errors.rows.noise.shape[-1])

    def _draw(self, states: StateErrors, units: int) -> None:
        dies = self.dies
        grid = dies.grid
        amplifier = dies.normal(units) * dies.on(row_errors.AMPLIFIERS)
        references, gain = dies.on(row_errors.REFERENCES), dies.on(row_errors.GAIN)
        self.offset = grid(states.offset) * amplifier
        self.kick = grid(states.kick) * amplifier + grid(states.kick_die) * dies.difference * references
        self.size = dies.mean * np.float32(states.size_die) * references - grid(states.short) * gain
        for name, sigma in states.size.items():
            self.size = self.size + dies.normal(units) * grid(sigma) * dies.on(name)
        self.lost, self.walk = grid(states.lost) * gain, grid(states.walk) * dies.on(row_errors.NOISE)
        self.droop = grid(states.droop) * dies.on(row_errors.LEAKAGE)
        self.limit = dies.normal(units) * grid(states.limit) * dies.on(row_errors.LIMITS)

    def output(self, value: Single, decision: NDArray[np.int8], wrong: Single | None) -> Single:
        """h with the errors of its state. ``wrong`` is what errors of α have added to it, if anything."""
        packets = self._packets(value, decision)
        found = value * (1 + self.size)
        found += self.offset
        if wrong is not None:
            found += wrong
        if packets is not None and (self.kick.any() or self.lost.any()):
            kick = value * (self.lost / -2)
            kick += self.kick
            kick *= packets
            found += kick
        if packets is not None and self.walk.any():
            walk = self.dies.noise(value.shape) * self.walk
            walk *= np.sqrt(packets)
            found += walk
        if self.droop.any():
            found += self.droop * (self.dies.places.time[:, None, None] + 1).astype(np.float32)
        return self._limited(found)

    def _packets(self, value: Single, decision: NDArray[np.int8]) -> Single | None:
        """The number of packets so far; None if it changes nothing."""
        if not self.window or not (self.kick.any() or self.walk.any() or self.alpha):
            return None
        if self.alpha is not None:
            return 1 + self.dies._summed(np.abs(decision).astype(np.float32))
        if self.dies.shared.model.config.epsilon == 0.0:
            return np.ones((1, 1, 1), dtype=np.float32)
        return self.dies.packets(value, self.begun)

    def _limited(self, value: Single) -> Single:
        """A limit that is half a level too low ends the range one level early."""
        early = self.limit < -0.5
        if not self.window or self.highest is None or not early.any():
            return value
        end = np.where(early, np.abs(self.size_of_level) * (self.highest - np.float32(0.5)), np.float32(np.inf))
        return np.clip(value, -end, end)


def _single(value: Array) -> Single:
    return np.ascontiguousarray(value, dtype=np.float32)


@cache
def _pool(seed: int) -> Single:
    # From now on, memory of arrays is used again: its first use costs several times as much as the arithmetic.
    np.empty(REUSED, dtype=np.uint8)
    return np.random.default_rng(seed).standard_normal(POOL, dtype=np.float32)

"""Dies of the software model: the network runs with the errors of its rows and states, without a circuit.

A die is one normal number for each row and each state, times the standard deviations of
:class:`~cmru_hw.circuits.row_errors.NetworkErrors`. The consequences of a wrong decision are those of the software
model: the state that it leaves, the layers that read that state, and the class. Dies of one seed are the same with and
without a source of errors, so that their difference is its effect.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cmru_hw.analysis.montecarlo import statistics
from cmru_hw.circuits import row_errors
from cmru_hw.circuits.input_range import InputRange
from cmru_hw.circuits.row_errors import LayerErrors, NetworkErrors, RowErrors, RowTrim
from cmru_hw.core.signals import Array
from cmru_hw.nn.cells import Network, WindowLayer, classify, valid_timesteps
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences

# Numbers of one tensor at a time: more do not fit a processor's cache.
AT_ONCE = 200_000
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
        return statistics.within_drop(self.accuracy, self.software, drop)


def run(
    trained: Trained,
    errors: NetworkErrors,
    sequences: Sequences,
    *,
    dies: int,
    seed: int = 0,
    without: Collection[str] = (),
) -> SoftwareDies:
    """Run ``dies`` dies of ``errors`` on ``sequences``; sources of ``without`` have no errors.

    Decisions are compared with those of ``trained`` with clamped inputs, and classes with labels or, without labels,
    with those of ``trained``.
    """
    inputs, lengths = torch.from_numpy(sequences.inputs), torch.from_numpy(sequences.lengths)
    with torch.inference_mode():
        expected = clamped_network(trained, errors.inputs)(inputs, lengths)
        rule = trained.config.decision
        own = classify(trained.network()(inputs, lengths).logits, lengths, rule)
        right = own if sequences.labels is None else torch.from_numpy(sequences.labels)
        valid = valid_timesteps(lengths, inputs.shape[1])
        network = clamped_network(errors.realised, errors.inputs)
        # a die with errors of weights has weights of its own
        numbers = inputs.shape[0] * inputs.shape[1] * max(trained.config.units)
        count = 1 if errors.linear else max(1, AT_ONCE // numbers)
        accuracy, wrong = [], np.zeros(len(errors.layers))
        for first in range(0, dies, count):
            some = min(count, dies - first)
            drawn = _Dies(network, errors, inputs.shape[:2], range(first, first + some), seed, without)
            logits, decisions = drawn.forward(inputs, lengths)
            classes = classify(logits, lengths.repeat(some), rule).view(some, -1)
            accuracy.append((classes == right).double().mean(dim=1))
            for index, (got, wanted) in enumerate(zip(decisions, expected.decisions, strict=True)):
                differ = got.view(some, *wanted.shape) != wanted
                wrong[index] += int((differ & valid[:, :, None]).sum())
    totals = dies * int(valid.sum()) * np.array(trained.config.units)
    return SoftwareDies(
        accuracy=torch.cat(accuracy).numpy(),
        software=float((own == right).double().mean()),
        wrong=tuple((wrong / totals).tolist()),
    )


def clamped_network(trained: Trained, inputs: InputRange) -> Network:
    """The network of ``trained`` in single precision, with inputs clamped to the range of a circuit."""
    network = trained.network()
    low, high = inputs.limits()
    network.input.limits = low.float(), high.float()
    return network


def accuracy(trained: Trained, changed: Network, sequences: Sequences) -> float:
    """Share of ``sequences`` that the network ``changed`` classifies as labelled or, without labels, as ``trained``."""
    inputs, lengths = torch.from_numpy(sequences.inputs), torch.from_numpy(sequences.lengths)
    with torch.inference_mode():
        own, found = (
            classify(network(inputs, lengths).logits, lengths, trained.config.decision)
            for network in (trained.network(), changed)
        )
    right = own if sequences.labels is None else torch.from_numpy(sequences.labels)
    return float((found == right).double().mean())


class _Dies:
    """Some dies of a network at once, as sequences one after the other: dies first."""

    def __init__(
        self,
        network: Network,
        errors: NetworkErrors,
        shape: torch.Size,
        numbers: range,
        seed: int,
        without: Collection[str],
    ) -> None:
        self.network, self.without = network, without
        self.count, (self.sequences, self.timesteps) = len(numbers), shape
        self.draws = [np.random.default_rng([seed, number]) for number in numbers]
        self.places = np.random.default_rng([seed, numbers.start, numbers.stop])
        self.pool = _pool(seed)
        # common to all units of a die: the constant's line, and mean and difference of the packet references
        self.bias, self.mean, self.difference = (self.normal(1) for _ in range(3))
        self.layers = [_LayerDies(self, layer, one) for layer, one in zip(network.layers, errors.layers, strict=True)]
        self.readout = _Rows(self, errors.readout)
        self.weights = self._weights(errors) if errors.linear and self.on(row_errors.MIRRORS) else {}

    def _weights(self, errors: NetworkErrors) -> dict[str, Tensor]:
        """Weights and biases of the first die, by name."""
        known, found = dict(self.network.named_parameters()), {}
        constant = self.normal(1).item()
        for name, one in errors.linear.items():
            rows, columns = one.weight.shape
            own = self.normal(rows * columns).view(rows, columns) * _tensor(one.weight)
            shared = self.normal(columns).view(columns), self.normal(columns).view(columns)
            factor = 1 + own + shared[0] * _tensor(one.line) + shared[1] * _tensor(one.fold)
            row = (1 + self.normal(rows).view(rows) * _tensor(one.row))[:, None]
            bias = 1 + self.normal(rows).view(rows) * _tensor(one.bias) + constant * one.constant
            found[f"{name}.weight"] = known[f"{name}.weight"] * factor * row
            found[f"{name}.bias"] = known[f"{name}.bias"] * bias * row[:, 0]
        return found

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Classes' logits (dies × sequences, timesteps, classes), and decisions by layer."""
        self.network.perturb = self._perturb
        try:
            given = inputs.repeat(self.count, 1, 1), lengths.repeat(self.count)
            out = torch.func.functional_call(self.network, self.weights, given)
        finally:
            self.network.perturb = None
        logits = self.grid(out.logits.transpose(0, 1).contiguous()) + self.readout.static[0]
        logits = self.readout.noisy(logits, 0)
        return logits.flatten(1, 2).transpose(0, 1), out.decisions

    def _perturb(self, layer: int, signal: str, value: Tensor) -> Tensor:
        one = self.layers[layer]
        if signal == "threshold":
            return one.threshold(value)
        changed = one.candidate(self.grid(value)) if signal == "candidate" else one.output(self.grid(value))
        return changed.reshape(value.shape)

    def grid(self, value: Tensor) -> Tensor:
        """(timesteps, dies × sequences, units) → (timesteps, dies, sequences, units)."""
        return value.view(self.timesteps, self.count, self.sequences, -1)

    def normal(self, units: int) -> Tensor:
        """(1, dies, 1, units) standard normal numbers, a function of seed and die."""
        return torch.from_numpy(np.stack([one.standard_normal(units) for one in self.draws])).float()[None, :, None]

    def noise(self, like: Tensor) -> Tensor:
        """Standard normal numbers of the shape of ``like``, others at each call."""
        count = like.numel()
        if count > POOL // 2:
            return torch.from_numpy(self.places.standard_normal(like.shape, dtype=np.float32))
        first = int(self.places.integers(POOL - count))
        return self.pool[first : first + count].view(like.shape)

    def on(self, source: str) -> float:
        return 0.0 if source in self.without else 1.0


class _Rows:
    """Errors of rows. ``static`` has one entry per row, (1 or timesteps, dies, 1 or sequences, units)."""

    def __init__(self, dies: _Dies, errors: RowErrors) -> None:
        self.dies = dies
        count, units = errors.noise.shape
        self.static: list[Tensor] = [torch.zeros(1, dies.count, 1, units) for _ in range(count)]
        for name, sigma in errors.per_row.items():
            self._add(name, sigma, [dies.normal(units) for _ in range(count)])
        for name, sigma in errors.per_unit.items():
            self._add(name, sigma, [dies.normal(units)] * count)
        for name, sigma in errors.per_die.items():
            self._add(name, sigma, [dies.bias] * count)
        if errors.trim is not None:
            self._trim(errors.trim, [(dies.normal(units), dies.normal(units)) for _ in range(count)])
        noise = errors.noise * dies.on(row_errors.NOISE)
        self.sigma, self.quiet = [_grid(row) for row in noise], not noise.any()

    def _add(self, name: str, sigma: Array, drawn: Sequence[Tensor]) -> None:
        for row, normal in enumerate(drawn):
            own = sigma[min(row, len(sigma) - 1)]
            if own.any() and self.dies.on(name):
                self.static[row] = self.static[row] + _grid(own) * normal

    def _trim(self, trim: RowTrim, drawn: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Add the offsets that the codes of each row leave."""
        if not self.dies.on(row_errors.TRIMMED):
            return
        for row, (offset, noise) in enumerate(drawn):
            left = trim.left(offset.double().numpy() * trim.before[row], noise.double().numpy() * trim.noise[row])
            self.static[row] = self.static[row] + _tensor(left / trim.scale[row])

    def noisy(self, value: Tensor, row: int) -> Tensor:
        """``value`` with the noise of a row."""
        return value if self.quiet else torch.addcmul(value, self.dies.noise(value), self.sigma[row])


class _LayerDies:
    """The errors of one layer, in the places where a network takes them."""

    def __init__(self, dies: _Dies, layer: nn.Module, errors: LayerErrors) -> None:
        self.dies, self.window = dies, layer if isinstance(layer, WindowLayer) else None
        self.rows, states = _Rows(dies, errors.rows), errors.states
        self.alpha = None if errors.alpha is None else _Rows(dies, errors.alpha)
        units = errors.rows.noise.shape[-1]
        amplifier = dies.normal(units) * dies.on(row_errors.AMPLIFIERS)
        references, gain = dies.on(row_errors.REFERENCES), dies.on(row_errors.GAIN)
        self.offset = _grid(states.offset) * amplifier
        self.kick = _grid(states.kick) * amplifier + _grid(states.kick_die) * dies.difference * references
        self.size = dies.mean * states.size_die * references - _grid(states.short) * gain
        for name, sigma in states.size.items():
            self.size = self.size + dies.normal(units) * _grid(sigma) * dies.on(name)
        self.lost, self.walk = _grid(states.lost) * gain, _grid(states.walk) * dies.on(row_errors.NOISE)
        self.droop = _grid(states.droop) * dies.on(row_errors.LEAKAGE)
        self.limit = dies.normal(units) * _grid(states.limit) * dies.on(row_errors.LIMITS)
        self.shift, self.seen, self.width = torch.zeros(()), torch.zeros(()), torch.zeros(())

    def candidate(self, value: Tensor) -> Tensor:
        if self.window is None:
            return value
        low, high = self.rows.static
        mean, shift = (low + high) / 2, (high - low) / 2
        # the two rows carry candidate ∓ threshold
        if not self.rows.quiet:
            one, other = (self.dies.noise(value) * sigma for sigma in self.rows.sigma)
            mean, shift = mean + (one + other) / 2, shift + (other - one) / 2
        self.shift, self.seen = shift, value + mean
        return self.seen

    def threshold(self, value: Tensor) -> Tensor:
        if self.window is None:
            moved = torch.stack([own - error for own, error in zip(value, self.rows.static, strict=True)], dim=-2)
            # a row that is off by an error has its threshold off by as much the other way
            return moved.expand(*moved.shape[:2], self.dies.sequences, *moved.shape[3:]).flatten(1, 2)
        self.width = self.dies.grid(value) + self.shift
        return self.width.reshape(value.shape)

    def output(self, value: Tensor) -> Tensor:
        """h with the errors of its state."""
        packets, wrong = self._packets(value)
        found = value * (1 + self.size) + self.offset + wrong
        if self.kick.any() or self.lost.any():
            found = found + packets * (self.kick - self.lost * value / 2)
        if self.walk.any():
            found = found + packets.sqrt() * self.walk * self.dies.noise(value)
        if self.droop.any():
            found = found + self.droop * torch.arange(1, len(value) + 1)[:, None, None, None]
        return self._limited(found)

    def _packets(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """The number of packets so far, and what errors of α have added to h."""
        none = torch.zeros(())
        if self.window is None or not (self.kick.any() or self.walk.any() or self.alpha):
            return none, none
        if self.alpha is not None:
            moves = (self.seen.abs() >= self.width.abs()).float()
            error = self.alpha.noisy(self.alpha.static[0].expand(value.shape), 0)
            return 1 + moves.cumsum(0), (moves * torch.sign(self.seen) * error).cumsum(0)
        if self.window.config.epsilon == 0.0:
            return torch.ones(()), none
        begun = (torch.as_tensor(self.window.alpha) * self.window.initial_state).expand(1, *value.shape[1:])
        before = torch.cat((begun, value[:-1]))
        # the power-on packet is the first
        return 1 + (value != before).float().cumsum(0), none

    def _limited(self, value: Tensor) -> Tensor:
        """A limit that is half a level too low ends the range one level early."""
        early = self.limit < -0.5
        levels = None if self.window is None else self.window.highest
        if self.window is None or levels is None or not early.any():
            return value
        size = torch.as_tensor(self.window.alpha).abs()
        end = torch.where(early, size * (levels - 0.5), torch.inf)
        return value.clamp(-end, end)


def _tensor(value: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(value)).float()


def _grid(value: Array) -> Tensor:
    """(units,) or (sequences, timesteps, units) → (1 or timesteps, 1, 1 or sequences, units)."""
    made = _tensor(value)
    return made[None, None, None] if made.ndim == 1 else made.transpose(0, 1)[:, None].contiguous()


@cache
def _pool(seed: int) -> Tensor:
    return torch.randn(POOL, generator=torch.Generator().manual_seed(seed))

"""The recurrent cells, and the network that circuits are made from.

Notation: x_t is a layer's input, ⊙ element-wise, H the step with H(0) = 1, sgn the sign with sgn(0) = +1.

=========  ============================  ==========================  ================================  =======
cell       candidate                     threshold                   state update                      output
=========  ============================  ==========================  ================================  =======
bmru       c = W_c x + b_c               β = W_β x + b_β             s ← z sgn(c) + (1−z) s            h = α⊙s
cmru       same                          same                        s ← s + z sgn(c)                  h = α⊙s
eps        same                          same                        s ← z (sgn(c) + ε s) + (1−z) s    h = α⊙s
acmru      same                          same                        h ← h + z α(x) sgn(c)             h
fq-bmru    ĉ = ReLU(W_c ReLU(x) + b_c)   β_lo, β_hi = β_lo + δ       s ← 1 | 0 | s (set, reset, hold)  h = α⊙s
=========  ============================  ==========================  ================================  =======

The gate is z = H(|c| − |β|); ``bmru`` is ε = 0 and ``cmru`` is ε = 1. A unit with W_β = 0 has a fixed threshold.
fq-bmru sets where ĉ ≥ β_hi, resets where ĉ < β_lo, and holds between.

Sources: BMRU arXiv:2601.09495; CMRU, the ε family and αCMRU arXiv:2605.11855; FQ-BMRU arXiv:2605.15216. That α of
αCMRU is an affine function of the input, α(x) = W_α x + b_α, is our reading of that paper's "relaxed variant".

**One mechanism.** c and β depend on the layer's input and never on its state, so each update is a known map
``x → clamp(a x + b, lo, hi)`` with a ≥ 0. This is the recurrence of :mod:`cmru_hw.nn.scan`, which can be computed in
parallel or step by step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from cmru_hw.core.errors import InputError
from cmru_hw.nn import levels
from cmru_hw.nn.cell_config import DECISIONS, CellConfig
from cmru_hw.nn.scan import Bound, loop, parallel, scan

Mode = Literal["scan", "parallel", "loop"]
Perturb = Callable[[int, str, Tensor], Tensor]
"""``perturb(layer, signal, value) -> value``, signal "candidate", "threshold" or "output", (time, batch, units).

Training uses it to add noise, offsets, dropout or a model of the hardware to a network.
"""
Override = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""``override(layer, candidate, threshold, decision) -> decision``, all (time, batch, units).

It continues software from decisions that something else made, such as a circuit where two answers are right.
"""


# --- Decisions ---------------------------------------------------------------------------------------------------


class _Step(torch.autograd.Function):
    """``low`` for negative arguments, else 1; the surrogate gradient is the derivative of a scaled arctangent."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float, low: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope, ctx.height = slope, 1.0 - low
        # The comparison writes floats: torch.where and booleans take several times as long.
        return torch.ge(x, 0, out=torch.empty_like(x)).mul_(ctx.height).add_(low)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return grad * (ctx.height * ctx.slope) / (1 + (torch.pi * ctx.slope * x).square()), None, None


def heaviside(x: Tensor, slope: float = 1.0) -> Tensor:
    """H(x) with H(0) = 1; surrogate gradient a / (1 + (π a x)²) for ``slope`` a."""
    step: Tensor = _Step.apply(x, slope, 0.0)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return step


def sign(x: Tensor, slope: float = 1.0) -> Tensor:
    """sgn(x) with sgn(0) = +1; surrogate gradient 2 a / (1 + (π a x)²) for ``slope`` a."""
    step: Tensor = _Step.apply(x, slope, -1.0)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return step


def gate(candidate: Tensor, threshold: Tensor, slope: float = 1.0) -> Tensor:
    """z = H(|c| − |β|) in {0, 1}: whether the unit moves."""
    return heaviside(candidate.abs() - threshold.abs(), slope)


def decide(candidate: Tensor, threshold: Tensor, slope: float = 1.0) -> Tensor:
    """d = z sgn(c) in {−1, 0, +1}: down, hold, up. Differentiable through the surrogates."""
    return gate(candidate, threshold, slope) * sign(candidate, slope)


# --- Layers ------------------------------------------------------------------------------------------------------


class Update(NamedTuple):
    """All quantities of a layer before its recurrence; a and b are those of :func:`scan`, all (time, batch, units).

    Exceptions: ``threshold`` of fq-bmru is (2, units), rows β_lo and β_hi; ``alpha`` is (units,) except in αCMRU.
    """

    a: Tensor | None
    b: Tensor
    decision: Tensor
    candidate: Tensor
    threshold: Tensor
    alpha: Tensor


class Packets(NamedTuple):
    """How the integrators of an αCMRU circuit take a packet, (units,) each.

    A decision d changes the state h to (1 − ``lost`` |d|) h + ``share`` d α + ``error`` |d|.
    """

    share: Tensor
    error: Tensor
    lost: Tensor


Perturbed = Callable[[str, Tensor], Tensor]
Overridden = Callable[[Tensor, Tensor, Tensor], Tensor]


class WindowLayer(nn.Module):
    """bmru, cmru, eps and acmru: a window comparison of |c| with |β| moves an integrator up or down, or holds it.

    ``highest`` is the largest level K: of all units, of each (units,), or None. It is a part of the configuration, so
    it is not among the tensors of a checkpoint. ``packets``: those of a circuit, in training on dies; None: exact ones.
    """

    initial_state: Tensor
    highest: Bound

    def __init__(
        self, config: CellConfig, *, inputs: int, units: int, highest: int | tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.packets: Packets | None = None
        if isinstance(highest, tuple):
            self.register_buffer("highest", torch.tensor(highest, dtype=torch.get_default_dtype()), persistent=False)
        else:
            self.highest = None if highest is None else float(highest)
        self.candidate = nn.Linear(inputs, units)
        self.threshold = nn.Linear(inputs, units)
        self.alpha = nn.Linear(inputs, units) if config.cell == "acmru" else nn.Parameter(torch.ones(units))
        self.register_buffer("initial_state", torch.ones(units))

    def update(
        self, x: Tensor, *, epsilon: float, slope: float, perturb: Perturbed, override: Overridden | None = None
    ) -> Update:
        candidate = perturb("candidate", self.candidate(x))
        threshold = perturb("threshold", self.threshold(x))
        moves = gate(candidate, threshold, slope)
        decision = moves * sign(candidate, slope)
        if override is not None:
            decision = override(candidate, threshold, decision)
            moves = decision.abs()
        if isinstance(self.alpha, nn.Linear):
            alpha = self.alpha(x)
            if (packets := self.packets) is None:
                return Update(None, decision * alpha, decision, candidate, threshold, alpha)
            sent = decision * alpha * packets.share + moves * packets.error
            return Update(1 - packets.lost * moves, sent, decision, candidate, threshold, alpha)
        keeps = None if epsilon == 1 else 1 - (1 - epsilon) * moves
        return Update(keeps, decision, decision, candidate, threshold, self.alpha)

    def read(self, states: Tensor) -> Tensor:
        """h from s. In αCMRU the integrated state is already h."""
        return states if isinstance(self.alpha, nn.Linear) else self.alpha * states


class HysteresisLayer(nn.Module):
    """fq-bmru: comparison of a non-negative candidate with two fixed thresholds sets, resets or holds a bit.

    Its two states are 0 and 1, so no level limit applies.
    """

    initial_state: Tensor
    highest: Bound = None

    def __init__(self, config: CellConfig, *, inputs: int, units: int, outputs: int) -> None:
        super().__init__()
        self.config = config
        self.candidate = nn.Linear(inputs, units)
        self.low = nn.Parameter(torch.full((units,), 0.3))
        self.width = nn.Parameter(torch.full((units,), 0.3))
        self.alpha = nn.Parameter(torch.ones(units))
        self.output = nn.Linear(units, outputs)
        self.register_buffer("initial_state", torch.zeros(units))

    def update(
        self, x: Tensor, *, epsilon: float, slope: float, perturb: Perturbed, override: Overridden | None = None
    ) -> Update:
        if override is not None:
            raise InputError("decisions of an fq-bmru cannot be overridden: it sets and resets its state directly")
        candidate = perturb("candidate", torch.relu(self.candidate(torch.relu(x))))
        threshold = perturb("threshold", torch.stack((self.low, self.low + self.width)))
        not_low, high = heaviside(candidate[..., None, :] - threshold, slope).unbind(-2)
        return Update(not_low - high, high, not_low + high - 1, candidate, threshold, self.alpha)

    def read(self, states: Tensor) -> Tensor:
        return self.alpha * states


# --- Network -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class NetworkOutput:
    """All signals of a network. Tuples have one entry per layer, (batch, time, units) unless stated otherwise.

    ``logits`` is (batch, time, classes). ``decisions`` is int8: +1 up, −1 down, 0 hold (fq-bmru: set, reset, hold).
    ``states`` are s in levels (αCMRU: h), ``outputs`` are h, ``candidates`` c and ``thresholds`` β the
    pre-activations (fq-bmru: ĉ, and (2, units) with rows β_lo and β_hi). ``alphas`` is (units,), for αCMRU α(x_t).
    """

    logits: Tensor
    decisions: tuple[Tensor, ...]
    states: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    candidates: tuple[Tensor, ...]
    thresholds: tuple[Tensor, ...]
    alphas: tuple[Tensor, ...]


class Scaling(nn.Module):
    """The fixed affine map of the features, scale ⊙ x + offset. Both are buffers, because they are not trained.

    ``limits``: lower and upper limits (features,) of the result, to which it is clamped as the input drivers of a
    circuit do; None (no limits) in a network that is loaded.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.limits: tuple[Tensor, Tensor] | None = None
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("offset", torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        scaled = torch.addcmul(self.offset, self.scale, x)
        return scaled if self.limits is None else torch.clamp(scaled, *self.limits)


class Network(nn.Module):
    """Input scaling → layers of cells → linear readout at every timestep. Every part has a circuit.

    ``units`` has one entry per layer. With ``skip``, layer l > 0 sees ``concat(h_{l−1}, u_{l−1})``, where u_{l−1} is
    the input of layer l−1, so inputs accumulate. The readout sees only the last layer's h.

    fq-bmru has its own backbone: a linear projection to ``widths[0]``, then per layer x → ReLU(W_o h + b_o) of
    ``widths[l+1]`` rows. Its ``skip`` is a residual connection, x + ReLU(...), in the layers whose width allows one.
    ``widths`` defaults to the first layer's units followed by ``units``; other cells have none.

    Training varies ``slope`` (of the surrogate gradients), ``epsilon`` and ``perturb``. A loaded network has slope 1,
    its own ε, and no perturbation. ``override`` replaces decisions of a trained network.
    """

    def __init__(
        self,
        config: CellConfig,
        *,
        features: int,
        units: tuple[int, ...],
        classes: int,
        skip: bool = False,
        widths: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        if not units or min(features, classes, *units) < 1:
            raise InputError(f"a network of {features} features, {units} units and {classes} classes cannot be made")
        self.config, self.skip = config, skip
        self.epsilon, self.slope = config.epsilon, 1.0
        self.perturb: Perturb | None = None
        self.override: Override | None = None
        self.input = Scaling(features)
        if config.cell == "fq-bmru":
            widths = widths or (units[0], *units)
            if len(widths) != len(units) + 1:
                raise InputError(f"{len(units)} layers need {len(units) + 1} widths, not {len(widths)}")
            self.projection = nn.Linear(features, widths[0])
            self.layers = nn.ModuleList(
                HysteresisLayer(config, inputs=i, units=u, outputs=o)
                for i, u, o in zip(widths, units, widths[1:], strict=False)
            )
            self.readout = nn.Linear(widths[-1], classes)
            return
        inputs = [features]
        for size in units[:-1]:
            inputs.append(size + inputs[-1] if skip else size)
        levels.checked(config.levels, units)
        self.layers = nn.ModuleList(
            WindowLayer(config, inputs=i, units=u, highest=levels.of_layer(config.levels, index))
            for index, (i, u) in enumerate(zip(inputs, units, strict=True))
        )
        self.readout = nn.Linear(units[-1], classes)

    def forward(self, x: Tensor, lengths: Tensor | None = None, *, mode: Mode = "scan") -> NetworkOutput:
        """``x`` (batch, time, features) in the data's own units; ``lengths`` (batch,) counts the valid timesteps.

        A sequence is held after its length: there is no decision, and states do not change. ``mode`` selects a form of
        the recurrence (:mod:`cmru_hw.nn.scan`); all forms are equal.
        """
        recur = {"scan": scan, "parallel": parallel, "loop": loop}[mode]
        valid = None if lengths is None else valid_timesteps(lengths, x.shape[1]).T[..., None]
        # Internally time is the first axis, so that the scan works in place without a transposition.
        seen = self.input(_swap(x).contiguous())
        if self.config.cell == "fq-bmru":
            seen = self.projection(seen)
        records: list[tuple[Tensor, ...]] = []
        for index, layer in enumerate(self._layers()):
            override = None if self.override is None else functools.partial(self.override, index)
            update = layer.update(
                seen, epsilon=self.epsilon, slope=self.slope, perturb=self._perturbed(index), override=override
            )
            a, b, decision = update.a, update.b, update.decision
            if valid is not None:
                a = None if a is None else torch.where(valid, a, 1)
                b, decision = b * valid, decision * valid
            highest = layer.highest
            lowest = None if highest is None else -highest
            packets = None if a is None else _swap(a), _swap(b)
            states = _swap(recur(*packets, layer.initial_state, lowest, highest))
            h = self._perturbed(index)("output", layer.read(states))
            record = (decision.to(torch.int8), states, h, update.candidate, update.threshold, update.alpha)
            records.append(tuple(map(_swap, record)))
            if isinstance(layer, HysteresisLayer):
                new = torch.relu(layer.output(h))
                seen = seen + new if self.skip and new.shape == seen.shape else new
            else:
                seen = torch.cat((h, seen), dim=-1) if self.skip and index + 1 < len(self.layers) else h
        decisions, states_, outputs, candidates, thresholds, alphas = zip(*records, strict=True)
        return NetworkOutput(
            logits=_swap(self.readout(seen)),
            decisions=decisions,
            states=states_,
            outputs=outputs,
            candidates=candidates,
            thresholds=thresholds,
            alphas=alphas,
        )

    def _layers(self) -> Iterator[WindowLayer | HysteresisLayer]:
        yield from self.layers  # type: ignore[misc]  # a ModuleList yields Module

    def _perturbed(self, layer: int) -> Perturbed:
        perturb = self.perturb
        if perturb is None:
            return lambda _, value: value
        return lambda signal, value: perturb(layer, signal, value)


def _swap(x: Tensor) -> Tensor:
    """(batch, time, ...) ⇄ (time, batch, ...), as a view. An array without these axes is returned unchanged."""
    return x.transpose(0, 1) if x.ndim == 3 else x


def valid_timesteps(lengths: Tensor, time: int) -> Tensor:
    """(batch, time), true for the first ``lengths[i]`` timesteps of sequence i."""
    return torch.arange(time, device=lengths.device) < lengths[:, None]


def classify(logits: Tensor, lengths: Tensor | None, decision: str) -> Tensor:
    """Class index (batch,) from ``logits`` (batch, time, classes) over the valid timesteps.

    ``decision`` is "mean" (argmax of the mean logits), "last" (argmax at the last valid timestep) or "majority" (the
    class that wins most timesteps). A tie goes to the lower index.
    """
    if decision not in DECISIONS:
        raise InputError(f"decision {decision!r} is unknown; it must be one of {', '.join(DECISIONS)}")
    return evidence(logits, lengths, decision).argmax(dim=-1)


def evidence(logits: Tensor, lengths: Tensor | None, decision: str) -> Tensor:
    """(batch, classes): the values whose argmax :func:`classify` returns."""
    batch, time, classes = logits.shape
    if lengths is None:
        lengths = torch.full((batch,), time, device=logits.device)
    if decision == "last":
        return logits[torch.arange(batch), lengths - 1]
    votes = logits if decision == "mean" else nn.functional.one_hot(logits.argmax(-1), classes)
    valid = valid_timesteps(lengths, time)[..., None]
    return (votes * valid).sum(dim=1) / lengths[:, None]

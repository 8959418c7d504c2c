"""Fine-tuning with a circuit's mismatch, quantization and noise in the loop, and its effect on dies.

Every optimizer step sees one die. The network is mapped to capacitors
(:func:`cmru_hw.circuits.charge.mapping.map_network`, which rounds them to available sizes), and dies are drawn by the
technology's own laws (:func:`cmru_hw.circuits.charge.variation.draw`). Their capacitors, packets, references and
comparator offsets (after trim, if any) are converted back to software numbers, and the step adds the deviation of
these from the trained numbers. Inputs are clamped to the range of the circuit. Gradients pass to the trained weights
unchanged (straight-through estimator: Bengio, Léonard and Courville, arXiv:1308.3432). kT/C noise of the rows and
comparator noise are drawn for each decision. The packets of an αCMRU carry the offset and the finite gain of their
amplifiers: its state is a sum of packets that no level limit ends.

Not in the loop, but in the dies that judge the result: leakage, charge injection, the offset of the level limit, 1/f
noise, noise of packets, and finite gain and settling of other cells.

Dies of training are never dies of a Monte-Carlo, because their random numbers have other seeds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.result import DieStatistics
from cmru_hw.analysis.montecarlo.statistics import scores, summary
from cmru_hw.circuits.charge import mapping, trim, trim_search, variation
from cmru_hw.circuits.charge.design import Calibration, Design, Layer, Row
from cmru_hw.circuits.charge.fast import integrators
from cmru_hw.circuits.charge.noise import sampled
from cmru_hw.circuits.input_range import PERCENTILE
from cmru_hw.core.errors import DataError
from cmru_hw.core.signals import Array
from cmru_hw.nn import training
from cmru_hw.nn.cells import Network, NetworkOutput, Packets, WindowLayer
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.recipes import Recipe
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process.technology import Technology

DRAWN, RECALIBRATED = 16, 64
"""Optimizer steps between mappings, each of which draws the dies of the following steps, and between calibrations:
weights change little in the first interval, and the swing of states in the second."""
STEPS = 800
"""Default number of optimizer steps of fine-tuning."""


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A network before and after tuning, each with its statistics from :func:`on_dies`."""

    trained: Trained
    before: DieStatistics
    after: DieStatistics


def recipe_of(recipe: Recipe, *, steps: int = STEPS) -> Recipe:
    """``recipe`` for continuing after training: a lower learning rate, a constant ε, and no normalisation.

    A normalisation is folded by then, and a die that is off does not normalise itself.
    """
    return replace(recipe, steps=steps, learning_rate=recipe.learning_rate / 5, annealed=0.0, normalised=False)


def fine_tune(
    trained: Trained,
    sequences: Sequences,
    technology: Technology,
    recipe: Recipe,
    *,
    seed: int = 0,
    percentile: float = PERCENTILE,
    progress: training.Progress | None = None,
) -> Trained:
    """``trained`` after ``recipe.steps`` more steps on labelled ``sequences``, each on another die of ``technology``.

    Inputs are clamped to the range that holds ``percentile`` of their timesteps, as in an export. Raises MappingError
    for a network without a charge-domain circuit, DataError without labels.
    """
    dies = _Dies(trained, sequences, technology, seed, percentile)
    tuned = training.fit(
        trained.config,
        sequences,
        recipe,
        seed=seed,
        start=trained,
        forward=dies.forward,
        perturb=dies.perturb,
        progress=progress,
    )
    notes = {"technology": technology.name, "technology_sha256": technology.sha256, "seed": seed}
    notes |= {"input_percentile": percentile}
    notes |= {"from_sha256": trained.sha256, "recipe": asdict(recipe)}
    done = {**trained.config.training, "hardware_aware": notes}
    return Trained(config=replace(trained.config, training=done, scores={}), tensors=tuned.tensors)


def on_dies(
    trained: Trained,
    technology: Technology,
    calibration: Sequences,
    data: Sequences,
    *,
    dies: int,
    seed: int = 0,
    drop: float = 0.01,
    goal: float | None = None,
    percentile: float = PERCENTILE,
) -> DieStatistics:
    """Statistics of ``dies`` dies on labelled ``data``, as in the summary of a Monte-Carlo on the fast engine.

    ``calibration`` gives the range of the inputs, which holds ``percentile`` of its timesteps. ``goal`` is the accuracy
    that a good die misses by at most ``drop``; the default is software's own accuracy. Dies are a function of the seed,
    so two networks of the same shape are judged on the same draws.
    """
    if data.labels is None:
        raise DataError("dies are judged by their accuracy; add an array 'labels' to the sequences")
    design = mapping.map_network(trained, technology, mapping.calibrate(trained, calibration, percentile=percentile))
    job = Job(design=design, trained=trained, sequences=data, seed=seed, varied=variation.select_variations(design))
    table = scores(job, range(dies))
    if goal is not None:
        drop = drop + job.goal.accuracy - goal
    return summary(job, table, drop=drop)


def improve(
    trained: Trained,
    train: Sequences,
    test: Sequences,
    technology: Technology,
    recipe: Recipe | None = None,
    *,
    dies: int = 200,
    seed: int = 0,
    drop: float = 0.01,
    percentile: float = PERCENTILE,
    progress: training.Progress | None = None,
) -> Tuned:
    """Fine-tune ``trained`` on dies of ``technology``, and summarize ``dies`` other dies before and after.

    ``train`` and ``test`` are labelled sequences; dies are judged on ``test``. ``recipe`` defaults to ``Recipe()`` with
    a fifth of its learning rate, for 800 steps. The same ``seed`` gives the same network and the same dies.

    The input range of the circuit holds ``percentile`` of the timesteps of ``train``: see `calibrate`.

    Both are judged by the software accuracy before tuning, less ``drop``. A loss of software accuracy can therefore not
    raise the yield. Raises MappingError for a network without a charge-domain circuit, DataError without labels.
    """
    recipe = recipe_of(Recipe()) if recipe is None else recipe
    judged = partial(on_dies, technology=technology, calibration=train, data=test, dies=dies, seed=seed, drop=drop)
    before = judged(trained, percentile=percentile)
    tuned = fine_tune(trained, train, technology, recipe, seed=seed, percentile=percentile, progress=progress)
    after = judged(tuned, percentile=percentile, goal=before.accuracy.software)
    found = {"train": training.accuracy(tuned, train), "test": training.accuracy(tuned, test)}
    return Tuned(
        trained=Trained(config=replace(tuned.config, scores=found), tensors=tuned.tensors), before=before, after=after
    )


class _Dies:
    """A new die for every step. :meth:`forward` computes with it, :meth:`perturb` adds the noise of its rows."""

    def __init__(
        self, trained: Trained, sequences: Sequences, technology: Technology, seed: int, percentile: float
    ) -> None:
        self.config, self.technology, self.sequences = trained.config, technology, sequences
        self.percentile = percentile
        # Seeds of Monte-Carlo runs are never negative.
        self.seed, self.step = -1 - seed, 0
        self.random = torch.Generator().manual_seed(seed)
        self.calibration: Calibration | None = None
        self.limits: tuple[Tensor, Tensor] | None = None
        self.errors: list[dict[str, Tensor]] = []
        self.noise: list[Tensor] = []
        self.packets: list[list[Packets | None]] = []

    def forward(self, network: Network, x: Tensor) -> NetworkOutput:
        if self.step % DRAWN == 0:
            self._draw(Trained.from_network(network, self.config))
            network.input.limits = self.limits
        errors = self.errors[self.step % DRAWN]
        for layer, packets in zip(network.layers, self.packets[self.step % DRAWN], strict=True):
            assert isinstance(layer, WindowLayer)
            layer.packets = packets
        self.step += 1
        values = {name: value + errors[name] for name, value in network.named_parameters()}
        output: NetworkOutput = torch.func.functional_call(network, values, (x,))
        return output

    def _draw(self, current: Trained) -> None:
        """Draw the next dies, as the deviation of each number that they compute with."""
        if self.calibration is None or self.step % RECALIBRATED == 0:
            self.calibration = mapping.calibrate(current, self.sequences, percentile=self.percentile)
        design = mapping.map_network(current, self.technology, self.calibration)
        limits = design.input_range
        self.limits = torch.from_numpy(limits.low).float(), torch.from_numpy(limits.high).float()
        numbers = range(self.step, self.step + DRAWN)
        varied = variation.select_variations(design)
        drawn = trim_search.calibrated(variation.draw(design, seed=self.seed, dies=numbers, varied=varied))
        self.noise = [torch.from_numpy(decision_noise(layer, self.technology)).float() for layer in design.layers]
        self.errors, self.packets = [], []
        for place in range(DRAWN):
            die = drawn.one(place)
            layers = zip(design.layers, die.layers, strict=True)
            self.packets.append([packets_of(meant, layer, self.technology) for meant, layer in layers])
            made = software_of(design, die)
            self.errors.append({name: value - current.tensors[name] for name, value in made.items()})

    def perturb(self, layer: int, signal: str, value: Tensor) -> Tensor:
        if signal == "output":
            return value
        return value + self.noise[layer] * torch.randn(value.shape, generator=self.random)


def software_of(nominal: Design, die: Design) -> dict[str, Tensor]:
    """The software numbers that ``die`` computes with, by name."""
    die = trim.folded(die)
    bias, parasitic = float(die.bias), die.technology.capacitor.parasitic
    reference = float(die.reference_up + die.reference_down) / 2
    found: dict[str, Array] = {}
    for index, (layer, meant) in enumerate(zip(die.layers, nominal.layers, strict=True)):
        name = f"layers.{index}"
        low, low_bias = _row(layer.low, layer.line_unit, layer.line_sign, bias, parasitic)
        high, high_bias = _row(layer.high, layer.line_unit, layer.line_sign, bias, parasitic)
        found[f"{name}.candidate.weight"], found[f"{name}.threshold.weight"] = (low + high) / 2, (high - low) / 2
        found[f"{name}.candidate.bias"] = (low_bias + high_bias) / 2
        found[f"{name}.threshold.bias"] = (high_bias - low_bias) / 2
        ratio = layer.packet / layer.integrator
        if layer.packet_row is None:
            found[f"{name}.alpha"] = layer.sign * ratio * reference / layer.unit
        else:
            factor = ratio / (meant.packet / meant.integrator)
            weight, own = _row(layer.packet_row, layer.line_unit, layer.line_sign, bias, parasitic)
            found[f"{name}.alpha.weight"], found[f"{name}.alpha.bias"] = weight * factor[:, None], own * factor
    found["readout.weight"], found["readout.bias"] = _row(
        die.readout, die.readout_unit, die.readout_sign, bias, parasitic
    )
    return {name: torch.from_numpy(np.ascontiguousarray(value)).float() for name, value in found.items()}


def packets_of(meant: Layer, layer: Layer, technology: Technology) -> Packets | None:
    """How the integrators of a die's ``layer`` take packets, in software units; None unless it is that of an αCMRU.

    They go with the numbers of :func:`software_of`. ``meant`` is the layer of the nominal design.

    The amplifier's offset adds the same amount to every packet, up or down. Finite gain shortens packets, and each
    packet takes a share of the state.
    """
    if layer.packet_row is None or meant.packet_row is None:
        return None
    ratio = layer.packet / layer.integrator
    sent, retained = integrators.sent(ratio * (1 - layer.unsettled), layer.gain)
    # A comparator sees only the sign of a row, an integrator its voltage, which the row's own total divides.
    parasitic = technology.capacitor.parasitic
    share = sent / ratio * (meant.packet_row.total + parasitic) / (layer.packet_row.total + parasitic)
    numbers = (share, -sent * layer.packet_offset / layer.unit, 1 - retained)
    return Packets(*(torch.from_numpy(np.ascontiguousarray(value)).float() for value in numbers))


def _row(row: Row, line_unit: Array, line_sign: Array, bias: float, parasitic: float) -> tuple[Array, Array]:
    """Weights and bias of a row's sum in software units. The bias includes threshold and comparator offset."""
    weights = row.weights * (line_unit * line_sign) / row.scale[:, None]
    return weights, ((row.bias + row.threshold) * bias + row.offset * (row.total + parasitic)) / row.scale


def decision_noise(layer: Layer, technology: Technology) -> Array:
    """(units,): standard deviation of the noise that a layer's two rows add to c, and to β, at each decision.

    c and β are half the sum and half the difference of the two rows, whose noise is independent.
    """
    law = technology.noise
    squares = []
    for row in (layer.low, layer.high):
        total = row.total + technology.capacitor.parasitic
        squares.append((sampled(technology, total, replica=True) + law.comparator**2) * (total / row.scale) ** 2)
    return np.sqrt(squares[0] + squares[1]) / 2

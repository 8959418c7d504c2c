"""Training on a task: AdamW, surrogate gradients, ε annealing, augmentation; reproducible from its seed.

What trains is what is built: saturation (``levels``) and quantized decisions are in the loop, never added afterwards.
Hardware-aware training (:mod:`cmru_hw.analysis.hardware_aware`) enters through ``forward``, which may compute with
the weights of a die, and through ``perturb`` (see :data:`cmru_hw.nn.cells.Perturb`), which may put noise between any
layer's weighted sums and its decisions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cmru_hw.core.errors import DataError, InputError
from cmru_hw.nn import margin_loss, tasks
from cmru_hw.nn.cells import (
    HysteresisLayer,
    Network,
    NetworkOutput,
    Perturb,
    WindowLayer,
    classify,
    evidence,
    valid_timesteps,
)
from cmru_hw.nn.checkpoint import ModelConfig, Sequences, Trained

EVENLY = 32
"""Timesteps to which sequences are resampled before they are averaged."""
SHRINKAGE = 0.15
"""Of the teacher's covariance."""

Progress = Callable[[int, int, float], None]
"""``progress(step, steps, loss)`` after every optimiser step."""
Forward = Callable[[Network, Tensor], NetworkOutput]
"""``forward(network, x)``: what a step computes, where that is not the network as it stands."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train. Lengths of time are optimiser steps; noise is in standard deviations of each feature."""

    steps: int = 1500
    batch: int = 64
    learning_rate: float = 0.01
    weight_decay: float = 0.01
    """On weight matrices only: biases, thresholds' biases and α are operating points."""
    slope: float = 1.0
    """Of the surrogate gradients: smaller is wider."""
    annealed: float = 0.7
    """Share of the steps over which ε goes from 1 to its target; for a target of 1 there is nothing to do."""
    average: float = 0.995
    """Exponential moving average of the weights, which is what comes out; 0 is the last step alone."""
    smoothing: float = 0.05
    """Label smoothing."""
    dropout: float = 0.0
    """Share of units whose output is silenced for a whole sequence."""
    noise: float = 0.0
    """Drawn anew at every timestep."""
    shift: float = 0.0
    """Noise that stays for a whole sequence: a channel, a microphone."""
    crop: float = 0.0
    """Largest share of a sequence that is cut off at either end."""
    stretch: float = 0.0
    """Largest log of the factor by which time is stretched or compressed."""
    mixed: float = 0.0
    """Share of sequences that are made: the mean course of their class, with the deviations that two other sequences,
    of any class, have from the mean courses of theirs. It helps where classes vary in the same way."""
    taught: float = 0.0
    """Share of the target that is a teacher's opinion: a linear discriminant of whole sequences, from the same data.
    It knows how sure one may be of a sequence, which its label does not say."""
    alpha: float = 0.3
    """Initial α of every unit."""
    threshold: float = 0.5
    """Initial threshold bias of every unit, where candidates start with a standard deviation of order 1."""
    dependent: bool = True
    """Thresholds depend on the input; else W_β is zero and stays so."""
    swing: float = 4.0
    """αCMRU: |h| beyond this many median |α| is penalised, because h must fit between the rails. Its |α| starts at 1,
    the size of its initial state."""
    row_margin: float = 0.0
    """Decisions closer to another than this share of the swing are penalised (:mod:`cmru_hw.nn.margin_loss`); 0: none.
    Every feature is then scaled to the whole swing, and α is not trained: every unit's levels are as far apart as the
    swing allows, and the weights that read them make up for it. In the end small weights are taken out."""


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "vowels": Recipe(steps=2500, slope=0.5, noise=0.2, shift=0.15, crop=0.1, stretch=0.15, mixed=0.9, taught=0.9),
        # "Not this speaker" is eight speakers with nothing in common: neither a mean course nor a teacher helps.
        "detect": Recipe(slope=0.5, noise=0.3, shift=0.15, crop=0.1, stretch=0.15),
        "digits": Recipe(noise=0.1, shift=0.1, dropout=0.05, steps=3000),
        # More noise than there is: what is held in it is held by 9 of the data's own deviations, so for any time.
        "flipflop": Recipe(
            steps=600,
            learning_rate=0.03,
            slope=0.3,
            smoothing=0.0,
            weight_decay=0.0,
            noise=0.4,
            threshold=1.0,
            dependent=False,
        ),
    }
)
"""The recipe of each task. What mattered was chosen by :func:`cross_validate` on the training sequences alone."""


@contextmanager
def _one_thread() -> Iterator[None]:
    """These networks are too small to share: more threads are slower, and their number would change the rounding."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(
    task: str | tasks.Task,
    *,
    cell: str = "cmru",
    units: tuple[int, ...] = (16, 16),
    epsilon: float | None = None,
    levels: int | None = 7,
    skip: bool = True,
    decision: str | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
    command: str = "",
    perturb: Perturb | None = None,
    progress: Progress | None = None,
) -> Trained:
    """A network of ``units`` per layer, trained on all training sequences and scored once on the test sequences.

    ``epsilon`` is needed for cell "eps" and follows from the others. ``levels`` is the saturation K. ``decision``
    defaults to the mean over timesteps (flipflop: the last timestep). ``recipe`` defaults to the task's own.
    ``command`` is noted in the checkpoint. The same arguments give the same weights on the same kind of machine.
    """
    chosen = tasks.get(task) if isinstance(task, str) else task
    recipe = recipe or RECIPES.get(chosen.name, Recipe())
    decision = decision or ("last" if chosen.name == "flipflop" else "mean")
    if epsilon is None:
        if cell == "eps":
            raise InputError("cell 'eps' needs an epsilon between 0 (forget) and 1 (accumulate); give one")
        epsilon = 0.0 if cell in ("bmru", "fq-bmru") else 1.0
    config = ModelConfig(
        cell=cell,
        epsilon=epsilon,
        levels=levels,
        skip=skip,
        decision=decision,
        classes=chosen.classes,
        features=chosen.train.inputs.shape[2],
        units=units,
        widths=(units[0], *units) if cell == "fq-bmru" else None,
        task={"name": chosen.name, **chosen.notes},
        training={"seed": seed, "command": command, "recipe": asdict(recipe)},
    )
    trained = fit(config, chosen.train, recipe, seed=seed, perturb=perturb, progress=progress)
    scores = {"train": accuracy(trained, chosen.train), "test": accuracy(trained, chosen.test)}
    return Trained(config=replace(config, scores=scores), tensors=trained.tensors)


@_one_thread()
def fit(
    config: ModelConfig,
    sequences: Sequences,
    recipe: Recipe,
    *,
    seed: int,
    start: Trained | None = None,
    forward: Forward = Network.__call__,
    perturb: Perturb | None = None,
    progress: Progress | None = None,
) -> Trained:
    """The network of ``config`` fitted to labelled ``sequences``, from ``start`` on or from one that is drawn."""
    if sequences.labels is None:
        raise DataError("training needs labels; add an array 'labels' to the sequences")
    random = torch.Generator().manual_seed(seed)
    mean, spread = _moments(sequences)
    centre, unit = _ranges(sequences, spread) if recipe.row_margin else (mean, spread)
    network = _initial(config, recipe, centre, unit, random)
    if start is not None:
        network.load_state_dict(dict(start.tensors))
    if recipe.row_margin:
        margin_loss.refuse(network)
    source = _Source(sequences, spread, recipe)
    optimiser, schedule = _optimiser(network, recipe)
    average = {name: value.clone() for name, value in network.state_dict().items()}
    network.slope = recipe.slope
    network.perturb = _with_dropout(recipe.dropout, random, perturb)
    for step in range(recipe.steps):
        network.epsilon = _annealed(config.epsilon, step, recipe)
        rows = torch.randperm(len(source.labels), generator=random)[: recipe.batch]
        x, valid = source.draw(rows, random)
        # From nothing to all in the first half: a margin that is asked for at once is had by units that never move.
        firmness = min(1.0, 2 * step / recipe.steps)
        loss = _cost(network, forward(network, x), source, rows, x, valid, config=config, firmness=firmness)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        _make_buildable(network)
        # Early weights are far from the end: let the average forget them by starting short.
        weight = max(1 - recipe.average, 9 / (step + 10))
        for name, value in network.state_dict().items():
            average[name].lerp_(value, weight)
        if progress is not None:
            progress(step + 1, recipe.steps, loss.item())
    if recipe.row_margin:
        network.load_state_dict(average)
        margin_loss.prune(network, source.largest(network))
        return Trained.from_network(network, config)
    return Trained(config=config, tensors=average)


@_one_thread()
def predict(trained: Trained, sequences: Sequences) -> NDArray[np.int64]:
    """Class index of every sequence. Raises DataError if the network cannot take them."""
    trained.check(sequences)
    with torch.no_grad():
        logits = trained.network()(torch.from_numpy(sequences.inputs)).logits
        return classify(logits, torch.from_numpy(sequences.lengths), trained.config.decision).numpy()


def accuracy(trained: Trained, sequences: Sequences) -> float:
    """Share of ``sequences`` that are classified as labelled. Raises DataError without labels."""
    if sequences.labels is None:
        raise DataError("accuracy needs labels; add an array 'labels' to the sequences")
    return float(np.mean(predict(trained, sequences) == sequences.labels))


def cross_validate(
    config: ModelConfig, sequences: Sequences, recipe: Recipe, *, folds: int = 5, seed: int = 0
) -> tuple[float, ...]:
    """Accuracy on each of ``folds`` parts, by networks fitted to the other parts: how recipes are chosen."""
    if sequences.labels is None:
        raise DataError("cross-validation needs labels; add an array 'labels' to the sequences")
    rng = np.random.default_rng(seed)
    fold = np.empty(len(sequences), dtype=np.int64)
    for label in np.unique(sequences.labels):
        members = np.flatnonzero(sequences.labels == label)
        fold[members] = rng.permutation(len(members)) % folds
    results = []
    for part in range(folds):
        trained = fit(config, sequences.take(np.flatnonzero(fold != part)), recipe, seed=seed * folds + part)
        results.append(accuracy(trained, sequences.take(np.flatnonzero(fold == part))))
    return tuple(results)


def objective(trained: Trained, sequences: Sequences, recipe: Recipe, *, rounds: int = 20) -> float:
    """What training makes small, of ``rounds`` fresh variations of labelled ``sequences``: the same for every network.

    It tells networks of different seeds apart without a test sequence.
    """
    return float(objectives(trained, sequences, recipe, rounds=rounds).mean())


@_one_thread()
def objectives(trained: Trained, sequences: Sequences, recipe: Recipe, *, rounds: int = 20) -> NDArray[np.float64]:
    """:func:`objective` of each sequence: what is common to all (margins, swing) counts in each."""
    network = trained.network()
    network.slope = recipe.slope
    source = _Source(sequences, _moments(sequences)[1], recipe)
    random = torch.Generator().manual_seed(len(sequences))
    rows = torch.arange(len(sequences))
    found = []
    with torch.no_grad():
        for _ in range(rounds):
            x, valid = source.draw(rows, random)
            cost = _cost(network, network(x), source, rows, x, valid, config=trained.config, firmness=1.0, each=True)
            found.append(cost)
    return torch.stack(found).double().mean(0).numpy()


# --- Steps of the above ------------------------------------------------------------------------------------------


def _values(sequences: Sequences) -> Tensor:
    """(valid timesteps, features)"""
    valid = np.arange(sequences.inputs.shape[1]) < sequences.lengths[:, None]
    return torch.from_numpy(sequences.inputs[valid])


def _moments(sequences: Sequences) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (features,) over the valid timesteps.

    A feature that hardly ever changes is not blown up: no deviation is taken to be below a tenth of the largest.
    """
    values = _values(sequences)
    spread = values.std(0)
    return values.mean(0), spread.clamp(min=max(spread.max().item() / 10, 1e-6))


def _ranges(sequences: Sequences, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Middle and unit (features,), with which every feature has the same range, and a deviation near 1."""
    values = _values(sequences)
    low, high = values.amin(0), values.amax(0)
    half = (high - low) / 2
    half = half.clamp(min=max(half.max().item() / 10, 1e-6))
    return (high + low) / 2, half / (half / spread).mean()


def _initial(config: ModelConfig, recipe: Recipe, centre: Tensor, unit: Tensor, random: torch.Generator) -> Network:
    """A network of (x − ``centre``) / ``unit`` at its starting point; no randomness is from torch's global state."""
    with torch.random.fork_rng(devices=[]):
        network = config.network()
    with torch.no_grad():
        network.input.scale.copy_(1 / unit)
        network.input.offset.copy_(-centre / unit)
        for module in network.modules():
            if isinstance(module, nn.Linear):
                bound = 1 / math.sqrt(module.in_features)
                module.weight.uniform_(-bound, bound, generator=random)
                module.bias.uniform_(-bound, bound, generator=random)
        for layer in network.layers:
            if isinstance(layer, WindowLayer):
                _start_window(layer, recipe, random)
            elif isinstance(layer, HysteresisLayer):
                # One bit and no levels: at the α of a level the layers behind it would hardly see it move.
                layer.alpha.fill_(1.0)
    return network


def _start_window(layer: WindowLayer, recipe: Recipe, random: torch.Generator) -> None:
    layer.threshold.weight.mul_(0.3 if recipe.dependent else 0.0)
    layer.threshold.weight.requires_grad_(recipe.dependent)
    layer.threshold.bias.fill_(recipe.threshold)
    if isinstance(layer.alpha, nn.Linear):
        layer.alpha.weight.mul_(0.3)
        layer.alpha.bias.fill_(1.0)
    else:
        layer.alpha.fill_(recipe.alpha)
        layer.alpha.requires_grad_(not recipe.row_margin)
    signs = torch.randint(0, 2, layer.initial_state.shape, generator=random)
    layer.initial_state.copy_(2 * signs - 1)


def _optimiser(network: Network, recipe: Recipe) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    decayed = [value for name, value in network.named_parameters() if name.endswith("weight")]
    kept = [value for name, value in network.named_parameters() if not name.endswith("weight")]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.99))
    # Warm-up over a tenth, then a cosine to zero.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.steps + 1, pct_start=0.1
    )
    return optimiser, schedule


def _annealed(target: float, step: int, recipe: Recipe) -> float:
    """ε on its way from 1 to ``target``; the levels of ε = 1 have the gradients that a reset hides."""
    steps = recipe.annealed * recipe.steps
    return 1 + (target - 1) * min(1.0, step / steps) if steps else target


def _with_dropout(share: float, random: torch.Generator, perturb: Perturb | None) -> Perturb | None:
    if not share:
        return perturb

    def both(layer: int, signal: str, value: Tensor) -> Tensor:
        if signal == "output":
            kept = torch.rand(value.shape[1:], generator=random) >= share
            value = value * kept / (1 - share)
        return value if perturb is None else perturb(layer, signal, value)

    return both


def _cost(
    network: Network,
    output: NetworkOutput,
    source: _Source,
    rows: Tensor,
    x: Tensor,
    valid: Tensor,
    *,
    config: ModelConfig,
    firmness: float,
    each: bool = False,
) -> Tensor:
    """The loss of ``output`` on variations ``x``, of lengths ``valid``, of the sequences ``rows``, or of ``each``."""
    recipe = source.recipe
    over = "none" if each else "mean"
    found = evidence(output.logits, valid, config.decision if config.decision == "last" else "mean")
    loss = nn.functional.cross_entropy(found, source.labels[rows], label_smoothing=recipe.smoothing, reduction=over)
    if recipe.taught:
        taught = nn.functional.cross_entropy(found, source.teach(x, valid), reduction=over)
        loss = torch.lerp(loss, taught, recipe.taught)
    if config.cell == "acmru":
        loss = loss + _excess(output.outputs, output.alphas, valid, recipe.swing)
    if recipe.row_margin:
        within = valid_timesteps(valid, x.shape[1])
        close = margin_loss.loss(network, output, within, inputs=source.largest(network), margin=recipe.row_margin)
        loss = loss + firmness * close
    return loss


class _Source:
    """Training sequences, and endless variations of them."""

    def __init__(self, sequences: Sequences, spread: Tensor, recipe: Recipe) -> None:
        self.inputs = torch.from_numpy(sequences.inputs)
        self.lengths = torch.from_numpy(sequences.lengths)
        self.labels = torch.from_numpy(sequences.labels)
        self.spread, self.recipe = spread, recipe
        if recipe.mixed or recipe.taught:
            # All at one length, to be averaged: the mean course of each class, and what each sequence adds to it.
            evenly = _evenly(self.inputs, self.lengths)
            classes = range(int(self.labels.max()) + 1)
            self.courses = torch.stack([evenly[self.labels == label].mean(0) for label in classes])
            self.deviations = evenly - self.courses[self.labels]
            # Classes share one covariance, shrunk towards a multiple of 1 for want of sequences to estimate it.
            means, rest = self._parts(self.courses), self._parts(self.deviations)
            covariance = rest.T @ rest / max(1, len(rest) - len(means))
            covariance *= 1 - SHRINKAGE
            covariance.diagonal().add_(SHRINKAGE / (1 - SHRINKAGE) * covariance.diagonal().mean())
            self.discriminant = torch.linalg.solve(covariance, means.T)
            self.bias = -(means.T * self.discriminant).sum(0) / 2

    def largest(self, network: Network) -> float:
        """The largest magnitude of the scaled inputs."""
        return float(network.input(self.inputs[valid_timesteps(self.lengths, self.inputs.shape[1])]).abs().max())

    def draw(self, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Variations of the sequences ``rows``: inputs (batch, time, features) and lengths (batch,)."""
        recipe = self.recipe
        x, lengths = self.inputs[rows], self.lengths[rows]
        if recipe.mixed or recipe.crop or recipe.stretch:
            uniform = torch.rand(3, len(rows), generator=random)
            first, last = uniform[0] * recipe.crop, 1 - uniform[1] * recipe.crop
            factor = (last - first) * torch.exp((2 * uniform[2] - 1) * recipe.stretch)
            new = (factor * (lengths - 1)).round().long().clamp(min=1) + 1
            end = (lengths - 1).float()
            if recipe.mixed:
                x, end = self._mixed(rows, random), torch.full_like(end, EVENLY - 1)
            x, lengths = _resample(x, first * end, last * end, new), new
        if recipe.noise:
            x = x + recipe.noise * self.spread * torch.randn(x.shape, generator=random)
        if recipe.shift:
            x = x + recipe.shift * self.spread * torch.randn(len(x), 1, x.shape[2], generator=random)
        return x, lengths

    def teach(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Probabilities (batch, classes) of linear discriminant analysis, for classes that are equally likely."""
        odds: Tensor = self._parts(_evenly(x, lengths)) @ self.discriminant + self.bias
        return odds.softmax(-1)

    def _parts(self, evenly: Tensor) -> Tensor:
        """(batch, 8 features): the mean of each eighth of sequences (batch, EVENLY, features), in their spread."""
        eighths: Tensor = (evenly / self.spread).unflatten(1, (8, -1))
        return eighths.mean(2).flatten(1)

    def _mixed(self, rows: Tensor, random: torch.Generator) -> Tensor:
        """(batch, EVENLY, features): some sequences as they are, the others made."""
        made = torch.rand(len(rows), generator=random) < self.recipe.mixed
        # cos² + sin² = 1: what is made deviates as much as what was recorded.
        angle = (torch.rand(len(rows), generator=random) * (torch.pi / 2) * made)[:, None, None]
        one, other = torch.randint(len(self.labels), (2, len(rows)), generator=random)
        one = torch.where(made, one, rows)
        deviation = self.deviations[one] * angle.cos() + self.deviations[other] * angle.sin()
        return self.courses[self.labels[rows]] + deviation


def _evenly(x: Tensor, lengths: Tensor) -> Tensor:
    """Whole sequences, each resampled to EVENLY timesteps."""
    end = (lengths - 1).float()
    return _resample(x, torch.zeros_like(end), end, torch.full_like(lengths, EVENLY))


def _resample(x: Tensor, first: Tensor, last: Tensor, lengths: Tensor) -> Tensor:
    """Sequence i from time ``first[i]`` to ``last[i]`` [timesteps] in ``lengths[i]`` ≥ 2 steps, linear in between."""
    pace = (last - first) / (lengths - 1)
    times = first[:, None] + pace[:, None] * torch.arange(int(lengths.max()))
    times = times.minimum(last[:, None])
    before = times.long()
    after = (before + 1).minimum(last.ceil().long()[:, None])
    return torch.lerp(_at(x, before), _at(x, after), (times - before)[..., None])


def _at(x: Tensor, times: Tensor) -> Tensor:
    """x[i, times[i, t]] as (batch, t, features)."""
    return x.gather(1, times[..., None].expand(-1, -1, x.shape[2]))


def _excess(outputs: tuple[Tensor, ...], alphas: tuple[Tensor, ...], lengths: Tensor, swing: float) -> Tensor:
    """Cost of h beyond ``swing`` median |α| at the valid timesteps: steep, since one excursion clips."""
    valid = valid_timesteps(lengths, outputs[0].shape[1])
    total = torch.zeros(())
    for h, alpha in zip(outputs, alphas, strict=True):
        room = swing * alpha.abs().median()
        total = total + 10 * (h[valid].abs() / room - 1).relu().square().mean()
    return total


def _make_buildable(network: Network) -> None:
    """fq-bmru: currents of thresholds and widths have one direction."""
    with torch.no_grad():
        for layer in network.layers:
            if isinstance(layer, HysteresisLayer):
                layer.low.clamp_(min=0)
                layer.width.clamp_(min=0)

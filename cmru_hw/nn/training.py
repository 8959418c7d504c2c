"""Training on a task: AdamW, surrogate gradients, ε annealing, augmentation; reproducible from its seed.

The trained network is the network that is built: saturation (``levels``) and quantized decisions are in the loop from
the beginning. Hardware-aware training (:mod:`cmru_hw.analysis.hardware_aware`) uses ``forward``, which may compute with
the weights of a die, and ``perturb`` (see :data:`cmru_hw.nn.cells.Perturb`), which may add noise between any layer's
weighted sums and its decisions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cmru_hw.core.errors import DataError, InputError
from cmru_hw.nn import margin_loss, normalisation, tasks
from cmru_hw.nn.augmentation import AugmentedSource, moments, ranges
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
from cmru_hw.nn.checkpoint import ModelConfig, Trained
from cmru_hw.nn.levels import Levels
from cmru_hw.nn.one_score import require_classes
from cmru_hw.nn.one_thread import one_thread
from cmru_hw.nn.recipes import RECIPES, Recipe
from cmru_hw.nn.sequences import Sequences

FOLDED = 4
"""Variations of every training sequence over which a normalisation is measured before it is folded."""
Progress = Callable[[int, int, float], None]
"""``progress(step, steps, loss)`` after every optimizer step."""
Forward = Callable[[Network, Tensor], NetworkOutput]
"""``forward(network, x)``: replaces the network's own forward computation in a step."""


def train(
    task: str | tasks.Task,
    *,
    cell: str = "cmru",
    units: tuple[int, ...] = (16, 16),
    epsilon: float | None = None,
    levels: Levels = 7,
    skip: bool = True,
    decision: str | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
    command: str = "",
    perturb: Perturb | None = None,
    progress: Progress | None = None,
) -> Trained:
    """A network of ``units`` per layer, trained on all training sequences and scored once on the test sequences.

    ``epsilon`` is needed for cell "eps"; for other cells it follows from the cell. ``levels`` is the saturation K, of
    all units or of each (:mod:`cmru_hw.nn.levels`). ``decision`` defaults to the mean over timesteps (flipflop and
    listops: the last timestep). ``recipe`` defaults to the task's own. ``command`` is stored in the checkpoint. The
    same arguments give the same weights on the same kind of machine.
    """
    chosen = tasks.get(task) if isinstance(task, str) else task
    recipe = recipe or RECIPES.get(chosen.name, Recipe())
    decision = decision or ("last" if chosen.name in tasks.DECIDED_LAST else "mean")
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


@one_thread()
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
    """Fit a network of ``config`` to labelled ``sequences``, starting from ``start`` or from random weights."""
    if sequences.labels is None:
        raise DataError("training needs labels; add an array 'labels' to the sequences")
    random = torch.Generator().manual_seed(seed)
    mean, spread = moments(sequences)
    centre, unit = ranges(sequences, spread) if recipe.row_margin else (mean, spread)
    network = _initial(config, recipe, centre, unit, random)
    if start is not None:
        network.load_state_dict(dict(start.tensors))
    if recipe.row_margin:
        margin_loss.refuse(network)
    source = AugmentedSource(sequences, spread, recipe)
    normalised = normalisation.normalise(network) if recipe.normalised else []
    optimiser, schedule = _optimiser(network, recipe)
    average = {name: value.clone() for name, value in network.state_dict().items()}
    network.slope = recipe.slope
    network.perturb = _with_dropout(recipe.dropout, random, perturb)
    for step in range(recipe.steps):
        network.epsilon = _annealed(config.epsilon, step, recipe)
        rows = torch.randperm(len(source.labels), generator=random)[: recipe.batch]
        x, valid = source.draw(rows, random)
        for candidate in normalised:
            candidate.valid = valid_timesteps(valid, x.shape[1]).T[..., None]
        # The margin loss grows over the first half. If it were full at once, units that never move would satisfy it.
        firmness = min(1.0, 2 * step / recipe.steps)
        loss = _cost(network, forward(network, x), source, rows, x, valid, config=config, firmness=firmness)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        _make_buildable(network)
        # Early weights are far from the final ones. A short average at the start lets it forget them.
        weight = max(1 - recipe.average, 9 / (step + 10))
        for name, value in network.state_dict().items():
            average[name].lerp_(value, weight)
        if progress is not None:
            progress(step + 1, recipe.steps, loss.item())
    network.load_state_dict(average)
    network.epsilon, network.perturb = config.epsilon, None
    if normalised:
        normalisation.fold(network, source.rounds(FOLDED, recipe.batch, random))
    if recipe.row_margin:
        margin_loss.prune(network, source.largest(network))
    return Trained.from_network(network, config)


@one_thread()
def predict(trained: Trained, sequences: Sequences) -> NDArray[np.int64]:
    """Class index of every sequence. Raises DataError if the network cannot process them."""
    trained.check(sequences)
    with torch.no_grad():
        logits = trained.network()(torch.from_numpy(sequences.inputs)).logits
        return classify(logits, torch.from_numpy(sequences.lengths), trained.config.decision).numpy()


def accuracy(trained: Trained, sequences: Sequences) -> float:
    """Share of ``sequences`` that are classified as labelled. Raises DataError without labels, or with one score."""
    if sequences.labels is None:
        raise DataError("accuracy needs labels; add an array 'labels' to the sequences")
    require_classes(trained.config, "accuracy")
    return float(np.mean(predict(trained, sequences) == sequences.labels))


def cross_validate(
    config: ModelConfig, sequences: Sequences, recipe: Recipe, *, folds: int = 5, seed: int = 0
) -> tuple[float, ...]:
    """Accuracy on each of ``folds`` parts, by networks fitted to the other parts. Used to choose recipes."""
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
    """The training objective over ``rounds`` new variations of labelled ``sequences``.

    The variations are the same for every network. The objective ranks networks of different seeds without a
    test sequence.
    """
    return float(objectives(trained, sequences, recipe, rounds=rounds).mean())


@one_thread()
def objectives(trained: Trained, sequences: Sequences, recipe: Recipe, *, rounds: int = 20) -> NDArray[np.float64]:
    """:func:`objective` of each sequence; terms that are common to all sequences (margins, swing) count in each."""
    network = trained.network()
    network.slope = recipe.slope
    source = AugmentedSource(sequences, moments(sequences)[1], recipe)
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


def _initial(config: ModelConfig, recipe: Recipe, centre: Tensor, unit: Tensor, random: torch.Generator) -> Network:
    """A network of (x − ``centre``) / ``unit`` at its starting point. It does not use torch's global random state."""
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
                # A single bit, not levels: with the α of a level the next layers would hardly see it move.
                layer.alpha.fill_(1.0)
    return network


def _start_window(layer: WindowLayer, recipe: Recipe, random: torch.Generator) -> None:
    layer.threshold.weight.mul_(0.3 if recipe.dependent else 0.0)
    layer.threshold.weight.requires_grad_(recipe.dependent)
    layer.threshold.bias.fill_(recipe.threshold)
    if recipe.scattered:
        layer.threshold.bias.uniform_(0, 2 * recipe.threshold, generator=random)
        layer.candidate.bias.normal_(generator=random)
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
    undecayed = [value for name, value in network.named_parameters() if not name.endswith("weight")]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.99))
    # Warm-up over a tenth of the steps, then a cosine to zero.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.steps + 1, pct_start=0.1
    )
    return optimiser, schedule


def _annealed(target: float, step: int, recipe: Recipe) -> float:
    """ε at ``step`` on its way from 1 to ``target``. The levels of ε = 1 have gradients that a reset hides."""
    steps = recipe.annealed * recipe.steps
    return 1 + (target - 1) * min(1.0, step / steps) if steps else target


def _with_dropout(share: float, random: torch.Generator, perturb: Perturb | None) -> Perturb | None:
    if not share:
        return perturb

    def both(layer: int, signal: str, value: Tensor) -> Tensor:
        if signal == "output":
            mask = torch.rand(value.shape[1:], generator=random) >= share
            value = value * mask / (1 - share)
        return value if perturb is None else perturb(layer, signal, value)

    return both


def _cost(
    network: Network,
    output: NetworkOutput,
    source: AugmentedSource,
    rows: Tensor,
    x: Tensor,
    valid: Tensor,
    *,
    config: ModelConfig,
    firmness: float,
    each: bool = False,
) -> Tensor:
    """Loss of ``output`` on variations ``x``, of lengths ``valid``, of sequences ``rows``; ``each``: per sequence."""
    recipe = source.recipe
    over = "none" if each else "mean"
    found = evidence(output.logits, valid, config.decision if config.decision == "last" else "mean")
    loss = nn.functional.cross_entropy(found, source.labels[rows], label_smoothing=recipe.smoothing, reduction=over)
    if recipe.taught:
        taught = nn.functional.cross_entropy(found, source.teach(x, valid), reduction=over)
        loss = torch.lerp(loss, taught, recipe.taught)
    if config.cell == "acmru":
        loss = loss + _excess(output.outputs, output.alphas, valid, recipe.swing)
        if recipe.alpha_decay:
            loss = loss + recipe.alpha_decay * _varying(network, output, valid, source.largest(network))
    if recipe.row_margin:
        within = valid_timesteps(valid, x.shape[1])
        close = margin_loss.loss(network, output, within, inputs=source.largest(network), margin=recipe.row_margin)
        loss = loss + firmness * close
    return loss


def _excess(outputs: tuple[Tensor, ...], alphas: tuple[Tensor, ...], lengths: Tensor, swing: float) -> Tensor:
    """Penalty of |h| above ``swing`` times the median |α| at valid timesteps; steep, because one excursion clips."""
    valid = valid_timesteps(lengths, outputs[0].shape[1])
    total = torch.zeros(())
    for h, alpha in zip(outputs, alphas, strict=True):
        room = swing * alpha.abs().median()
        total = total + 10 * (h[valid].abs() / room - 1).relu().square().mean()
    return total


def _varying(network: Network, output: NetworkOutput, lengths: Tensor, inputs: float) -> Tensor:
    """Mean over units of Σ |w| X of the rows of α, as shares of the median |α| of their layer.

    X is the largest magnitude of each line: ``inputs`` of the network's, and of states in this batch.
    """
    valid = valid_timesteps(lengths, output.logits.shape[1])
    total = torch.zeros(())
    largest = torch.full((network.input.scale.numel(),), inputs)
    for layer, h, alpha in zip(network.layers, output.outputs, output.alphas, strict=True):
        assert isinstance(layer, WindowLayer) and isinstance(layer.alpha, nn.Linear)
        total = total + (layer.alpha.weight.abs() @ largest).mean() / alpha.detach().abs().median()
        states = torch.full((h.shape[2],), float(h.detach()[valid].abs().max()))
        largest = torch.cat((states, largest)) if network.skip else states
    return total


def _make_buildable(network: Network) -> None:
    """fq-bmru: clamp thresholds and widths, because their currents have only one direction."""
    with torch.no_grad():
        for layer in network.layers:
            if isinstance(layer, HysteresisLayer):
                layer.low.clamp_(min=0)
                layer.width.clamp_(min=0)

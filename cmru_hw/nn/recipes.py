"""How networks are trained: one set of numbers for each task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


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
"""The recipe of each task; :func:`cmru_hw.nn.training.cross_validate` chose them on the training sequences alone."""

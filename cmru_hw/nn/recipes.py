"""Training settings: one set for each task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Training settings of a network. Each draw of a training sequence gets a new augmentation.

    Noise is in standard deviations of each feature.
    """

    steps: int = 1500
    """Optimizer steps."""
    batch: int = 64
    """Sequences in each step."""
    learning_rate: float = 0.01
    """Largest rate of AdamW, reached after a tenth of the steps; a cosine then takes it to 0."""
    weight_decay: float = 0.01
    """Applied to weight matrices only: biases, threshold biases and α are operating points."""
    slope: float = 1.0
    """Slope of the surrogate gradients at 0; a smaller slope makes them wider."""
    annealed: float = 0.7
    """Share of the steps over which ε goes from 1 to its target. No effect if the target is 1."""
    average: float = 0.995
    """Factor of the exponential moving average of the weights, which is the result; 0 takes the last weights."""
    smoothing: float = 0.05
    """Label smoothing."""
    dropout: float = 0.0
    """Share of units whose output is zero for a whole sequence."""
    noise: float = 0.0
    """Noise that is drawn anew at every timestep."""
    shift: float = 0.0
    """Noise that is constant within a sequence, like that of a channel or a microphone."""
    crop: float = 0.0
    """Largest share of a sequence that is cut off at each end."""
    stretch: float = 0.0
    """Largest logarithm of the factor by which time is stretched or compressed."""
    mixed: float = 0.0
    """Share of synthetic sequences: the mean course of a class plus the deviations of two sequences of any class from
    their own means. Useful where classes vary in the same way."""
    taught: float = 0.0
    """Share of the target that comes from a linear discriminant of whole sequences, fitted to the same data. It gives
    the confidence of each sequence, which a label does not."""
    alpha: float = 0.3
    """Initial α of every unit."""
    threshold: float = 0.5
    """Initial threshold bias of every unit. Candidates start with a standard deviation of order 1."""
    scattered: bool = False
    """True if thresholds start anywhere between 0 and twice ``threshold``, and biases of candidates with a standard
    deviation of 1; otherwise all thresholds start at ``threshold``, and biases near 0."""
    normalised: bool = False
    """True if candidates are normalised over each batch in training, and the normalisation is folded into the weights
    at the end (:mod:`cmru_hw.nn.normalisation`)."""
    dependent: bool = True
    """True if thresholds depend on the input; otherwise W_β stays zero."""
    swing: float = 4.0
    """αCMRU only: |h| above this many median |α| is penalised, so that h stays between the rails. |α| starts at 1, the
    size of the initial state."""
    alpha_decay: float = 0.03
    """αCMRU only: weight of a penalty on Σ |w| X of the rows of α, as shares of the median |α|. A row of few and small
    weights has a large voltage, so that the offset of an amplifier is a small share of a packet."""
    row_margin: float = 0.0
    """Penalise decisions closer to another than this share of the swing (:mod:`cmru_hw.nn.margin_loss`); 0: none. Every
    feature is then scaled to the whole swing, α is fixed so that levels are as far apart as the swing allows, and small
    weights are removed at the end."""


def normalised(recipe: Recipe) -> Recipe:
    """``recipe`` with normalised candidates, and the settings that go with them: fixed thresholds that start scattered,
    a larger learning rate, wider surrogate gradients, a shorter average."""
    return replace(
        recipe,
        normalised=True,
        scattered=True,
        dependent=False,
        learning_rate=0.03,
        slope=min(recipe.slope, 0.5),
        average=0.99,
    )


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "vowels": Recipe(steps=2500, slope=0.5, noise=0.2, shift=0.15, crop=0.1, stretch=0.15, mixed=0.9, taught=0.9),
        # "Not this speaker" is eight different speakers, so neither a mean course nor a teacher helps.
        "detect": Recipe(slope=0.5, noise=0.3, shift=0.15, crop=0.1, stretch=0.15),
        "digits": Recipe(noise=0.1, shift=0.1, dropout=0.05, steps=3000),
        # More noise than at test time: a bit that resists 9 standard deviations of the data's noise is held forever.
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
        "listops": Recipe(steps=3000, smoothing=0.0),
    }
)
"""The recipe of each task, chosen by :func:`cmru_hw.nn.training.cross_validate` on training sequences only."""

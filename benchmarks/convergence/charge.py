"""Convergence of simulator options for charge-domain transistors: loose, chosen and reference, deck by deck.

Run: ``python -m benchmarks.convergence charge DIR``, for some decks with ``--deck unit|chip|integrator|counter``.

A row of the table compares one run with the reference on the same deck: largest difference of a row when its comparator
fires, and of a state when it is read; energy per timestep; differing decisions. It also gives the cost per frame,
power-on included: CPU seconds, accepted and rejected time points, iterations. The reference allows a twentieth of the
chosen error per step and evaluates every device in every step, which takes long: ``--trtol 3`` compares with the chosen
options at a seventh of their error instead. Results are stored in DIR.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.chip import with_one_range
from cmru_hw.circuits.charge import fidelity, simulate, single_unit
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.numerics import CONVERGED, Numerics
from cmru_hw.core import package_data
from cmru_hw.core.signals import Array
from cmru_hw.nn import checkpoint
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences, load_sequences
from cmru_hw.spice import Engine
from cmru_hw.spice.session import open_engine

MODEL, SEQUENCE = "detect-cmru-2x4", 200
MEMORIES = {"unit": "power-gated", "chip": "power-gated", "integrator": "integrator", "counter": "counter"}
# The unit that is simulated by itself: layer, number.
UNIT = (1, 0)
# Earlier options of chips and clocked networks.
LOOSE = {
    "power-gated": Numerics(reltol=1e-4, trtol=80.0, chgtol=1e-16, bypass=True),
    "clocked": Numerics(reltol=1e-4, trtol=200.0, chgtol=1e-17, bypass=True),
}
REFERENCE = Numerics(reltol=1e-6, trtol=1.0, chgtol=1e-12, bypass=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """One run: decoded quantities, and its cost per frame."""

    rows: Array
    states: Array
    readout: Array
    decisions: Array
    energy: float
    cost: dict[str, float]


def case(name: str, timesteps: int) -> tuple[Design, Array]:
    """The design of deck ``name`` and its inputs (timesteps, features)."""
    models = package_data.folder("models")
    trained: Trained = checkpoint.load(models / f"{MODEL}.safetensors")
    data: Sequences = load_sequences(models / f"{MODEL.partition('-')[0]}-eval.npz")
    kind = fidelity.at_level(fidelity.load_technology("gf180"), "transistor", MEMORIES[name])
    design = with_one_range(trained, data, kind)
    one = data.take(np.array([SEQUENCE]))
    if name == "unit":
        one, _ = single_unit.recorded(design, trained, one, UNIT[0])
        design = single_unit.unit(design, *UNIT)
    return design, one.inputs[0, :timesteps].astype(np.float64)


def run(design: Design, inputs: Array, settings: Numerics, engine: Engine) -> Result:
    """Simulate ``inputs`` through ``design`` with ``settings``."""
    deck, plan = fidelity.deck(design, [inputs])
    text = deck.text.replace(CONVERGED.options(), f"{settings.options()} acct")
    assert text != deck.text, "the deck has an options card of its own"
    outcome = engine.run(replace(deck, text=text))
    piece = simulate.decode(design, outcome.traces, plan, 0)
    frames = plan.frames
    counted = {
        name: float(found[1]) / frames if (found := re.search(rf"{words} = (\d+)", outcome.log)) else float("nan")
        for name, words in (("rejected", "Rejected timepoints"), ("iterations", "Transient iterations"))
    }
    return Result(
        rows=np.concatenate([rows.reshape(len(inputs), -1) for rows in piece.rows], axis=1),
        states=np.concatenate(
            [states * layer.step for states, layer in zip(piece.states, design.layers, strict=True)], axis=1
        ),
        readout=piece.logits,
        decisions=np.concatenate(piece.decisions, axis=1),
        energy=float(piece.energy.sum()) / len(inputs),
        cost={
            "seconds": outcome.cpu_seconds / frames,
            "points": len(outcome.traces.time) / frames,
            **counted,
        },
    )


def line(name: str, settings: Numerics, found: Result, reference: Result) -> str:
    """A row of the table."""
    row, state = (
        float(np.abs(a - b).max()) * 1e3 for a, b in ((found.rows, reference.rows), (found.states, reference.states))
    )
    wrong = int((found.decisions != reference.decisions).sum())
    cost = found.cost
    return (
        f"{name:<10} rows {row:.3f} mV  states {state:.3f} mV  energy {found.energy * 1e12:.3f} pJ "
        f"{100 * (found.energy / reference.energy - 1):+.2f} %  decisions differ {wrong} of {found.decisions.size}  "
        f"{cost['seconds']:.2f} s, {cost['points']:.0f} points, {cost['rejected']:.0f} rejected, "
        f"{cost['iterations']:.0f} iterations per frame  ({settings.text()})"
    )


def study(name: str, timesteps: int, engine: Engine, finest: Numerics) -> None:
    """Print the table of one deck, whose reference is integrated with ``finest``."""
    design, inputs = case(name, timesteps)
    best = run(design, inputs, finest, engine)
    print(f"{name}: {len(inputs)} timesteps, compared with {finest.text()}", flush=True)
    loose = LOOSE["power-gated" if MEMORIES[name] == "power-gated" else "clocked"]
    for words, settings in (("loose", loose), ("chosen", CONVERGED), ("reference", finest)):
        found = best if settings == finest else run(design, inputs, settings, engine)
        print("  " + line(words, settings, found, best), flush=True)


def main(arguments: list[str]) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.convergence charge",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--deck", action="append", choices=list(MEMORIES), default=[], help="repeatable; default all")
    parser.add_argument("--timesteps", type=int, default=2)
    parser.add_argument("--trtol", type=float, help="the chosen options with this trtol in place of the reference")
    given = parser.parse_args(arguments)
    finest = REFERENCE if given.trtol is None else replace(CONVERGED, trtol=given.trtol)
    with open_engine(backend="batch", timeout=36000, cache=given.folder) as engine:
        for name in given.deck or MEMORIES:
            study(name, given.timesteps, engine, finest)

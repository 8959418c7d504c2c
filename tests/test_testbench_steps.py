"""Decisions of testbenches that depend on the simulator's time steps are found and repeated with smaller ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace

import pytest

from cmru_hw import spice
from cmru_hw.characterize import blocks, decisions, testbench
from cmru_hw.characterize.testbench import Conditions, drawn
from cmru_hw.circuits.charge import numerics
from cmru_hw.core.errors import SimulationError, UncausedTransition
from cmru_hw.spice import finer
from cmru_hw.spice.deck import Deck

# What the comparator's testbench once ran with, and what a whole chip runs with: too long steps for a search.
LOOSE = ".options method=gear maxord=2 chgtol=1e-17 trtol=20 gmin=1e-15 abstol=1e-15 reltol=3e-4"
CHIP = numerics.CONVERGED.options()
OFFSET = testbench.Testbench(name="transistor_power_gated_comparator", saved=("trim",), stop=20e-6)


@pytest.fixture(scope="module")
def engine() -> Iterator[spice.Engine]:
    with spice.open_engine() as opened:
        yield opened


@pytest.fixture
def loose(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Every testbench with the options of the test's parameter."""
    tight = testbench.Testbench.deck

    def loosened(self: testbench.Testbench, conditions: Conditions, mismatch: int | None = None) -> Deck:
        deck = tight(self, conditions, mismatch)
        text, count = re.subn(r"^\.options .*$", request.param, deck.text, flags=re.MULTILINE)
        assert count == 1
        return replace(deck, text=text)

    monkeypatch.setattr(testbench.Testbench, "deck", loosened)


class Recorder(spice.Engine):
    """Keeps the decks that it is given."""

    def __init__(self) -> None:
        super().__init__(backend="batch", jobs=1, timeout=1.0, retries=(), program=None)
        self.decks: list[Deck] = []

    def map(self, decks: Iterable[Deck]) -> Generator[tuple[int, spice.Outcome | SimulationError]]:
        self.decks += decks
        yield from ()


@pytest.mark.parametrize(
    ("own", "once", "thrice"),
    [
        ("", 7 / 8, 7 / 512),
        (".options reltol=1e-6 trtol=20 bypass=1\n", 2.5, 20 / 512),
        # the last card of a deck counts
        (".OPTION trtol = 80\n.options gmin=1e-15\n.options trtol=1.6e1\n", 2.0, 16 / 512),
    ],
)
def test_steps_are_halved_relative_to_those_of_the_deck(own: str, once: float, thrice: float) -> None:
    recorder, deck = Recorder(), Deck(text=f"r 1 0 1\n{own}.tran 1n 1u\n", stop=1e-6, saved=())
    list(finer.FinerEngine(recorder, 1).map([deck]))
    list(finer.FinerEngine(finer.FinerEngine(recorder, 1), 2).map([deck]))
    last = [found.text.splitlines()[-1] for found in recorder.decks]
    assert last == [f".options trtol={once!r} bypass=0", f".options trtol={thrice!r} bypass=0"]
    assert finer.finer(recorder, 0) is recorder


@pytest.mark.spice
@pytest.mark.parametrize("loose", [LOOSE], indirect=True)
def test_a_wrong_decision_of_long_steps_is_simulated_again(
    engine: spice.Engine, need: Callable[[str], None], loose: None
) -> None:
    need("gf180")
    at = Conditions(process="gf180")
    # half a millivolt, decided the other way only because of the steps
    assert not all(blocks.comparator(engine, at).right)
    found = decisions.settled(
        lambda some: blocks.comparator(some, at),
        engine,
        "the comparator",
        decisions=lambda one: one.right,
        right=lambda one: all(one.right),
    )
    assert all(found.right)


def test_an_answer_that_every_halving_changes_is_no_answer() -> None:
    given = iter([(1, 0), (0, 1), (0, 0)])
    with pytest.raises(UncausedTransition, match=r"the latch: decisions change with every halving.*--refine 3"):
        decisions.settled(
            lambda engine: next(given),
            Recorder(),
            "the latch",
            decisions=lambda one: one,
            right=lambda one: one == (1, 1),
        )


def test_a_wrong_answer_that_stays_is_the_circuits() -> None:
    asked = []

    def measure(engine: spice.Engine) -> tuple[int, ...]:
        asked.append(engine)
        return (1, 0)

    assert decisions.settled(measure, Recorder(), "x", decisions=lambda one: one, right=lambda one: False) == (1, 0)
    assert len(asked) == 2


@pytest.mark.spice
@pytest.mark.parametrize("loose", [CHIP], indirect=True)
def test_offsets_found_in_long_steps_are_searched_again(
    engine: spice.Engine, need: Callable[[str], None], loose: None
) -> None:
    need("gf180")
    at, seeds = Conditions(process="gf180"), range(1, 4)
    first = [float(one.values["trim"][-1]) for one in drawn(engine, OFFSET, at, seeds).values()]
    found, failed = decisions.offsets(engine, OFFSET, at, seeds, "trim")
    assert failed == 0 and len(found) == 3
    # the first search was not accurate enough, so its result is not used
    assert max(abs(one - other) for one, other in zip(first, found, strict=True)) > decisions.SAME_OFFSET
    fine = drawn(finer.FinerEngine(engine, 2), OFFSET, at, seeds)
    assert found == pytest.approx([float(one.values["trim"][-1]) for one in fine.values()], abs=decisions.SAME_OFFSET)


@pytest.mark.spice
def test_an_offset_that_depends_on_every_step_is_refused(
    engine: spice.Engine, need: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    need("gf180")
    monkeypatch.setattr(decisions, "SAME_OFFSET", 0.0)
    monkeypatch.setattr(decisions, "MOST_REFINEMENTS", 0)
    with pytest.raises(UncausedTransition, match=r"offset of die .* moves by .* --refine 1"):
        decisions.offsets(engine, OFFSET, Conditions(process="gf180"), range(1, 3), "trim")

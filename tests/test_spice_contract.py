"""The common contract of both backends: physics, acceptance checks, failures, and independence of decks."""

# long: one contract, which every backend has to fulfil
from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from cmru_hw import spice
from cmru_hw.core.errors import (
    InputError,
    NotConverged,
    OutputError,
    ResultRejected,
    SimulationError,
    SimulationTimeout,
    SimulatorCrashed,
    SimulatorMissing,
)
from cmru_hw.spice.deck import Deck

pytestmark = pytest.mark.spice
BACKENDS: tuple[spice.Backend, ...] = ("pyspice", "batch")

RC = Deck(
    text="v1 in 0 1\nr1 in out 1000\nc1 out 0 1e-9 ic=0\n.save out i(v1)\n.tran 1e-8 5e-6 0 1e-8 uic\n",
    stop=5e-6,
    saved=("out", "i(v1)"),
)
# Clocks and stimulus as in the charge-domain circuits: XSPICE `square` and `filesource`, switches, gear, chgtol.
SAMPLER = Deck(
    text="""\
a1 %v([x y]) data
.model data filesource(file="in.txt" amploffset=[0 0] amplscale=[1 1] amplstep=true)
vc c 0 0
a2 %v(c) %v(clk) clock
.model clock square(cntl_array=[-1 1] freq_array=[1000 1000] out_low=0 out_high=1 duty_cycle=0.2 rise_time=1e-6
+ fall_time=1e-6)
s1 x top clk 0 on
c1 top 0 1e-12 ic=0
vdd vdd 0 2
s2 vdd cap clk 0 on
s3 cap 0 0 clk off
c2 cap 0 1e-12 ic=0
.model on sw(ron=1000 roff=1e15 vt=0.5 vh=0)
.model off sw(ron=1000 roff=1e15 vt=-0.5 vh=0)
.options method=gear maxord=2 chgtol=1
.save top y i(vdd)
.tran 1e-3 5.1e-3 0 1e-3 uic
""",
    stop=5.1e-3,
    saved=("top", "v(y)", "vdd#branch"),
    # The value k holds from k - 0.5 to k + 0.5 ms; the clock samples just before k ms.
    files={"in.txt": b"0 0 0\n.5e-3 1 -1\n1.5e-3 3 -3\n2.5e-3 2 -2\n3.5e-3 5 -5\n4.5e-3 4 -4\n5.5e-3 4 -4\n9 4 -4\n"},
)
# Tolerances below the last digit of a float: no step is ever small enough.
STUBBORN = Deck(
    text="""\
v1 a 0 sin(0 1 1e3)
r1 a b 1000
c1 b 0 1e-7
d1 b 0 dd
.model dd d
.options reltol=1e-18 abstol=1e-30 vntol=1e-30
.save b
.tran 1e-5 2e-3
""",
    stop=2e-3,
    saved=("b",),
)
# dv/dt = v² is infinite at 1 s.
EXPLOSIVE = Deck(text="b1 0 a i=v(a)*v(a)\nc1 a 0 1 ic=1\n.save a\n.tran 1e-2 2 uic\n", stop=2.0, saved=("a",))
ENDLESS = Deck(text="v1 a 0 sin(0 1 1e6)\nr1 a 0 1\n.save a\n.tran 1e-9 1e3\n", stop=1e3, saved=("a",))
NO_SUCH_MODEL = Deck(text="v1 a 0 1\nm1 a a 0 0 nosuch\n.save a\n.tran 1e-3 1e-2\n", stop=1e-2, saved=("a",))


@pytest.fixture(scope="module", params=BACKENDS)
def engine(request: pytest.FixtureRequest) -> Iterator[spice.Engine]:
    with spice.open_engine(backend=request.param) as opened:
        yield opened


def works(engine: spice.Engine) -> bool:
    return bool(abs(engine.run(RC).traces.values["out"][-1] - (1 - np.exp(-5))) < 1e-3)


def succeeded(outcome: spice.Outcome | SimulationError) -> spice.Outcome:
    assert isinstance(outcome, spice.Outcome), outcome
    return outcome


# Physics


def test_rc_charge_follows_theory(engine: spice.Engine) -> None:
    outcome = engine.run(RC)
    time, out = outcome.traces.time, outcome.traces.values["out"]
    np.testing.assert_allclose(out, 1 - np.exp(-time / 1e-6), atol=1e-4)
    np.testing.assert_allclose(outcome.traces.values["i(v1)"], -(1 - out) / 1000, atol=1e-12)
    assert outcome.traces.title == spice.content_hash(RC)
    assert (outcome.attempts, outcome.backend) == ((), engine.backend)
    assert outcome.simulator.startswith("ngspice ")
    assert 0 < outcome.cpu_seconds < 5
    assert outcome.seconds > 0


VOLTS, FARADS, OHMS = 1.8, 1e-12, 1e4


def charged_thrice(*, options: str, step: float) -> Deck:
    """A capacitor that ``vdd`` charges at 1, 3 and 5 µs, and a meter: 1 pF that integrates the charge from vdd."""
    return Deck(
        text=f"""\
vdd vdd 0 {VOLTS}
s1 vdd a clk 0 sw
r1 a b {OHMS}
c1 b 0 {FARADS}
vclk clk 0 pulse(0 1 1e-6 1e-9 1e-9 1e-6 2e-6)
s2 b 0 0 clk swn
.model sw sw(ron=1 roff=1e15 vt=0.5 vh=0)
.model swn sw(ron=1e4 roff=1e15 vt=-0.5 vh=0)
fmeter 0 q vdd -1
cmeter q 0 1e-12 ic=0
rmeter q 0 1e15
.options {options}
.ic v(q)=0
.save a b q i(vdd)
.tran 1e-9 5.9e-6 0 {step}
""",
        stop=5.9e-6,
        saved=("a", "b", "q", "i(vdd)"),
    )


BETWEEN_CHARGINGS = np.array([0.9, 2.9, 4.9, 5.9]) * 1e-6


@pytest.mark.parametrize(("step", "resolved"), [(1e-10, True), (1e-7, False)])
def test_charging_a_capacitor_costs_cv_squared_and_loses_half(
    engine: spice.Engine, step: float, resolved: bool
) -> None:
    # First order: the stored current is the charge moved in the last step over its length, for any length.
    traces = engine.run(charged_thrice(options="method=gear maxord=1", step=step)).traces
    charge = -traces.charge("vdd", BETWEEN_CHARGINGS)
    np.testing.assert_allclose(charge, FARADS * VOLTS, rtol=1e-6)
    if resolved:
        energy = VOLTS * charge.sum()
        lost = np.sum((traces.values["a"][1:] - traces.values["b"][1:]) ** 2 / OHMS * np.diff(traces.time))
        assert lost == pytest.approx(energy / 2, rel=1e-2)


@pytest.mark.parametrize("options", ["method=gear maxord=2", "method=gear maxord=2 chgtol=1", "method=trap"])
def test_a_metering_capacitor_is_exact_with_every_integration(engine: spice.Engine, options: str) -> None:
    """It integrates the current by the simulator's own formula; a sum over the points does not."""
    traces = engine.run(charged_thrice(options=options, step=1e-7)).traces
    np.testing.assert_allclose(np.diff(traces.at("q", BETWEEN_CHARGINGS)) * 1e-12, FARADS * VOLTS, rtol=1e-5)


def test_switched_capacitor_deck_with_code_models(engine: spice.Engine) -> None:
    traces = engine.run(SAMPLER).traces
    np.testing.assert_allclose(traces.at("top", (np.arange(5) + 1.05) * 1e-3), [1, 3, 2, 5, 4], rtol=1e-6)
    np.testing.assert_allclose(traces.at("y", (np.arange(5) + 0.99) * 1e-3), [-1, -3, -2, -5, -4], rtol=1e-6)
    drawn = -traces.charge("vdd", (np.arange(6) + 0.5) * 1e-3)
    # Second-order integration: a sum over the points is close, but not exact.
    np.testing.assert_allclose(drawn, 2e-12, rtol=5e-3)
    # Under every spelling that ngspice has for them, they are returned under one name.
    assert set(traces.values) == {"top", "y", "i(vdd)"}


def test_nodes_inside_subcircuits_and_upper_case(engine: spice.Engine) -> None:
    deck = Deck(
        text="""\
.subckt half A
vx A B 0
r1 B 0 1000
.ends
V1 IN 0 1
Xone IN half
XTWO IN half
.save v(In) I(V1) v.xone.vx#branch xtwo.b @r.xone.r1[i]
.tran 1e-4 1e-3
""",
        stop=1e-3,
        saved=("v(IN)", "I(V1)", "i(v.xone.vx)", "XTWO.B", "@r.xone.r1[i]"),
    )
    values = engine.run(deck).traces.values
    last = {name: float(values[name][-1]) for name in values}
    assert last == pytest.approx({"in": 1, "i(v1)": -2e-3, "i(v.xone.vx)": 1e-3, "xtwo.b": 1, "@r.xone.r1[i]": 1e-3})


@pytest.mark.parametrize("deck", [RC, SAMPLER], ids=["rc", "sampler"])
def test_backends_agree(deck: Deck) -> None:
    one, other = (spice.run(deck, backend=backend).traces for backend in BACKENDS)
    np.testing.assert_allclose(one.time, other.time, rtol=1e-9)
    assert list(one.values) == list(other.values)
    for name in one.values:
        np.testing.assert_allclose(one.values[name], other.values[name], rtol=1e-9, atol=1e-15)


def test_the_last_line_of_options_wins(engine: spice.Engine) -> None:
    """Retries rely on it. (Within one line the first key wins.)"""

    def points(*options: str) -> int:
        text = STUBBORN.text.replace(".options reltol=1e-18 abstol=1e-30 vntol=1e-30\n", "")
        lines = "".join(f".options {option}\n" for option in options)
        return engine.run(Deck(text=text + lines, stop=2e-3, saved=("b",))).traces.time.size

    loose, tight = points("reltol=1e-2"), points("reltol=1e-6")
    assert loose < tight
    assert points("reltol=1e-2", "reltol=1e-6") == tight
    assert points("reltol=1e-2 reltol=1e-6") == loose


def test_settings_reach_ngspice_before_the_deck(engine: spice.Engine) -> None:
    deck = Deck(text=RC.text, stop=RC.stop, saved=RC.saved)
    object.__setattr__(deck, "settings", ("ngbehavior=hsa",))
    assert "Compatibility modes selected: hs a" in engine.run(deck).log
    # ... and another deck does not inherit them.
    assert "No compatibility mode selected" in engine.run(RC).log


# No false alarms


def test_harmless_words_are_no_failure(engine: spice.Engine) -> None:
    deck = Deck(
        text="""\
* Note: error fatal aborted
v1 error_x 0 pulse(0 1 1e-3 1e-6 1e-6 1e-3 1)
r1 error_x Aborted 1000
c1 aborted 0 1e-9
l1 loop 0 1
l2 loop 0 1
v2 loop 0 0
i1 note: 0 1e-3
r2 note: 0 1
.meas tran never when v(error_x)=7
.save error_x aborted note:
.tran 1e-3 5e-3
""",
        stop=5e-3,
        saved=("error_x", "aborted", "note:"),
    )
    outcome = engine.run(deck)
    assert outcome.attempts == ()
    # The deck does provoke the output that PySpice takes for errors.
    assert "Note: Starting dynamic gmin stepping" in outcome.log
    assert outcome.traces.values["note:"][-1] == pytest.approx(-1e-3)


# Failure as itself


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("v1 a 0 1\nx1 a nosuch\n.save a\n.tran 1e-3 1e-2\n", "unknown subckt: x1 a nosuch"),
        (NO_SUCH_MODEL.text, "valid modelname"),
        ("v1 a 0 1\nr1 a 0 {nope}\n.save a\n.tran 1e-3 1e-2\n", "cannot recover|fatal error"),
        ("v1 a 0 1\nr1 a 0 1\n.save a\n", None),
        (".subckt s a\nv1 a 0 1\n.save a\n.tran 1e-3 1e-2\n", "Mismatch of .subckt"),
        ("v1 a 0 1\nr1 a 0 1\n.save zzz\n.tran 1e-3 1e-2\n", "no data saved"),
        ("v1 a 0 1\nr1 a 0 1\n.save b a\n.tran 1e-3 1e-2\n", "vector b is missing"),
        ("v1 b 0 1\n.save b\n.tran 1e-3 1e-2\n", "vector a is missing"),
        ("v1 b 0 1\nr1 a b 1\n.save b a\n.tran 1e-3 5e-3\n", "ends at 0.005 s, before 0.01 s"),
        ("", None),
    ],
)
def test_a_bad_deck_is_not_believed_and_spoils_nothing(engine: spice.Engine, text: str, words: str | None) -> None:
    assert works(engine)
    with pytest.raises(ResultRejected, match=words):
        engine.run(Deck(text=text, stop=1e-2, saved=("b", "a") if ".save b a" in text else ("a",)))
    assert works(engine)


def test_not_converged_tells_what_was_tried(engine: spice.Engine) -> None:
    with pytest.raises(NotConverged, match=r'(?i)timestep too small; time = 0\.9.*trouble with node "a"') as caught:
        engine.run(EXPLOSIVE)
    assert all(options in str(caught.value) for options in ("unchanged options", *spice.RETRIES))
    assert "\n" not in str(caught.value)
    assert "too small" in caught.value.evidence
    assert works(engine)


def test_a_retry_that_converges_is_recorded(engine: spice.Engine) -> None:
    with spice.open_engine(
        backend=engine.backend, retries=("reltol=1e-17", "reltol=1e-3 abstol=1e-12 vntol=1e-6")
    ) as patient:
        outcome = patient.run(STUBBORN)
    assert [attempt.split(":")[0] for attempt in outcome.attempts] == ["unchanged options", "reltol=1e-17"]
    assert outcome.traces.values["b"].max() > 0.4
    # The title is that of the accepted deck.
    assert outcome.traces.title != spice.content_hash(STUBBORN)


def test_a_deck_that_does_not_end_runs_into_its_timeout(engine: spice.Engine) -> None:
    with spice.open_engine(backend=engine.backend, timeout=0.5) as hasty:
        assert works(hasty)
        began = time.monotonic()
        with pytest.raises(SimulationTimeout, match=r"after 0\.5 s"):
            hasty.run(ENDLESS)
        assert time.monotonic() - began < 5
        assert works(hasty)


def test_a_killed_worker_is_reported_and_replaced(engine: spice.Engine, ends: Callable[[int], bool]) -> None:
    assert works(engine)
    victim = engine.pids[0]
    threading.Timer(0.3, os.kill, (victim, signal.SIGKILL)).start()
    with pytest.raises(SimulatorCrashed, match="SIGKILL"):
        engine.run(ENDLESS)
    assert victim not in engine.pids
    assert ends(victim)
    assert works(engine)


def test_a_killed_ngspice_program_is_reported() -> None:
    with spice.open_engine(backend="batch") as engine:
        assert works(engine)
        threading.Timer(0.3, lambda: os.kill(children(engine.pids[0])[0], signal.SIGSEGV)).start()
        with pytest.raises(SimulatorCrashed, match="SIGSEGV"):
            engine.run(ENDLESS)
        assert works(engine)


def test_a_worker_that_dies_between_decks_costs_nothing(engine: spice.Engine) -> None:
    assert works(engine)
    os.kill(engine.pids[0], signal.SIGKILL)
    assert works(engine)


def test_a_deck_refused_before_it_runs_spoils_nothing(engine: spice.Engine) -> None:
    with pytest.raises(InputError):
        engine.run(Deck(text=".control\n", stop=1.0, saved=()))
    assert works(engine)


# Many decks


def test_map_gives_failures_as_data_in_order_of_completion(engine: spice.Engine) -> None:
    decks = [RC, NO_SUCH_MODEL, EXPLOSIVE, SAMPLER, RC]
    with spice.open_engine(backend=engine.backend, jobs=2, retries=()) as pair:
        results = dict(pair.map(iter(decks)))
    assert sorted(results) == [0, 1, 2, 3, 4]
    assert isinstance(results[1], ResultRejected)
    assert isinstance(results[2], NotConverged)
    first, _, again = (succeeded(results[i]) for i in (0, 3, 4))
    np.testing.assert_array_equal(first.traces.values["out"], again.traces.values["out"])


def test_two_jobs_give_what_one_gives(engine: spice.Engine) -> None:
    decks = [
        Deck(text=RC.text.replace("1000", str(1000 + 10 * k)), stop=RC.stop, saved=RC.saved, files={}) for k in range(8)
    ]
    one = {index: succeeded(outcome) for index, outcome in engine.map(decks)}
    with (
        spice.open_engine(backend=engine.backend, jobs=2) as first,
        spice.open_engine(backend=engine.backend, jobs=2) as b,
    ):
        results: list[dict[int, spice.Outcome]] = [{}, {}]
        for (i, x), (j, y) in zip(first.map(decks), b.map(reversed(decks)), strict=True):
            results[0][i], results[1][7 - j] = succeeded(x), succeeded(y)
            assert len(first.pids) == len(b.pids) == 2
    for result in results:
        for k in range(8):
            np.testing.assert_array_equal(result[k].traces.time, one[k].traces.time)
            np.testing.assert_array_equal(result[k].traces.values["out"], one[k].traces.values["out"])


def test_leaving_a_map_early_ends_the_rest(engine: spice.Engine, ends: Callable[[int], bool]) -> None:
    with spice.open_engine(backend=engine.backend, jobs=2) as pair:
        results = pair.map([RC, ENDLESS])
        assert next(results)[0] == 0
        pids = pair.pids
        with pytest.raises(RuntimeError, match="other decks"):
            pair.run(RC)
        results.close()
        (survivor,) = pair.pids
        assert all(ends(pid) for pid in pids if pid != survivor)
        assert works(pair)
        assert pair.pids == (survivor,)


def test_many_runs_in_one_worker_do_not_grow() -> None:
    with spice.open_engine(backend="pyspice") as engine:
        dict(engine.map([RC] * 20))
        pid, before = engine.pids, resident_bytes(engine.pids[0])
        dict(engine.map([RC] * 200))
        assert engine.pids == pid
        # Without tidying it would be 46 MB.
        assert resident_bytes(engine.pids[0]) - before < 4e6


def test_closing_leaves_nothing(
    engine: spice.Engine, ends: Callable[[int], bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with spice.open_engine(backend=engine.backend, jobs=2) as pair:
        dict(pair.map([RC, SAMPLER, NO_SUCH_MODEL]))
        pids = pair.pids
        assert list(tmp_path.iterdir())
    assert all(ends(pid) for pid in pids)
    assert list(tmp_path.iterdir()) == []


# Missing pieces


@pytest.mark.parametrize("backend", BACKENDS)
def test_missing_simulator(backend: spice.Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SimulatorMissing, match="apt-get install"):
        spice.run(RC, backend=backend, program="/nonexistent/{ngspice}")
    monkeypatch.setenv(spice.VARIABLES[backend], "/nonexistent/ngspice")
    with pytest.raises(SimulatorMissing, match="apt-get install"):
        spice.run(RC, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_something_else_in_its_place(backend: spice.Backend) -> None:
    other = "/bin/true" if backend == "batch" else "libc.so.6"
    with pytest.raises(SimulatorMissing):
        spice.run(RC, backend=backend, program=other)


@pytest.mark.parametrize("spinit", [None, "codemodel /nonexistent/analog.cm\n"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_missing_code_models(
    backend: spice.Backend, spinit: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scripts").mkdir()
    if spinit:
        (tmp_path / "scripts" / "spinit").write_text(spinit)
    monkeypatch.setenv("SPICE_LIB_DIR", str(tmp_path))
    with spice.open_engine(backend=backend) as engine:
        # A deck without code models does not need them.
        assert works(engine)
        with pytest.raises(SimulatorMissing, match="code models"):
            engine.run(SAMPLER)


@pytest.mark.parametrize("backend", BACKENDS)
def test_scratch_that_cannot_be_written(
    backend: spice.Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(OutputError, match="TMPDIR"):
        spice.run(RC, backend=backend)


def test_an_ngspice_at_an_unusual_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "my ngspice"
    script.write_text('#!/bin/sh\nexec ngspice "$@"\n')
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for program in (str(script), "./my ngspice"):
        assert spice.run(RC, backend="batch", program=program).simulator.startswith("ngspice ")


def test_impossible_parameters() -> None:
    with pytest.raises(ValueError, match="backend"):
        spice.open_engine(backend=cast(spice.Backend, "hspice"))
    with pytest.raises(ValueError, match="positive"):
        spice.open_engine(jobs=0)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

"""Acceptance of a result: each check by itself, without a simulator."""

from __future__ import annotations

import numpy as np
import pytest

from cmru_hw.core.errors import NotConverged, OutputError, ResultRejected, SimulatorCrashed, SimulatorMissing
from cmru_hw.spice.checks import Finished, canonical, judge
from cmru_hw.spice.deck import Deck
from cmru_hw.spice.rawfile import Plot

DECK = Deck(text="", stop=2e-9, saved=("v(A)", "i(V1)"))
NAMES = ("time", "a", "v1#branch", "b")
DATA = np.array([[0.0, 1e-9, 2e-9], [1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])


def finished(
    *,
    names: tuple[str, ...] = NAMES,
    data: np.ndarray = DATA,
    title: str = "hash",
    log: str = "",
    status: int = 0,
    defect: str = "",
) -> Finished:
    plot = None if defect else Plot(title=title, names=names, data=data)
    return Finished(plot=plot, defect=defect, log=log, status=status, cpu_seconds=0.1, seconds=0.1)


def changed(row: int, column: int, value: float) -> np.ndarray:
    data = DATA.copy()
    data[row, column] = value
    return data


def test_a_good_result_has_what_was_asked_for_and_nothing_else() -> None:
    traces = judge(DECK, "hash", finished(log="Note: error\nWarning: singular matrix:  check node a\n"))
    assert traces.title == "hash"
    np.testing.assert_array_equal(traces.time, DATA[0])
    assert list(traces.values) == ["a", "i(v1)"]
    np.testing.assert_array_equal(traces.values["i(v1)"], DATA[2])


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (finished(title="another"), "belongs to another deck"),
        (finished(defect="the raw file holds no points"), "holds no points"),
        (finished(log="a cause\nrun simulation(s) aborted\n"), r"a cause \| run simulation\(s\) aborted"),
        (finished(log="Message: cannot open file x.txt"), "cannot open file x.txt"),
        (finished(status=1), "status 1"),
        (finished(names=("time", "a", "c", "b")), r"vector i\(v1\) is missing"),
        (finished(names=("t", "a", "v1#branch", "b")), "vector time is missing"),
        (finished(data=DATA[:, :0]), "no points"),
        (finished(data=DATA[:, :2]), "ends at 1e-09 s, before 2e-09 s"),
        (finished(data=changed(0, 1, 3e-9)), "runs backwards"),
        (finished(data=changed(1, 1, np.nan)), "vector a is not finite"),
        (finished(data=changed(3, 0, np.inf)), "vector b is not finite"),
        (finished(data=changed(0, 2, np.nan)), "vector time is not finite"),
    ],
)
def test_a_result_is_not_believed(result: Finished, words: str) -> None:
    with pytest.raises(ResultRejected, match=words):
        judge(DECK, "hash", result)


@pytest.mark.parametrize("more", ["", "    in file network.cir\n", "    in file network.cir\n    line 7\n"])
def test_the_cause_is_part_of_the_message(more: str) -> None:
    words = f"Error: Mismatch of .subckt\n{more}subsequent errors\nCheck line\nERROR: fatal error in ngspice\n"
    with pytest.raises(ResultRejected, match=r"Error: Mismatch of \.subckt"):
        judge(DECK, "hash", finished(log=f"Note: all is well\n{words}", title="another"))


def test_the_end_may_be_missed_by_rounding() -> None:
    judge(DECK, "hash", finished(data=changed(0, 2, 2e-9 * (1 - 1e-10))))


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("doAnalyses: TRAN:  Timestep too small; time = 1e-15: trouble with node x", NotConverged),
        ("doAnalyses: iteration limit reached", NotConverged),
        ("Warning: singular matrix:  check node x", NotConverged),
        ("Warning: source stepping failed", NotConverged),
        ("Warning: rawfile write error !!", OutputError),
        ("Error opening code model x.cm\nMIF-ERROR - unable to find definition of model m", SimulatorMissing),
        ("MIF-ERROR - unable to find definition of model m", ResultRejected),
    ],
)
def test_failure_is_told_by_the_log(line: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        judge(DECK, "hash", finished(title="another", log=f"{line}\nrun simulation(s) aborted\n"))


@pytest.mark.parametrize(("status", "words"), [(-9, "SIGKILL.*memory"), (-11, "SIGSEGV"), (-99, "signal 99")])
def test_a_crash_names_its_signal(status: int, words: str) -> None:
    with pytest.raises(SimulatorCrashed, match=words):
        judge(DECK, "hash", finished(status=status))


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("out", "out"),
        ("V(Out)", "out"),
        ("v1#branch", "i(v1)"),
        ("I(V1)", "i(v1)"),
        ("v.xone.vdd#branch", "i(v.xone.vdd)"),
        ("@m1[id]", "@m1[id]"),
        ("i(@m1[id])", "@m1[id]"),
    ],
)
def test_one_name_for_every_spelling(spelling: str, name: str) -> None:
    assert canonical(spelling) == name
    assert canonical(name) == name

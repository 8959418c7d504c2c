"""Acceptance checks of a simulation result, and classification of failed runs.

ngspice's return codes are unreliable. After a deck that failed to load, the plot of an earlier deck can still be
current. This module therefore accepts a result only if all checks below pass, and quotes ngspice's log for a failure.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cmru_hw.core.errors import NotConverged, OutputError, ResultRejected, SimulatorCrashed, SimulatorMissing
from cmru_hw.core.signals import Traces
from cmru_hw.spice.rawfile import Plot

if TYPE_CHECKING:
    from cmru_hw.spice.deck import Deck

REMEDY = "install it (Debian, Ubuntu: sudo apt-get install ngspice libngspice0)"

# Each pattern has several words: ngspice prints node names, and a node may be called "error" or "aborted".
_COMPLAINTS = (
    "simulation(s) aborted",
    "simulation interrupted",
    "simulation not started",
    "circuit not parsed",
    "there aren't any circuits",
    "fatal error",
    "cannot recover",
    "could not find include file",
    "no data saved",
    "cannot open file",  # a filesource without its data: ngspice continues with zeros
    "rawfile write error",
)
_NOT_CONVERGED = re.compile(
    r"timestep too small|iteration limit|no convergence|singular matrix|(?:gmin|source) stepping failed", re.IGNORECASE
)
_NO_SPACE = re.compile(r"rawfile write error|no space left", re.IGNORECASE)
_NO_CODE_MODELS = re.compile(r"can't find the initialization file spinit|error opening code model", re.IGNORECASE)
_NEEDS_CODE_MODEL = re.compile(r"MIF-ERROR|unknown device type - a", re.IGNORECASE)
_EVIDENCE_LINES = 60
_CONTEXT_LINES = 3
_MOST_CONTEXT_LINES = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class Finished:
    """The data that a backend returns after the simulator has ended, with or without success.

    ``plot`` is None if the run left no readable plot, and ``defect`` then gives the reason. ``log`` is everything that
    ngspice printed. ``status`` is the exit status of the process, negative for a signal. Times are in s;
    ``cpu_seconds`` is the processor time of this run only.
    """

    plot: Plot | None
    defect: str = ""
    log: str
    status: int
    cpu_seconds: float
    seconds: float


def judge(deck: Deck, title: str, finished: Finished) -> Traces:
    """The result of ``deck``, run under ``title``, if it passes all checks.

    Raises NotConverged, SimulatorCrashed, ResultRejected; SimulatorMissing if the code models are not installed, and
    OutputError if the disk is full.
    """
    evidence = tail(finished.log)
    if finished.status < 0:
        raise SimulatorCrashed(crash_message(finished.status), evidence=evidence)
    complaint = _complaint(finished.log) or (f"it ended with status {finished.status}" if finished.status else "")
    plot = finished.plot
    if complaint or plot is None or plot.title != title:
        _explain(finished.log)
        defect = complaint or finished.defect or "its current plot belongs to another deck"
        raise ResultRejected(f"ngspice did not simulate this deck: {defect}", evidence=evidence)
    problem = doubt(deck, plot)
    if problem:
        raise ResultRejected(f"the result is rejected: {problem}", evidence=evidence)
    vectors = {canonical(name): row for name, row in zip(plot.names, plot.data, strict=True)}
    return Traces(title=title, time=vectors["time"], values={name: vectors[name] for name in _wanted(deck)})


def canonical(name: str) -> str:
    """The name of a vector in `Traces`: a node by itself, a current as ``i(source)``, a device's own as ``@dev[par]``.

    Library and raw file spell them differently: ``out`` and ``v(out)``, ``v1#branch`` and ``i(v1)``, ``@m1[id]`` and
    ``i(@m1[id])``.
    """
    name = name.strip().lower()
    wrapped = re.fullmatch(r"([vi])\((.*)\)", name)
    if wrapped:
        kind, inner = wrapped.groups()
        return inner if kind == "v" or inner.startswith("@") else f"i({inner})"
    if name.endswith("#branch"):
        return f"i({name.removesuffix('#branch')})"
    return name


def crash_message(status: int) -> str:
    """The message for a process that ended with ``status``, negative for a signal."""
    if status >= 0:
        return f"the simulator process ended by itself with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = "; the system kills processes that take too much memory" if name == "SIGKILL" else ""
    return f"the simulator process was ended by {name}{hint}"


def tail(log: str) -> str:
    """The end of ``log``, where ngspice prints the cause of a crash."""
    return "\n".join(log.splitlines()[-_EVIDENCE_LINES:])


def _wanted(deck: Deck) -> tuple[str, ...]:
    return tuple(dict.fromkeys(canonical(name) for name in deck.saved))


def _complaint(log: str) -> str:
    """The first line in which ngspice reports failure, with the preceding lines that give the cause; or ``""``."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for index, line in enumerate(lines):
        if any(words in line.lower() for words in _COMPLAINTS):
            return " | ".join(lines[_cause(lines, index) : index + 1])
    return ""


def _cause(lines: list[str], index: int) -> int:
    """First line of the message that ends at ``index``: a few lines earlier, or the error that caused it.

    Versions of ngspice put a different number of lines between the two.
    """
    start = max(0, index - _CONTEXT_LINES)
    errors = [k for k in range(max(0, index - _MOST_CONTEXT_LINES), start) if lines[k].lower().startswith("error")]
    return errors[-1] if errors else start


def _explain(log: str) -> None:
    """Raise a more specific error for a failed run, if the log identifies one."""
    if _NO_SPACE.search(log):
        raise OutputError("no space left for the simulation's scratch files: free some, or set TMPDIR to another disk")
    if _NO_CODE_MODELS.search(log) and _NEEDS_CODE_MODEL.search(log):
        raise SimulatorMissing(
            f"ngspice has no XSPICE code models (*.cm, package ngspice): {REMEDY}", evidence=tail(log)
        )
    lines = [line.strip() for line in log.splitlines() if _NOT_CONVERGED.search(line)]
    # A search that succeeds may also report singular matrices and failed gmin steps: only its last message counts.
    if lines:
        verdict = lines[-1].removeprefix("doAnalyses:").strip()
        raise NotConverged(f"ngspice did not converge: {verdict}", evidence=tail(log))


def doubt(deck: Deck, plot: Plot) -> str:
    """The reason why ``plot`` cannot be the complete result of ``deck``, or ``""``."""
    names = [canonical(name) for name in plot.names]
    missing = [name for name in (*_wanted(deck), "time") if name not in names]
    if missing:
        return f"vector {missing[0]} is missing"
    time = plot.data[names.index("time")]
    if time.size == 0:
        return "it has no points"
    for name, row in zip(names, plot.data, strict=True):
        if not np.isfinite(row).all():
            return f"vector {name} is not finite everywhere"
    if (np.diff(time) < 0).any():
        return "time runs backwards"
    if time[-1] < deck.stop * (1 - 1e-9):
        return f"it ends at {time[-1]:g} s, before {deck.stop:g} s"
    return ""

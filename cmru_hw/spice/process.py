"""Start a worker process, send it decks, receive results, and kill it. The worker runs `cmru_hw.spice.worker`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmru_hw.core.errors import CmruError, OutputError, SimulationTimeout, SimulatorCrashed, SimulatorMissing
from cmru_hw.spice import deck_safety
from cmru_hw.spice.checks import Finished, crash_message, tail
from cmru_hw.spice.rawfile import Plot

if TYPE_CHECKING:
    from cmru_hw.spice.deck import Deck

_START_SECONDS = 60.0
_END_SECONDS = 5.0


class NotBegun(Exception):
    """The worker died before it began its deck."""


class WorkerProcess:
    """One worker process, with a scratch directory that is removed when the process ends."""

    def __init__(self, *, backend: str, program: str | None, settings: tuple[str, ...]) -> None:
        """Start the process; it becomes ready later, and a deck may be submitted at once."""
        self.settings = settings
        self.simulator = ""
        self.runs = 0
        self.deadline = time.monotonic() + _START_SECONDS
        self.title = ""
        self._begun = False
        self._last_words = ""
        startup = deck_safety.startup_text(settings)
        try:
            self._scratch = tempfile.TemporaryDirectory(prefix="cmru-hw-", ignore_cleanup_errors=True)
            self._home = Path(self._scratch.name).resolve()
            (self._home / deck_safety.STARTUP).write_text(startup)
            self._log = self._home / "worker.log"
            log = self._log.open("wb")
        except OSError as error:
            raise _unwritable(error) from None
        self._run: Path = self._home
        self.connection, theirs = Pipe()
        configuration = {
            "backend": backend,
            "program": program,
            "directory": str(self._home),
            "connection": theirs.fileno(),
        }
        # A separate session keeps the terminal's Ctrl-C away, and lets us kill the process with all its children.
        # The worker ends when its standard input closes: the pipe closes however this process ends.
        with log, theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cmru_hw.spice.worker", json.dumps(configuration)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._home,
                env=_environment(),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )

    def submit(self, deck: Deck) -> None:
        """Send ``deck`` to the worker and set `title` to the deck's title. Raises InputError, OutputError."""
        self.runs += 1
        self._begun = False
        self._run = self._home / f"run-{self.runs}"
        self.deadline = time.monotonic() + _START_SECONDS
        try:
            self._run.mkdir()
            self.title = deck_safety.write(deck, self._run)
        except OSError as error:
            raise _unwritable(error) from None
        try:
            self.connection.send_bytes(json.dumps({"directory": str(self._run)}).encode())
        except OSError:
            # The worker is dead; `hear` reports the cause.
            return

    def hear(self, timeout: float) -> Finished | None:
        """The finished run, or None while it runs. Raises the error that the worker reports or that its death shows."""
        try:
            if not self.connection.poll():
                raise SimulationTimeout(self._late(timeout), evidence=self._said())
            message = json.loads(self.connection.recv_bytes())
            if message["event"] == "ready":
                self.simulator = message["simulator"]
                return None
            if message["event"] == "begin":
                self._begun = True
                self.deadline = time.monotonic() + timeout
                return None
            if message["event"] == "failed":
                raise _translated(message)
            if message["cpu_seconds"] > timeout:
                # The answer came before this process looked at its clock, on a busy machine. It is late all the same.
                raise SimulationTimeout(self._late(timeout), evidence=self._said())
            return _finished(message, self.connection.recv_bytes())
        except (EOFError, ConnectionError):
            self._let_it_end()
            status = self.kill()
            if self.runs > 1 and not self._begun:
                raise NotBegun from None
            raise SimulatorCrashed(crash_message(status), evidence=self._last_words) from None

    def forget(self) -> None:
        """Remove the files of the run that has ended."""
        shutil.rmtree(self._run, ignore_errors=True)

    def kill(self) -> int:
        """End the process with its children and return its status. Does nothing to a dead process."""
        if self.process.returncode is None:
            # Not yet waited for, so the operating system cannot have reused the group's number.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self._last_words = self._said()
            self.connection.close()
            assert self.process.stdin is not None
            self.process.stdin.close()
            self._scratch.cleanup()
        return self.process.returncode

    def _let_it_end(self) -> None:
        """Wait for a process that has closed its connection to end, so that its exit status can be reported."""
        deadline = time.monotonic() + _END_SECONDS
        while time.monotonic() < deadline:
            # Check without collecting the process, so that its number stays reserved until `kill`.
            if os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None:
                return
            time.sleep(0.005)

    def _late(self, timeout: float) -> str:
        if not self._begun:
            return f"the simulator process did not start within {_START_SECONDS:g} s"
        return f"the simulation was ended after {timeout:g} s: raise --timeout, or simulate fewer timesteps"

    def _said(self) -> str:
        try:
            return tail(self._log.read_text(errors="replace"))
        except OSError:
            return ""


def _environment() -> dict[str, str]:
    environment = {
        **os.environ,
        # The worker must import the same modules as this process, in the same order of folders.
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        # ngspice overrides OMP_NUM_THREADS; several threads make its transistor models slower by a factor of 5.
        "OMP_THREAD_LIMIT": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    # These variables would change ngspice's search path and output format.
    for name in ("NGSPICE_INPUT_DIR", "SPICE_ASCIIRAWFILE"):
        environment.pop(name, None)
    return environment


def _finished(message: Mapping[str, Any], data: bytes) -> Finished:
    plot = None
    if message["title"] is not None:
        values = np.frombuffer(data, dtype=np.float64).reshape(len(message["names"]), message["points"])
        plot = Plot(title=message["title"], names=tuple(message["names"]), data=values)
    return Finished(
        plot=plot,
        defect=message["defect"],
        log=message["log"],
        status=message["status"],
        cpu_seconds=message["cpu_seconds"],
        seconds=message["seconds"],
    )


def _translated(message: Mapping[str, Any]) -> CmruError:
    """The worker's exception as a CmruError."""
    text, evidence = message["message"], message["evidence"]
    if message["error"] == "SimulatorMissing":
        return SimulatorMissing(text, evidence=evidence)
    if message["error"] == "MemoryError":
        return SimulatorCrashed(
            "there is not enough memory for the result: simulate fewer timesteps", evidence=evidence
        )
    return OutputError(f"the simulation's scratch files cannot be used: {text}", evidence=evidence)


def _unwritable(error: OSError) -> OutputError:
    return OutputError(
        f"the simulation's scratch files cannot be written ({error}): free some space, or set TMPDIR to another disk"
    )

"""The process that holds the simulator: ``python -m cmru_hw.spice.worker CONFIGURATION``.

The simulator has a separate process because ngspice can crash, hang, or stay in a bad state after a bad deck. The
worker receives directories and returns numbers; neither side unpickles data. Each message is a JSON object::

    worker → {"event": "ready", "simulator": "ngspice 39"}
    parent → {"directory": "/tmp/.../run-1"}
    worker → {"event": "begin"}              from here the parent's clock runs
    worker → {"event": "done", "names": [...], "points": 512, ...}, then the float64 values as bytes
    worker → {"event": "failed", "error": "OutputError", "message": "...", "evidence": "..."}    instead of "done"

The worker ends when its standard input closes; the operating system closes it when the parent dies.
"""

from __future__ import annotations

import faulthandler
import json
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from cmru_hw.core.errors import CmruError
from cmru_hw.spice.checks import Finished


class Backend(Protocol):
    simulator: str

    def run(self, directory: Path) -> Finished: ...

    def tidy(self) -> None: ...


def main() -> None:
    configuration = json.loads(sys.argv[1])
    home = Path(configuration["directory"])
    # The parent handles Ctrl-C and kills this process if necessary.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    _die_with_parent(home)
    connection: Connection[Any, Any] = Connection(configuration["connection"])
    try:
        backend = _open(configuration["backend"], configuration["program"], home)
    except CmruError as error:
        _send(connection, _failure(error))
        return
    _send(connection, {"event": "ready", "simulator": backend.simulator})
    while True:
        try:
            directory = Path(json.loads(connection.recv_bytes())["directory"])
        except (EOFError, OSError):
            return
        _send(connection, {"event": "begin"})
        try:
            finished = backend.run(directory)
        except (CmruError, OSError, MemoryError) as error:
            _send(connection, _failure(error))
            return
        _send_result(connection, finished)
        # After the answer, so that a crash of the library during clean-up loses no result.
        backend.tidy()


def _open(backend: str, program: str | None, home: Path) -> Backend:
    """Start the simulator in ``home``. The imports are local because each backend needs only its own module."""
    os.chdir(home)
    if backend == "batch":
        from cmru_hw.spice.batch import Executable

        return Executable(program)
    from cmru_hw.spice.pyspice import Library

    # Not earlier: Python may need the real one to find installed packages.
    os.environ["HOME"] = str(home)
    return Library(program)


_TRIES = 100


def _die_with_parent(home: Path) -> None:
    """Watch the parent from a thread. ngspice runs without the interpreter's lock, so this works at all times."""
    lifeline = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)

    def watch() -> None:
        while os.read(lifeline, 1):
            pass
        # ngspice may still write to the folder, and removing a folder fails if a new file appears in it.
        for _ in range(_TRIES):
            shutil.rmtree(home, ignore_errors=True)
            if not home.exists():
                break
        # The parent made this process the leader of its own group, so this also ends a running ngspice.
        os.killpg(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _send(connection: Connection[Any, Any], message: Mapping[str, object]) -> None:
    connection.send_bytes(json.dumps(message).encode())


def _send_result(connection: Connection[Any, Any], finished: Finished) -> None:
    plot = finished.plot
    message = {
        "event": "done",
        "title": plot.title if plot else None,
        "names": plot.names if plot else (),
        "points": plot.data.shape[1] if plot else 0,
        "defect": finished.defect,
        "log": finished.log,
        "status": finished.status,
        "cpu_seconds": finished.cpu_seconds,
        "seconds": finished.seconds,
    }
    _send(connection, message)
    connection.send_bytes(plot.data.tobytes() if plot else b"")


def _failure(error: BaseException) -> dict[str, str]:
    evidence = error.evidence if isinstance(error, CmruError) else traceback.format_exc()
    return {"event": "failed", "error": type(error).__name__, "message": str(error), "evidence": evidence}


if __name__ == "__main__":
    main()

"""ngspice as a library, through PySpice. Use it in the worker process only, because ngspice may crash its process."""

from __future__ import annotations

import contextlib
import ctypes.util
import logging
import os
import re
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from PySpice.Spice.NgSpice.Shared import NgSpiceShared, ffi

from cmru_hw.core.errors import SimulatorMissing
from cmru_hw.spice.checks import REMEDY, Finished
from cmru_hw.spice.deck_safety import DECK
from cmru_hw.spice.rawfile import Plot

# PySpice looks only for an unversioned link, which Debian lacks.
_LIBRARY = "libngspice.so.0"
_LOG_LINES = 10_000


class _NgSpice(NgSpiceShared):  # type: ignore[misc]  # PySpice has no types
    """PySpice's binding, with its own handling of ngspice's output.

    PySpice 1.5 (the version is pinned) raises on harmless notes, on failed .meas and on nodes called "error". Here the
    output is only stored; `cmru_hw.spice.checks` accepts or rejects the result.
    """

    def __init__(self) -> None:
        # A deck can make ngspice print at every time point, so only the end of the output is stored.
        self.lines: deque[str] = deque(maxlen=_LOG_LINES)
        self.exit_status: int | None = None
        super().__init__()

    @staticmethod
    def _send_char(message: Any, _identity: int, user_data: Any) -> int:
        self = ffi.from_handle(user_data)
        # ngspice puts the name of the stream before each line.
        text = ffi.string(message).decode("utf-8", "replace")
        self.lines.append(text.removeprefix("stdout ").removeprefix("stderr "))
        return 0

    @staticmethod
    def _exit(status: int, _immediate: bool, _quit: bool, _identity: int, user_data: Any) -> int:
        ffi.from_handle(user_data).exit_status = status
        return 0


class Library:
    """One ngspice for many decks, one after the other. Create it in the directory that holds ``.spiceinit``."""

    def __init__(self, library: str | None) -> None:
        """Load ``library`` (path or name, None to search). Raises SimulatorMissing."""
        path = library or self._find()
        # PySpice formats the path, to tell several instances apart.
        _NgSpice.LIBRARY_PATH = path.replace("{", "{{").replace("}", "}}")
        # PySpice warns of every ngspice newer than itself and of every vector without a unit.
        logging.getLogger("PySpice").setLevel(logging.ERROR)
        try:
            self._ngspice = _NgSpice()
        except (OSError, AttributeError, NameError) as error:
            raise SimulatorMissing(f"the ngspice library cannot be loaded ({error}): {REMEDY}") from None
        self._banner = "\n".join(self._ngspice.lines)
        version = re.search(r"ngspice-([\w.+]+)", self._banner)
        self.simulator = f"ngspice {version[1]}" if version else "ngspice"
        self._home = Path.cwd()

    @staticmethod
    def _find() -> str:
        try:
            ffi.dlopen(_LIBRARY)
        except OSError:
            return ctypes.util.find_library("ngspice") or _LIBRARY
        return _LIBRARY

    def run(self, directory: Path) -> Finished:
        """Simulate the deck in ``directory`` and leave the result in memory until `tidy`."""
        # Data files are named relative to the deck.
        os.chdir(directory)
        self._ngspice.lines.clear()
        wall, cpu = time.perf_counter(), time.process_time()
        # PySpice converts a return code to NameError. The log and the plot show a failure.
        with contextlib.suppress(NameError):
            self._ngspice.source(DECK)
        # Where the program would exit, the library asks to be unloaded. It cannot be used afterwards.
        if self._ngspice.exit_status is None:
            with contextlib.suppress(NameError):
                self._ngspice.run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        log = "\n".join((self._banner, *self._ngspice.lines))
        status = self._ngspice.exit_status
        plot, defect = self._current_plot() if status is None else (None, "it asked to be unloaded")
        return Finished(plot=plot, defect=defect, log=log, status=status or 0, cpu_seconds=cpu, seconds=wall)

    def tidy(self) -> None:
        """Free the deck and its plots: otherwise every run leaks 0.23 MB."""
        self._ngspice.destroy()
        self._ngspice.remove_circuit()
        os.chdir(self._home)

    def _current_plot(self) -> tuple[Plot | None, str]:
        """The plot and ``""``, or None and the reason.

        After a failed deck the plot is an older one, or ngspice's table of constants; its title shows this.
        """
        vectors = self._ngspice.plot(None, self._variable("curplot"))
        rows = [vector._data for vector in vectors.values()]
        if any(np.iscomplexobj(row) for row in rows):
            return None, "its current plot holds complex data instead of real transient data"
        if len({row.size for row in rows}) != 1:
            return None, "its vectors are not of one length"
        return Plot(title=self._variable("curplottitle"), names=tuple(vectors), data=np.stack(rows)), ""

    def _variable(self, name: str) -> str:
        self._ngspice.lines.clear()
        self._ngspice.exec_command(f"echo ${name}")
        return "".join(self._ngspice.lines).strip()

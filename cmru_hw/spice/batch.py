"""Run the ngspice program, one process for each deck. This module runs inside the worker, which the engine can kill."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import time
from pathlib import Path

from cmru_hw.core.errors import ResultRejected, SimulatorMissing
from cmru_hw.spice import rawfile
from cmru_hw.spice.checks import REMEDY, Finished
from cmru_hw.spice.deck_safety import DECK, RAW, STARTUP

_LOG = "ngspice.log"
_LOG_BYTES = 1 << 20


class Executable:
    """``ngspice -b`` for many decks, one after the other. Create it in the directory that holds ``.spiceinit``."""

    def __init__(self, program: str | None) -> None:
        """Find ``program`` (path or name, None for ``ngspice``). Raises SimulatorMissing."""
        path = shutil.which(program or "ngspice")
        if path is None:
            raise SimulatorMissing(f"there is no program {program or 'ngspice'!r}: {REMEDY}")
        self._path = str(Path(path).absolute())
        banner = self._call("--version")
        version = re.search(r"ngspice-([\w.+]+)", banner)
        if version is None:
            raise SimulatorMissing(f"{path} does not answer like ngspice: {REMEDY}")
        self.simulator = f"ngspice {version[1]}"
        self._startup = Path(STARTUP).read_bytes()

    def run(self, directory: Path) -> Finished:
        """Simulate the deck in ``directory``."""
        # ngspice prefers the one in its working directory, so no other .spiceinit is ever read.
        (directory / STARTUP).write_bytes(self._startup)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall = time.perf_counter()
        with (directory / _LOG).open("wb") as log:
            status = subprocess.run(
                [self._path, "-b", "-r", RAW, DECK],
                cwd=directory,
                env={**os.environ, "HOME": str(directory), "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        wall = time.perf_counter() - wall
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        plot, defect = None, ""
        try:
            plot = rawfile.read(directory / RAW)
        except ResultRejected as error:
            # Reported later: the log usually gives the reason for the missing result.
            defect = str(error)
        return Finished(
            plot=plot,
            defect=defect,
            log=_end(directory / _LOG),
            status=status,
            cpu_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            seconds=wall,
        )

    def tidy(self) -> None:
        """Nothing to do: the state of a deck ends with its process."""

    def _call(self, option: str) -> str:
        try:
            done = subprocess.run(
                [self._path, option],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        except OSError as error:
            raise SimulatorMissing(f"{self._path} cannot be run ({error}): {REMEDY}") from None
        return done.stdout


def _end(path: Path) -> str:
    """The last part of the log in ``path``; the whole log may be very long."""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - _LOG_BYTES))
        return log.read().decode("utf-8", "replace")

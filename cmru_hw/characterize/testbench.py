"""Run a transistor testbench under given conditions, and draw dies of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import chdtri

from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError, SimulationError
from cmru_hw.core.signals import Traces
from cmru_hw.process import device_models, pdk
from cmru_hw.spice import Engine, Outcome, lexer
from cmru_hw.spice.deck import Deck

STAND_IN = "../devices/generic180.lib"


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Conditions of a measurement: ``temperature`` in degrees Celsius, ``vdd`` [V]."""

    process: str = pdk.DEFAULT
    corner: str = "typical"
    temperature: float = 27.0
    vdd: float = 1.8

    @property
    def words(self) -> str:
        """In words, for messages."""
        return f"{pdk.get(self.process).title}, {self.corner}, {self.temperature:g} C, {self.vdd:g} V"


@dataclass(frozen=True, kw_only=True)
class MeasurementSource:
    """Source of a number: ``models`` and their ``sha256``, ``dies`` drawn (0: no mismatch)."""

    testbench: str
    models: str
    sha256: str
    conditions: Conditions
    simulator: str
    dies: int = 0

    def __str__(self) -> str:
        at = self.conditions
        dies = f", {self.dies} dies" if self.dies else ""
        return (
            f"{self.testbench}.cir, {self.models} sha256 {self.sha256[:12]}, {at.corner}, {at.temperature:g} C, "
            f"{at.vdd:g} V{dies}, {self.simulator}"
        )


@dataclass(frozen=True, kw_only=True)
class Sigma:
    """Mean and standard deviation of a sample, and the 95 % interval of the latter; ``failed`` dies gave no value."""

    mean: float
    sigma: float
    low: float
    high: float
    values: tuple[float, ...]
    failed: int

    @property
    def varies(self) -> bool:
        """False if all dies are equal: the models draw no mismatch, so ``sigma`` says nothing."""
        return max(self.values) - min(self.values) > 1e-9 * max(map(abs, self.values))

    def __str__(self) -> str:
        return f"95 % interval {self.low:.3g} to {self.high:.3g}, {len(self.values)} dies"


@dataclass(frozen=True, kw_only=True)
class Testbench:
    """A testbench with values of its ``.param`` lines, vectors to save, and end of its transient [s]."""

    name: str
    saved: tuple[str, ...]
    stop: float
    parameters: Mapping[str, float] = field(default_factory=dict)

    def deck(self, conditions: Conditions, mismatch: int | None = None) -> Deck:
        devices = device_models.devices(
            conditions.process, corner=conditions.corner, temperature=conditions.temperature, mismatch=mismatch
        )
        parameters = {"vdd": conditions.vdd, **self.parameters}
        return deck(self.name, devices, saved=self.saved, parameters=parameters, stop=self.stop)


def deck(
    testbench: str,
    devices: device_models.Devices,
    *,
    saved: Sequence[str],
    parameters: Mapping[str, float] | None = None,
    stop: float,
) -> Deck:
    """``netlists/testbenches/<testbench>.cir`` on other ``devices`` and with other values of its ``.param`` lines.

    A testbench is a file that runs on the stand-in devices without this package. This function replaces the include
    of the devices, the values named in ``parameters``, and the saved vectors. ``stop`` [s] must be the end of its
    transient.
    """
    folder = package_data.folder("netlists")
    wanted = dict(parameters or {})
    files = dict(devices.files)
    lines: list[str] = []
    content = (folder / "testbenches" / f"{testbench}.cir").read_bytes()
    # The first line is the title.
    _, _, text = lexer.decode(content).partition("\n")
    for line in lexer.logical_lines(text, where=f"{testbench}.cir"):
        included = lexer.file_reference(line)
        if included is not None and included.file == STAND_IN:
            lines += devices.text.splitlines()
        elif included is not None:
            name = included.file.removeprefix("../")
            files[name] = (folder / name).read_bytes()
            lines.append(f".include {name}")
        elif line.card == ".param":
            lines.append(_with_values(line, wanted))
        elif line.card not in (".meas", ".save", ".end"):
            lines.append(line.text)
    if wanted:
        raise InputError(f"testbench {testbench} has no parameter {', '.join(sorted(wanted))}")
    lines += [".save " + " ".join(saved[first : first + 20]) for first in range(0, len(saved), 20)]
    return Deck(
        text="\n".join(lines) + "\n",
        stop=stop,
        saved=tuple(saved),
        files=files,
        libraries=devices.libraries,
        settings=devices.settings,
    )


def _with_values(line: lexer.LogicalLine, wanted: dict[str, float]) -> str:
    values = {
        name: repr(float(wanted.pop(name))) if name in wanted else f"{{{text}}}"
        for name, text in lexer.statement(line).parameters.items()
    }
    return " ".join([".param", *(f"{name}={value}" for name, value in values.items())])


def run_testbench(engine: Engine, testbench: Testbench, conditions: Conditions) -> tuple[Traces, MeasurementSource]:
    """One run of ``testbench`` without mismatch, and the source of its numbers."""
    outcome = outcome_of(engine, testbench, conditions)
    devices = device_models.devices(conditions.process)
    provenance = MeasurementSource(
        testbench=testbench.name,
        models=devices.version,
        sha256=devices.sha256,
        conditions=conditions,
        simulator=outcome.simulator,
    )
    return outcome.traces, provenance


def outcome_of(engine: Engine, testbench: Testbench, conditions: Conditions) -> Outcome:
    """One run of ``testbench`` without mismatch. Raises SimulationError with the testbench and its conditions."""
    try:
        return engine.run(testbench.deck(conditions))
    except SimulationError as error:
        raise type(error)(
            f"testbench {testbench.name}.cir on {conditions.words}: {error}", evidence=error.evidence
        ) from error


def draws(engine: Engine, testbench: Testbench, conditions: Conditions, seeds: Iterable[int]) -> list[Traces]:
    """One run for each seed, in their order; a die whose simulation failed is missing."""
    return list(drawn(engine, testbench, conditions, list(seeds)).values())


def drawn(engine: Engine, testbench: Testbench, conditions: Conditions, seeds: Sequence[int]) -> dict[int, Traces]:
    """Seed → its run, in their order; a die whose simulation failed is missing. Raises SimulationError if all are."""
    decks = [testbench.deck(conditions, mismatch=seed) for seed in seeds]
    outcomes = dict(engine.map(decks))
    failed = [outcome for outcome in outcomes.values() if isinstance(outcome, SimulationError)]
    if failed and len(failed) == len(outcomes):
        raise SimulationError(
            f"testbench {testbench.name}.cir on {conditions.words}: "
            f"every one of {len(failed)} dies failed to simulate; the last: {failed[-1]}"
        )
    return {
        seeds[index]: outcome.traces
        for index, outcome in sorted(outcomes.items())
        if not isinstance(outcome, SimulationError)
    }


def sample(values: Sequence[float], *, failed: int) -> Sigma:
    n = len(values)
    if n < 2:
        raise InputError(f"a standard deviation needs more than {n} dies: give more")
    sigma = float(np.std(values, ddof=1))
    low, high = sigma * np.sqrt((n - 1) / chdtri(n - 1, [0.025, 0.975]))
    return Sigma(
        mean=float(np.mean(values)), sigma=sigma, low=float(low), high=float(high), values=tuple(values), failed=failed
    )

"""A design folder in a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cmru_hw.circuits import registry
from cmru_hw.circuits.input_range import described
from cmru_hw.core.errors import InputError
from cmru_hw.core.units import count, percent, si
from cmru_hw.nn import levels as level_limits
from cmru_hw.nn.levels import Levels
from cmru_hw.report.facts import Fact, Prose, ResultFile, Section
from cmru_hw.report.run import Run, level_excludes, netlist_of, short

MANIFEST = "design.json"
LEVELS = {
    "macro": "ideal switches, capacitors and comparators; their imperfections are parameters",
    "transistor": "MOSFETs of a real process",
}


def design(path: Path) -> Run:
    """The folder of ``cmru-hw export`` with the manifest ``path``. Raises InputError."""
    source = _source(path)
    model = ResultFile(path=path.with_name("model.safetensors"), command=source.command)
    cell = model.fact("cell", "cell", str.upper, meaning="kind of recurrent unit")
    units = model.fact("units", "units", _sizes, meaning="recurrent units in each layer")
    technology = source.fact("technology", "technology/name", str)
    # A technology with a single level has no entry for the level; the folder then has one.
    place = "technology/level" if source.has("technology/level") else "level"
    level = source.fact("level", place, str, meaning=LEVELS.get(str(source.value(place)), ""))
    digest = source.fact("model sha256", "model_sha256", short, rule="first 12 digits")
    netlist = netlist_of(source)
    lead: Prose = (
        "A trained network whose states have few levels, and its circuit",
        _unit(source.value("architecture")),
        ". The netlist is network.cir in ",
        str(path.parent),
        "; to run it, use ngspice deck.cir.",
    )
    methods: Prose = (
        "A ",
        cell,
        " network with layers of ",
        units,
        " units was mapped to a circuit in technology ",
        technology,
        " (",
        level,
        " level).",
    )
    facts = (*_of_model(model, cell, units), digest, *_of_circuit(source, technology, level), netlist)
    return Run(
        source=source,
        kind="design",
        title="design",
        level=level,
        scope=(cell, ", ", units, " units, in technology ", technology, "; model ", digest),
        netlist=netlist,
        versions=source.fact("cmru_hw", "cmru_hw", lambda v: f"cmru_hw {v}"),
        sections=(Section(name="design", title="The network and its circuit", lead=(lead,), facts=facts),),
        methods=(methods,),
        excludes=level_excludes(source.value(place)),
    )


def _source(path: Path) -> ResultFile:
    """The manifest. Raises InputError if it is damaged."""
    source = ResultFile(path=path, command="")
    for key in ("model_sha256", "technology/name", "architecture"):
        if not isinstance(source.value(key), str):
            raise InputError(f"{path}: {key} is not text: the design is damaged; export it again")
    return ResultFile(path=path, command=str(source.value("command")) if source.has("command") else "")


def _of_model(model: ResultFile, cell: Fact, units: Fact) -> list[Fact]:
    facts = [
        cell,
        model.fact("inputs", "features", str, meaning="features per timestep"),
        units,
        model.fact("levels", ("levels", "cell"), _levels, meaning="values of a state"),
        model.fact("classes", "classes", lambda names: str(len(names)), rule="number of names"),
        model.fact("decision", "decision", str, meaning="how the readouts of all timesteps give one class"),
    ]
    if model.has("task/data"):
        facts.append(model.fact("data", "task/data", str))
    if model.has("task/split"):
        facts.append(model.fact("split", "task/split", str))
    if model.has("scores/test"):
        facts.append(model.fact("test score in software", "scores/test", percent, meaning="whole test split"))
    if model.has("training/command") and model.value("training/command"):
        facts.append(model.fact("trained by", "training/command", str))
    return facts


def _of_circuit(source: ResultFile, technology: Fact, level: Fact) -> list[Fact]:
    facts = [
        source.fact("architecture", "architecture", _title),
        technology,
        level,
        source.fact("source of its numbers", "technology/source", str),
    ]
    for key in ("technology/timing/timestep", "technology/timestep"):
        if source.has(key):
            seconds = "one input vector, one step of every unit"
            facts.append(source.fact("timestep", key, lambda s: si(s, "s"), meaning=seconds))
    at = "calibration"
    if source.has(f"{at}/percentile"):
        facts.append(
            source.fact(
                "input range",
                (f"{at}/inputs", f"{at}/largest", f"{at}/percentile"),
                described,
                meaning="inputs beyond the range of their feature are clamped",
            )
        )
    if source.has("technology/trim/bits") and source.value("technology/trim/bits"):
        meaning = "of every row's trim code, which each die finds at power-on"
        facts.append(source.fact("trim bits", "technology/trim/bits", count, meaning=meaning))
        facts.append(source.fact("trim reach", "technology/trim/reach", lambda volts: si(volts, "V")))
    if source.has("deviations"):
        meaning = "rounded or left out; listed in mapping.csv"
        facts.append(source.fact("changed weights", "deviations", count, meaning=meaning))
    return facts


def _title(architecture: str) -> str:
    return registry.get(architecture).title if architecture in registry.names() else architecture


def _unit(architecture: str) -> str:
    return f": each unit {registry.get(architecture).unit}" if architecture in registry.names() else ""


def _sizes(units: Sequence[int]) -> str:
    return " + ".join(map(str, units))


def _levels(levels: Levels, cell: str) -> str:
    if cell == "fq-bmru":
        return "0 or 1"
    if isinstance(levels, tuple):
        return f"−K to +K, {level_limits.described(levels)}"
    return "integers, unbounded" if levels is None else f"−{levels} to +{levels}"

"""Small valid results of every kind, for tests of their readers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cmru_hw.analysis.agreement import ClassAgreement, DecisionAgreement
from cmru_hw.analysis.comparison import ComparedClasses, ComparedDecisions, ComparisonResult
from cmru_hw.analysis.corners.result import CornerFigures, CornersResult, FailedCorner, summarised
from cmru_hw.analysis.energy.result import (
    BlockEnergy,
    EnergyResult,
    EnergySeries,
    Law,
    ScalingPoint,
    ScalingResult,
)
from cmru_hw.analysis.montecarlo.result import (
    DieAccuracy,
    Interval,
    LevelErrors,
    MonteCarloResult,
)
from cmru_hw.analysis.provenance import Provenance
from cmru_hw.analysis.retention.result import RetentionResult
from cmru_hw.analysis.sizing.result import Figures as SizingFigures
from cmru_hw.analysis.sizing.result import Limit, Proof, SizingResult
from cmru_hw.analysis.sizing.study import Trial
from cmru_hw.analysis.sweep.result import SweepResult, SweepRow
from cmru_hw.analysis.versus.result import TableEntry, TableRow, VersusResult
from cmru_hw.circuits.corner import CornerFacts
from cmru_hw.circuits.retention import HeldState, RetentionFacts

NETLIST = "0123456789abcdef" * 4


def provenance(**changes: Any) -> Provenance:
    given = {
        "versions": {"cmru_hw": "0", "simulator": "ngspice 39"},
        "command": "cmru-hw made this",
        "netlist_sha256": NETLIST,
    }
    return Provenance(**{**given, **changes})


def energy(**changes: Any) -> EnergyResult:
    comparators = BlockEnergy(static_J=0.0, dynamic_J=3e-11, analytic_J=2.9e-11, source="netlist", note="")
    clocks = BlockEnergy(static_J=None, dynamic_J=None, analytic_J=None, source=None, note="not modelled")
    given = {
        "level": "macro",
        "label": "estimate",
        "architecture": "sc",
        "technology": "macro",
        "timestep_s": 1e-2,
        "per_timestep_J": 3e-11,
        "per_inference_J": 6e-10,
        "mean_power_W": 3e-9,
        "frame_rate_Hz": 100.0,
        "duty_cycle": 0.01,
        "sequences": 3,
        "timesteps": 60,
        "blocks": {"comparators": comparators, "clocks": clocks},
        "supply_total_J": 3e-11,
        "ledger_gap": 0.0,
        "ledger_tolerance": 0.01,
        "excludes": ("the input drivers",),
        "decisions": DecisionAgreement(total=50, agree=49),
        "classification": ClassAgreement(total=3, agree=3, correct_circuit=2),
        "series": EnergySeries(sequence=0, blocks_J={"comparators": (3e-11, 3e-11)}),
        "cpu_seconds": 0.1,
        "attempts": (),
        "provenance": provenance(),
    }
    return EnergyResult(**{**given, **changes})


def corners(*, failed: int = 1, **changes: Any) -> CornersResult:
    """Three corners with all decisions correct, and ``failed`` others."""
    good = tuple(
        CornerFigures(
            corner=f"ff/{temperature:g}/1.98",
            process="ff",
            temperature_C=temperature,
            vdd_V=1.98,
            label="simulated",
            decisions=DecisionAgreement(total=50, agree=50),
            classification=ClassAgreement(total=3, agree=3, correct_circuit=None),
            per_timestep_J=joules,
            per_inference_J=20 * joules,
            ledger_gap=0.0,
            versions={"cmru_hw": "0"},
            blocks={},
            facts=CornerFacts(source="ff"),
        )
        for temperature, joules in ((-40.0, 1e-9), (27.0, 2e-9), (125.0, 3e-9))
    )
    bad = FailedCorner(corner="ss/27/1.62", process="ss", temperature_C=27.0, vdd_V=1.62, status="failed: timeout")
    given = {
        "level": "transistor",
        "architecture": "cm",
        "technology": "gf180",
        "timestep": 1e-2,
        "sequences": 3,
        "timesteps": 60,
        "excludes": ("mismatch",),
        "provenance": provenance(),
    }
    return summarised((*good, *(bad,) * failed), **{**given, **changes})


def retention(**changes: Any) -> RetentionResult:
    states = tuple(
        HeldState(
            temperature_C=temperature, timesteps=1e5, seconds=1e3, lost_in_simulation=False, simulated_s=1e3, moved=0.0
        )
        for temperature in (-40.0, 27.0)
    )
    given = {
        "level": "transistor",
        "label": "simulated",
        "architecture": "cm",
        "technology": "gf180",
        "models": "gf180 1",
        "models_sha256": NETLIST,
        "corner": "typical",
        "vdd_V": 1.8,
        "timestep_s": 1e-2,
        "weakest_unit": "0.1",
        "testbench": "current_hold.cir",
        "restores": True,
        "facts": RetentionFacts(window_of_threshold=0.2),
        "temperatures": states,
        "worst_temperature_C": -40.0,
        "worst_timesteps": 1e5,
        "worst_at_least": True,
        "excludes": ("noise",),
        "provenance": provenance(),
    }
    return RetentionResult(**{**given, **changes})


def comparison(**changes: Any) -> ComparisonResult:
    decisions = ComparedDecisions(total=10, agree=9, excluded=1, resolution_V=1e-6, smallest_margin_V=1e-3)
    given = {
        "architecture": "sc",
        "level": "macro",
        "technology": "macro",
        "decisions": decisions,
        "level_error_max": 0.0,
        "level_error_unit": "levels",
        "logit_error_max": 0.0,
        "classification": ComparedClasses(total=1, agree=1, correct_circuit=None, correct_software=None),
        "first_divergence": None,
        "swing_used": 0.5,
        "refined": 0,
        "cpu_seconds": 0.1,
        "attempts": (),
        "provenance": provenance(),
        "details": {"unseen": ["0.1 up"]},
    }
    return ComparisonResult(**{**given, **changes})


def montecarlo(**changes: Any) -> MonteCarloResult:
    given = {
        "dies": 4,
        "failed": 1,
        "failures": {"SimulationTimeout": 1},
        "yield_": Interval(k=2, n=4, value=0.5, ci95=(0.067, 0.933)),
        "accuracy": DieAccuracy(software=0.9, median=0.9, p05=0.8, min=0.8),
        "accuracy_of": "labels",
        "drop": 0.01,
        "decision_agreement": 0.99,
        "level_error": LevelErrors(max=1.0, median=0.5, rms=0.1),
        "worst_die": 3,
        "engine": "fast",
        "level": "macro",
        "architecture": "sc",
        "varies": ("layer0/offset",),
        "sequences": 3,
        "provenance": provenance(seed=5, job_sha256=NETLIST),
    }
    return MonteCarloResult(**{**given, **changes})


def scaling() -> ScalingResult:
    points = tuple(
        ScalingPoint(axis=axis, size=size, network=0, per_timestep_J=1e-12 * size, label="estimate", blocks_J={})
        for axis in ("units", "layers")
        for size in (1, 2)
    )
    law = Law(factor=1e-12, exponent=1.0, low=0.9, high=1.1)
    return ScalingResult(
        level="macro",
        label="estimate",
        technology="macro",
        timestep_s=1e-2,
        features=2,
        networks_per_size=1,
        points=points,
        laws={"units": {"all": law}, "layers": {"all": law}},
        law="E = factor n^exponent",
        excludes=(),
        provenance=provenance(seed=0),
    )


def sizing(**changes: Any) -> SizingResult:
    """A search that reached its goal in the second proof; the first did not pass."""
    own = SizingFigures(
        energy_J=24.5e-12, area_m2=5.6e-8, comparator_offset=3e-3, amplifier_offset=6e-3, limit_offset=7e-3,
        trim_step=None, kick=0.04, decision=2.4e-8, amplifier_gain=340.0, amplifier_time=7e-8,
        blocks_J={"comparators": 24.5e-12},
    )  # fmt: skip
    sizes = {"pair_width": 2e-6, "row": 2e-13, "trim_bits": 5.0, "trim_reach": 0.02, "supply": 1.8}
    chosen = Trial(
        sizes=sizes, state="good", energy_J=18e-12, area_m2=4e-8, sample=500, good_of_sample=500, dies=500, failed=0
    )
    dear = Trial(sizes={**sizes, "row": 3e-13}, state="fails", energy_J=2e-11, area_m2=5e-8, sample=64,
                 good_of_sample=60, dies=64, failed=4, failed_dies=(1, 2, 3, 4))  # fmt: skip
    proofs = (
        Proof(seed=1, dies=2000, good=1980, bound=0.984, passed=False, folder="out/sized/proof-1"),
        Proof(seed=2, dies=2000, good=1994, bound=0.9931, passed=True, folder="out/sized/proof-2", spice_dies=2,
              spice_decisions=992, spice_unexplained=0),
    )  # fmt: skip
    given = {
        "goal": 0.99,
        "confidence": 0.95,
        "minimise": "energy",
        "drop": 0.01,
        "technology": "gf180",
        "fixed": {"trim_bits": 5.0},
        "reached": True,
        "chosen": chosen,
        "figures": replace(own, energy_J=18e-12, area_m2=4e-8, trim_step=1e-3),
        "own": own,
        "own_sizes": {**sizes, "pair_width": 6e-6, "row": 4e-13},
        "trials": 90,
        "die_evaluations": 9196,
        "search_dies": 500,
        "front": (chosen, dear),
        "proofs": proofs,
        "limits": (Limit(element="offset", law="comparator: pair_width", agreement_alone=0.99, yield_without=1.0),),
        "provenance": provenance(seed=0, job_sha256=NETLIST, versions={"cmru_hw": "0", "optuna": "4"}),
        "yield_of_best": 1.0,
    }  # fmt: skip
    return SizingResult(**{**given, **changes})


def sweep() -> SweepResult:
    row = SweepRow(
        network="detect-cmru-2x4", units=8, cell="cmru", architecture="digital-8", title="digital, 8 bit",
        technology="gf180", vdd_V=1.8, corner="typical, 27 °C", level="estimate", timestep_s=0.01, per_timestep_J=5e-10,
        low_J=1e-10, high_J=1e-9, least_J=5e-11, least_vdd_V=0.6, lowest_J=5e-12, area_m2=None, transistors=None,
        decisions_agree=None, classes_agree=1.0, status="done", source="by hand",
    )  # fmt: skip
    return SweepResult(
        rows=(row,),
        excludes={"digital": ("wires",)},
        versions={"simulator": "ngspice 44"},
        sequences=2,
        command="cmru-hw",
    )


def versus() -> VersusResult:
    made = TableEntry(value=[2e-9, "simulated"], shown="2 nJ, simulated", source="out/energy/energy.json")
    missing = TableEntry(value=None, shown="not run", source="cmru-hw energy out/b --input FILE.npz")
    return VersusResult(
        designs=("out/a", "out/b"),
        lines=(TableRow(name="energy per timestep", entries=(made, missing)),),
        command="cmru-hw versus out/a out/b",
    )

"""A third kind of circuit, defined only in this file, goes from export to the report without a change in the package.

It wraps the charge domain: its designs have a class that no module of the package knows, so code that uses more than
the protocol fails here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import cmru_hw
from cmru_hw.circuits import registry
from cmru_hw.circuits.charge.architecture import CHARGE
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.dies import DieSimulator
from cmru_hw.cli import group
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import save_sequences
from tests.networks import Shape, random_network, random_sequences


@dataclass(frozen=True, kw_only=True)
class Boxed:
    """A design that shares only the protocol with the package's designs."""

    inner: Design

    architecture = "boxed"
    config = property(lambda self: self.inner.config)
    technology = property(lambda self: self.inner.technology)
    calibration = property(lambda self: self.inner.calibration)
    layers = property(lambda self: self.inner.layers)
    deviations = property(lambda self: self.inner.deviations)
    templates = property(lambda self: self.inner.templates)
    model_sha256 = property(lambda self: self.inner.model_sha256)
    timestep = property(lambda self: self.inner.timestep)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The job of a boxed design, as the dies of the inner design see it."""

    job: Any

    design = property(lambda self: self.job.design.inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.job, name)


def unboxed(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` of the charge domain, which accepts the box or a job of it."""

    @wraps(function)
    def call(first: Any, *rest: Any, **options: Any) -> Any:
        opened = first.inner if isinstance(first, Boxed) else Opened(job=first)
        return function(opened, *rest, **options)

    return call


def boxed_network(trained: Trained, technology: Any, calibration: Any) -> Boxed:
    inner = CHARGE.map_network(trained, technology, calibration)
    assert isinstance(inner, Design)
    return Boxed(inner=inner)


def boxed_dies(design: Boxed) -> DieSimulator:
    inner = CHARGE.die_simulator(design.inner)
    wrapped: dict[str, Any] = {
        name: unboxed(getattr(inner, name)) for name in ("goal", "draw", "fast", "simulated", "replay")
    }
    return replace(inner, **wrapped)


OF_A_DESIGN = (
    *("describe", "network_text", "cell_files", "deck", "parts", "reference", "simulate", "verify", "waveforms"),
    *(
        "draw_unit",
        "select_variations",
        "row_errors",
        "energy_model",
        "supply",
        "operating_point",
        "corner_fingerprint",
        "retention_unit",
        "require_retention",
        "certify",
        "certificate_doubts",
    ),
)
WRAPPED: dict[str, Any] = {name: unboxed(getattr(CHARGE, name)) for name in OF_A_DESIGN}
BOXED = replace(
    CHARGE,
    name="boxed",
    title="the charge domain in a box",
    map_network=boxed_network,
    fingerprint=lambda design: f"boxed {CHARGE.fingerprint(design.inner)}",
    die_simulator=boxed_dies,
    **WRAPPED,
)


@pytest.fixture
def boxed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_KNOWN", dict(registry._KNOWN))
    registry.register(BOXED)


@pytest.mark.spice
def test_a_third_kind_of_circuit_goes_from_export_to_the_report(boxed: None, tmp_path: Path) -> None:
    shape = Shape(features=2, units=(2,), levels=2)
    cmru_hw.save_model(random_network(shape), tmp_path / "net.safetensors")
    save_sequences(random_sequences(shape, (4, 6)), tmp_path / "data.npz")

    def run(*words: str) -> None:
        done = CliRunner().invoke(group, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output

    design, data = str(tmp_path / "design"), str(tmp_path / "data.npz")
    run("export", str(tmp_path / "net.safetensors"), "--architecture", "boxed", "--input", data, "-o", design)
    assert json.loads((tmp_path / "design/design.json").read_text())["architecture"] == "boxed"
    run("compare", design, "--input", data, "-o", str(tmp_path / "runs/compare"))
    run("montecarlo", design, "--input", data, "-n", "20", "--paired", "1", "-o", str(tmp_path / "runs/dies"))
    run("energy", design, "--input", data, "-o", str(tmp_path / "runs/energy"))
    runs = [str(tmp_path / "runs" / name) for name in ("compare", "dies", "energy")]
    run("report", design, *runs, "-o", str(tmp_path / "report"))
    page = (tmp_path / "report/index.html").read_text()
    assert "the charge domain in a box" in page
    run("versus", design, design, "--runs", str(tmp_path / "runs"))

"""The result of ``size`` in a report and in a comparison of designs."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cmru_hw.analysis.sizing import plots
from cmru_hw.analysis.sizing.result import RESULT, SizingResult
from cmru_hw.report.write import write
from tests import results
from tests.test_cli import SMALL, run

POINT: dict[str, Any] = {"design_label": "sized", "supply_V": 1.8, "operating_corner": "typical, 27 °C"}


def folder_of(found: SizingResult, folder: Path) -> Path:
    """The files of ``size`` that a report reads, without the design."""
    found.save(folder / RESULT)
    for suffix in ("svg", "pdf"):
        plots.front(found, found.front, folder / f"front.{suffix}")
    return folder


def sized(**changes: object) -> SizingResult:
    found = results.sizing(**changes)
    return replace(found, provenance=replace(found.provenance, **POINT))


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).replace("\N{NO-BREAK SPACE}", " ").split())


def test_a_report_shows_sizes_front_and_proof(tmp_path: Path) -> None:
    report = write([folder_of(sized(), tmp_path / "sized")], tmp_path / "report")
    page = report.page.read_text()
    begin = page.index('<section id="summary"')
    screen = words(page[begin : page.index("</section>", begin)])
    assert "The yield is at least 99.31 % , from 1994 of 2000 fresh dies" in screen
    assert "The sizes take 18 pJ per timestep. Quote it as an estimate." in screen
    assert "sized: gf180, macro level, 1.8 V, typical, 27 °C" in screen.replace(" ,", ",").replace(" :", ":")
    assert page.count('id="figure-front"') == 1 and "figures/front.pdf" in page
    # A proof is a Monte-Carlo of mismatch, so nothing says that none was simulated.
    assert "No variation between dies" not in page and "No energy was simulated." in page
    shown = words(page[page.index('<section id="sizing"') :])
    assert "proof 1, seed 1 1980 of 2000 fresh dies good, yield at least 98.4 %: not passed" in shown
    assert "yield at least 99.31 %: passed; 2 of them in ngspice too, 0 decisions differ unexplained" in shown
    assert "Clopper-Pearson; it holds with 95 % confidence for all proofs of the search" in shown
    for row in ("pair_width 6 µm 2 µm", "row 400 fF 200 fF", "trim_bits (fixed) 5 5", "step of the trim none 1 mV"):
        assert row in shown
    assert 'id="sizing-limits"' in page and "comparator: pair_width" in shown
    assert "\ufffd" not in page and "9196" in shown
    assert r"\qty{18}{\pico\joule}" in (tmp_path / "report/tables/sizing.tex").read_text()
    assert "1994 of 2000" in (tmp_path / "report/tables/sizing-facts.tex").read_text()


def test_a_report_says_that_no_sizes_reach_the_yield(tmp_path: Path) -> None:
    failed = {"reached": False, "chosen": None, "figures": None, "limited_by": ("comparator: pair_width",)}
    none = sized(**failed, proofs=(), yield_of_best=0.71)
    page = words(write([folder_of(none, tmp_path / "none")], tmp_path / "report").page.read_text())
    assert "No sizes reach a yield of 99 % : the best trial has 71 %" in page
    assert "The yield is limited by comparator: pair_width." in page and "Quote it" not in page
    refuted = sized(**failed, proofs=results.sizing().proofs[:1])
    page = words(write([folder_of(refuted, tmp_path / "refuted")], tmp_path / "again").page.read_text())
    assert "A yield of 99 % is not proven: the yield is at least 98.4 % , from 1980 of 2000 fresh dies" in page


def test_a_sized_design_is_a_column_of_several(tmp_path: Path) -> None:
    other = results.provenance(netlist_sha256="f" * 64, **{**POINT, "design_label": "plain"})
    results.energy(provenance=other).save(tmp_path / "plain/energy.json")
    page = write([folder_of(sized(), tmp_path / "sized"), tmp_path / "plain"], tmp_path / "report").page.read_text()
    begin = page.index('<section id="summary"')
    screen = words(page[begin : page.index("</section>", begin)])
    assert "18 pJ per timestep, estimated; yield at least 99.31 %" in screen
    assert "Quote the energies as an estimate" in screen and "figure-energies" in page


@pytest.fixture(scope="module")
def designs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plain design, and with the design and result of a search."""
    folder = tmp_path_factory.mktemp("designs")
    done = run("export", SMALL, "-o", folder / "plain", "--no-verify")
    assert done.returncode == 0, done.stderr
    shutil.copytree(folder / "plain", folder / "sized/design")
    design = json.loads((folder / "plain/design.json").read_text())
    own = results.provenance(netlist_sha256=design["netlist_sha256"])
    results.sizing(provenance=own).save(folder / "sized" / RESULT)
    return folder


def test_a_comparison_has_energy_and_bound_of_the_sizes(designs: Path) -> None:
    """The folder of ``size`` stands for its design."""
    done = run("versus", designs / "sized", designs / "plain", "--runs", designs / "sized", "--json")
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)
    assert table["designs"] == [str(designs / "sized/design"), str(designs / "plain")]
    found = {line["name"]: line["entries"][0] for line in table["lines"]}
    assert found["energy per timestep"]["value"] == [18e-12, "estimate"]
    assert found["energy per timestep"]["source"].endswith("sized/sizing.json")
    assert found["area, estimated before layout"]["shown"] == "40000 µm², estimate of the sizes"
    bound = "at least 99.31 % (95 % confidence), 1994 of 2000 fresh dies, at most 1 % worse"
    assert found["yield under mismatch"]["shown"] == found["yield, proven for the sizes"]["shown"] == bound
    assert found["yield, proven for the sizes"]["value"]["bound"] == 0.9931


def test_runs_of_a_sized_design_come_before_its_estimates(designs: Path, tmp_path: Path) -> None:
    shutil.copytree(designs, tmp_path / "all")
    own = SizingResult.load(tmp_path / "all/sized" / RESULT).provenance
    results.montecarlo(provenance=own).save(tmp_path / "all/sized/proof-2/summary.json")
    results.energy(provenance=own).save(tmp_path / "all/sized/energy/energy.json")
    done = run("versus", tmp_path / "all/sized", tmp_path / "all/plain", "--json")
    assert done.returncode == 0, done.stderr
    found = {line["name"]: line["entries"][0]["shown"] for line in json.loads(done.stdout)["lines"]}
    assert found["energy per timestep"] == "30 pJ, estimate"
    assert found["yield under mismatch"].startswith("50 % of 4 dies")
    assert found["yield, proven for the sizes"].startswith("at least 99.31 %")

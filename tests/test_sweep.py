"""One command makes one table over networks, supplies and architectures, and a second run computes nothing."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from cmru_hw import spice
from cmru_hw.analysis.sweep import grid
from cmru_hw.analysis.sweep.point import SweepJob, row_of
from cmru_hw.analysis.sweep.result import SweepResult
from cmru_hw.cli import group
from cmru_hw.core import cache_folder
from cmru_hw.core.errors import InputError, SimulationError
from cmru_hw.core.records import Invalid
from cmru_hw.core.units import si
from cmru_hw.nn.sequences import load_sequences
from cmru_hw.report.write import write
from tests import paper, results, test_supply
from tests.narrow import known

DETECTOR = Path(__file__).parent.parent / "models/detect-cmru-2x4.safetensors"
WORDS = (
    *(
        "--shape",
        "2:2:2",
        "--architecture",
        "charge",
        "--architecture",
        "current-static",
        "--architecture",
        "digital-8",
    ),
    *("--vdd", "1.5", "--vdd", "1.8", "--sequences", "1"),
)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of a shipped detector and of a random network."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        test_supply.store(cache_folder.measured(), 1.5, 2e-13)
        words = ["sweep", str(DETECTOR), *WORDS, "-o", str(folder / "out")]
        done = CliRunner().invoke(group, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        (folder / "shown.txt").write_text(done.output)
        # A second run reads the stored rows.
        patch.setattr("cmru_hw.analysis.sweep.point._computed", lambda *_: pytest.fail("computed twice"))
        before = (folder / "out/sweep.json").read_text()
        CliRunner().invoke(group, words, catch_exceptions=False)
        assert (folder / "out/sweep.json").read_text() == before
    return folder


@pytest.mark.spice
def test_every_combination_is_a_row_with_its_level(swept: Path) -> None:
    found = SweepResult.load(swept / "out/sweep.json")
    assert len(found.rows) == 2 * 3 * 2
    assert {row.level for row in found.rows} == {"estimate"}
    refused = [row for row in found.rows if not row.done]
    assert {(row.network, row.architecture) for row in refused} == {("detect-cmru-2x4", "current-static")}
    assert all("a cmru network has no current mode circuit; it takes fq-bmru" in row.status for row in refused)
    rows = {(row.network, row.architecture, row.vdd_V): row for row in found.finished}
    for network in ("detect-cmru-2x4", "random 2:2:2"):
        for kind in ("charge", "digital-8"):
            low, high = rows[network, kind, 1.5], rows[network, kind, 1.8]
            assert low.per_timestep_J is not None and high.per_timestep_J is not None
            assert low.per_timestep_J < high.per_timestep_J
    # Static currents do not depend on the supply, so this estimate is in proportion to it.
    static = [rows["random 2:2:2", "current-static", vdd].per_timestep_J for vdd in (1.5, 1.8)]
    assert static[0] is not None and static[1] is not None
    assert static[0] / static[1] == pytest.approx(1.5 / 1.8)
    digital = rows["detect-cmru-2x4", "digital-8", 1.8]
    assert digital.low_J is not None and digital.high_J is not None and digital.per_timestep_J is not None
    assert digital.low_J < digital.per_timestep_J < digital.high_J
    assert digital.least_vdd_V is not None and digital.least_vdd_V < 1.0
    assert set(found.excludes) == {"charge", "current-static", "digital"}


@pytest.mark.spice
def test_all_files_hold_the_same_numbers(swept: Path) -> None:
    found = SweepResult.load(swept / "out/sweep.json")
    energies = [row.per_timestep_J for row in found.rows]
    table = pq.read_table(swept / "out/sweep.parquet")
    assert table["per_timestep_J"].to_pylist() == energies
    assert table["units"].to_pylist() == [row.units for row in found.rows]
    lines = list(csv.DictReader((swept / "out/sweep.csv").open()))
    assert [float(line["per_timestep_J"]) if line["per_timestep_J"] else None for line in lines] == energies
    shown = (swept / "shown.txt").read_text()
    printed = [line for line in shown.splitlines() if " estimate " in line]
    assert len(printed) == 5 and "not included" in shown
    assert "1.5 V" in shown.splitlines()[1] and "range at 1.8 V" in shown and "1.5, 1.8 V  refused: a cmru" in shown
    digital = next(row for row in found.rows if row.architecture == "digital-8" and row.vdd_V == 1.8)
    assert digital.per_timestep_J is not None and digital.low_J is not None
    assert si(digital.per_timestep_J, "J", 3) in printed[1] and f"{si(digital.low_J, 'J', 3)} to" in printed[1]
    source = (swept / "out/sweep.tex").read_text()
    assert source.isascii() and "scriptsize" not in source
    assert all(f"{len(group)}" for group in source.splitlines())
    columns = {len(re.findall(r"(?<!\\)&", line)) for line in source.splitlines() if line.endswith(r"\\")}
    assert len(columns) == 1 and source.count(" estimate ") == 5 and r"\qty{1.5}{\volt}" in source


@pytest.mark.spice
@pytest.mark.needs("siunitx")
def test_the_table_compiles_in_a_paper_of_two_columns(swept: Path, tmp_path: Path) -> None:
    shutil.copytree(swept / "out", tmp_path / "out")
    assert "siunitx.sty" in paper.pdflatex(tmp_path / "out", "paper.tex")
    paper.compiled([tmp_path / "out/sweep.tex"], tmp_path)


@pytest.mark.spice
@pytest.mark.needs("pdflatex")
def test_the_paper_compiles_without_siunitx(swept: Path, tmp_path: Path) -> None:
    shutil.copytree(swept / "out", tmp_path / "out")
    whole = (tmp_path / "out/paper.tex").read_text()
    assert whole.count("siunitx.sty") == 1
    paper.pdflatex(tmp_path / "out", "without.tex", whole.replace("siunitx.sty", "absent.sty"))


@pytest.mark.spice
@pytest.mark.needs("distributed")
def test_a_dask_cluster_gives_the_same_rows(swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of ngspice, of the fast engine and of counted gates, each in a process of a real cluster."""
    import distributed

    monkeypatch.setenv("XDG_CACHE_HOME", str(swept / "cache"))
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as made:
        words = ["sweep", str(DETECTOR), *WORDS, "--scheduler", made.scheduler_address, "-o", str(tmp_path / "out")]
        done = CliRunner().invoke(group, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert SweepResult.load(tmp_path / "out/sweep.json").rows == SweepResult.load(swept / "out/sweep.json").rows
    # The rows are kept, so the same sweep needs no cluster.
    kept = list((tmp_path / "out/points").glob("*.json"))
    assert len(kept) == len(SweepResult.load(tmp_path / "out/sweep.json").finished)


@pytest.mark.spice
def test_a_point_that_fails_is_a_row_and_is_not_kept(tmp_path: Path) -> None:
    job = SweepJob(folder=tmp_path, measured=tmp_path / "m", simulator=spice.installed("pyspice"), timeout=1e-6)
    # On a busy machine a small network could be simulated before its timeout is looked at.
    (point,) = grid.points([grid.NetworkSource(shape="12:16+16:2")], ["charge"], ["gf180"], [1.8], ["typical/27"])
    row = row_of(job, point)
    assert row.status.startswith("failed: ") and row.per_timestep_J is None
    assert not (tmp_path / "points").exists()


@pytest.mark.spice
def test_yields_have_their_interval_and_their_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The yield of a sweep is that of ``montecarlo``; digital rows and random networks have none."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    few = load_sequences(DETECTOR.with_name("detect-eval.npz")).first(30)
    np.savez(tmp_path / "few.npz", inputs=few.inputs, lengths=few.lengths, labels=known(few.labels))
    words = ["--shape", "2:2:2", "--architecture", "charge", "--architecture", "digital-8", "--sequences", "1"]
    words += ["--input", str(tmp_path / "few.npz"), "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(group, ["sweep", str(DETECTOR), *words, "--dies", "12"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "yield, share of dies whose accuracy is at most 1 % below software's" in done.output
    found = SweepResult.load(tmp_path / "out/sweep.json")
    rows = [row for row in found.rows if row.yield_ is not None]
    assert [(row.network, row.architecture) for row in rows] == [("detect-cmru-2x4", "charge")]
    (row,) = rows
    assert (row.dies, row.yield_level) == (12, "fast engine, macro level") and row.level == "estimate"
    words = ["--technology", "gf180", "--no-verify", "--input", str(tmp_path / "few.npz")]
    done = CliRunner().invoke(group, ["export", str(DETECTOR), *words, "-o", str(tmp_path / "design")])
    assert done.exit_code == 0, done.output
    words = ["--input", str(tmp_path / "few.npz"), "-n", "12", "-o", str(tmp_path / "dies"), "--json"]
    done = CliRunner().invoke(group, ["montecarlo", str(tmp_path / "design"), *words])
    yielded = json.loads(done.stdout)["yield"]
    assert yielded["k"] == row.yield_k and yielded["ci95"] == pytest.approx([row.yield_low, row.yield_high])
    # Without dies the same point is another one, and its stored row stays.
    table = pq.read_table(tmp_path / "out/sweep.parquet")
    assert table["yield_k"].to_pylist() == [one.yield_k for one in found.rows]
    source = (tmp_path / "out/sweep.tex").read_text()
    assert source.count(r"\begin{table*}") == 2 and r"{\percent} (" in source and "macro level" in source
    written = write([tmp_path / "out"], tmp_path / "report")
    page = written.page.read_text()
    assert "fast engine, macro level" in page and "Clopper and Pearson" in page


def test_a_yield_without_its_interval_or_level_is_refused() -> None:
    row = results.sweep().rows[0]
    whole = replace(row, dies=10, yield_k=9, yield_low=0.55, yield_high=0.99, yield_level="fast engine, macro level")
    assert whole.yield_ == (0.9, 0.55, 0.99) and row.yield_ is None
    for change in ({"yield_level": None}, {"yield_low": None}, {"yield_low": 0.95}, {"yield_k": 11}):
        with pytest.raises(Invalid):
            replace(whole, **change).check()


def test_what_cannot_be_swept_is_named(tmp_path: Path) -> None:
    network = [grid.NetworkSource(shape="2:2:2")]
    with pytest.raises(InputError, match="no architecture of a sweep is called 'optical'"):
        grid.points(network, ["optical"], ["gf180"], [1.8], ["typical/27"])
    for corner in ("typical", "ff/hot", "xx/27", "ff/200"):
        with pytest.raises(InputError, match="PROCESS/TEMPERATURE"):
            grid.points(network, ["charge"], ["gf180"], [1.8], [corner])
    for shape in ("8", "0:2:2", "2:0:2", "2:2+:2", "a:2:2"):
        with pytest.raises(InputError, match="FEATURES:UNITS:CLASSES"):
            grid.NetworkSource(shape=shape).numbers()
    assert CliRunner().invoke(group, ["sweep", "-o", str(tmp_path / "out")]).exit_code == 2
    ideal = [
        "sweep",
        "--shape",
        "2:2:2",
        "--architecture",
        "digital-8",
        "--technology",
        "macro",
        "-o",
        str(tmp_path / "o"),
    ]
    done = CliRunner().invoke(group, ideal)
    assert isinstance(done.exception, SimulationError) and "no row of the sweep" in str(done.exception)
    stored = json.loads((tmp_path / "o/sweep.json").read_text())
    assert "refused: macro is not a process, whose gates a digital datapath needs" in stored["rows"][0]["status"]


@pytest.mark.spice
def test_the_report_of_a_sweep_has_supplies_as_columns(swept: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(group, ["report", str(swept / "out"), "-o", str(tmp_path / "report")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report/index.html").read_text()
    for heading in ("<th>level</th>", "<th>1.5 V</th>", "<th>1.8 V</th>", "<th>best supply</th>"):
        assert heading in page
    assert page.count('data-label="level">estimate') == 5
    shown = page[: page.index('<section id="numbers"')]
    assert shown.count("a cmru network has no current mode circuit") == 1
    assert "Quote an estimate as such" in page
    assert "scriptsize" not in (tmp_path / "report/tables/sweep.tex").read_text()

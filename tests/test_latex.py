"""LaTeX tables of all kinds of results: engineering units, and a paper of two columns that includes them unedited."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmru_hw.analysis.energy.tables import as_latex as energy_latex
from cmru_hw.analysis.results import KINDS
from cmru_hw.core import latex
from cmru_hw.report.write import write
from tests import paper, results


@pytest.mark.needs("siunitx")
def test_tables_of_every_kind_compile_in_a_paper_of_two_columns(tmp_path: Path) -> None:
    """Also the table that ``energy`` writes itself."""
    made = [getattr(results, name)() for name in ("comparison", "energy", "corners", "retention", "sizing", "sweep")]
    for place, found in enumerate(made):
        (kind,) = (kind for kind in KINDS.values() if isinstance(found, kind.record))
        found.save(tmp_path / str(place) / kind.file)
    results.versus().save(tmp_path / "versus.json")
    results.montecarlo().save(tmp_path / "dies/summary.json")
    folders = [*(tmp_path / str(place) for place in range(len(made))), tmp_path / "dies", tmp_path / "versus.json"]
    report = write(folders, tmp_path / "report")
    tables = sorted((report.folder / "tables").glob("*.tex"))
    names = {path.stem for path in tables}
    assert names >= {"energy", "energy-facts", "versus", "sweep", "sizing", "sizing-facts", "corners", "montecarlo"}
    (tmp_path / "energy.tex").write_text(energy_latex(results.energy()))
    for path in (*tables, tmp_path / "energy.tex"):
        source = path.read_text()
        assert "scriptsize" not in source and r"\label{tab:" in source and r"\caption{" in source
    assert r"\qty{30}{\pico\joule}" in (report.folder / "tables/energy-facts.tex").read_text()
    log = paper.compiled([*tables, tmp_path / "energy.tex"], tmp_path)
    assert "siunitx.sty" in log


def test_quantities_have_engineering_units() -> None:
    assert latex.prose("24.4 pJ, 5 % of 55 664 µm² at −40 °C; 3 W/L and x1 V") == (
        r"\qty{24.4}{\pico\joule}, \qty{5}{\percent} of 55 664 \ensuremath{\mu}m\ensuremath{^2} at "
        r"\qty{-40}{\degreeCelsius}; 3 W/L and x1 V"
    )

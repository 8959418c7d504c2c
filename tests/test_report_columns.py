"""Several designs in a report: columns of one table, and a summary that names each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cmru_hw.analysis.energy.result import BlockEnergy
from cmru_hw.report.write import write
from tests import results


def two_designs(folder: Path, *names: str) -> list[Path]:
    """Results of a design of macromodels and of designs of transistors."""
    paths = []
    for place, name in enumerate(names):
        at = {"design_label": name, "supply_V": 1.8, "operating_corner": "typical, 27 °C"}
        own = results.provenance(netlist_sha256=f"{place:x}" * 64, **at)
        level = {"level": "transistor", "label": "simulated"} if place else {}
        joules = (place + 3) * 1e-11
        block = BlockEnergy(static_J=0.0, dynamic_J=joules, analytic_J=None, source="netlist", note="")
        of_block = {"per_timestep_J": joules, "per_inference_J": 20 * joules, "mean_power_W": 100 * joules}
        found = results.energy(provenance=own, blocks={"comparators": block}, **of_block, **level)
        found.save(folder / name / "energy.json")
        results.comparison(provenance=own, **({"level": "transistor"} if place else {})).save(
            folder / name / "summary.json"
        )
        paths.append(folder / name)
    results.montecarlo(provenance=own).save(folder / "dies" / "summary.json")
    return [*paths, folder / "dies"]


def test_several_designs_are_columns_of_one_table(tmp_path: Path) -> None:
    report = write(two_designs(tmp_path, "charge", "chip"), tmp_path / "report")
    content = report.page.read_text()
    assert content.count('id="energy"') == 1 and "Energy (2)" not in content and "energy-2" not in content
    table = content[content.index('<section id="energy"') :]
    head, body = table[: table.index("</thead>")], table[table.index("<tbody>") : table.index("</tbody>")]
    point = "macro, {} level, 1.8 V, typical, 27 °C"
    assert re.findall("<th>(.*?)</th>", head) == [
        "",
        f"charge: {point.format('macro')}, estimated",
        f"chip: {point.format('transistor')}, simulated",
    ]
    # An estimate and a simulated figure stand in one row only with their words.
    row = next(line for line in body.split("<tr>") if "energy per timestep" in line)
    cells = re.sub(r"<[^>]*>", " ", row.replace("</td>", "|")).replace("\N{NO-BREAK SPACE}", " ").split("|")
    assert [" ".join(cell.split()) for cell in cells[1:3]] == ["30 pJ , estimated", "40 pJ , simulated"]
    assert "block: comparators" in body
    # A section of one design names it.
    dies = content[content.index('<section id="montecarlo"') :]
    assert "chip: macro, transistor level" in dies[: dies.index("<table")]
    numbers = (tmp_path / "report" / "numbers.csv").read_text()
    assert "energy per timestep, estimated, charge" in numbers and "energy per timestep, simulated, chip" in numbers
    # A statement of all designs stands once, another one with the name of its design.
    assert content.count("charge: No variation between dies was simulated.") >= 1
    assert "chip: No variation" not in content and "charge: The energy does not include" not in content
    assert (tmp_path / "report" / "figures" / "energies.pdf").is_file()


@pytest.mark.parametrize("count_", [2, 3, 7])
def test_the_summary_names_every_design_and_the_figure_to_quote(count_: int, tmp_path: Path) -> None:
    names = [f"design {letter}" for letter in "abcdefg"[:count_]]
    content = write(two_designs(tmp_path, *names), tmp_path / "report").page.read_text()
    begin = content.index('<section id="summary"')
    screen = content[begin : content.index("</section>", begin)]
    visible = re.sub(r"<[^>]*>", " ", screen).replace("\N{NO-BREAK SPACE}", " ")
    assert len(visible.split()) <= 250
    assert all(name in visible for name in names)
    assert 4 <= screen.count('class="tile"') <= 6 and screen.count("<img") == 1
    assert "as an estimate (no transistor" in visible and "as simulated, before layout" in visible
    assert ("that of design a as an estimate" in visible) == (count_ < 5)


def test_designs_of_one_name_are_told_apart_by_their_netlist(tmp_path: Path) -> None:
    for place in (0, 1):
        own = results.provenance(netlist_sha256=f"{place}" * 64, design_label="chip")
        results.energy(provenance=own).save(tmp_path / str(place) / "energy.json")
    content = write([tmp_path / "0", tmp_path / "1"], tmp_path / "report").page.read_text()
    assert "chip (000000000000): macro" in content and "chip (111111111111): macro" in content

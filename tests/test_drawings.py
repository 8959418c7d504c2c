"""The drawings of the chip's cells show the netlist: every device, its type, and the net of every terminal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tools.drawing import Sheet

DOCS = Path(__file__).resolve().parent.parent / "docs"
NAMES = sorted(path.stem for path in (DOCS / "schematics").glob("*.svg"))

pytestmark = pytest.mark.needs("schemdraw")


def texts(svg: str) -> list[str]:
    return sorted(re.findall(r"<tspan[^>]*>([^<]*)</tspan>", svg))


@pytest.mark.parametrize("name", NAMES)
def test_a_drawing_is_its_netlist(name: str) -> None:
    from tools import schematics
    from tools.drawing import differences

    assert sorted(schematics.SHEETS) == NAMES
    sheet = schematics.SHEETS[name]()
    assert differences(sheet) == []
    assert len(sheet.devices) == len(sheet.netlist.lines) > 4
    # the file in the repository is this drawing, whatever the version of schemdraw
    shown = texts((DOCS / "schematics" / f"{name}.svg").read_text(encoding="utf-8"))
    assert shown == texts(sheet.svg())
    assert all(any(re.match(rf"{device}\b", text) for text in shown) for device in sheet.devices)


@pytest.mark.parametrize("name", NAMES)
def test_a_drawing_is_shown(name: str) -> None:
    assert f"](schematics/{name}.svg)" in (DOCS / "chip.md").read_text(encoding="utf-8")


def without(sheet: Sheet, place: int) -> Sheet:
    del sheet.segments[place]
    return sheet


def test_the_comparison_notices_each_kind_of_error() -> None:
    """A wire less, a crossing that connects, another type, a device too many or too few, and a wrong name."""
    from tools import schematics
    from tools.drawing import differences

    for place in range(len(schematics.amplifier().segments)):
        assert differences(without(schematics.amplifier(), place)), f"wire {place}"
    crossing = schematics.comparator()
    # the two cross-coupled nets meet at a crossing, and connect if a wire ends there
    x, y = crossing.pins["xp1.g"][0], 5.75
    crossing.segments.append(((x, y), (x, y)))
    assert any("op" in line and "om" in line for line in differences(crossing))
    changed = schematics.amplifier()
    changed.devices |= {"xt": "nf", "x9": "nf"}
    del changed.devices["x1"]
    changed.names.append(("inp", changed.pins["x2.g"]))
    found = differences(changed)
    assert "xt is a pf, drawn as nf" in found
    assert "x9 is not in the netlist" in found
    assert "x1 is not drawn" in found
    assert any("inp" in line or "inn" in line for line in found)

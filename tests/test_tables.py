"""Tables and sentences for people: units with prefixes, no exponents of a programming language, one line a row."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cmru_hw.cli import common, group
from cmru_hw.core.units import percent, plain, si

MODELS = Path(__file__).parent.parent / "models"
EXPONENT = re.compile(r"\d[eE][-+]\d")
PREFIX = dict(zip("yzafpnµm kMGTPEZY", range(-24, 27, 3), strict=True))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.263e-11, "12.63 pJ"), (4.1e-13, "410 fJ"), (999.96e-12, "1 nJ"), (-2.5e-5, "-25 µJ"), (0.0, "0 J"),
        (1.5, "1.5 J"), (12600.0, "12.6 kJ"), (1e30, "10^30 J"), (2.34e-28, "2.34·10^-28 J"), (math.inf, "inf J"),
    ],
)  # fmt: skip
def test_a_number_has_the_prefix_that_makes_it_short(value: float, shown: str) -> None:
    assert si(value, "J") == shown


def test_numbers_without_a_unit_have_no_exponent() -> None:
    assert [plain(v) for v in (0.0, 2.63e-5, 0.5, 12_600.0, 4.1e-9, 1e30)] == [
        "0", "0.0000263", "0.5", "12600", "4.1·10^-9", "10^30",
    ]  # fmt: skip
    assert [percent(v) for v in (0.0, 1.0, 1.9e-5, 0.99999, 0.5)] == ["0 %", "100 %", "0.0019 %", "99.999 %", "50 %"]


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 8))
def test_a_number_can_be_read_back_from_what_is_shown(value: float, digits: int) -> None:
    shown = si(value, "V", digits)
    assert not EXPONENT.search(shown) and not EXPONENT.search(plain(value, digits))
    number, unit = shown.split(" ")
    if "^" in number or not value:
        return
    assert math.isclose(float(number) * 10.0 ** PREFIX[unit[:-1] or " "], value, rel_tol=0.51 * 10.0 ** (1 - digits))
    assert 1 <= abs(float(number)) < 1000


def test_a_piped_table_is_one_line_a_row(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    title, long = "a title that is longer than its table", "words " * 100
    common.print_table(title, [("a", "b"), ("c", long)])
    assert capsys.readouterr().out == f"{title}\na  b\nc  {long.rstrip()}\n"
    common.print_columns(title, ("x", "y"), [("a", "b")])
    assert capsys.readouterr().out == f"{title}\nx  y\na  b\n"


@pytest.mark.spice
def test_commands_print_no_exponents(tmp_path: Path) -> None:
    """On shipped designs of both kinds of circuit, ideal and not."""
    printed: dict[str, str] = {}

    def run(*arguments: object) -> None:
        done = CliRunner().invoke(group, [str(one) for one in arguments])
        assert done.exit_code == 0, (arguments, done.output, done.exception)
        printed[" ".join(map(str, arguments))] = done.output

    for model, technology in (("detect-cmru-2x4", "gf180"), ("detect-fq-bmru-2x4", "")):
        out, data = tmp_path / model, MODELS / f"{model.split('-')[0]}-eval.npz"
        of = ("--technology", technology) if technology else ()
        run("inspect", MODELS / f"{model}.safetensors", *of)
        run("export", MODELS / f"{model}.safetensors", "-o", out / "design", *of)
        some = (out / "design", "--input", data, "--sequences", 2)
        run("simulate", *some)
        run("compare", *some, "-o", out / "compare")
        run("montecarlo", *some, "-n", 5, "-o", out / "dies")
        run("energy", *some, "-o", out / "energy")
        run("report", out / "design", out / "compare", out / "dies", out / "energy", "-o", out / "report")
        printed[f"report of {model}"] = re.sub(
            r"(?s)<(svg|script|style).*?</\1>|<[^>]*>", " ", (out / "report" / "index.html").read_text(encoding="utf-8")
        )
        printed[f"table of {model}"] = next((out / "energy").glob("*.tex")).read_text(encoding="utf-8")
    found = {command: EXPONENT.findall(text) for command, text in printed.items() if EXPONENT.search(text)}
    lines = {c: [line for line in printed[c].splitlines() if EXPONENT.search(line)] for c in found}
    assert not found, lines

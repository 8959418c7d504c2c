"""Results are written and read back unchanged, and refused with file and field if they are inconsistent."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cmru_hw.analysis import results as table
from cmru_hw.analysis.provenance import WrittenCertificate
from cmru_hw.circuits.certificate import NumericalCertificate
from cmru_hw.cli import group
from cmru_hw.core import records
from cmru_hw.core.errors import InputError, OutputError
from cmru_hw.core.units import json_text
from cmru_hw.report import runs
from tests import results

MADE = {
    name: getattr(results, name)
    for name in ("comparison", "montecarlo", "energy", "corners", "retention", "scaling", "sizing", "sweep", "versus")
}


def test_every_kind_has_a_line_in_the_table() -> None:
    assert set(table.KINDS) == set(MADE)
    assert set(runs.MAKERS) == set(MADE) - {"scaling"}


@pytest.mark.parametrize("name", MADE)
def test_a_result_is_read_as_it_was_written(name: str, tmp_path: Path) -> None:
    kind, made = table.KINDS[name], MADE[name]()
    made.save(tmp_path / (kind.file or "table.json"))
    path = tmp_path / (kind.file or "table.json")
    content = records.read(path)
    assert kind.read(content, path) == made
    assert [other.name for other in table.KINDS.values() if other.fits(content)] == [name]
    # Also without the key of the kind, as an older version wrote it, and with additional keys.
    assert isinstance(content, dict) and content.pop("kind") == name
    assert [other.name for other in table.KINDS.values() if other.file == kind.file and other.fits(content)] == [name]
    newer = kind.read({**content, "something_new": [1]}, path)
    assert type(newer) is type(made)
    if name != "comparison":
        assert newer == made
    if kind.file:
        (found,) = table.in_folder(tmp_path)
        assert found == (kind, path, records.read(path))


def put(content: dict[str, Any], place: str, value: object) -> None:
    *way, last = place.split("/")
    found: Any = content
    for part in way:
        found = found[int(part) if isinstance(found, list) else part]
    found[last] = value


IMPOSSIBLE = [
    ("montecarlo", "yield/value", 2.0, "yield/value is 2, above 1"),
    ("montecarlo", "yield/value", 0.6, "yield/value is 0.6, but k/n is 0.5"),
    ("montecarlo", "yield/k", 4, "yield/value is 0.5, but k/n is 1"),
    ("montecarlo", "yield/k", -1, "yield/k is -1, below 0"),
    ("montecarlo", "yield/ci95", [0.9, 1.0], "yield/ci95 is 0.9 to 1"),
    ("montecarlo", "yield/ci95", [0.1], "yield/ci95 has 1 entries, not 2"),
    ("montecarlo", "yield", None, "yield is null, not an object"),
    ("montecarlo", "dies", 5, "yield/n is 4, but there are 5 dies"),
    ("montecarlo", "dies", "four", "dies is 'four', not a whole number"),
    ("montecarlo", "dies", True, "dies is True, not a whole number"),
    ("montecarlo", "failed", 2, "failed is 2, but 1 failures are listed"),
    ("montecarlo", "accuracy/min", 0.95, "accuracy/median is below p05"),
    ("montecarlo", "engine", "foo", "engine is 'foo', not fast or spice"),
    ("montecarlo", "seed", -1, "seed is -1, below 0"),
    ("montecarlo", "netlist_sha256", "x" * 64, "netlist_sha256 is not a SHA-256"),
    ("energy", "per_timestep_J", -3e-11, "per_timestep_J is -3e-11, below 0"),
    ("energy", "per_timestep_J", None, "per_timestep_J is null, not a number"),
    ("energy", "per_timestep_J", 4e-11, "per_timestep_J is 4e-11, but its blocks sum up to 3e-11"),
    ("energy", "blocks/comparators/static_J", None, "blocks/comparators/dynamic_J and static_J"),
    ("energy", "blocks/comparators", [], "blocks/comparators is a list, not an object"),
    ("energy", "decisions/agree", 51, "decisions/agree is 51 of a total of 50"),
    ("energy", "excludes", "all", "excludes is 'all', not a list"),
    ("energy", "level", "layout", "level is 'layout', not macro or transistor"),
    ("corners", "asked", 45, "asked is 45, but 4 are listed"),
    ("corners", "worst_agreement", 0.5, "worst_agreement is 0.5, but the worst corner has 1"),
    ("corners", "corners/0/per_timestep_J", -1.0, "corners/0/per_timestep_J is -1, below 0"),
    ("corners", "corners/3/status", "perhaps", "corners/3/status is 'perhaps'"),
    ("retention", "worst_timesteps", 2.0, "worst_timesteps is 2, but the fewest are 100000"),
    ("retention", "temperatures", [], "temperatures is empty"),
    ("retention", "temperatures/1/seconds", "long", "temperatures/1/seconds is 'long', not a number"),
    ("comparison", "decisions/excluded", 5, "decisions/excluded is 5"),
    ("comparison", "decisions/agree", 8, "first_divergence is null, but 1 decisions differ"),
    ("comparison", "classification/correct_circuit", 2, "classification/correct_circuit is 2 of a total of 1"),
    ("scaling", "laws/units/all/low", 1.5, "laws/units/all/exponent is 1, outside its interval"),
    ("sizing", "proofs/1/bound", 0.999, "proofs/1/bound is 0.999, above 1994 of 2000 dies"),
    ("sizing", "proofs/1/good", 2001, "proofs/1/good is 2001 of 2000 dies"),
    ("sizing", "proofs/1/passed", False, "reached is true, but no proof passed"),
    ("sizing", "chosen", None, "chosen does not fit reached"),
    ("sweep", "rows/0/per_timestep_J", None, "rows/0/per_timestep_J does not fit the status"),
    ("sweep", "rows/0/level", "layout", "rows/0/level is 'layout', not estimate or simulated"),
    ("versus", "lines/0/entries", [], "lines/0/entries has 0 for 2 designs"),
]


@pytest.mark.parametrize(("name", "place", "value", "said"), IMPOSSIBLE, ids=[f"{i[0]}-{i[1]}" for i in IMPOSSIBLE])
def test_an_impossible_result_is_refused_by_file_and_field(
    name: str, place: str, value: object, said: str, tmp_path: Path
) -> None:
    kind = table.KINDS[name]
    content = json.loads(MADE[name]().to_json())
    put(content, place, value)
    path = tmp_path / (kind.file or "table.json")
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        kind.read(records.read(path), path)
    assert str(caught.value).startswith(f"{path}: {said}") and "make it again" in str(caught.value)
    if name in runs.MAKERS:
        done = CliRunner().invoke(
            group, ["report", str(path if name == "versus" else tmp_path), "-o", str(tmp_path / "report")]
        )
        assert isinstance(done.exception, InputError) and str(done.exception) == str(caught.value)


@pytest.mark.parametrize("name", MADE)
def test_no_key_can_be_taken_away_unnoticed(name: str, tmp_path: Path) -> None:
    """Every key of a result is either refused by name if it is missing, or has a default."""
    kind, made = table.KINDS[name], MADE[name]()
    content = json.loads(made.to_json())
    free = {"kind", "command", "seed", "edited", "netlist_sha256", "job_sha256", "unseen"}
    optional = {"versus": {"versions", "labels"}, "sizing": {"best_yield", "limited_by", "own_sizes", "level"}}
    free |= optional.get(name, set())
    for key in content.keys() - free:
        with pytest.raises(InputError, match=f" has no {key}: it is damaged"):
            kind.read({other: value for other, value in content.items() if other != key}, tmp_path / "file")
    for key in content.keys() & free:
        kind.read({other: value for other, value in content.items() if other != key}, tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read"),
        ('{"dies": 1, "dies": 2}', "the key 'dies' occurs twice"),
        ('{"dies": NaN}', "NaN is not a JSON number"),
        ('{"dies": 1e999}', "1e999 is too large a number"),
        ('{"dies": 1' + "0" * 5000 + "}", "is too large a number"),
        ("[" * 100000 + "]" * 100000, "nested too deeply"),
        ('{"a": ' * 60 + "1" + "}" * 60, "nested too deeply"),
    ],
    ids=["empty", "twice", "nan", "infinite", "digits", "deep", "deeper than a result"],
)
def test_what_is_no_json_is_refused_in_one_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        list(table.in_folder(tmp_path))
    assert str(caught.value).startswith(f"{path} cannot be read") and said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "table.json")
    with pytest.raises(InputError, match=r"table\.json cannot be read"):
        records.read(tmp_path / "table.json")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "energy.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"energy\.json cannot be read"):
        list(table.in_folder(tmp_path))


def test_numbers_that_are_not_finite_are_written_as_null() -> None:
    made = results.comparison(level_error_max=float("nan"), swing_used=float("inf"))
    content = json.loads(made.to_json())
    assert content["level_error_max"] is None and content["swing_used"] is None
    assert type(made).from_plain(content, where="file").level_error_max is None


def test_a_result_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "energy.json").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        results.energy().save(tmp_path / "energy.json")
    assert [path.name for path in tmp_path.iterdir()] == ["energy.json"]


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_results_are_values(make: Callable[[], Any]) -> None:
    one = make()
    assert one == make()
    with pytest.raises(AttributeError):
        one.kind = "other"


def report(folder: Path, out: Path) -> str:
    done = CliRunner().invoke(group, ["report", str(folder), "-o", str(out)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return (out / "index.html").read_text().replace("\u00a0", " ")


def test_a_report_has_every_result_of_a_folder(tmp_path: Path) -> None:
    for name in ("comparison", "energy", "corners", "retention"):
        MADE[name]().save(tmp_path / "all" / table.KINDS[name].file)
    page = report(tmp_path / "all", tmp_path / "report")
    for piece in ("Software compared with SPICE", "30 pJ", "3 of 4", "gf180 1", "-40 °C"):
        assert piece in page


def test_a_certificate_is_part_of_the_provenance() -> None:
    certificate = NumericalCertificate(
        architecture="cm",
        simulator="ngspice 39",
        options="reltol=1e-4",
        refined_options="reltol=1e-5",
        frames=((0, 3), (1, 2)),
        row_difference=1e-12,
        row_unit="A",
        state_difference=0.01,
        current_difference=1e-4,
        energy_difference=float("nan"),
        decisions_changed=0,
        states_changed=0,
        margins_inside=1,
        margins=20,
        seed=0,
    )
    written = WrittenCertificate.from_json(json_text(certificate.as_dict()), where="file")
    assert written.frames == certificate.frames and written.row_difference_A == 1e-12
    assert written.energy_difference is None
    made = results.comparison(provenance=results.provenance(certificate=written))
    assert type(made).from_json(made.to_json(), where="file") == made
    content = json.loads(made.to_json())
    put(content, "certificate/margins_inside", 21)
    with pytest.raises(InputError, match="certificate/margins_inside is 21 of 20"):
        type(made).from_plain(content, where="file")

"""The report: every number refers to its file, and its command reproduces the number."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest

from cmru_hw.circuits.charge import variation
from cmru_hw.circuits.current import technology
from cmru_hw.circuits.current import variation as dies
from cmru_hw.cli import main
from cmru_hw.core import latex, package_data
from cmru_hw.core.errors import InputError, OutputError
from cmru_hw.core.units import count, percent, si
from cmru_hw.report import html, runs, variation_names
from cmru_hw.report.write import write
from tests import needs, paper, results
from tests.test_current import design_of, network

COMMANDS = (
    "cmru-hw export models/detect-cmru-2x4.safetensors -o out/detect --no-verify",
    "cmru-hw compare out/detect --input models/detect-eval.npz --sequences 4 -o out/compare",
    "cmru-hw montecarlo out/detect --input models/detect-eval.npz --sequences 40 -n 30 --seed 5 --sensitivity "
    "--only offset --only noise/row -o out/dies",
)
FOLDERS = ("out/detect", "out/compare", "out/dies")


def run(line: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", shlex.split(line))
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    code = ended.value.code
    assert isinstance(code, int)
    return code, out.getvalue(), err.getvalue()


@dataclass(frozen=True, kw_only=True)
class Number:
    file: str
    keys: list[str]
    values: list[object]
    name: str
    shown: str
    rule: str


class Page(HTMLParser):
    """All links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self.origins: list[dict[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        self.tags.add(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []
        self.sources += [found["src"]] if "src" in found else []
        assert not any(name.startswith("on") for name in found)
        if "data-file" in found:
            self.origins.append(found)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the runs and their report were made with the commands of a user."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(package_data.folder("models"), folder / "models")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in (*COMMANDS, f"cmru-hw report {' '.join(FOLDERS)} -o out/report"):
            code, _, err = run(line)
            assert code == 0, err
    return folder


@pytest.fixture
def inside(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(checkout)
    return checkout


def text(folder: Path) -> str:
    return (folder / "out" / "report" / "index.html").read_text(encoding="utf-8")


def written(folder: Path) -> dict[str, dict[str, str]]:
    """The rows of numbers.csv by section and name."""
    with (folder / "out" / "report" / "numbers.csv").open(encoding="utf-8", newline="") as file:
        return {f"{row['section']}: {row['name']}": row for row in csv.DictReader(file)}


@pytest.mark.spice
def test_every_number_is_in_its_file_at_its_place(inside: Path) -> None:
    page = Page(text(inside))
    assert len(page.origins) > 60
    for origin in page.origins:
        path = Path(origin["data-file"])
        for key, value in zip(json.loads(origin["data-keys"]), json.loads(origin["data-values"]), strict=True):
            if path.suffix != ".json":
                assert path.is_file()
                continue
            found = json.loads(path.read_text())
            for part in key.split("/"):
                found = found[int(part) if isinstance(found, list) else part]
            assert found == value, (path, key)
    # Every reference leads to one of these.
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


@pytest.mark.spice
def test_what_is_shown_is_what_is_written(inside: Path) -> None:
    rows = written(inside)
    assert len(rows) > 60 and all(row["command"].startswith("cmru-hw ") for row in rows.values())
    for row in rows.values():
        keys = row["keys"].split(", ")
        if not row["file"].endswith(".json") or row["rule"] or len(keys) != 1:
            continue
        found = json.loads(Path(row["file"]).read_text())
        for part in keys[0].split("/"):
            found = found[int(part) if isinstance(found, list) else part]
        if isinstance(found, float):
            shown = re.match(r"([-\d.e]+) ?(%|[afpnµmkMGT](?=[VsJFW]))?", row["shown"].replace("\u202f", ""))
            assert shown is not None
            scale = {"%": 1e-2, "µ": 1e-6, "m": 1e-3, "n": 1e-9, "p": 1e-12, "f": 1e-15, None: 1.0}[shown[2]]
            assert float(shown[1]) * scale == pytest.approx(found, rel=0.05), row


@pytest.mark.spice
def test_three_numbers_come_again_from_the_commands_beside_them(
    inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = written(inside)
    chosen = ("comparison: decisions as in software", "comparison: smallest margin that counted", "montecarlo: yield")
    shutil.copytree(package_data.folder("models"), tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    code, _, err = run(rows["design: netlist sha256"]["command"])
    assert code == 0, err
    for command in dict.fromkeys(rows[name]["command"] for name in chosen):
        code, _, err = run(command)
        assert code == 0, err
    code, _, err = run(f"cmru-hw report {' '.join(FOLDERS)} -o out/report")
    assert code == 0, err
    again = written(tmp_path)
    for name in chosen:
        assert again[name]["shown"] == rows[name]["shown"]


@pytest.mark.spice
def test_three_numbers_come_again_by_hand(inside: Path) -> None:
    rows = written(inside)
    dies = pq.read_table("out/dies/dies.parquet").to_pylist()
    software = float(rows["montecarlo: accuracy in software"]["shown"].split()[0]) / 100
    good = sum(die["accuracy"] >= software - 0.01 - 1e-6 for die in dies)
    assert rows["montecarlo: good dies"]["shown"] == f"{good} of 30"
    # The share of bad dies at which all of 30 dies are good only once in twenty samples.
    flaw = 1 - math.exp(math.log(0.05) / 30)
    assert rows["montecarlo: smallest flaw that would have been seen"]["shown"] == f"{100 * flaw:.4g} %"
    found = json.loads(Path("out/compare/summary.json").read_text())["decisions"]
    timesteps = int(np.load("models/detect-eval.npz")["lengths"][:4].sum())
    assert found["total"] == timesteps * 8
    assert (
        rows["comparison: decisions as in software"]["shown"]
        == f"{timesteps * 8 - found['excluded']} of {timesteps * 8}"
    )


@pytest.mark.spice
def test_the_page_needs_nothing_else(inside: Path) -> None:
    content = text(inside)
    page = Page(content)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert len(page.sources) == 5 and all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert not page.tags & {"script", "iframe", "object", "embed", "base", "form"}
    assert "url(" not in content and "@import" not in content
    assert "default-src 'none'" in content


@pytest.mark.spice
def test_figures_and_tables_are_there(inside: Path) -> None:
    folder = inside / "out" / "report"
    for name in ("unit", "states", "dies", "yield", "sensitivity"):
        ElementTree.parse(folder / "figures" / f"{name}.svg")
        assert (folder / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert f"{{figures/{name}.pdf}}" in (folder / "report.tex").read_text()
    tables = sorted(path.stem for path in (folder / "tables").glob("*.tex"))
    assert tables == ["comparison", "design", "montecarlo", "published", "sensitivity", "simulated"]
    for name in tables:
        source = (folder / "tables" / f"{name}.tex").read_text()
        assert source.isascii() and "?" not in re.sub(r"%.*", "", source)
        columns = {len(re.findall(r"(?<!\\)&", line)) for line in source.splitlines() if line.endswith(r"\\")}
        assert len(columns) == 1
        assert len(re.findall(r"(?<!\\)\{", source)) == len(re.findall(r"(?<!\\)\}", source))


@pytest.mark.spice
@pytest.mark.needs("pdflatex")
def test_latex_compiles(inside: Path, tmp_path: Path) -> None:
    shutil.copytree("out/report", tmp_path / "report")
    paper.pdflatex(tmp_path / "report", "report.tex")


# A page without scripts cannot report its own layout, so an outer page checks it on a screen and on a phone: figures
# that did not load, and elements that extend beyond the right edge of the window. The outer page also requests a URL,
# to show that a network request would be noticed.
ASKED = "http://127.0.0.1:9/asked.png"
FRAMES = f"""<!doctype html><body style="margin:0"><img src="{ASKED}">
<iframe src="index.html" width="1280" height="900" style="border:0"></iframe>
<iframe src="index.html" width="390" height="844" style="border:0"></iframe>
"""
FRAMES += """<script>
onload = () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, images = [...page.images];
    const out = e => e.getBoundingClientRect().right > frame.clientWidth + 1;
    return {
      width: frame.clientWidth, page: page.documentElement.scrollWidth, title: page.title,
      images: images.length, blank: images.filter(i => !i.complete || i.naturalWidth < 100).map(i => i.alt),
      wide: [...page.querySelectorAll("main *")].filter(out).map(e => e.outerHTML.slice(0, 80)),
    };
  });
  document.body.innerHTML = "<pre>" + btoa(unescape(encodeURIComponent(JSON.stringify(found)))) + "</pre>";
};
</script></body>"""


def open_in_chromium(folder: Path, scratch: Path) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """The layout of ``folder``/index.html in two windows, console messages, and network requests of pages."""
    (folder / "frames.html").write_text(FRAMES, encoding="utf-8")
    log = scratch / "net.json"
    command = [
        str(needs.browser()), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--allow-file-access-from-files", "--enable-logging=stderr",
        f"--user-data-dir={scratch / 'profile'}", f"--log-net-log={log}", "--window-size=1800,1000",
        "--virtual-time-budget=10000", "--dump-dom", (folder / "frames.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    shown = re.search(r"<pre>([A-Za-z0-9+/=]+)</pre>", done.stdout)
    assert shown, done.stderr[-2000:]
    events = [event.get("params", {}) for event in json.loads(log.read_text(encoding="utf-8"))["events"]]
    # Requests of the browser itself do not come from a page.
    asked = {event["url"] for event in events if event.get("initiator", "not an origin") != "not an origin"}
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(base64.b64decode(shown[1])), console, sorted(asked)


@pytest.mark.spice
@pytest.mark.needs("chromium")
def test_a_browser_shows_the_page_on_a_screen_and_on_a_phone(inside: Path, tmp_path: Path) -> None:
    shutil.copytree("out/report", tmp_path / "report")
    windows, console, asked = open_in_chromium(tmp_path / "report", tmp_path)
    assert [window["width"] for window in windows] == [1280, 390]
    for window in windows:
        assert window["title"] == "From network to circuit"
        assert window["images"] == 5 and window["blank"] == []
        assert window["page"] <= window["width"] and window["wide"] == []
    assert console == []
    assert asked == [ASKED]


@pytest.mark.spice
def test_the_page_begins_with_a_summary_of_one_screen(inside: Path) -> None:
    """At most 250 words, four to six numbers, one figure, the design with supply and corner, and what is left out."""
    page = (inside / "out/report/index.html").read_text()
    begin = page.index('<section id="summary"')
    screen = page[begin : page.index("</section>", begin)]
    assert begin < page.index("<nav>") and page.count('id="figure-unit"') == 1
    visible = re.sub(r"<[^>]*>", " ", screen).replace("\N{NO-BREAK SPACE}", " ")
    assert len(visible.split()) <= 250
    assert 4 <= screen.count('class="tile"') <= 6 and screen.count("<img") == 1
    assert "Not included:" in visible and "typical, 27 °C" in visible and "1.8 V" in visible
    assert "decisions as the software does" in visible


@pytest.mark.spice
def test_what_is_not_there_is_said_and_not_made_up(inside: Path) -> None:
    content = text(inside)
    assert "No energy was simulated." in content and 'id="energy"' not in content
    assert "has no transistors" in content
    for source in ("arXiv:2605.15216", "arXiv:2605.07936", "arXiv:2505.08599"):
        assert source in content


@pytest.mark.spice
def test_two_runs_of_one_kind_are_columns_of_one_table(inside: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree("out/compare", other)
    write([Path("out/detect"), Path("out/compare"), other], tmp_path / "report")
    content = (tmp_path / "report" / "index.html").read_text()
    assert content.count('id="comparison"') == 1 and "comparison-2" not in content
    table = content[content.index('<section id="comparison"') :]
    header = re.findall(r"<th>(.*?)</th>", table[: table.index("</thead>")])
    assert header == ["", "detect: macro, macro level, 1.8 V, typical, 27 °C, out/compare", header[2]]
    assert header[2].endswith(str(other))
    assert (tmp_path / "report" / "figures" / "unit-2.svg").is_file()


@pytest.mark.spice
def test_nothing_is_replaced_unasked(inside: Path, tmp_path: Path) -> None:
    assert run("cmru-hw report out/compare -o out/report")[0] == 2
    precious = tmp_path / "precious"
    precious.mkdir()
    with pytest.raises(OutputError, match="is not a report"):
        write([Path("out/compare")], precious, force=True)
    code, printed, _ = run(f"cmru-hw report out/compare -o {tmp_path / 'new'} --json")
    found = json.loads(printed)
    assert code == 0 and found["figures"] == ["unit", "states"] and Path(found["page"]).is_file()
    assert run(f"cmru-hw report out/compare -o {tmp_path / 'new'} --force")[0] == 0


def test_an_energy_run_becomes_a_breakdown_and_says_what_it_is(tmp_path: Path) -> None:
    results.energy().save(tmp_path / "energy" / "energy.json")
    write([tmp_path / "energy"], tmp_path / "report")
    content = (tmp_path / "report" / "index.html").read_text()
    for piece in ("30 pJ", "600 pJ", "3 nW", "estimated", "29 pJ", "does not include the input drivers", "below 1 µW"):
        assert piece in content
    assert "No energy was simulated" not in content


def test_runs_of_different_simulators_are_named(tmp_path: Path) -> None:
    results.energy().save(tmp_path / "old" / "energy.json")
    newer = results.provenance(versions={"cmru_hw": "0", "simulator": "ngspice 44"})
    results.energy(provenance=newer).save(tmp_path / "new" / "energy.json")
    results.energy().save(tmp_path / "same" / "energy.json")
    warning = "simulators of the runs differ"
    assert warning not in write([tmp_path / "old", tmp_path / "same"], tmp_path / "a").page.read_text()
    content = write([tmp_path / "old", tmp_path / "new"], tmp_path / "b").page.read_text()
    assert warning in content and "ngspice\u00a044" in content.replace("ngspice 44", "ngspice\u00a044")


def test_designs_side_by_side_are_a_section_of_their_own(tmp_path: Path) -> None:
    results.versus().save(tmp_path / "versus.json")
    written = write([tmp_path / "versus.json"], tmp_path / "report")
    content = written.page.read_text()
    for piece in ("Comparison of designs", "2\u00a0nJ, simulated", "not run", "produces them: cmru-hw energy out/b"):
        assert piece in content
    assert (tmp_path / "report" / "tables" / "versus.tex").is_file()


def test_all_that_varies_is_said_in_words() -> None:
    every = {f"readout/{name}" for name in variation.READOUT_LEAVES} | set(variation.LAYER_LEAVES)
    every |= {f"global/{name}" for name in variation.GLOBAL_LEAVES} | {
        f"noise/{name}" for name in variation.NOISE_LEAVES
    }
    assert not {name for name in every if not variation_names.meaning(name)}
    current = design_of(network(units=(3, 3), skip=True), technology.load("generic180"))
    ranked = {name.split("/", 1)[1] if name.startswith("layer") else name for name in dies.leaves(current)}
    assert not {name for name in ranked if not variation_names.meaning(name)}


def test_names_from_files_stay_text(tmp_path: Path) -> None:
    hostile = "</td><script>alert(1)</script> \\input{x} %"
    folder = tmp_path / "run"
    provenance = results.provenance(versions={"cmru_hw": hostile, "simulator": hostile}, command=hostile)
    results.comparison(technology=hostile, provenance=provenance).save(folder / "summary.json")
    write([folder], tmp_path / "report", title=hostile)
    assert "script" not in Page((tmp_path / "report" / "index.html").read_text()).tags
    for path in (tmp_path / "report").rglob("*.tex"):
        assert r"\input{x}" not in path.read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ('{"decisions": {"agree": 1}, "classification": 3}', "has no architecture"),
        ('{"dies": 3}', "no results for a report"),
        ("[]", "no results for a report"),
    ],
)
def test_damaged_runs_are_refused_by_name(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        write([tmp_path], tmp_path / "report")
    assert str(tmp_path) in str(caught.value)
    assert not (tmp_path / "report").exists()


def test_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        runs.read(tmp_path / "absent")


def test_spaces_in_numbers_stay_on_the_page() -> None:
    assert html.escape("11\u202f776 of 5\N{NO-BREAK SPACE}V\x07<") == "11\u202f776 of 5\N{NO-BREAK SPACE}V\ufffd&lt;"


def test_numbers_are_written_for_people() -> None:
    assert [si(value, "J") for value in (8.26e-10, 0.0, 1.5)] == ["826 pJ", "0 J", "1.5 J"]
    assert [percent(share) for share in (1.0, 0.955, 0.99999)] == ["100 %", "95.5 %", "99.999 %"]
    assert (count(9999), count(11776)) == ("9999", "11\u202f776")
    assert latex.escape("--jobs ---") == "-{}-jobs -{}-{}-"
    assert latex.escape("50 % µV & x_1") == r"50 \% \ensuremath{\mu}V \& x\_1"

"""The deck as text: its identity, and the check that only a circuit reaches ngspice."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cmru_hw import spice
from cmru_hw.core.errors import InputError
from cmru_hw.spice.deck import Deck

CIRCUIT = "v1 a 0 1\nr1 a 0 1000\n.save a\n.tran 1e-4 1e-3\n"


def test_the_hash_tells_all_parts_apart() -> None:
    def deck(text: str = "r1 a 0 1", files: dict[str, bytes] | None = None) -> Deck:
        return Deck(text=text, stop=1.0, saved=(), files=files or {})

    decks = [
        deck(),
        deck("r1 a 0 2"),
        deck(files={"a": b"bc"}),
        deck(files={"ab": b"c"}),
        deck(files={"a": b"b", "c": b""}),
        deck(files={"a": b"", "b": b""}),
    ]
    hashes = [spice.content_hash(d) for d in decks]
    assert len(set(hashes)) == len(decks)
    assert all(len(h) == 64 for h in hashes)
    ordered = deck(files={"a": b"1", "b": b"2"}), deck(files={"b": b"2", "a": b"1"})
    assert spice.content_hash(ordered[0]) == spice.content_hash(ordered[1])


def test_complete_text_is_title_text_end() -> None:
    deck = Deck(text=CIRCUIT, stop=1e-3, saved=("a",))
    assert spice.complete_text(deck) == f"{spice.content_hash(deck)}\n{CIRCUIT}.end\n"


@pytest.mark.parametrize(
    "line",
    [
        ".control",
        "  .CONTROL",
        "\t.ConTrol quietly",
        ".controls",
        ".endc",
        "*#shell touch x",
        "  *# shell touch x",
        "*ng_script\n.control",
        ";#shell touch x",
        "  ;#shell touch x",
        "$#shell touch x",
        "*\r#shell touch x",
        ".con\rtrol",
        "r2 a 0 \\\\\n.include /etc/passwd",
        "@",
        ".include cells.lib\n+ d_process",
        ".include cells.lib\n\n* a comment\n+ d_process",
        ".lib x ;",
        ".lib x $ a comment",
        ".lib cells.lib //",
        ".LIB ./sub/../x ; typical",
        ".LIB /etc/passwd ; typical",
        ".model m,d_process(process_file=x)",
        ".model m (d_process process_file=x)",
        ".exec touch x",
        ".shell touch x",
        ".csparam x=1",
        ".pre_osdi x.so",
        ".",
        ".op",
        ".end",
        ".title a",
        ".spiceinit",
        "r1 a 0 1\r.control",
        "r1 a 0 1\x0b.control",
        "r1 a 0 1\x00",
        ".include /etc/passwd",
        ".include '/etc/passwd'",
        '.include"/etc/passwd"',
        ".inc ../cells.lib",
        ".incfoo cells.lib",
        ".include ~/cells.lib",
        ".include sub/../../cells.lib",
        ".include",
        ".include\n+ /etc/passwd",
        ".include\n* a comment between\n\n+ /etc/passwd",
        ".lib /pdk/models.lib typical",
        '.lib "missing.lib" typical',
        '.model m filesource(file="/etc/passwd")',
        ".model m d_state(state_file=missing.txt)",
        '.model m d_process(process_file="x")',
        ".model m d_cosim(simulation=x)",
    ],
)
def test_refuses_whatever_is_not_a_circuit(line: str) -> None:
    with pytest.raises(InputError):
        spice.refuse_code(CIRCUIT + line + "\n", files={"cells.lib": b"", "x": b""})


@pytest.mark.parametrize(
    "text",
    [
        CIRCUIT,
        "* .control\n" + CIRCUIT,
        "r1 a 0\n  * a comment\n+ 1 .control belongs to the comment's predecessor\n",
        "* controls \x01\x0b\x1b in a comment, \xff\n$ here too \x02\nr1 a 0 1 ; and \x03 here\n",
        "; takes along\n+ .control and *# what follows\nr1 a 0 1\n",
        "r1 a 0 \\\\\n1\n",
        ".subckt x a\nr1 a 0 {r}\n.ends x\n.param r=1\n.IC v(a)=1\n.Options reltol=1e-4\n",
        ".include cells.lib\n.inc 'cells.lib'\n.include sub/inner.lib\n",
        ".lib corner\nr1 a 0 1\n.endl corner\n",
        '.lib cells.lib corner\n.lib "/pdk/models.lib" corner\n.include /pdk/models.lib\n',
        '.model m filesource(file="data.txt" amplscale=[1 1])\n',
        ".if (1)\n.else\n.endif\n.meas tran q when v(a)=1\n",
        "r1 a 0 1 ; a comment with .control\n",
    ],
)
def test_lets_circuits_pass(text: str, tmp_path: Path) -> None:
    files = {
        "cells.lib": b"r1 a 0 1\r\n",
        "sub/inner.lib": b".include other.lib\n.include ../cells.lib\n",
        "sub/other.lib": b"",
        "data.txt": b"",
    }
    library = tmp_path / "models.lib"
    library.write_text(".lib corner\n.param x=1\n.endl\n")
    text = text.replace("/pdk/models.lib", str(library))
    spice.refuse_code(text, files=files, libraries=(str(library),))


def test_included_files_are_checked_however_deep() -> None:
    files = {"a.lib": b".include b.lib\n.include a.lib\n", "b.lib": b"r1 a 0 1\n.control\nquit\n.endc\n"}
    with pytest.raises(InputError, match=r"b\.lib, line 2"):
        spice.refuse_code(".include a.lib\n", files=files)


@pytest.mark.parametrize(
    "name", ["/etc/x", "../x", "a/../../x", "./x", "a//b", "a\nb", "a\\b", "", "deck.cir", "out.raw", ".spiceinit"]
)
def test_file_names_stay_inside(name: str) -> None:
    with pytest.raises(InputError):
        spice.refuse_code(CIRCUIT, files={name: b""})


@pytest.mark.parametrize("setting", ["a b", "a\nshell x", "a;shell", "a=$(x)", "", "=1", "a=`x`"])
def test_settings_are_one_word(setting: str) -> None:
    with pytest.raises(InputError):
        spice.startup_text((setting,))


def test_startup_text() -> None:
    assert spice.startup_text(("ngbehavior=hsa", "ng_nomodcheck")) == (
        "set num_threads=1\nset ngbehavior=hsa\nset ng_nomodcheck\n"
    )


@pytest.mark.spice
@pytest.mark.parametrize("backend", ["pyspice", "batch"])
@pytest.mark.parametrize("where", ["deck", "include"])
def test_a_hostile_template_does_not_get_to_run(tmp_path: Path, backend: spice.Backend, where: str) -> None:
    evil = tmp_path / "evil"
    commands = f".control\nshell touch {evil}\n.endc\n"
    # The deck would run in ngspice: this is why the check is necessary.
    (tmp_path / "deck.cir").write_text(f"title\n{commands}{CIRCUIT}.end\n")
    subprocess.run(["ngspice", "-n", "-b", "deck.cir"], cwd=tmp_path, capture_output=True, check=False)
    assert evil.exists()
    evil.unlink()

    text, files = (commands + CIRCUIT, {}) if where == "deck" else (f".include x\n{CIRCUIT}", {"x": commands.encode()})
    with spice.open_engine(backend=backend) as engine:
        with pytest.raises(InputError, match="must not contain commands"):
            engine.run(Deck(text=text, stop=1e-3, saved=("a",), files=files))
        assert not evil.exists()
        assert engine.run(Deck(text=CIRCUIT, stop=1e-3, saved=("a",))).traces.values["a"][-1] == pytest.approx(1)

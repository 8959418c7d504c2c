"""Netlists are read as ngspice reads them: the simulator itself gives the meaning of each spelling."""

# long: one grammar with its spellings, each judged by ngspice
from __future__ import annotations

import contextlib
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from cmru_hw.core.errors import InputError
from cmru_hw.process import device_count
from cmru_hw.spice import deck_safety, lexer
from cmru_hw.spice.values import evaluate, number, resolve

spice = pytest.mark.spice
# One example is a complete run of ngspice. Failures are not shrunk, because that would take thousands of runs.
several = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


def operating_point(folder: Path, text: str | bytes) -> dict[str, float]:
    """Node voltages and branch currents of ``text`` in ngspice."""
    content = text.encode() if isinstance(text, str) else text
    (folder / "a.raw").unlink(missing_ok=True)
    (folder / "a.cir").write_bytes(b"title\n" + content + b"\n.op\n.end\n")
    call = ["ngspice", "-n", "-b", "-r", "a.raw", "a.cir"]
    done = subprocess.run(call, cwd=folder, capture_output=True, check=False, timeout=600, stdin=subprocess.DEVNULL)
    assert (folder / "a.raw").exists(), done.stdout[-2000:] + done.stderr[-2000:]
    head, _, data = (folder / "a.raw").read_bytes().partition(b"Binary:\n")
    names = re.findall(r"^\t\d+\t(\S+)\t", head.decode("latin-1"), re.M)
    return dict(zip(names, struct.unpack(f"<{len(names)}d", data[: 8 * len(names)]), strict=True))


# ---- the same circuit in many spellings


@st.composite
def numbers(draw: st.DrawFn, value: int) -> str:
    """``value`` as a number in one of a netlist's spellings."""
    forms = [str(value), f"{value}.", f"{value}.0", f"{value}e0", f"{value}E+0", f"{value}ohm", f"{value}Ohms"]
    forms += [f"{value / 1000!r}k", f"{value / 1000!r}KOhm", f"{value}e-3k", f"{value / 1e6:.12f}meg", f"{value}000m"]
    forms += [f"{value}000000u", f"{value}000000µ", f"{value / 1e9:.15f}G", f"{value}e12p", f"{value}e9n", f"0{value}"]
    return draw(st.sampled_from(forms))


@st.composite
def parameter_values(draw: st.DrawFn, value: int) -> str:
    text = draw(numbers(value))
    half = draw(numbers(value // 2))
    rest = draw(numbers(value - value // 2))
    wraps = ["{}", "{{{}}}", "'{}'", "{{ {} }}", "'  {}'"]
    bare = draw(st.sampled_from(wraps)).format(text)
    total = draw(st.sampled_from(["{{{}+{}}}", "'{} + {}'", "{{ {} +{} }}", "{}+{}", "({}+{})"])).format(half, rest)
    return draw(st.sampled_from([bare, total]))


comments = st.text(
    st.characters(blacklist_characters="\0\n\\", blacklist_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda text: not text.replace("\r", "").lstrip(" \t").startswith("#"))


@st.composite
def assignments(draw: st.DrawFn, name: str, value: int) -> str:
    equals = draw(st.sampled_from(["=", " = ", "= ", " =", "\t=\t"]))
    return f"{name}{equals}{draw(parameter_values(value))}"


@st.composite
def spelled(draw: st.DrawFn, words: list[str]) -> str:
    """One logical line of ``words`` as physical lines."""
    text = draw(st.sampled_from(["", " ", "\t "]))
    for place, word in enumerate(words):
        if place:
            kind = draw(st.integers(0, 9))
            if kind < 6:
                text += draw(st.sampled_from([" ", "  ", "\t"]))
            elif kind == 6:
                text += draw(st.sampled_from([" \\\\", "\\\\", "\\\\ "])) + draw(st.sampled_from(["\n", "\n\n"]))
            else:
                comment = draw(comments)
                text += draw(st.sampled_from(["", f" ; {comment}", f" $ {comment}", f"// {comment}"])) + "\n"
                text += draw(
                    st.sampled_from(["", "\n", " \t\n", f"* {comment}\n", f"$ {comment}\n", f"// {comment}\n"])
                )
                text += draw(st.sampled_from(["+", "+ ", "  +\t"]))
        upper = draw(st.booleans()) and "µ" not in word
        text += word.upper() if upper else word
    comment = draw(comments)
    # ngspice 44 reads no comment in a semicolon that follows a quote at once
    near = f"{' ' * text.endswith(chr(39))};{comment}"
    text += draw(st.sampled_from(["", " ", f" ; {comment}", f" $ {comment}", f" // {comment}", near])) + "\n"
    text += draw(st.sampled_from(["", "\n", f"* {comment}\n", f"; {comment}\n", f"   * {comment}\n"]))
    return text


@st.composite
def dividers(draw: st.DrawFn, tag: int, ra: int, rb: int, rc: int) -> str:
    """A divider as a subcircuit with parameters, its names ending in ``tag``."""
    params = draw(st.sampled_from([[], ["params:"]]))
    given = [draw(assignments("ra", ra)), draw(assignments("rb", rb))]
    own = [draw(assignments("ra", 7)), draw(assignments("rb", 9))]
    pins = draw(st.sampled_from([["in", "out"], ["(in out)"], ["( in  out )"]]))
    outside = draw(st.sampled_from([["a", f"o{tag}"], [f"(a o{tag})"]]))
    series = draw(st.sampled_from([["{ra}"], ["'ra'"], ["{ ra * 1 }"], ["r={ra}"], ["r", "=", "'ra'"]]))
    lines = [
        [".subckt", f"div{tag}", *pins, *draw(st.sampled_from([[], params])), *draw(st.permutations(own))],
        ["r1", "in", "out", *series],
        [".param", draw(assignments("rc", rc))],
        [
            "r2",
            "out",
            draw(st.sampled_from(["0", "gnd"])),
            draw(st.sampled_from(["{rb+rc}", "'rb + rc'", "{ rc+rb }"])),
        ],
        [".ends", *draw(st.sampled_from([[], [f"div{tag}"]]))],
        [f"x{tag}", *outside, f"div{tag}", *draw(st.sampled_from([[], params])), *draw(st.permutations(given))],
    ]
    return "".join(draw(spelled(line)) for line in lines)


def read(text: str, tag: int) -> tuple[tuple[str, ...], tuple[str, ...], float]:
    """Pins, nodes, and the voltage at the divider's output, as the lexer reads them."""
    lines = list(lexer.logical_lines(text))
    (subcircuit,) = lexer.subcircuits(lines).values()
    (instance,) = map(lexer.statement, lexer.outside_subcircuits(lines))
    assert subcircuit.name == f"div{tag}" and not instance.stray
    name, *nodes, kind = instance.words
    assert name == f"x{tag}" and kind == f"div{tag}"
    first, inner, second = map(lexer.statement, subcircuit.lines)
    given = {key: evaluate(value) for key, value in instance.parameters.items()}
    values = resolve({**subcircuit.parameters, **inner.parameters}, given)
    series, shunt = (
        evaluate(taken.words[3] if len(taken.words) > 3 else taken.parameters["r"], values) for taken in (first, second)
    )
    return subcircuit.pins, tuple(nodes), shunt / (series + shunt)


@spice
@several
@given(data=st.data())
def test_every_spelling_is_read_as_ngspice_reads_it(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sizes = st.integers(2, 9000)
    sets = data.draw(st.lists(st.tuples(sizes, sizes, sizes), min_size=10, max_size=10))
    texts = [data.draw(dividers(tag, *one)) for tag, one in enumerate(sets)]
    found = operating_point(tmp_path_factory.mktemp("op"), "v1 a 0 1\n" + "".join(texts))
    for tag, (text, (ra, rb, rc)) in enumerate(zip(texts, sets, strict=True)):
        wanted = (rb + rc) / (ra + rb + rc)
        pins, nodes, voltage = read(text, tag)
        assert pins == ("in", "out") and nodes == ("a", f"o{tag}")
        assert found[f"v(o{tag})"] == pytest.approx(wanted, rel=1e-9), text
        assert voltage == pytest.approx(wanted, rel=1e-9), text


# One resistor from node % to ground in many spellings; ngspice gives its value.
RESISTORS = [
    "r% % 0 3k;comment",
    "r% % 0 3k $comment",
    "r% % 0 3k,$comment",
    "r% % 0 3k//comment",
    "r% % 0 3k $$",
    "r% % 0 3k ; a $ b // c",
    "r% %\n+0\n+3k",
    "r% %\n* comment\n\n// comment\n$comment\n \t\n+0 3k",
    "r% % ; comment\n+ ; another\n+ $ a third\n+; a fourth\n+ 0 3k $ end",
    "r% %\n+\n+ 0 3k",
    "r% % \\\\\n\n  0 3k",
    "r% %\\\\\n0 3k",
    "r% % 0 3k\n; comment \\\\\n+ swallowed\nrx% a % 1",
    "r% % 0 3k\n* comment \\\\\nrx% a % 1",
    "; takes along\n+ its continuation\n* and this\n+ one\nr% % 0 3k",
    "r% % 0 3k\r",
    "R% % GND 3K",
    "r% % 0 r = 3k",
    "r% % 0{3k}",
    "r% % 0 '1k+\n+2k'",
    "r% % 0 {1k \n+ +2k }",
    ".param p% = 1k + 2k\nr% % 0 {p%}",
    ".param q%=1k p%={q%*3}\nr% % 0 {p%}",
    "r% % 0 3e3kOhm tc1=0",
    "r% % 0 3e9µ",
]


@spice
def test_comments_and_continuations_are_those_of_ngspice(tmp_path: Path) -> None:
    texts = [text.replace("%", f"n{tag}") for tag, text in enumerate(RESISTORS)]
    sources = "".join(f"i{tag} 0 n{tag} 1\n" for tag in range(len(texts)))
    found = operating_point(tmp_path, "v1 a 0 0\n" + sources + "\n".join(texts))
    for tag, text in enumerate(texts):
        taken = [lexer.statement(line) for line in lexer.logical_lines(text)]
        values = resolve(
            {key: value for one in taken if one.words[0] == ".param" for key, value in one.parameters.items()}
        )
        (mine,) = [one for one in taken if one.words[0] == f"rn{tag}"]
        loads = [evaluate(mine.words[3] if len(mine.words) > 3 else mine.parameters["r"], values)]
        loads += [evaluate(one.words[3]) for one in taken if one.words[0] == f"rxn{tag}"]
        assert found[f"v(n{tag})"] == pytest.approx(1 / sum(1 / load for load in loads), rel=1e-7), text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("r1 a 0 1\n@\nr2 a 0 1", "line 2: ngspice stops reading at a line"),
        ("# shell\n", "comments begin with"),
        ("+ r1 a 0 1", "continues nothing"),
        ("r1 a 0 \\\\\n.include x", "line 2: .* a separate card as well"),
        ("r1 a\r0 1\n", "a carriage return inside a line"),
        ("* old Mac\rr1 a 0 1\rr2 a 0 1\nr1 a 0 1\rr2 b 0 1", "line ends of Unix"),
        ("r1 a 0 \x01", "control characters"),
        (".include x\n+ y", "line 2: .* continues a line that reads a file"),
        (".endl\n* comment\n+ y", "line 3: .* continues a line that reads a file"),
        ("*#shell x", "as a command"),
        (" ;#shell x", "as a command"),
        ("$#shell x", "as a command"),
        ("*\r#shell x", "as a command"),
    ],
)
def test_unintended_lines_are_refused_by_number(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(lexer.logical_lines(text))


@spice
@pytest.mark.parametrize("line", ["*#", ";#", "  ;#", "$#", "*\r#"])
def test_these_comments_would_have_run_a_command(tmp_path: Path, line: str) -> None:
    operating_point(tmp_path, f"v1 a 0 1\nr1 a 0 1\n{line}shell touch evil")
    assert (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".subckt a b c\nr1 b c 1", "subcircuit a does not end"),
        ("r1 b c 1\n.ends", "ends no subcircuit"),
        (".subckt", "has no name"),
        (".subckt a b w=1 + 2\n.ends", "'\\+' is not a parameter"),
        (".subckt a b w={1 + 2\n.ends", "{ is not closed"),
        (".subckt a b w=\n.ends", "a|w has no value"),
    ],
)
def test_damaged_subcircuits_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        lexer.subcircuits(lexer.logical_lines(text))


# ---- bytes


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_encodings(encoding: str) -> None:
    content = "* Größe 5 µm ± 1\nr1 a 0 5µ\n".encode(encoding)
    (line,) = lexer.logical_lines(lexer.decode(content))
    assert line.text == "r1 a 0 5µ" and number(line.text.split()[-1]) == pytest.approx(5e-6)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_encodings_that_ngspice_cannot_read_are_refused(encoding: str) -> None:
    with pytest.raises(InputError, match="as UTF-8"):
        lexer.decode("r1 a 0 1\n".encode(encoding))


@spice
def test_ngspice_reads_micro_in_both_encodings(tmp_path: Path) -> None:
    for content in ("5µ".encode(), "5µF".encode("latin-1")):
        assert operating_point(tmp_path, b"v1 a 0 " + content + b"\nr1 a 0 1")["v(a)"] == pytest.approx(5e-6)


# ---- files and sections


@pytest.mark.parametrize(
    ("text", "file", "section"),
    [
        (".include x.cir", "x.cir", None),
        (".INC 'my models.cir' $ comment", "my models.cir", None),
        ('.include "My.cir";c', "My.cir", None),
        (".lib x.lib TT", "x.lib", "tt"),
        (".LIB 'x.lib' \"ff\" ; comment", "x.lib", "ff"),
    ],
)
def test_references_to_files(text: str, file: str, section: str | None) -> None:
    (line,) = lexer.logical_lines(text)
    assert lexer.file_reference(line) == lexer.FileReference(file=file, section=section)


@spice
def test_ngspice_reads_such_references(tmp_path: Path) -> None:
    (tmp_path / "my models.cir").write_text("r2 o 0 3k\n")
    (tmp_path / "x.lib").write_text("  .LIB 'tt'\nr3 p 0 3k\n.ENDL ; tt\n.lib ff\nr3 p 0 1k\n.endl\n")
    text = "v1 a 0 1\nr1 a o 1k\nrp a p 1k\n.INC 'my models.cir' $ c\n.LIB 'x.lib' \"TT\" ; c"
    found = operating_point(tmp_path, text)
    assert found["v(o)"] == found["v(p)"] == pytest.approx(0.75)
    lines = lexer.sections(lexer.logical_lines((tmp_path / "x.lib").read_text()))
    assert [name for line, name in lines if line.card == "r3"] == ["tt", "ff"]


@spice
def test_a_comment_behind_the_name_of_a_section_is_one_in_some_places_only(tmp_path: Path) -> None:
    (tmp_path / "x.lib").write_text("* x\n.lib tt $ typical\nr2 o 0 3k\n.endl\n")
    assert operating_point(tmp_path, "v1 a 0 1\nr1 a o 1k\n.lib x.lib tt")["v(o)"] == pytest.approx(0.75)
    (tmp_path / "y.lib").write_text(".lib ;\nr2 o 0 1k\n.endl\n")
    assert operating_point(tmp_path, "v1 a 0 1\nr1 a o 1k\n.lib y.lib ;")["v(o)"] == pytest.approx(0.5)
    lines = list(lexer.logical_lines(".lib tt $ typical\n.lib y.lib ;\n.lib z"))
    assert [lexer.section(line) for line in lines] == ["tt", "y.lib", "z"]
    hidden = [lexer.reference_in_comment(line) for line in lines]
    assert hidden == [lexer.FileReference(file="tt", section="$"), lexer.FileReference(file="y.lib", section=";"), None]


@pytest.mark.parametrize(
    ("text", "message"), [(".lib a\n.lib b\n.endl", "begins before section a"), (".lib a\nr1 a 0 1", "does not end")]
)
def test_sections_that_do_not_end(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(lexer.sections(lexer.logical_lines(text)))


# ---- numbers and expressions

NUMBERS = [
    "1",
    "1.5",
    ".5",
    "5.",
    "1e3",
    "1E3",
    "1e-3",
    "1meg",
    "1MEG",
    "1Meg",
    "1m",
    "1M",
    "1t",
    "1T",
    "1g",
    "1k",
    "1u",
    "1n",
    "1p",
    "1f",
    "1x",
    "1megohm",
    "1kohm",
    "10uF",
    "1e3k",
    "1e3meg",
    "1mm",
    "1me",
    "1e",
    "1ohm",
    "1v",
    "1s",
    "1h",
    "1q",
    "1e3m",
    "1µ",
    "1ug",
    "1fF",
    "1mi",
    "+1",
    "-1",
    "-1k",
    "+.5k",
    "1db",
    "1d",
    "1e-3meg",
    "1tera",
    "1mega",
    "1.e3",
]


@spice
def test_numbers_are_those_of_ngspice(tmp_path: Path) -> None:
    device = "".join(f"v{i} a{i} 0 {text}\n" for i, text in enumerate(NUMBERS))
    inside = "".join(f"v{i} b{i} 0 {{{text}}}\n" for i, text in enumerate(NUMBERS, start=len(NUMBERS)))
    loads = "".join(f"ra{i} a{i} 0 1\nrb{i} b{i + len(NUMBERS)} 0 1\n" for i in range(len(NUMBERS)))
    found = operating_point(tmp_path, device + inside + loads)
    for i, text in enumerate(NUMBERS):
        assert number(text) == pytest.approx(found[f"v(a{i})"], rel=1e-12), text
        assert evaluate(f"{{{text}}}") == pytest.approx(found[f"v(b{i + len(NUMBERS)})"], rel=1e-12), text


@spice
def test_mil_means_two_things_and_is_refused(tmp_path: Path) -> None:
    found = operating_point(tmp_path, "v1 a 0 1mil\nv2 b 0 {1mil}\nr1 a b 1")
    assert found["v(a)"] == pytest.approx(25.4e-6) and found["v(b)"] == pytest.approx(1e-3)
    for text in ("1mil", "2MILS", "1a", "1aF"):
        with pytest.raises(InputError, match="write an exponent"):
            number(text)


@pytest.mark.parametrize("text", ["", "k", "1k5", "1.2.3", "1_0", "--1", "1e3u2", "1μ", "٣", "nan", "inf", "0x10"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        number(text)


def trees() -> st.SearchStrategy[str]:
    leaves = st.sampled_from(["1", "2", "0.5", "3k", "4m", "1.5", "7", "1e2"])

    def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        pairs = st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "**"]), inner, st.sampled_from(["", " "]))
        return st.one_of(
            pairs.map(lambda found: f"{found[3]}".join(found[:3])),
            inner.map(lambda text: f"({text})"),
            inner.map(lambda text: f"-({text})"),
            inner.filter(lambda text: text[0] != "-").map(lambda text: f"-{text}"),
            st.tuples(st.sampled_from(["sqrt", "abs", "exp", "ln", "int", "floor", "ceil", "sin"]), inner).map(
                lambda found: f"{found[0]}({found[1]})"
            ),
            st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda f: f"{f[0]}({f[1]}, {f[2]})"),
        )

    return st.recursive(leaves, grown, max_leaves=6)


@spice
@several
@given(texts=st.lists(trees(), min_size=20, max_size=20))
def test_expressions_have_the_values_that_ngspice_gives_them(
    texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    known = {}
    for text in texts:
        try:
            value = evaluate(text)
        except InputError:
            continue
        if abs(value) < 1e12:
            known[text] = value
    assume(known)
    sources = "".join(f"v{i} a{i} 0 {{{text}}}\nr{i} a{i} 0 1\n" for i, text in enumerate(known))
    found = operating_point(tmp_path_factory.mktemp("op"), sources)
    for i, (text, value) in enumerate(known.items()):
        assert value == pytest.approx(found[f"v(a{i})"], rel=1e-9, abs=1e-12), text


@pytest.mark.parametrize(
    "text",
    [
        "1+",
        "(1",
        "--1",
        "1 2",
        "2(3)",
        "x",
        "agauss(0,1,1)",
        "1/0",
        "sqrt(0-1)",
        "(0-2)**2",
        "1>2",
        "'",
        "min(1)",
        "__import__",
    ],
)
def test_what_cannot_be_evaluated_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        evaluate(text)


def test_double_quotes_are_refused_because_versions_of_ngspice_differ() -> None:
    with pytest.raises(InputError, match="ngspice 44 takes double quotes for a string: write the value in braces"):
        evaluate(' "3k"')


def test_parameters_in_any_order_and_what_has_no_value() -> None:
    found = resolve(
        {"a": "b*2", "b": "c+1", "c": "1", "d": "agauss(0,1,1)", "e": "f", "f": "e", "g": "outer", "h": "1"},
        given={"c": 2.0, "stranger": 1.0},
        outer={"outer": 5.0, "h": 7.0},
    )
    assert found == {"a": 6.0, "b": 3.0, "c": 2.0, "g": 5.0, "h": 1.0, "outer": 5.0}
    with pytest.raises(InputError, match="names d"):
        evaluate("d", found)


PIECES = [
    ".subckt",
    "x1",
    "nf",
    "cmim",
    " ",
    "\t",
    "\n",
    "+",
    "*",
    ";",
    "$",
    "//",
    "\\\\",
    "'",
    '"',
    "{",
    "}",
    "(",
    ")",
]
PIECES += ["=", "params:", "w", "1u", "2*3", ".lib", ".include", ".endl", ".ends", "a.cir", "tt", ".param", "r1", "0"]
PIECES += ["\r", "\x0b", "#", "@", ".if", ",", "-", "1meg", "µ", "\xa0", ".", "../", "file=", "d_process", "**", "sqrt"]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_no_text_is_more_than_refused(text: str) -> None:
    readers: list[Callable[[], object]] = [
        lambda: deck_safety.refuse_code(text, files={"a.cir": text.encode()}),
        lambda: list(lexer.sections(lexer.logical_lines(text))),
        lambda: lexer.subcircuits(lexer.logical_lines(text)),
        lambda: evaluate(text),
        lambda: device_count.of_netlist("x1 a b c d nf\n" + text, {"cells/a.cir": text.encode()}),
    ]
    for reader in readers:
        with contextlib.suppress(InputError):
            reader()


def test_what_never_ends_is_refused() -> None:
    with pytest.raises(InputError, match="too many parentheses"):
        evaluate("(" * 5000 + "1" + ")" * 5000)
    with pytest.raises(InputError, match="a contains itself"):
        device_count.of_netlist("x1 b a\n", {"cells/a.cir": b".subckt a b\nx2 b a\n.ends\n"})

"""Interruptions, damaged caches, killed simulators, folders with other files: nothing is lost or wrongly used."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cmru_hw
from cmru_hw.analysis.corners import api as corners
from cmru_hw.analysis.corners.result import FinishedCorner
from cmru_hw.circuits.charge import mapping
from cmru_hw.circuits.corner import Corner
from cmru_hw.core.errors import OutputError, translated
from cmru_hw.core.output_folder import atomic_folder, digests
from cmru_hw.core.process_pool import process_pool
from cmru_hw.design_folder import folder
from cmru_hw.nn import checkpoint
from cmru_hw.nn.sequences import save_sequences
from cmru_hw.process import technology
from tests import results
from tests.hostile import Done, run, sound
from tests.networks import Shape, random_network, random_sequences

pytestmark = pytest.mark.faults
SHAPE = Shape(units=(2,))
KILLED = """#!/bin/sh
case "$1" in --version) exec ngspice --version;; esac
if mkdir {mark} 2>/dev/null; then kill -9 $$; fi
exec ngspice "$@"
"""
# It never ends by itself, so that no machine is fast enough for its time limit.
STOPPED = """#!/bin/sh
case "$1" in --version) exec ngspice --version;; esac
kill -STOP $$
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a checkpoint m.safetensors, its design d and sequences x.npz."""
    trained, data = random_network(SHAPE), random_sequences(SHAPE, lengths=(5, 4))
    checkpoint.save(trained, tmp_path / "m.safetensors")
    save_sequences(data, tmp_path / "x.npz")
    design = mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, data))
    folder.write(tmp_path / "d", trained, design, data)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(path: Path) -> list[str]:
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


# --- Dies that failed in passing ---------------------------------------------------------------------------------


@pytest.mark.spice
def test_a_die_whose_simulator_was_killed_is_tried_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run ends with the same bytes as one that nobody disturbed."""
    arguments = (
        "montecarlo",
        "../d",
        "--input",
        "../x.npz",
        "-n",
        3,
        "--engine",
        "spice",
        "--backend",
        "batch",
        "-o",
        "o",
    )
    program = here / "ngspice.sh"
    program.write_text(KILLED.format(mark=here / "killed"))
    program.chmod(0o755)
    monkeypatch.setenv("CMRU_HW_NGSPICE", str(program))
    for place in ("disturbed", "quiet"):
        (here / place).mkdir()
    monkeypatch.chdir(here / "disturbed")
    assert run(*arguments).code == 0
    first = json.loads(Path("o/summary.json").read_text())
    assert first["failures"] == {"SimulatorCrashed": 1}
    assert run(*arguments).code == 0
    monkeypatch.chdir(here / "quiet")
    assert run(*arguments).code == 0
    assert json.loads(Path("o/summary.json").read_text())["failed"] == 0
    for name in names(here / "quiet" / "o"):
        assert (here / "quiet" / "o" / name).read_bytes() == (here / "disturbed" / "o" / name).read_bytes(), name


@pytest.mark.spice
def test_dies_that_had_too_little_time_are_tried_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("montecarlo", "d", "--input", "x.npz", "-n", 2, "--engine", "spice", "--backend", "batch", "-o", "o")
    program = here / "ngspice.sh"
    program.write_text(STOPPED)
    program.chmod(0o755)
    with monkeypatch.context() as during:
        during.setenv("CMRU_HW_NGSPICE", str(program))
        hurried = run(*arguments, "--json", "--timeout", "0.2")
    assert hurried.code == 4 and hurried.json["failures"] == {"SimulationTimeout": 2}
    assert run(*arguments, "--json").json["failed"] == 0


# --- Folders ------------------------------------------------------------------------------------------------------


def test_force_removes_only_what_an_earlier_export_wrote(here: Path) -> None:
    Path("d/notes.txt").write_text("mine")
    Path("d/cells/mine.cir").write_text("* mine")
    manifest = json.loads(Path("d/design.json").read_text())
    Path("outside.txt").write_text("mine too")
    # files of another version, which this one does not write: as written, edited since, and one beyond the folder
    for name in ("cells/old.cir", "edited.cir"):
        Path("d", name).write_text("* old")
    earlier = digests(Path("d"))
    Path("d/edited.cir").write_text("* edited by hand")
    manifest["files"] |= {name: earlier[name] for name in ("cells/old.cir", "edited.cir")}
    manifest["files"]["../outside.txt"] = manifest["files"]["cells/old.cir"]
    Path("d/design.json").write_text(json.dumps(manifest))
    before = names(Path("d"))
    sound(run("export", "m.safetensors", "-o", "d", "--input", "x.npz", "--no-verify"), (2,))
    assert names(Path("d")) == before
    sound(run("export", "m.safetensors", "-o", "d", "--input", "x.npz", "--no-verify", "--force"), (0,))
    assert set(before) - set(names(Path("d"))) == {"cells/old.cir"}
    assert Path("d/notes.txt").read_text() == "mine" and Path("outside.txt").exists()
    assert folder.load("d").edited == ()


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    with pytest.raises(Stop), atomic_folder(tmp_path / "o") as scratch:
        (scratch / "half").write_text("")
        raise Stop
    assert list(tmp_path.iterdir()) == []
    with atomic_folder(tmp_path / "o") as scratch:
        (scratch / "deep").mkdir()
        (scratch / "deep" / "file").write_text("1")
        assert not (tmp_path / "o").exists()
    assert names(tmp_path) == ["o/deep/file"]
    # into a folder with something of the same name, nothing is moved
    (tmp_path / "o" / "summary").mkdir()
    with pytest.raises(OutputError, match="is a folder"), atomic_folder(tmp_path / "o") as scratch:
        for name in ("another", "summary"):
            (scratch / name).write_text("2")
    assert names(tmp_path) == ["o/deep/file"]


@pytest.mark.spice
@pytest.mark.parametrize(
    ("command", "module", "name"),
    [("compare", "cmru_hw.circuits.plots", "states"), ("energy", "cmru_hw.analysis.energy.plots", "over_time")],
)
def test_interrupted_while_drawing_the_same_command_goes_on(
    command: Any, module: str, name: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (command, "d", "--input", "x.npz", "--cache", "kept", "-o", "o")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"{module}.{name}", interrupt)
        assert run(*arguments).code == 130
    assert not Path("o").exists() and not list(here.glob(".*"))
    kept = {path: path.stat().st_mtime_ns for path in Path("kept").iterdir()}
    done = run(*arguments)
    assert done.code == 0, done.stderr
    assert kept and {path: path.stat().st_mtime_ns for path in kept} == kept
    assert any(file.endswith(".json") for file in names(Path("o"))) and any(
        f.endswith(".pdf") for f in names(Path("o"))
    )


@pytest.mark.parametrize("arguments", [
    ("export", "m.safetensors", "--input", "x.npz", "--no-verify"),
    ("montecarlo", "d", "--input", "x.npz", "-n", 2),
    ("report", "d"),
], ids=lambda arguments: arguments[0])  # fmt: skip
def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_done(
    arguments: tuple[Any, ...], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(names(here))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        done = run(*arguments, "-o", "o")
    sound(done, (2,))
    assert "No space left on device" in done.stderr and set(names(here)) == before
    assert run(*arguments, "-o", "o").code == 0


# --- Caches -------------------------------------------------------------------------------------------------------


def _exchanged(kept: list[Path]) -> None:
    one, other = kept[0].read_bytes(), kept[1].read_bytes()
    kept[0].write_bytes(other)
    kept[1].write_bytes(one)


def _edited(kept: list[Path]) -> None:
    import numpy as np

    with np.load(kept[0]) as file:
        arrays = dict(file)
    np.savez(kept[0], **{**arrays, "values": arrays["values"] + 0.1})


DAMAGES: dict[str, Callable[[list[Path]], object]] = {
    "empty": lambda kept: [path.write_bytes(b"") for path in kept],
    "cut": lambda kept: [path.write_bytes(path.read_bytes()[:-40]) for path in kept],
    "foreign": lambda kept: [path.write_text("nothing") for path in kept],
    "exchanged": _exchanged,
    "edited": _edited,
}


@pytest.mark.spice
def test_damaged_results_in_a_cache_are_computed_again(here: Path) -> None:
    arguments = ("compare", "d", "--input", "x.npz", "--jobs", 2, "--json", "--cache", "kept")

    def figures(done: Done) -> dict[str, object]:
        assert done.code == 0, done.stderr
        return {key: value for key, value in done.json.items() if key not in ("cpu_seconds", "attempts")}

    first = figures(run(*arguments))
    kept = sorted(Path("kept").iterdir())
    assert len(kept) >= 2
    for name, damage in DAMAGES.items():
        damage(kept)
        assert figures(run(*arguments)) == first, name
        assert sorted(Path("kept").iterdir()) == kept


def test_a_kept_corner_that_was_changed_is_simulated_again(tmp_path: Path) -> None:
    figures, path = results.corners().good[1], tmp_path / "corner.json"
    corner = Corner(process="ff", temperature=27.0, vdd=1.98)
    FinishedCorner.of(figures, job_sha256=results.NETLIST).save(path)
    assert corners._stored(path, corner, results.NETLIST) == figures
    assert corners._stored(path, corner, "f" * 64) is None
    for change in (lambda text: text.replace("2e-09", "3e-09"), lambda text: text[:50], lambda text: ""):
        text = path.read_text()
        path.write_text(change(text))
        assert corners._stored(path, corner, results.NETLIST) is None
        path.write_text(text)


def test_results_of_an_edited_design_do_not_mix_with_those_before(here: Path) -> None:
    arguments = ("montecarlo", "d", "--input", "x.npz", "-n", 2, "-o", "o")
    assert run(*arguments).code == 0
    manifest = json.loads(Path("d/design.json").read_text())
    manifest["technology"]["mismatch"]["comparator_rest"] *= 100
    Path("d/design.json").write_text(json.dumps(manifest))
    done = run(*arguments)
    sound(done, (2,))
    assert "belongs to another job" in done.stderr
    other = run(*arguments, "--force", "--json")
    assert other.json["edited"] == ["technology.mismatch.comparator_rest"]
    page = run("report", "o", "-o", "page")
    assert (
        page.code == 0
        and "edited after export: technology.mismatch.comparator_rest" in Path("page/index.html").read_text()
    )


# --- Unexpected errors, streams, scripts --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [RuntimeError("so it is"), EOFError(), BrokenPipeError(errno.EPIPE, "pipe"), KeyError("a\nb")]
)
def test_an_unexpected_error_has_an_exit_code_of_its_own(
    error: Exception, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(checkpoint, "read", fail)
    done = run("inspect", "m.safetensors")
    assert done.code == 70 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and type(error).__name__ in done.stderr and "report" in done.stderr


def odd(shared: int, item: int) -> int:
    if item == 2:
        raise ZeroDivisionError("two")
    if item == 3:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")
    return shared + item


def test_an_unexpected_error_of_a_worker_is_told_once() -> None:
    with process_pool(1) as pool:
        assert list(pool.run(odd, 1, [1])) == [(1, 2)]
        with pytest.raises(ZeroDivisionError) as caught:
            list(pool.run(odd, 1, [2]))
        told = translated(caught.value)
        assert "ZeroDivisionError: two" in str(told) and "report this line" in str(told) and told.exit_code == 70
        assert "in odd" in told.evidence
        with pytest.raises(OSError, match="No space left on device") as full:
            list(pool.run(odd, 1, [3]))
        assert str(translated(full.value)).startswith("somewhere cannot be used (No space left on device): check")


SMALL = r"""
import click
from cmru_hw.cli import group, main
from cmru_hw.core.errors import CheckFailed, InputError

@group.command()
@click.argument("error")
def speak(error):
    click.echo("12 \u00b5W \u00b1 3 " * 2000)
    if error != "0":
        raise {"1": CheckFailed, "2": InputError}[error]("the cause \u00b5: the remedy")

main()
"""


def shell(command: str, code: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """``command`` in a shell, with CMRU for the program in ``code``."""
    env = {**os.environ, "PYTHONPATH": str(Path(cmru_hw.__file__).parent.parent), "CODE": code, **environment}
    text = command.replace("CMRU", f'{sys.executable} -c "$CODE"')
    done = subprocess.run(["bash", "-c", text], env=env, capture_output=True, timeout=120, check=False)
    assert b"Traceback" not in done.stderr + done.stdout and b"Exception ignored" not in done.stderr, done.stderr
    return done


ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.mark.parametrize(
    ("command", "environment", "code"),
    [
        ("CMRU speak 0", {"PYTHONIOENCODING": "iso8859-2"}, 0),
        ("CMRU speak 0", ASCII, 0),
        ("CMRU speak 2", ASCII, 2),
        ("CMRU speak 0 >&-", {}, 0),
        ("CMRU speak 1 >&- 2>&-", {}, 1),
        ("CMRU speak 0 2>/dev/full", {}, 0),
        ("CMRU speak 2 2>/dev/full", {}, 2),
        ("CMRU speak 0 | head -c 1; exit ${PIPESTATUS[0]}", {}, 0),
        ("CMRU speak 1 | head -c 1; exit ${PIPESTATUS[0]}", {}, 1),
        ("CMRU speak 0 >/dev/full", {}, 2),
        ("CMRU speak 1 >/dev/full", {}, 1),
    ],
)
def test_streams_do_not_change_the_verdict(command: Any, environment: dict[str, str], code: int) -> None:
    done = shell(command, SMALL, **environment)
    assert done.returncode == code, (done.stdout[-200:], done.stderr)
    if command == "CMRU speak 0 >/dev/full":
        assert b"standard output cannot be written (No space left on device): free some space" in done.stderr
    if "PYTHONIOENCODING" in environment:
        assert done.stdout.startswith(b"12 uW +- 3 12 uW")


SCRIPT = """
import cmru_hw
from cmru_hw.analysis.montecarlo.workers import local

{guard}
    design, data = cmru_hw.load_design("d"), cmru_hw.load_sequences("x.npz")
    with local(2) as workers:
        print("dies", cmru_hw.run_montecarlo(design, data, dies=130, workers=workers, folder="k").dies)
"""


def test_a_script_without_a_main_guard_is_told_so(here: Path) -> None:
    Path("s.py").write_text(SCRIPT.format(guard="if True:"))
    env = {**os.environ, "PYTHONPATH": str(Path(cmru_hw.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "s.py"], env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1 and "if __name__ == '__main__':" in done.stderr.splitlines()[-1], done.stderr
    assert done.stderr.count("Traceback") == 1
    Path("s.py").write_text(SCRIPT.format(guard="if __name__ == '__main__':"))
    done = subprocess.run([sys.executable, "s.py"], env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "dies 130\n", done.stderr


def test_a_script_from_standard_input_may_use_several_processes(here: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(cmru_hw.__file__).parent.parent)}
    script = SCRIPT.format(guard="if True:")
    done = subprocess.run(
        [sys.executable, "-"], env=env, input=script, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout == "dies 130\n", done.stderr


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    shutil.rmtree("kept", ignore_errors=True)

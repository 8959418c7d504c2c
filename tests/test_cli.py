"""The command line from the user's side: output, exit codes, and no traceback in any case."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cmru_hw.cli import group, main
from cmru_hw.core import package_data
from cmru_hw.process import technology

MODELS = package_data.folder("models")
SMALL = MODELS / "detect-cmru-2x4.safetensors"
DATA = MODELS / "detect-eval.npz"
COMMAND = Path(sys.executable).with_name("cmru-hw")


@dataclass(frozen=True, kw_only=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def run(*arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> Done:
    """Run one command through the entry point in this process, because a new one would import torch every time."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cmru-hw", *map(str, arguments)])
        for name, value in {"COLUMNS": "160", **(env or {})}.items():
            patch.setenv(name, value)
        if cwd is not None:
            patch.chdir(cwd)
        with redirect_stdout(stdout), redirect_stderr(stderr), pytest.raises(SystemExit) as ended:
            main()
    code = ended.value.code
    assert isinstance(code, int)
    return Done(returncode=code, stdout=stdout.getvalue(), stderr=stderr.getvalue())


def run_process(*arguments: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        env={**os.environ, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return done


def refused(*arguments: object, code: int = 2, **options: Any) -> str:
    """Run a command that must fail with ``code`` and exactly one line on stderr; return that line."""
    done = run(*arguments, **options)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    if lines[0].startswith("Usage:"):
        return lines[-1]
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    return lines[0]


@pytest.fixture(scope="module")
def design(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("design") / "detect"
    done = run("export", SMALL, "-o", path, "--no-verify")
    assert done.returncode == 0, done.stderr
    return path


def test_the_installed_program_reports_errors_as_one_line_too(tmp_path: Path) -> None:
    done = run_process("inspect", tmp_path / "absent.safetensors")
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")


def test_help_names_every_command_and_exit_code() -> None:
    text = run("--help").stdout
    for word in ("inspect", "export", "simulate", "compare", "train", "doctor", "demo", "3 no simulator"):
        assert word in text
    for command in group.commands:
        assert f"cmru-hw {command}" in run(command, "--help").stdout, command


@pytest.mark.slow
@pytest.mark.spice
def test_characterize_writes_a_technology_that_exports(tmp_path: Path) -> None:
    technology = tmp_path / "measured.toml"
    done = run("characterize", "generic180", "--dies", 6, "-o", technology, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(found["comparator"]["right"]) and found["level"] == "transistor"
    assert found["packet"]["up_V"] == pytest.approx(found["packet"]["nominal_V"], rel=0.01)
    assert "transistor_comparator.cir" in technology.read_text()
    assert run("export", SMALL, "-o", tmp_path / "d", "--technology", technology, "--no-verify").returncode == 0
    assert "--force" in refused("characterize", "generic180", "-o", technology)


def test_inspect_says_what_it_is_and_what_it_would_become() -> None:
    found = json.loads(run("inspect", SMALL, "--json").stdout)
    assert found["cell"] == "cmru" and found["features"] == 12
    assert found["circuit"]["realisable"] and found["circuit"]["left-out weights"] == 0
    assert "layer 1" in run("inspect", SMALL).stdout


@pytest.mark.spice
def test_export_verifies_and_compare_agrees(tmp_path: Path) -> None:
    out = tmp_path / "detect"
    exported = run("export", SMALL, "-o", out, "--json")
    assert exported.returncode == 0, exported.stderr
    assert json.loads(exported.stdout)["verified"] is True
    compared = run("compare", out, "--input", DATA, "--sequences", 4, "--json")
    assert compared.returncode == 0, compared.stderr
    found = json.loads(compared.stdout)
    decisions = found["decisions"]
    assert decisions["total"] == decisions["agree"] + decisions["excluded"] > 0
    assert found["classification"]["total"] == found["classification"]["agree"] == 4
    assert found["first_divergence"] is None and found["level_error_max"] < 0.05
    assert (found["level"], found["architecture"]) == ("macro", "sc")
    assert "agree, 0 differ" in run("compare", out, "--input", DATA, "--sequences", 1, "--backend", "batch").stdout


@pytest.mark.spice
def test_the_exported_deck_runs_by_hand(design: Path, tmp_path: Path) -> None:
    shutil.copytree(design, tmp_path / "by hand")
    done = subprocess.run(
        ["ngspice", "-b", "-r", "out.raw", "deck.cir"],
        cwd=tmp_path / "by hand",
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0
    assert (tmp_path / "by hand" / "out.raw").stat().st_size > 10_000


@pytest.mark.spice
def test_simulate_writes_arrays_and_a_figure(design: Path, tmp_path: Path) -> None:
    arrays, figure = tmp_path / "out.npz", tmp_path / "unit.svg"
    arguments = ("simulate", design, "--input", DATA, "--sequences", 2, "-o", arrays, "--plot", figure, "--unit", "1.2")
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["sequences"] == 2 and len(found["classes"]) == 2
    with np.load(arrays) as saved:
        assert saved["states_1"].shape[0] == 2 and set(np.unique(saved["decisions_0"])) <= {-1, 0, 1}
    assert "layer 1, unit 2" in figure.read_text()
    assert "--force" in refused(*arguments)
    assert run(*arguments, "--force").returncode == 0


@pytest.mark.spice
def test_a_changed_circuit_fails_the_comparison_with_the_first_difference(design: Path, tmp_path: Path) -> None:
    """An edited netlist runs only if the user requests it explicitly, and its first difference is found."""
    edited = tmp_path / "edited"
    shutil.copytree(design, edited)
    network = edited / "network.cir"
    lines = network.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("xunit0_1 "))
    # The down path loses its reference, so this unit can no longer fall.
    lines[place] = lines[place].replace(" vrp ", " vcm ")
    network.write_text("\n".join(lines) + "\n")
    assert "--allow-edited" in refused("compare", edited, "--input", DATA, "--sequences", 2)
    done = run("compare", edited, "--input", DATA, "--sequences", 6, "--allow-edited", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["level_error_max"] > 0.05
    assert done.stderr.startswith("error: ") and "differ from software" in done.stderr


@pytest.mark.spice
def test_a_netlist_with_commands_does_not_run_them(design: Path, tmp_path: Path) -> None:
    edited = tmp_path / "hostile"
    shutil.copytree(design, edited)
    target = tmp_path / "touched"
    with (edited / "network.cir").open("a") as file:
        file.write(f".control\nshell touch {target}\n.endc\n")
    message = refused("simulate", edited, "--input", DATA, "--sequences", 1, "--allow-edited")
    assert "not a card of a circuit" in message and not target.exists()


def test_nothing_is_overwritten_unasked(design: Path, tmp_path: Path) -> None:
    assert "exists: choose another -o, or give --force" in refused("export", SMALL, "-o", design, "--no-verify")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    message = refused("export", SMALL, "-o", precious, "--no-verify", "--force")
    assert "is not a design folder" in message and (precious / "thesis.tex").exists()


def test_export_replaces_a_design_with_force(tmp_path: Path) -> None:
    out = tmp_path / "detect"
    assert run("export", SMALL, "-o", out, "--no-verify").returncode == 0
    before = (out / "network.cir").read_bytes()
    assert run("export", SMALL, "-o", out, "--no-verify", "--force").returncode == 0
    assert (out / "network.cir").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["detect"]


def test_rounded_weights_are_listed_one_by_one(tmp_path: Path) -> None:
    coarse = tmp_path / "coarse.toml"
    text = (Path(technology.__file__).parent / "technologies" / "macro.toml").read_text()
    lines = ["step = 2e-15" if line.startswith("step =") else line for line in text.splitlines()]
    lines = ["minimum = 4e-15" if line.startswith("minimum =") else line for line in lines]
    coarse.write_text("\n".join(lines))
    out = tmp_path / "design"
    done = run("export", SMALL, "-o", out, "--no-verify", "--technology", coarse, "--json")
    found = json.loads(done.stdout)
    with (out / "mapping.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == found["rounded weights"] + found["left-out weights"] > 20
    assert found["left-out weights"] == sum(float(row["got"]) == 0 for row in rows)


# --- Invalid input -------------------------------------------------------------------------------------------------


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.path}",))


def test_a_hostile_pickle_is_refused_and_does_nothing(tmp_path: Path) -> None:
    target, bomb = tmp_path / "exploded", tmp_path / "bomb.pt"
    torch.save({"readout.weight": Bomb(target)}, bomb)
    message = refused("inspect", bomb)
    assert "bomb.pt" in message and not target.exists()
    bomb.write_bytes(pickle.dumps(Bomb(target)))
    assert "bomb.pt" in refused("export", bomb, "-o", tmp_path / "out") and not target.exists()


@pytest.mark.parametrize(
    ("content", "name"), [(b"", "empty"), (b"\x00" * 40, "zeros"), (b"hello", "text"), (None, "truncated")]
)
def test_damaged_checkpoints(content: bytes | None, name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.safetensors"
    path.write_bytes(content if content is not None else SMALL.read_bytes()[:-100])
    assert path.name in refused("inspect", path)


def test_missing_files_and_folders(design: Path, tmp_path: Path) -> None:
    assert "absent.safetensors" in refused("inspect", tmp_path / "absent.safetensors")
    assert "not a design folder" in refused("compare", tmp_path / "absent", "--input", DATA)
    assert "absent.npz" in refused("compare", design, "--input", tmp_path / "absent.npz")
    assert "--input" in refused("compare", design)
    assert "no technology is called 'gf999'" in refused("inspect", SMALL, "--technology", "gf999")
    (tmp_path / "plain").mkdir()
    assert "design.json" in refused("simulate", tmp_path / "plain", "--input", DATA)


def test_wrong_data(design: Path, tmp_path: Path) -> None:
    def bad(**arrays: Any) -> str:
        np.savez(tmp_path / "bad.npz", **arrays)
        return refused("simulate", design, "--input", tmp_path / "bad.npz")

    assert "features" in bad(inputs=np.zeros((2, 5, 3), np.float32))
    assert "NaN" in bad(inputs=np.full((2, 5, 12), np.nan, np.float32))
    assert "inputs" in bad(wrong=np.zeros(3))
    assert "lengths" in bad(inputs=np.zeros((2, 5, 12), np.float32), lengths=np.array([6, 1]))
    assert "label" in bad(inputs=np.zeros((2, 5, 12), np.float32), labels=np.array([0, 7]))
    assert "fewer than --sequences" in refused("simulate", design, "--input", DATA, "--sequences", 10_000)
    assert "is not a LAYER.UNIT" in refused(
        "simulate", design, "--input", DATA, "--plot", tmp_path / "x.svg", "--unit", "9.9"
    )


def test_damaged_design_folders(design: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(design, broken)
    manifest = json.loads((broken / "design.json").read_text())
    (broken / "design.json").write_text("{")
    assert "cannot be read" in refused("simulate", broken, "--input", DATA)
    (broken / "design.json").write_text(json.dumps({**manifest, "format": 99}))
    assert "not of format" in refused("simulate", broken, "--input", DATA)
    del manifest["technology"]["supply"]
    (broken / "design.json").write_text(json.dumps(manifest))
    assert "missing supply: the design is damaged or of another version; export it again" in refused(
        "simulate", broken, "--input", DATA
    )


def test_names_cannot_forge_output_or_reach_ngspice(tmp_path: Path) -> None:
    odd = tmp_path / "two words\n.control\nshell touch x.safetensors"
    assert "\\n.control" in refused("inspect", odd)
    folder = tmp_path / "a b;$(touch y)"
    shutil.copytree(MODELS, folder, ignore=shutil.ignore_patterns("vowels*", "*.md"))
    out = folder / "out .control"
    assert run("export", folder / SMALL.name, "-o", out, "--no-verify", cwd=tmp_path).returncode == 0
    text = (out / "deck.cir").read_text() + (out / "network.cir").read_text()
    assert "touch" not in text and ".control" not in text
    assert not list(tmp_path.glob("[xy]"))


def test_usage_errors_are_usage_errors(tmp_path: Path) -> None:
    assert "LxN" in refused("train", "vowels", "--shape", "16", "-o", tmp_path / "x.safetensors")
    assert ".safetensors" in refused("train", "vowels", "-o", tmp_path / "x.bin")
    assert "No such command" in refused("explode")
    assert "--architecture sc" in refused("export", SMALL, "-o", tmp_path / "x", "--architecture", "cm")


def test_an_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert "cannot be written" in refused("export", SMALL, "-o", blocked / "design", "--no-verify")


def test_a_place_that_cannot_be_written_is_refused_before_any_work(design: Path, tmp_path: Path) -> None:
    """Hours of simulation must not end with this error: these commands do not even reach their other arguments."""
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    place, data = blocked / "out", ("--input", DATA, "--sequences", 1)
    for command in (
        ("compare", design, *data), ("energy", design, *data), ("montecarlo", design, *data, "-n", 1),
        ("corners", tmp_path / "absent", *data), ("retention", design), ("demo",), ("report", tmp_path / "absent"),
    ):  # fmt: skip
        line = refused(*command, "-o", place)
        assert f"{place}" in line and f"{blocked} is a file; choose another -o" in line, line
        if command[0] in ("montecarlo", "corners"):
            assert f"{blocked} is a file: choose another -o" in refused(*command, "-o", blocked)
    assert "is a file" in refused("simulate", design, *data, "-o", blocked / "x.npz")
    assert "is a file" in refused("versus", design, design, "-o", blocked / "x.json")
    assert "is a file" in refused("export", SMALL, "-o", place)
    assert blocked.read_text() == "not a folder"


def test_a_folder_without_permission_is_refused_before_any_work(
    design: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write everywhere, so the system's answer is replaced."""
    monkeypatch.setattr(os, "access", lambda _, mode, **__: mode == os.R_OK)
    line = refused("compare", design, "--input", DATA, "-o", tmp_path / "kept" / "out")
    assert f"no permission for {tmp_path}; choose another -o" in line


def test_not_a_number_is_no_number(design: Path) -> None:
    for command, option in (("compare", "--resolution"), ("montecarlo", "--drop"), ("simulate", "--timeout")):
        line = refused(command, design, "--input", DATA, "--sequences", 1, option, "nan")
        assert f"{option}" in line and "nan is not a finite number" in line
    assert "inf is not a finite number" in refused("compare", design, "--input", DATA, "--resolution", "inf")


def test_files_that_cannot_be_read_are_named_without_codes(design: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.toml"
    line = refused("convert", DATA, "--names", names, "-o", tmp_path / "x.safetensors")
    assert f"{names}: there is no such file; check the path" in line
    binary = f"comparator={DATA}"
    assert "not text: save it as UTF-8" in refused("export", SMALL, "-o", tmp_path / "x", "--template", binary)
    line = refused("export", SMALL, "-o", tmp_path / "x", "--template", f"comparator={tmp_path / 'absent.cir'}")
    assert "absent.cir cannot be read (No such file or directory): check the path" in line
    gone = tmp_path / "gone"
    shutil.copytree(design, gone)
    (gone / "network.cir").unlink()
    assert "network.cir cannot be read (No such file or directory): export" in refused("compare", gone, "--input", DATA)
    assert "--runs" in refused("versus", design, design, "--runs", tmp_path / "absent")


@pytest.mark.spice
def test_a_missing_simulator_is_exit_3(design: Path) -> None:
    env = {"CMRU_HW_NGSPICE": "/nonexistent/ngspice", "CMRU_HW_LIBNGSPICE": "/nonexistent/libngspice.so"}
    for backend in ("pyspice", "batch"):
        message = refused("simulate", design, "--input", DATA, "--backend", backend, "--sequences", 1, code=3, env=env)
        assert "apt" in message


@pytest.mark.spice
def test_a_simulation_that_takes_too_long_is_exit_4(design: Path) -> None:
    message = refused("simulate", design, "--input", DATA, "--timeout", 0.05, "--sequences", 20, code=4)
    assert "0.05" in message


def start_simulation(design: Path) -> tuple[subprocess.Popen[str], int]:
    """A running simulation, and the process id of its simulator."""
    process = subprocess.Popen(
        [COMMAND, "simulate", str(design), "--input", str(DATA)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Background processes ignore Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while time.monotonic() < deadline:
        # The first child is a helper of multiprocessing; the worker is the one that has loaded ngspice.
        for child in children.read_text().split():
            with suppress(OSError):
                if "ngspice" in Path(f"/proc/{child}/maps").read_text():
                    return process, int(child)
        time.sleep(0.01)
    process.kill()
    raise AssertionError("no simulator came up")


@pytest.mark.spice
def test_ctrl_c_ends_at_once_with_130(design: Path, ends: Callable[[int], bool]) -> None:
    process, _ = start_simulation(design)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 130 and stderr.strip().splitlines()[-1] == "interrupted"
    assert "Traceback" not in stderr
    assert ends(process.pid)


@pytest.mark.spice
def test_a_simulator_that_is_killed_is_exit_4_and_says_so(design: Path, ends: Callable[[int], bool]) -> None:
    process, simulator = start_simulation(design)
    os.kill(simulator, signal.SIGKILL)
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 4, stderr
    assert stderr.startswith("error: ") and "SIGKILL" in stderr and len(stderr.splitlines()) == 1
    assert ends(process.pid)


@pytest.mark.spice
def test_doctor_is_content_here_and_says_what_is_missing_elsewhere() -> None:
    done = run("doctor", "--json")
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    assert found["ok"] is True and all({"name", "ok", "detail"} <= set(check) for check in found["checks"])
    env = {"CMRU_HW_NGSPICE": "/nonexistent/ngspice", "CMRU_HW_LIBNGSPICE": "/nonexistent/libngspice.so"}
    assert run("doctor", env=env).returncode == 3


def test_output_into_a_closed_pipe_is_quiet() -> None:
    done = subprocess.run(
        f"{COMMAND} inspect {SMALL} --json | head -c 1", shell=True, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr

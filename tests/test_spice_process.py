"""Worker processes: no process or file remains, and the user's environment does not affect them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from cmru_hw import spice
from cmru_hw.core.errors import OutputError
from cmru_hw.spice import engine as engine_module
from cmru_hw.spice.deck import Deck
from tests.narrow import known

pytestmark = pytest.mark.spice

RC = Deck(
    text="v1 in 0 1\nr1 in out 1000\nc1 out 0 1e-9 ic=0\n.save out\n.tran 1e-8 5e-6 0 1e-8 uic\n",
    stop=5e-6,
    saved=("out",),
)
# As a user writes it: no `if __name__ == "__main__"`, and run from a directory without the package. The decks have only
# the attributes of decks, because the module of the real class takes seconds to import.
SCRIPT = """
import sys
from types import SimpleNamespace
from cmru_hw import spice
short = SimpleNamespace(text="v1 a 0 1\\n.save a\\n.tran 1e-3 1e-2\\n", stop=1e-2, saved=("a",), files={})
endless = SimpleNamespace(
    text="v1 a 0 sin(0 1 1e6)\\nr1 a 0 1\\n.save a\\n.tran 1e-9 1e3\\n", stop=1e3, saved=("a",), files={}
)
with spice.open_engine(backend=sys.argv[1], jobs=2) as engine:
    dict(engine.map([short, short]))
    print(*engine.pids, flush=True)
    dict(engine.map([endless, endless]))
"""


@pytest.fixture(params=["pyspice", "batch"])
def backend(request: pytest.FixtureRequest) -> spice.Backend:
    assert request.param in ("pyspice", "batch")
    return cast(spice.Backend, request.param)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_survives_its_parent(
    backend: spice.Backend,
    how: signal.Signals,
    tmp_path: Path,
    runs: Callable[[int], bool],
    ends: Callable[[int], bool],
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    parent = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, backend],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # In its own group, as in a terminal's foreground: Ctrl-C goes to the group. Background processes ignore Ctrl-C,
        # and children inherit that.
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    workers = [int(pid) for pid in known(parent.stdout).readline().split()]
    assert len(workers) == 2
    until(lambda: all(runs(pid) for pid in workers) and any(scratch.glob("*/run-2/deck.cir")))
    os.killpg(parent.pid, how)
    try:
        _, errors = parent.communicate(timeout=600)
    finally:
        parent.kill()
    assert parent.returncode == -how
    if how == signal.SIGINT:
        assert errors.count("KeyboardInterrupt") == 1
    assert all(ends(pid) for pid in workers)
    until(lambda: not list(scratch.iterdir()))


def test_ctrl_c_is_not_the_workers_business(backend: spice.Backend) -> None:
    with spice.open_engine(backend=backend) as engine:
        engine.run(RC)
        pids = engine.pids
        os.kill(pids[0], signal.SIGINT)
        engine.run(RC)
        assert engine.pids == pids


def test_a_worker_is_light(backend: spice.Backend) -> None:
    with spice.open_engine(backend=backend) as engine:
        engine.run(RC)
        loaded = Path(f"/proc/{engine.pids[0]}/maps").read_text()
        assert "torch" not in loaded
        assert ("libngspice" in loaded) == (backend == "pyspice")


def test_the_users_surroundings_do_not_leak_in(
    backend: spice.Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".spiceinit").write_text("set ngbehavior=hsa\n")
    # A module of this name next to the script would stop every Python that looks there.
    (tmp_path / "json.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SPICE_ASCIIRAWFILE", "1")
    monkeypatch.setenv("NGSPICE_INPUT_DIR", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert "No compatibility mode selected" in spice.run(RC, backend=backend).log
    assert sorted(path.name for path in tmp_path.iterdir()) == [".spiceinit", "json.py"]


def test_workers_are_renewed_from_time_to_time(backend: spice.Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_RUNS_PER_WORKER", 2)
    with spice.open_engine(backend=backend) as engine:
        seen = []
        for _ in range(4):
            seen.append(engine.pids)
            engine.run(RC)
    assert seen[0] == seen[2] == ()
    assert len({*seen[1], *seen[3]}) == 2


@pytest.mark.needs("mount")
def test_full_disk(backend: spice.Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(tmp_path)], check=True)
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        bulky = Deck(text=RC.text, stop=RC.stop, saved=RC.saved, files={"data.txt": b"0 0\n" * 100_000})
        with pytest.raises(OutputError, match="TMPDIR"):
            spice.run(bulky, backend=backend)
        if backend == "batch":
            long = Deck(text=RC.text.replace("5e-6", "5e-4"), stop=5e-4, saved=RC.saved)
            with pytest.raises(OutputError, match="TMPDIR"):
                spice.run(long, backend=backend)
        spice.run(RC, backend=backend)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def until(condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to this in time"
        time.sleep(0.02)

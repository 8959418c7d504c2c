"""Monte-Carlo: rows do not depend on the worker, none is lost or computed twice, and failures count."""

# long: rows, shards, workers and the command share one small job
from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from scipy import stats

from cmru_hw import spice
from cmru_hw.analysis.montecarlo import scheduler, statistics, workers
from cmru_hw.analysis.montecarlo.interval import clopper_pearson
from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.result import MonteCarloResult
from cmru_hw.analysis.montecarlo.shards import Block, Store, blocks
from cmru_hw.circuits.charge import dies as charge
from cmru_hw.circuits.charge import mapping, variation
from cmru_hw.cli.montecarlo import montecarlo as command
from cmru_hw.core.errors import CmruError, InputError, SimulationError
from cmru_hw.design_folder import folder as design_folder
from cmru_hw.process import technology
from tests.narrow import known
from tests.networks import Shape, random_network, random_sequences

SHAPE = Shape(units=(4, 3))


def job(shape: Shape = SHAPE, **changes: Any) -> Job:
    trained, sequences = random_network(shape), random_sequences(shape)
    design = mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, sequences))
    settings: dict[str, Any] = {"seed": 0, "varied": variation.select_variations(design)} | changes
    return Job(design=design, trained=trained, sequences=sequences, **settings)


@pytest.fixture
def exported(tmp_path: Path) -> tuple[Path, Path]:
    """A design folder and its sequences."""
    mine = job()
    design_folder.write(tmp_path / "design", mine.trained, mine.design, mine.sequences)
    data = mine.sequences
    np.savez(tmp_path / "data.npz", inputs=data.inputs, lengths=data.lengths, labels=known(data.labels))
    return tmp_path / "design", tmp_path / "data.npz"


def invoke(exported: tuple[Path, Path], *options: str) -> Result:
    design, data = exported
    return CliRunner().invoke(command, [str(design), "--input", str(data), "--json", *options])


# --- Rows --------------------------------------------------------------------------------------------------------


def test_nominal_dies_are_software() -> None:
    table = statistics.scores(job(varied=frozenset()), range(3))
    assert table["decisions"].to_pylist() == table["decisions_agree"].to_pylist()
    assert table["accuracy"].to_pylist() == [job().goal.accuracy] * 3
    assert max(table["level_error_max"].to_pylist()) < 1e-3


def test_rows_do_not_depend_on_company_or_order() -> None:
    mine = job()
    whole = statistics.scores(mine, range(40))
    assert statistics.scores(mine, range(17, 23)).equals(whole.slice(17, 6))
    backwards = statistics.scores(mine, list(reversed(range(40))))
    assert backwards.take(list(reversed(range(40)))).equals(whole)


def test_rows_do_not_depend_on_the_memory_for_drawn_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = job()
    whole = statistics.scores(mine, range(20))
    drawn: list[int] = []
    draw = variation.draw

    def counted(*given: Any, dies: Sequence[int], **more: Any) -> variation.Dies:
        drawn.append(len(dies))
        return draw(*given, dies=dies, **more)

    monkeypatch.setattr(variation, "draw", counted)
    # room for three dies: rows a and b of 4 units with 3 inputs, of 3 units with 4 + 3, and of 2 classes with 3
    monkeypatch.setattr(charge, "_MEMORY", 3 * charge._COPIES * 8 * (2 * (4 * 3 + 3 * 7) + 2 * 3))
    assert statistics.scores(mine, range(20)).equals(whole)
    assert drawn == [3] * 6 + [2]


@pytest.mark.spice
def test_blocks_share_a_simulator_until_the_job_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(statistics.BLOCK, "spice", 2)
    mine = job(engine="spice")
    pids = set()
    for _, table in workers.serial(mine, blocks(mine, range(6))):
        assert table["status"].to_pylist() == ["ok", "ok"]
        with mine.engines.borrowed() as engine:
            pids |= set(engine.pids)
    assert len(pids) == 1
    with mine.engines.borrowed() as engine:
        assert not engine.pids
    with pytest.raises(ValueError, match="a defect"), mine.engines.borrowed() as engine:
        assert engine.simulator and engine.pids
        raise ValueError("a defect")
    assert not engine.pids
    with mine.engines.borrowed() as first, mine.engines.borrowed() as second:
        assert first is not second


def test_a_job_survives_the_way_to_another_process() -> None:
    mine = job()
    twin = pickle.loads(pickle.dumps(mine))
    assert twin.sha256 == mine.sha256
    assert statistics.scores(twin, range(3)).equals(statistics.scores(mine, range(3)))


@pytest.mark.spice
def test_rows_of_two_versions_of_the_simulator_are_not_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    here, fast = job(engine="spice"), job()
    assert here.sha256 == job(engine="spice", timeout=1.0).sha256
    assert here.spice_version == spice.installed("pyspice") != "" and fast.spice_version == ""
    monkeypatch.setattr(spice, "installed", lambda backend: "ngspice 1")
    assert job(engine="spice").sha256 != here.sha256 and job().sha256 == fast.sha256
    # The job keeps the version of the machine that started it.
    there = pickle.loads(pickle.dumps(here))
    assert there.sha256 == here.sha256
    with pytest.raises(InputError, match="has ngspice 1, and the job was started with ngspice"):
        statistics.scores(there, [0])
    assert len(statistics.scores(fast, [0])) == 1


@pytest.mark.spice
def test_identity_changes_with_everything_that_changes_a_row() -> None:
    mine = job()
    others = [
        job(seed=1),
        job(varied=mine.varied - {"layer0/weights"}),
        job(engine="spice"),
        job(engine="spice", refine=1),
        job(Shape(units=(4, 3), seed=1)),
    ]
    assert len({mine.sha256, *(other.sha256 for other in others)}) == 6
    # the fast engine takes no steps
    assert job(timeout=1.0).sha256 == job(refine=1).sha256 == mine.sha256


@pytest.mark.spice
def test_engines_agree_and_say_so() -> None:
    table = statistics.scores(job(engine="spice"), [3, 8])
    fast = statistics.scores(job(), [3, 8])
    for name in ("accuracy", "decisions_agree", "classes_alike"):
        assert table[name].to_pylist() == fast[name].to_pylist()
    assert table["level_error_max"].to_numpy() == pytest.approx(fast["level_error_max"].to_numpy(), abs=1e-4)
    found = statistics.engine_agreement(table)
    assert found is not None
    assert found.agree == found.decisions and found.unexplained == 0


@pytest.mark.spice
def test_one_failing_die_is_a_row_and_spoils_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = statistics.scores(job(engine="spice"), [0, 1, 2])
    simulate = charge.simulate_die

    def fails(mine: Job, drawn: Any, engine: spice.Engine) -> Any:
        if drawn.numbers[0] == 1:
            raise SimulationError("on purpose")
        return simulate(mine, drawn, engine)

    monkeypatch.setattr(charge, "simulate_die", fails)
    table = statistics.scores(job(engine="spice"), [0, 1, 2])
    assert table["status"].to_pylist() == ["ok", "SimulationError", "ok"]
    assert table.take([0, 2]).equals(whole.take([0, 2]))
    summary = statistics.summary(job(engine="spice"), table, drop=1.0)
    assert (summary.dies, summary.failed) == (3, 1)
    assert (summary.yield_.k, summary.yield_.n) == (2, 3)


# --- Statistics --------------------------------------------------------------------------------------------------


def test_clopper_pearson_is_exact() -> None:
    for k, n in ((0, 10), (3, 10), (10, 10), (487, 500)):
        expected = stats.binomtest(k, n).proportion_ci(method="exact")
        found = clopper_pearson(k, n)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_subset_is_a_function_of_the_seed() -> None:
    assert statistics.subset(4, 1000, 20) == statistics.subset(4, 1000, 20) != statistics.subset(5, 1000, 20)
    assert statistics.subset(0, 5, 5) == [0, 1, 2, 3, 4]


# --- Shards ------------------------------------------------------------------------------------------------------


def collect(
    mine: Job, dies: Sequence[int], folder: Path, by: workers.Workers = workers.serial, **settings: Any
) -> pa.Table:
    return scheduler.collect(mine, dies, Store.of(folder, mine), by, drop=0.01, **settings)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(statistics.BLOCK, "fast", 8)


@pytest.mark.usefixtures("small_blocks")
def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    mine = job()
    whole = collect(mine, range(40), tmp_path / "whole")
    computed: list[int] = []

    def dying(one: Job, todo: Sequence[Block]) -> Iterator[tuple[Block, pa.Table]]:
        for block, table in workers.serial(one, todo):
            if len(computed) == 3:
                raise KeyboardInterrupt
            computed.append(block.number)
            yield block, table

    with pytest.raises(KeyboardInterrupt):
        collect(mine, range(40), tmp_path / "cut", dying)
    assert computed == [0, 1, 2]

    def noting(one: Job, todo: Sequence[Block]) -> Iterator[tuple[Block, pa.Table]]:
        computed.extend(block.number for block in todo)
        return workers.serial(one, todo)

    assert collect(mine, range(40), tmp_path / "cut", noting).equals(whole)
    assert computed == [0, 1, 2, 3, 4]
    assert collect(mine, range(40), tmp_path / "cut", noting).equals(whole)
    assert computed == [0, 1, 2, 3, 4]
    assert not list((tmp_path / "cut").rglob(".*"))


@pytest.mark.usefixtures("small_blocks")
def test_damaged_and_foreign_shards_are_made_again(tmp_path: Path) -> None:
    mine = job()
    whole = collect(mine, range(24), tmp_path)
    first, second, third = sorted(tmp_path.rglob("*.parquet"))
    first.write_bytes(b"PAR1 and then nothing")
    second.write_bytes(third.read_bytes())
    pq.write_table(pq.read_table(third).replace_schema_metadata(None), third)
    assert collect(mine, range(24), tmp_path).equals(whole)


@pytest.mark.usefixtures("small_blocks")
def test_order_and_size_of_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = job()

    def backwards(one: Job, todo: Sequence[Block]) -> Iterator[tuple[Block, pa.Table]]:
        return workers.serial(one, list(reversed(todo)))

    whole = collect(mine, range(30), tmp_path / "a")
    assert collect(mine, range(30), tmp_path / "b", backwards).equals(whole)
    monkeypatch.setitem(statistics.BLOCK, "fast", 13)
    assert collect(mine, range(30), tmp_path / "c").equals(whole)
    # A run of fewer dies gives the first rows of a run of more.
    assert collect(mine, range(11), tmp_path / "d").equals(whole.slice(0, 11))


def test_blocks_have_about_the_same_time_for_small_and_large_jobs() -> None:
    small = job()
    assert statistics.block_size(small) == statistics.BLOCK["fast"]
    assert statistics.block_size(replace(small, engine="spice")) == statistics.BLOCK["spice"]
    wide = Shape(features=16, units=(128, 128), levels=7)
    trained = random_network(wide)
    sizes = []
    for timesteps in (50, 500, 5000):
        data = random_sequences(wide, (timesteps,) * 4)
        design = mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, data))
        large = Job(design=design, trained=trained, sequences=data, seed=0, varied=frozenset())
        sizes.append(statistics.block_size(large))
        assert statistics.block_size(replace(large, engine="spice")) == 1
    assert statistics.BLOCK["fast"] >= sizes[0] > sizes[1] > sizes[2] >= 1


@pytest.mark.usefixtures("small_blocks")
def test_stopping_early_is_the_same_in_any_order(tmp_path: Path) -> None:
    mine = job()

    def scrambled(one: Job, todo: Sequence[Block]) -> Iterator[tuple[Block, pa.Table]]:
        return workers.serial(one, sorted(todo, key=lambda block: block.number * 7 % 11))

    straight = collect(mine, range(200), tmp_path / "a", until=0.2)
    assert scheduler.FEWEST <= len(straight) < 200 and len(straight) % 8 == 0
    good = int(statistics.passed(straight, mine.goal.accuracy, 0.01).sum())
    assert clopper_pearson(good, len(straight)).width <= 0.2
    assert collect(mine, range(200), tmp_path / "b", scrambled, until=0.2).equals(straight)


@pytest.mark.usefixtures("small_blocks")
def test_processes_give_the_same_and_one_that_is_killed_costs_its_block(tmp_path: Path) -> None:
    mine = job()
    whole = collect(mine, range(64), tmp_path / "serial")
    # One process, because each takes seconds to start; the test of the command has two.
    with workers.local(1) as pool:
        answers = pool(mine, blocks(mine, range(64)))
        found = dict([next(answers)])
        victim = next(child for child in _children() if b"spawn_main" in child.cmdline)
        os.kill(victim.pid, signal.SIGKILL)
        found |= dict(answers)
        table = pa.concat_tables([found[block] for block in sorted(found, key=lambda block: block.number)])
        assert table.equals(whole)
        # The pool accepts another job.
        other = job(seed=1)
        assert collect(other, range(16), tmp_path / "pool", pool).equals(collect(other, range(16), tmp_path / "alone"))


class _Child:
    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.cmdline = Path(f"/proc/{pid}/cmdline").read_bytes()


def _children() -> list[_Child]:
    listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [_Child(int(pid)) for pid in listed]


@pytest.mark.needs("distributed")
def test_a_scheduler_that_never_comes_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"no Dask scheduler has written .*absent\.json within 0 s"),
        workers.cluster(str(tmp_path / "absent.json"), patience=0),
    ):
        pass


@pytest.mark.needs("distributed")
def test_a_dask_cluster_gives_the_same(tmp_path: Path) -> None:
    import distributed

    mine = job()
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, protocol="tcp"
        ) as made,
        workers.cluster(made.scheduler_address) as pool,
    ):
        table = collect(mine, range(130), tmp_path / "cluster", pool)
    assert table.equals(collect(mine, range(130), tmp_path / "here"))


@pytest.mark.needs("distributed")
@pytest.mark.usefixtures("small_blocks")
def test_a_cluster_that_loses_its_worker_gives_the_same(tmp_path: Path) -> None:
    import distributed

    mine = job()
    whole = collect(mine, range(64), tmp_path / "here")
    with (
        # One worker: if it is lost, so is all data that only it holds. Its nanny starts another.
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as made,
        workers.cluster(made.scheduler_address) as pool,
    ):
        answers = pool(mine, blocks(mine, range(64)))
        found = dict([next(answers)])
        (nanny,) = made.workers.values()
        os.kill(nanny.pid, signal.SIGKILL)
        found |= dict(answers)
    assert pa.concat_tables([found[block] for block in sorted(found, key=lambda block: block.number)]).equals(whole)


def test_a_worker_error_is_raised_here(tmp_path: Path) -> None:
    mine = job(engine="spice", backend="batch")
    with workers.local(1) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMRU_HW_NGSPICE", "/nowhere/ngspice")
        with pytest.raises(CmruError, match="ngspice"):
            collect(mine, [0], tmp_path, pool)


# --- Command -----------------------------------------------------------------------------------------------------


@pytest.mark.spice
def test_finer_steps_reach_the_dies_their_certificate_and_a_replay(exported: tuple[Path, Path], tmp_path: Path) -> None:
    steps = {}
    for refine in (0, 2):
        out = tmp_path / f"refine-{refine}"
        done = invoke(exported, "--engine", "spice", "-n", "1", "--refine", str(refine), "-o", str(out))
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["certificate"]["options"] == f"exact parts, refine {refine}"
        steps[refine] = pq.read_table(out / "dies.parquet")["level_error_rms"].to_pylist()
        replay = invoke(exported, "--die", "0", "--refine", str(refine), "-o", str(out))
        assert replay.exit_code == 0, replay.output
    tran = [
        next(line for line in (tmp_path / f"refine-{n}" / "die-000000" / "deck.cir").read_text().splitlines()
             if line.startswith(".tran"))
        for n in (0, 2)
    ]  # fmt: skip
    assert float(tran[0].split()[-2]) == 4 * float(tran[1].split()[-2])
    # the same die to a millionth of a level, and not the same steps
    assert steps[0] == pytest.approx(steps[2], abs=1e-4) and steps[0] != steps[2]


def test_finer_steps_of_an_engine_that_takes_none_are_refused(exported: tuple[Path, Path], tmp_path: Path) -> None:
    done = invoke(exported, "-n", "5", "--refine", "1", "-o", str(tmp_path / "out"))
    assert done.exit_code == 2 and "--refine needs --engine spice" in done.output
    assert not (tmp_path / "out").exists()


def test_command_writes_what_it_says(exported: tuple[Path, Path], tmp_path: Path) -> None:
    done = invoke(exported, "-n", "150", "-o", str(tmp_path / "out"), "--seed", "3")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert MonteCarloResult.load(tmp_path / "out" / "summary.json").to_plain() == summary
    assert (summary["dies"], summary["failed"], summary["seed"]) == (150, 0, 3)
    assert set(summary["yield"]) == {"k", "n", "value", "ci95"}
    assert set(summary["accuracy"]) == {"software", "median", "p05", "min"}
    assert 0 < summary["decision_agreement"] < 1
    assert summary["netlist_sha256"] and summary["versions"]["cmru_hw"]
    table = pq.read_table(tmp_path / "out" / "dies.parquet")
    assert table["die"].to_pylist() == list(range(150))
    assert (tmp_path / "out" / "dies.svg").stat().st_size > 1000


def test_command_does_not_overwrite_another_jobs_results(exported: tuple[Path, Path], tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert invoke(exported, "-n", "5", "-o", out).exit_code == 0
    assert invoke(exported, "-n", "9", "-o", out).exit_code == 0
    other = invoke(exported, "-n", "5", "-o", out, "--seed", "1")
    assert isinstance(other.exception, CmruError) and other.exception.exit_code == 2
    assert invoke(exported, "-n", "5", "-o", out, "--seed", "1", "--force").exit_code == 0


def test_command_replays_one_die(exported: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = invoke(exported, "-n", "20", "-o", str(out))
    again = json.loads(invoke(exported, "--die", "13", "-o", str(out)).stdout)
    row = pq.read_table(out / "dies.parquet").slice(13, 1).to_pylist()[0]
    assert done.exit_code == 0 and {name: again[name] for name in row} == row
    folder = out / "die-000013"
    assert "ca0_0_0" in (folder / "network.cir").read_text()
    assert "za0_0" in (folder / "deck.cir").read_text()
    assert (folder / "die.svg").is_file()


@pytest.mark.spice
def test_a_replayed_die_runs_by_hand(exported: tuple[Path, Path], tmp_path: Path) -> None:
    invoke(exported, "--die", "2", "-o", str(tmp_path / "out"))
    folder = tmp_path / "out" / "die-000002"
    done = subprocess.run(
        ["ngspice", "-n", "-b", "-r", "out.raw", "deck.cir"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and (folder / "out.raw").stat().st_size > 1000


@pytest.mark.spice
def test_command_with_both_engines_and_sensitivity(exported: tuple[Path, Path], tmp_path: Path) -> None:
    done = invoke(
        exported,
        "-n",
        "20",
        "-o",
        str(tmp_path / "out"),
        "--paired",
        "2",
        "--sensitivity",
        "--only",
        "offset",
        "--only",
        "noise/row",
    )
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert summary["paired"]["dies"] == 2 and summary["paired"]["value"] == 1
    assert {effect["name"] for effect in summary["sensitivity"]} == {"offset", "readout/offset", "noise/row"}
    assert summary["sensitivity"][0]["name"] == "offset"
    assert (tmp_path / "out" / "sensitivity.svg").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-n", "-4"], "-4 is not in the range 1<=x<=10000000"),
        (["-n", "100000000"], "100000000 is not in the range 1<=x<=10000000"),
        (["--die", "10000000"], "10000000 is not in the range 0<=x<=9999999"),
        (["--jobs", "0"], "0 is not in the range 1<=x<="),
        (["--seed", "-1"], "-1 is not in the range 0<=x<="),
        (["--drop", "2"], "2.0 is not in the range 0<=x<=1"),
        (["--until-ci", "0"], "0.0 is not in the range 0<x<=1"),
        (["-n", "3", "--paired", "4"], "--paired needs --engine fast, and at most as many dies as --dies"),
        (["--engine", "spice", "--paired", "1"], "--paired needs --engine fast"),
        (
            ["--only", "bananas"],
            "nothing that varies is called 'bananas': give a leaf such as layer0/weights, or one of",
        ),
        (["--without", "layer7"], "nothing that varies is called 'layer7'"),
        (
            ["--only", "offset", "--without", "layer0", "--without", "offset"],
            "no variation is left: without layer0 and offset all dies are the nominal die; leave out less, or add to "
            "only offset",
        ),
        (["--sequences", "9"], "data.npz holds 3 sequences, fewer than --sequences 9"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(
    exported: tuple[Path, Path], tmp_path: Path, options: list[str], said: str
) -> None:
    done = invoke(exported, "-o", str(tmp_path / "out"), *options)
    message = str(done.exception) if isinstance(done.exception, CmruError) else done.output
    code = done.exception.exit_code if isinstance(done.exception, CmruError) else done.exit_code
    assert code == 2 and said in message
    assert not (tmp_path / "out").exists()


def test_command_says_where_it_stopped(exported: tuple[Path, Path], tmp_path: Path) -> None:
    done = invoke(exported, "-n", "1000", "--until-ci", "0.3", "-o", str(tmp_path / "out"))
    summary = json.loads(done.stdout)
    assert summary["stopping"] == {"width": 0.3, "fewest": scheduler.FEWEST, "block": statistics.BLOCK["fast"]}
    low, high = summary["yield"]["ci95"]
    assert summary["dies"] == statistics.BLOCK["fast"] and high - low <= 0.3


@pytest.mark.spice
def test_all_dies_failing_is_exit_4_and_yield_0(exported: tuple[Path, Path], tmp_path: Path) -> None:
    done = invoke(exported, "-n", "3", "--engine", "spice", "--timeout", "0.0001", "-o", str(tmp_path / "out"))
    assert isinstance(done.exception, CmruError) and done.exception.exit_code == 4
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["failed"], summary["yield"]["value"], summary["accuracy"]["median"]) == (3, 0.0, None)


@pytest.mark.slow
def test_kill_9_and_resume_is_bit_identical(exported: tuple[Path, Path], tmp_path: Path) -> None:
    design, data = exported
    code = "import sys\nfrom cmru_hw.cli.montecarlo import montecarlo\nmontecarlo(sys.argv[1:])"

    def start(out: Path) -> subprocess.Popen[bytes]:
        options = [str(design), "--input", str(data), "-n", "3000", "--jobs", "2", "-o", str(out)]
        # Background processes ignore Ctrl-C, and children inherit that.
        return subprocess.Popen(
            [sys.executable, "-c", code, *options],
            stdout=subprocess.DEVNULL,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    for kill in (signal.SIGKILL, signal.SIGINT):
        out = tmp_path / kill.name
        process = start(out)
        while len(list(out.rglob("*.parquet"))) < 3:
            time.sleep(0.01)
        process.send_signal(kill)
        process.wait()
        assert not (out / "summary.json").exists()
        assert start(out).wait() == 0
    assert start(tmp_path / "whole").wait() == 0
    # The folder is part of the recorded command.
    summaries = [
        {
            key: value
            for key, value in json.loads((tmp_path / name / "summary.json").read_text()).items()
            if key != "command"
        }
        for name in ("whole", "SIGKILL", "SIGINT")
    ]
    assert summaries[0] == summaries[1] == summaries[2]
    for name in ("dies.parquet", "dies.svg"):
        whole = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "SIGKILL" / name).read_bytes() == whole
        assert (tmp_path / "SIGINT" / name).read_bytes() == whole

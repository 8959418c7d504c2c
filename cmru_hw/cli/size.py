"""``size``: sizes and trim that reach a yield at the least energy or area, with a proof on fresh dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cmru_hw.cli import common, size_options
from cmru_hw.core.errors import CheckFailed, InputError, reason
from cmru_hw.core.units import percent, si

if TYPE_CHECKING:
    from cmru_hw.analysis.sizing.problem import AnyProblem, Goal, Minimise
    from cmru_hw.analysis.sizing.result import Proof, Round, Rounds, SizingResult
    from cmru_hw.analysis.sizing.rounds import Training
    from cmru_hw.analysis.sizing.search import Progress
    from cmru_hw.nn.checkpoint import Trained
    from cmru_hw.nn.sequences import Sequences
    from cmru_hw.process.sizing_laws import Laws
    from cmru_hw.process.technology import Technology


@click.command()
@click.argument("checkpoint_path", metavar="CHECKPOINT", type=common.FILE)
@common.input_option
@common.sequences_option
@common.spread_option
@click.option("-o", "--output", required=True, type=common.FILE, metavar="DIR", help="Folder of results.")
@click.option(
    "--yield",
    "goal",
    type=common.Real(0, 1, min_open=True, max_open=True),
    default=0.99,
    show_default=True,
    help="Share of good dies to prove.",
)
@click.option(
    "--confidence",
    type=common.Real(0.5, 1, max_open=True),
    default=0.95,
    show_default=True,
    help="Confidence of the proof.",
)
@click.option(
    "--minimise",
    type=click.Choice(["energy", "area"]),
    help="The cost of a trial: estimated energy per timestep, or estimated area.  [default: energy; area in current "
    "mode, where power does not depend on sizes]",
)
@click.option(
    "--fix",
    "fixed",
    multiple=True,
    metavar="NAME=VALUE",
    help="Do not search this size, such as trim_bits=5, row=4e-13 (SI units) or layer0/entry=1. Repeatable.",
)
@click.option(
    "--technology",
    "technology_name",
    metavar="NAME",
    help="Technology whose process has sizing laws (in current mode: any), or path of a TOML file.  [default: gf180]",
)
@click.option(
    "--laws",
    "laws_path",
    type=common.FILE,
    metavar="FILE.toml",
    help="Sizing laws of your process, written by cmru-hw characterize --laws.  [default: those of the technology's "
    "process]",
)
@click.option(
    "--memory",
    metavar="integrator|power-gated",
    help="Start from the sizes of the network in transistors with this state storage.",
)
@size_options.centre_option
@common.drop_option
@click.option(
    "--trials",
    "most",
    type=click.IntRange(10, 100_000),
    default=160,
    show_default=True,
    help="Number of trials to try.",
)
@click.option("--dies", type=click.IntRange(16, 1_000_000), help="Common dies of the search.  [default: by the yield]")
@click.option(
    "--proof-dies", type=click.IntRange(1, 10_000_000), help="Fresh dies of a proof.  [default: by the yield]"
)
@click.option(
    "--paired",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    metavar="N",
    help="Simulate N dies of the proof in ngspice too, and compare both engines.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 20),
    default=1,
    show_default=True,
    metavar="N",
    help="Repeat in turn: size, train on dies of the chosen sizes, and size again. Needs --data.",
)
@click.option(
    "--data",
    "data_path",
    type=common.FILE,
    metavar="TRAIN.npz",
    help="With --rounds: labelled training sequences, with inputs, labels, and optionally lengths.",
)
@click.option("--tune-steps", type=click.IntRange(1), help="With --rounds: steps of each training.  [default: 800]")
@common.seed_option
@common.workers_option
@common.scheduler_option
@common.force_option
@common.json_option
def size(
    checkpoint_path: Path,
    input_path: Path | None,
    sequences: int | None,
    spread: bool,
    output: Path,
    goal: float,
    confidence: float,
    minimise: Minimise | None,
    fixed: tuple[str, ...],
    technology_name: str | None,
    laws_path: Path | None,
    memory: str | None,
    centre_path: Path | None,
    drop: float,
    most: int,
    dies: int | None,
    proof_dies: int | None,
    paired: int,
    rounds: int,
    data_path: Path | None,
    tune_steps: int | None,
    seed: int,
    jobs: int,
    scheduler: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Find sizes and a trim that reach a yield at the least energy or area, and prove it.

    All trials see the same dies of the fast engine, and those of them that fail see few. The chosen design is then
    simulated on fresh dies, some of them in ngspice too: a lower bound of its yield must be at least the goal. An
    interrupted search goes on with the same command.

    In current mode, sizes are numbers of devices in parallel, by size class.

    Exit code 1: no trial reaches the yield; the result says which laws limit it.

    \b
    Example: cmru-hw size models/vowels-cmru-2x16.safetensors --input models/vowels-eval.npz --yield 0.99 -o out/sized
    """
    from cmru_hw.analysis.montecarlo import workers as pools
    from cmru_hw.analysis.sizing import api
    from cmru_hw.analysis.sizing.problem import Goal
    from cmru_hw.circuits import registry
    from cmru_hw.nn import checkpoint

    trained, _ = size_options.centred(checkpoint.read(checkpoint_path).trained, centre_path)
    data = common.load_sequences(input_path, sequences, spread=spread)
    trained.check(data)
    current = registry.fitting(trained).name == "cm"
    if current and (laws_path is not None or memory is not None or rounds > 1):
        raise click.BadParameter("--laws, --memory and --rounds are for circuits of the charge domain")
    problem = _problem(
        trained,
        data,
        Goal(
            yield_=goal,
            confidence=confidence,
            minimise=minimise or ("area" if current else "energy"),
            drop=drop,
            search=dies or 0,
            proof=proof_dies or 0,
        ),
        seed=seed,
        fixed=dict(_named_value(one) for one in fixed),
        technology_name=technology_name,
        memory=memory,
        laws_path=laws_path,
    )
    common.check_folder(output)
    training = _training(rounds, data_path, tune_steps)
    with pools.opened(jobs, scheduler) as workers, _searching() as searched:

        def search(one: AnyProblem, folder: Path) -> SizingResult:
            return api.run_sizing(
                one,
                folder,
                follow=api.Follow(search=searched, phases=common.die_progress),
                most=most,
                paired=paired,
                workers=workers,
                force=force,
                command=common.command_line(),
            )

        if training is None:
            _show(problem, search(problem, output), output, as_json=as_json)
        else:
            from cmru_hw.analysis.sizing.problem import Problem
            from cmru_hw.analysis.sizing.rounds import run_rounds

            assert isinstance(problem, Problem)

            _show_rounds(problem, run_rounds(problem, output, rounds=rounds, training=training, size=search), as_json)


def _problem(
    trained: Trained,
    data: Sequences,
    goal: Goal,
    *,
    seed: int,
    fixed: dict[str, float],
    technology_name: str | None,
    memory: str | None,
    laws_path: Path | None,
) -> AnyProblem:
    """The sizing problem of the network's kind of circuit."""
    from cmru_hw.analysis.sizing.current_problem import CurrentProblem
    from cmru_hw.analysis.sizing.problem import Problem
    from cmru_hw.circuits import registry
    from cmru_hw.circuits.charge import fidelity
    from cmru_hw.circuits.current import technology as current
    from cmru_hw.process import pdk

    name = technology_name or pdk.DEFAULT
    if registry.fitting(trained).name == "cm":
        return CurrentProblem(
            trained=trained, sequences=data, technology=current.load(name), goal=goal, seed=seed, fixed=fixed
        )
    technology = fidelity.load_technology(name)
    if memory is not None:
        technology = fidelity.at_level(technology, "macro", memory)
    laws = _laws(technology, laws_path)
    return Problem(trained=trained, sequences=data, technology=technology, laws=laws, goal=goal, seed=seed, fixed=fixed)


def _training(rounds: int, data_path: Path | None, steps: int | None) -> Training | None:
    """The training between rounds; None for a single round. Raises BadParameter if options contradict each other."""
    if rounds == 1:
        if data_path is not None or steps is not None:
            raise click.BadParameter("--data and --tune-steps are for training between rounds: give --rounds 2 or more")
        return None
    if data_path is None:
        raise click.BadParameter(
            "--rounds trains between two searches: give the training sequences with --data TRAIN.npz"
        )
    from cmru_hw.analysis import hardware_aware
    from cmru_hw.analysis.sizing.rounds import Training

    return Training(
        sequences=common.load_sequences(data_path, None), steps=hardware_aware.STEPS if steps is None else steps
    )


def _show(problem: AnyProblem, result: SizingResult, output: Path, *, as_json: bool) -> None:
    if as_json:
        common.print_json(result)
    else:
        _print(problem, result, output)
    if not result.reached:
        raise CheckFailed(_not_reached(result))


def _show_rounds(problem: AnyProblem, found: Rounds, as_json: bool) -> None:
    from dataclasses import replace

    best = found.rounds[found.best - 1]
    if as_json:
        common.print_json(found)
    else:
        common.print_columns(
            "rounds", ("round", "software", "energy", "area", "yield at least", ""),
            [_round(one, one.number == found.best) for one in found.rounds],
        )  # fmt: skip
        if found.ended:
            click.echo(f"no further round: {found.ended}")
        click.echo()
        _print(replace(problem, goal=replace(problem.goal, drop=best.sizing.drop)), best.sizing, Path(best.folder))
    if not best.sizing.reached:
        raise CheckFailed(_not_reached(best.sizing))


def _round(one: Round, best: bool) -> tuple[str, ...]:
    from cmru_hw.analysis.sizing import tables

    result, figures = one.sizing, one.sizing.figures
    if figures is None or not result.proofs:
        return (str(one.number), percent(one.accuracy), "", "", "", "not reached")
    energy, area = si(figures.energy_J, "J"), tables.square_micrometres(figures.area_m2)
    return (str(one.number), percent(one.accuracy), energy, area, percent(result.proofs[-1].bound), "best" * best)


def _laws(technology: Technology, path: Path | None) -> Laws:
    """The laws in ``path``, or those of the technology's process."""
    from cmru_hw.core.regular_file import read_text
    from cmru_hw.process import sizing_laws

    if path is None:
        return sizing_laws.load(technology.name if technology.transistor is None else technology.transistor.process)
    try:
        content = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({reason(error)}): check the path") from error
    return sizing_laws.parse(content, where=str(path))


def _named_value(given: str) -> tuple[str, float]:
    name, equals, value = given.partition("=")
    try:
        return name.strip(), float(value) if equals else float("nan")
    except ValueError:
        raise click.BadParameter(f"{given!r} is not NAME=VALUE, such as trim_bits=5 or row=4e-13") from None


def _not_reached(result: SizingResult) -> str:
    laws = f"The yield is limited by: {'; then '.join(result.limited_by)}"
    if not result.proofs:
        return (
            f"no trial reaches a yield of {percent(result.goal)}; the best has {percent(result.yield_of_best)}. {laws}"
        )
    last = result.proofs[-1]
    return (
        f"a yield of {percent(result.goal)} is not proven: {last.good} of {last.dies} fresh dies are good, at least "
        f"{percent(last.bound)}. {laws}"
    )


@contextmanager
def _searching() -> Iterator[Callable[[Progress], None]]:
    """A progress bar of the search on stderr, if that is a terminal."""
    with common.progress("searching, trials") as report:
        yield lambda found: report(found.tried, found.most)


def _print(problem: AnyProblem, result: SizingResult, folder: Path) -> None:
    from cmru_hw.analysis.sizing import tables

    own, chosen = result.own, result.figures
    confidence = percent(result.confidence)
    head = [
        ("goal", f"{percent(result.goal)} of dies good, with confidence {confidence}; least {result.minimise}"),
        (
            "searched",
            f"{result.trials} trials, {result.die_evaluations} dies; {result.search_dies} for a good one",
        ),
        *[("" if place else "proof", _proof(proof)) for place, proof in enumerate(result.proofs)],
        ("results", str(folder)),
    ]
    common.print_table(f"sizes of {result.technology}", head)
    click.echo()
    if chosen is not None and result.chosen is not None:
        values, base = result.chosen.sizes, problem.values(problem.base)
        common.print_columns(
            "", ("size", "own", "chosen"),
            [(name, *(tables.size(name, of) for of in (base[name], value))) for name, value in values.items()],
        )  # fmt: skip
        click.echo()
        common.print_columns(
            "", ("figure", "own", "chosen"),
            [
                (label, show(getattr(own, name)), show(getattr(chosen, name)))
                for name, label, show in tables.figures(own)
            ],
        )  # fmt: skip
        click.echo()
    common.print_columns(
        "limits next" if result.reached else "limits",
        ("law: sizes", "decisions as in software, alone", "yield without"),
        [(one.law, percent(one.agreement_alone), percent(one.yield_without)) for one in result.limits[:5]],
    )  # fmt: skip


def _proof(proof: Proof) -> str:
    spice = ""
    if proof.spice_dies:
        spice = f"; {proof.spice_dies} of them in ngspice too, {proof.spice_unexplained} decisions differ unexplained"
    passed = "passed" if proof.passed else "not passed"
    return (
        f"{proof.good} of {proof.dies} fresh dies good (seed {proof.seed}), yield at least {percent(proof.bound)}: "
        f"{passed}{spice}"
    )

"""Work of `benchmarks.scale` for comparison with other programs: the same dies in other ways.

``ngspice -b`` runs the decks that this package makes, one process for each, and nothing reads its results. The plain
PySpice loop builds every circuit anew (`benchmarks.montecarlo.plain_loop`). The PyTorch product multiplies the weights
of some dies of a 64-64-8 stack by 64 inputs, with one row for each unit, a sign, and the readout.

chipify (Apache-2.0) sweeps parameters of a netlist, one ``ngspice -b`` for each value. Here the parameter is the number
of a deck. It runs in a Python of its own, which the environment variable CHIPIFY_PYTHON names.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from pyarrow import csv

from benchmarks import montecarlo
from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.statistics import scores
from cmru_hw.circuits.charge import fidelity, macro_netlist, mapping, noise, variation
from cmru_hw.circuits.simulation import shared_decks
from cmru_hw.core import package_data
from cmru_hw.nn import checkpoint
from cmru_hw.nn.sequences import load_sequences
from cmru_hw.process import technology
from cmru_hw.spice import deck_safety
from cmru_hw.spice.deck import Deck

UTTERANCES = 5
STACK = (64, 64, 8)
SPREAD = 0.05
# Dies of one PyTorch product: more do not fit the processor's cache.
AT_ONCE = 16
# Environment variable with the Python that has chipify.
CHIPIFY = "CHIPIFY_PYTHON"


def job(name: str) -> Job:
    """Dies in SPICE: all sequences of "flipflop", or the first UTTERANCES of "vowels"."""
    if name == "vowels":
        return replace(montecarlo.vowels(UTTERANCES), engine="spice")
    folder = package_data.folder("models")
    trained = checkpoint.load(folder / "flipflop-cmru-1x2.safetensors")
    data = load_sequences(folder / "flipflop-eval.npz").first(8)
    design = mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, data))
    varied = variation.select_variations(design)
    return Job(design=design, trained=trained, sequences=data, seed=0, varied=varied, engine="spice")


def ours(name: str, dies: int) -> str:
    one = job(name)
    table = scores(one, range(dies))
    one.engines.close()
    return f"{table['status'].to_pylist().count('ok')} of {dies} dies ok"


def decks(name: str, dies: int) -> Iterator[Deck]:
    """The decks of :func:`ours`."""
    one = job(name)
    lengths = one.sequences.lengths.tolist()
    for number in range(dies):
        drawn = variation.draw(one.design, seed=one.seed, dies=[number], varied=one.varied)
        for places in shared_decks(lengths, fidelity.of(one.design).frames):
            inputs = [one.sequences.inputs[place, : lengths[place]].astype(float) for place in places]
            columns = [noise.columns(drawn, 0, place, lengths[place]) for place in places]
            yield macro_netlist.deck(drawn.one(0), inputs, noise=columns)[0]


def batch(name: str, dies: int) -> str:
    """The decks of the same dies by ``ngspice -b``."""
    count = 0
    for deck in decks(name, dies):
        with tempfile.TemporaryDirectory() as folder:
            deck_safety.write(deck, Path(folder))
            (Path(folder) / deck_safety.STARTUP).write_text(deck_safety.startup_text(deck.settings))
            subprocess.run(
                ["ngspice", "-b", "-r", deck_safety.RAW, deck_safety.DECK],
                cwd=folder,
                env={**os.environ, "HOME": folder},
                capture_output=True,
                check=True,
            )
        count += 1
    return f"{count} decks"


_SWEEP = """\
decks by number
.include {folder}/deck{{{{ deck | int }}}}/body.cir
.control
run
let last = v(y0)[length(v(y0)) - 1]
quit
.endc
.end
"""


def chipify(dies: int) -> str:
    """The decks of the same dies of "flipflop" by chipify, with one worker; it reads one voltage of each."""
    with tempfile.TemporaryDirectory() as name:
        folder, count = Path(name), 0
        for count, deck in enumerate(decks("flipflop", dies), start=1):
            own = folder / f"deck{count - 1}"
            own.mkdir()
            deck_safety.write(deck, own)
            _, *lines = (own / deck_safety.DECK).read_text().splitlines()
            body = "\n".join(line for line in lines if line != ".end").replace('file="', f'file="{own}/')
            (own / "body.cir").write_text(f"* deck\n{body}\n")
        for part in ("tb", "datasheets", "work", "out"):
            (folder / part).mkdir()
        (folder / "tb/dies.spice").write_text(_SWEEP.format(folder=folder))
        # JSON is YAML.
        sheet = {"parameters": {"deck": f"range({count})"}, "tests": {"dies": {"source": "netlist", "last": {}}}}
        (folder / "datasheets/dies.yaml").write_text(json.dumps(sheet))
        # Workers of a fork server would not be children whose CPU time is known.
        (folder / "settings.json").write_text(json.dumps({"num_cores": 1, "process_start_method": "spawn"}))
        command = [os.environ[CHIPIFY], "-m", "chipify.cli", "-c", "dies.yaml"]
        subprocess.run(command, cwd=folder, env={**os.environ, "HOME": name}, capture_output=True, check=True)
        rows = csv.read_csv(folder / "out/simulation_results.csv")
        if rows["last"].null_count or len(rows) != count:
            raise RuntimeError(f"chipify simulated {len(rows) - rows['last'].null_count} of {count} decks")
    return f"{count} decks"


def plain_loop(dies: int) -> str:
    montecarlo.plain_loop(montecarlo.vowels(UTTERANCES), dies)
    return f"{dies} dies"


def fast_stack(dies: int) -> str:
    return f"{len(scores(montecarlo.wide(), range(dies)))} dies"


def torch_stack(dies: int) -> str:
    inputs, units, classes = STACK
    generator = torch.Generator().manual_seed(0)
    nominal = [torch.randn(shape, generator=generator) for shape in ((units, inputs), (classes, units))]
    x = torch.randn((inputs, 64), generator=generator)
    found = 0
    for start in range(0, dies, AT_ONCE):
        count = min(AT_ONCE, dies - start)
        one, two = (
            weight * (1 + SPREAD * torch.randn((count, *weight.shape), generator=generator)) for weight in nominal
        )
        found += len((two @ torch.sign(one @ x)).argmax(1))
    return f"{found} dies"

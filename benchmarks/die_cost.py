"""Work of `benchmarks.scale` for comparison with other programs: the same dies in other ways.

``ngspice -b`` runs the decks that this package makes, one process for each, and nothing reads its results. The plain
PySpice loop builds every circuit anew (`benchmarks.montecarlo.plain_loop`). The PyTorch product multiplies the weights
of some dies of a 64-64-8 stack by 64 inputs, with one row for each unit, a sign, and the readout.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

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

UTTERANCES = 5
STACK = (64, 64, 8)
SPREAD = 0.05
# Dies of one PyTorch product: more do not fit the processor's cache.
AT_ONCE = 16


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


def batch(name: str, dies: int) -> str:
    """The decks of the same dies by ``ngspice -b``."""
    one = job(name)
    lengths = one.sequences.lengths.tolist()
    decks = 0
    for number in range(dies):
        drawn = variation.draw(one.design, seed=one.seed, dies=[number], varied=one.varied)
        for places in shared_decks(lengths, fidelity.of(one.design).frames):
            inputs = [one.sequences.inputs[place, : lengths[place]].astype(float) for place in places]
            columns = [noise.columns(drawn, 0, place, lengths[place]) for place in places]
            deck, _ = macro_netlist.deck(drawn.one(0), inputs, noise=columns)
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
            decks += 1
    return f"{decks} decks"


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

"""Identify the circuit of a result: one hash over everything that is simulated."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from cmru_hw import spice
from cmru_hw.circuits import registry
from cmru_hw.circuits.design import AnyDesign
from cmru_hw.spice.deck_safety import library_sha256


def simulated_sha256(design: AnyDesign, network: str) -> str:
    """SHA-256 (64 hex digits) over everything that determines a simulation of ``design`` except inputs and simulator.

    That is ``network`` (the text of network.cir), the templates, the device files with all files that they include,
    the simulator's options, supplies, clocks and timing, and all values of the technology and the calibration, mismatch
    and noise included. The folders of the files do not enter the hash. Raises InputError for device files that cannot
    be read, TechnologyError for a process that is not installed.
    """
    kind = registry.of(design)
    deck, _ = kind.deck(design, [np.zeros((1, design.config.features))], network=network)
    text, files = deck.text, dict(deck.files)
    for library in deck.libraries:
        digest = library_sha256(library)
        text = text.replace(library, digest)
        files = {name: content.replace(library.encode(), digest.encode()) for name, content in files.items()}
    circuit = spice.content_hash(replace(deck, text=text, files=files, libraries=()))
    return hashlib.sha256(f"{circuit}\n{kind.fingerprint(design)}".encode()).hexdigest()

"""From a trained recurrent network with quantized, hysteretic states to a SPICE circuit, its yield and its energy.

The public names, in the order of the pipeline::

    load_model  load_sequences  load_technology        read the inputs
    convert_model  load_outputs  compare_outputs       import a network of your own, and compare it with the original
    improve                                            continue training with the mismatch of dies
    calibrate  map_network  realised                   map weights to capacitors, and back
    export_design  load_design                         write and read a design folder
    open_engine  simulate_design  verify               run the circuit in ngspice, and compare it with software
    reference  compare_response  unit_waveforms        the software response, the comparison, waveforms of one unit
    run_montecarlo                                     simulate many dies, each with its own mismatch and noise
    run_energy  run_corners  run_retention             energy by block, corners, retention
    keep_comparison  write_report                      write result folders, and a report of them

Each name is loaded on first use, so ``import cmru_hw`` does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmru_hw.analysis.comparison import keep_comparison
    from cmru_hw.analysis.corners.api import run_corners
    from cmru_hw.analysis.energy.api import run_energy
    from cmru_hw.analysis.hardware_aware import Tuned, improve
    from cmru_hw.analysis.montecarlo.api import run_montecarlo
    from cmru_hw.analysis.retention.api import run_retention
    from cmru_hw.circuits.charge.compare import compare as compare_response
    from cmru_hw.circuits.charge.compare import reference
    from cmru_hw.circuits.charge.design import Design
    from cmru_hw.circuits.charge.mapping import calibrate, map_network, realised
    from cmru_hw.circuits.charge.simulate import simulate as simulate_design
    from cmru_hw.circuits.charge.simulate import waveforms as unit_waveforms
    from cmru_hw.circuits.charge.verify import verify
    from cmru_hw.circuits.comparison import Comparison
    from cmru_hw.core.errors import CmruError
    from cmru_hw.design_folder.folder import load as load_design
    from cmru_hw.design_folder.folder import write as export_design
    from cmru_hw.nn.checkpoint import ModelConfig, Trained
    from cmru_hw.nn.checkpoint import load as load_model
    from cmru_hw.nn.checkpoint import save as save_model
    from cmru_hw.nn.import_weights import convert as convert_model
    from cmru_hw.nn.own_outputs import compare as compare_outputs
    from cmru_hw.nn.own_outputs import load as load_outputs
    from cmru_hw.nn.recipes import Recipe
    from cmru_hw.nn.sequences import Sequences, load_sequences, save_sequences
    from cmru_hw.process.technology import Technology
    from cmru_hw.process.technology import load as load_technology
    from cmru_hw.report.write import write as write_report
    from cmru_hw.spice import open_engine
    from cmru_hw.spice.export import write_csv, write_raw

__version__ = "0.1.0"

_HOMES = {
    "load_model": "nn.checkpoint.load",
    "save_model": "nn.checkpoint.save",
    "convert_model": "nn.import_weights.convert",
    "load_sequences": "nn.sequences.load_sequences",
    "save_sequences": "nn.sequences.save_sequences",
    "load_outputs": "nn.own_outputs.load",
    "compare_outputs": "nn.own_outputs.compare",
    "improve": "analysis.hardware_aware.improve",
    "Tuned": "analysis.hardware_aware.Tuned",
    "Recipe": "nn.recipes.Recipe",
    "load_technology": "process.technology.load",
    "calibrate": "circuits.charge.mapping.calibrate",
    "map_network": "circuits.charge.mapping.map_network",
    "realised": "circuits.charge.mapping.realised",
    "export_design": "design_folder.folder.write",
    "load_design": "design_folder.folder.load",
    "open_engine": "spice.open_engine",
    "simulate_design": "circuits.charge.simulate.simulate",
    "verify": "circuits.charge.verify.verify",
    "unit_waveforms": "circuits.charge.simulate.waveforms",
    "reference": "circuits.charge.compare.reference",
    "compare_response": "circuits.charge.compare.compare",
    "run_montecarlo": "analysis.montecarlo.api.run_montecarlo",
    "run_energy": "analysis.energy.api.run_energy",
    "run_corners": "analysis.corners.api.run_corners",
    "run_retention": "analysis.retention.api.run_retention",
    "keep_comparison": "analysis.comparison.keep_comparison",
    "write_report": "report.write.write",
    "write_raw": "spice.export.write_raw",
    "write_csv": "spice.export.write_csv",
    "Trained": "nn.checkpoint.Trained",
    "Sequences": "nn.sequences.Sequences",
    "ModelConfig": "nn.checkpoint.ModelConfig",
    "Technology": "process.technology.Technology",
    "Design": "circuits.charge.design.Design",
    "Comparison": "circuits.comparison.Comparison",
    "CmruError": "core.errors.CmruError",
}

__all__ = [
    "CmruError",
    "Comparison",
    "Design",
    "ModelConfig",
    "Recipe",
    "Sequences",
    "Technology",
    "Trained",
    "Tuned",
    "calibrate",
    "compare_outputs",
    "compare_response",
    "convert_model",
    "export_design",
    "improve",
    "keep_comparison",
    "load_design",
    "load_model",
    "load_outputs",
    "load_sequences",
    "load_technology",
    "map_network",
    "open_engine",
    "realised",
    "reference",
    "run_corners",
    "run_energy",
    "run_montecarlo",
    "run_retention",
    "save_model",
    "save_sequences",
    "simulate_design",
    "unit_waveforms",
    "verify",
    "write_csv",
    "write_raw",
    "write_report",
]

if not TYPE_CHECKING:  # a type checker would take any name for one of these

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'cmru_hw' has no attribute {name!r}")
        module, _, attribute = _HOMES[name].rpartition(".")
        return getattr(import_module(f"cmru_hw.{module}"), attribute)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

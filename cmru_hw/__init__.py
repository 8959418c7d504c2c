"""From a trained recurrent network with quantized, hysteretic states to a SPICE circuit, its yield and its energy.

The pipeline, name by name::

    load_model  load_sequences  load_technology        what there is
    calibrate  map_network  realised                   weights to capacitors, and back
    export_design  load_design                         a folder that a circuit designer can read
    open_engine  simulate_design  verify               the circuit in ngspice, held against software
    reference  compare_response  unit_waveforms        software's own run, the verdict, one unit's voltages
    run_montecarlo                                     many dies, each with its own mismatch and noise
    run_energy  run_corners  run_retention             joule by block, the corners, how long a level lasts
    keep_comparison  write_report                      results in folders, and a page made of them

Names are loaded when they are first used: ``import cmru_hw`` does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmru_hw.checkpoint import ModelConfig, Sequences, Trained, load_sequences, save_sequences
    from cmru_hw.checkpoint import load as load_model
    from cmru_hw.checkpoint import save as save_model
    from cmru_hw.compare import Comparison, reference
    from cmru_hw.compare import compare as compare_response
    from cmru_hw.convert import convert as convert_model
    from cmru_hw.corners.whole import run_corners
    from cmru_hw.design_folder import load as load_design
    from cmru_hw.design_folder import write as export_design
    from cmru_hw.energy.whole import run_energy
    from cmru_hw.errors import CmruError
    from cmru_hw.mapping import Design, calibrate, map_network, realised
    from cmru_hw.montecarlo.whole import run_montecarlo
    from cmru_hw.report.write import write as write_report
    from cmru_hw.results import keep_comparison
    from cmru_hw.retention.whole import run_retention
    from cmru_hw.simulate import simulate as simulate_design
    from cmru_hw.simulate import verify
    from cmru_hw.simulate import waveforms as unit_waveforms
    from cmru_hw.spice import open_engine
    from cmru_hw.technology import Technology
    from cmru_hw.technology import load as load_technology
    from cmru_hw.waveform_files import write_csv, write_raw

__version__ = "0.1.0"

_HOMES = {
    "load_model": "checkpoint.load",
    "save_model": "checkpoint.save",
    "convert_model": "convert.convert",
    "load_sequences": "checkpoint.load_sequences",
    "save_sequences": "checkpoint.save_sequences",
    "load_technology": "technology.load",
    "calibrate": "mapping.calibrate",
    "map_network": "mapping.map_network",
    "realised": "mapping.realised",
    "export_design": "design_folder.write",
    "load_design": "design_folder.load",
    "open_engine": "spice.open_engine",
    "simulate_design": "simulate.simulate",
    "verify": "simulate.verify",
    "unit_waveforms": "simulate.waveforms",
    "reference": "compare.reference",
    "compare_response": "compare.compare",
    "run_montecarlo": "montecarlo.whole.run_montecarlo",
    "run_energy": "energy.whole.run_energy",
    "run_corners": "corners.whole.run_corners",
    "run_retention": "retention.whole.run_retention",
    "keep_comparison": "results.keep_comparison",
    "write_report": "report.write.write",
    "write_raw": "waveform_files.write_raw",
    "write_csv": "waveform_files.write_csv",
    "Trained": "checkpoint.Trained",
    "Sequences": "checkpoint.Sequences",
    "ModelConfig": "checkpoint.ModelConfig",
    "Technology": "technology.Technology",
    "Design": "mapping.Design",
    "Comparison": "compare.Comparison",
    "CmruError": "errors.CmruError",
}

__all__ = [
    "CmruError",
    "Comparison",
    "Design",
    "ModelConfig",
    "Sequences",
    "Technology",
    "Trained",
    "calibrate",
    "compare_response",
    "convert_model",
    "export_design",
    "keep_comparison",
    "load_design",
    "load_model",
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

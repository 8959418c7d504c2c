"""Modules that a start must not load, because a command or an import would wait seconds for nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MODELS = Path(__file__).parent.parent / "models"
HELP = """
import sys
from cmru_hw.cli import main
sys.argv = ["cmru-hw", *{!r}, "--help"]
try:
    main()
except SystemExit:
    pass
"""
HEAVY = {"torch", "numba", "scipy", "matplotlib", "pyarrow", "numpy", "rich", "PySpice"}
MODELS_OF_A_PROCESS = "cmru_hw.process.device_models"
MONTECARLO = f"""
import cmru_hw
import cmru_hw.analysis.montecarlo.api
from cmru_hw.analysis.montecarlo import statistics
from cmru_hw.analysis.montecarlo.job import Job
trained = cmru_hw.load_model({str(MODELS / "flipflop-cmru-1x2.safetensors")!r})
data = cmru_hw.load_sequences({str(MODELS / "flipflop-eval.npz")!r}).first(2)
design = cmru_hw.map_network(trained, cmru_hw.load_technology("macro"), cmru_hw.calibrate(trained, data))
job = Job(design=design, trained=trained, sequences=data, seed=0, varied=frozenset())
print(statistics.summary(job, statistics.scores(job, [0]), drop=0.0).yield_)
"""


COMMAND = """
import sys
from cmru_hw.cli import main
sys.argv = ["cmru-hw", *{!r}]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""


def loaded(code: str) -> set[str]:
    """Names of the modules that are loaded after ``code`` in a new Python process."""
    code += "\nimport sys\nprint('\\0'.join(['', *sys.modules]), end='')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.partition("\0")[2].split("\0"))


@pytest.mark.parametrize(
    "code", ["import cmru_hw", *(HELP.format(words) for words in ([], ["montecarlo"], ["retention"], ["characterize"]))]
)
def test_import_and_help_load_nothing_heavy(code: str) -> None:
    modules = loaded(code)
    assert "cmru_hw" in modules
    assert modules.isdisjoint({*HEAVY, MODELS_OF_A_PROCESS})


def test_a_monte_carlo_loads_no_pyplot_and_no_scipy_stats() -> None:
    modules = loaded(MONTECARLO)
    assert {"numba", "scipy.special", "pyarrow"} <= modules
    assert modules.isdisjoint({"torch", "matplotlib", "matplotlib.pyplot", "scipy.stats"})


@pytest.mark.parametrize("model", ["flipflop-cmru-1x2", "detect-fq-bmru-2x4"])
def test_inspect_and_export_load_neither_torch_nor_numba(model: str, tmp_path: Path) -> None:
    path = str(MODELS / f"{model}.safetensors")
    # Older versions of SciPy load more for the functions that the verdict needs.
    avoidable = {"torch", "numba", "scipy.linalg", "scipy.stats", "scipy.optimize", "pyarrow"}
    avoidable -= loaded("import scipy.special")
    assert {"torch", "numba", "pyarrow"} <= avoidable
    for words in (["inspect", path], ["export", path, "--no-verify", "-o", str(tmp_path / "design")]):
        modules = loaded(COMMAND.format(words))
        # the verdict was computed
        assert {"cmru_hw.analysis.verdict.dies", "numpy"} <= modules
        assert modules.isdisjoint(avoidable)
    assert (tmp_path / "design" / "network.cir").is_file()

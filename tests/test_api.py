"""The public names: few, lazily loaded, documented, and the same for Python and for type checkers."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cmru_hw
from cmru_hw.core import package_data
from cmru_hw.core.signals import Traces
from cmru_hw.spice import rawfile

SOURCE = ast.parse(Path(cmru_hw.__file__).read_text(encoding="utf-8"))


def test_names_are_few_and_documented() -> None:
    assert 20 <= len(cmru_hw.__all__) <= 40
    assert cmru_hw.__all__ == sorted(cmru_hw.__all__)
    for name in cmru_hw.__all__:
        assert inspect.getdoc(getattr(cmru_hw, name)), name
    assert set(cmru_hw.__all__) <= set(dir(cmru_hw))
    assert all(name in (cmru_hw.__doc__ or "") for name in ("load_model", "map_network", "verify", "write_report"))


def test_type_checkers_see_the_same_names() -> None:
    (guard,) = (node for node in SOURCE.body if isinstance(node, ast.If) and not isinstance(node.test, ast.UnaryOp))
    seen = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in guard.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {name: f"cmru_hw.{home}" for name, home in cmru_hw._HOMES.items()}
    assert sorted(seen) == cmru_hw.__all__


def test_no_name_hides_a_module() -> None:
    folder = Path(cmru_hw.__file__).parent
    assert not {path.stem for path in folder.iterdir()} & set(cmru_hw.__all__)


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, cmru_hw; dir(cmru_hw); print({'torch', 'numpy', 'matplotlib', 'PySpice'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        getattr(cmru_hw, "absent")  # noqa: B009 -- a type checker knows that it is not there


@pytest.mark.spice
def test_the_pipeline_reads_as_it_runs(tmp_path: Path) -> None:
    models = package_data.folder("models")
    trained = cmru_hw.load_model(models / "detect-cmru-2x4.safetensors")
    data = cmru_hw.load_sequences(models / "detect-eval.npz").first(3)
    design = cmru_hw.map_network(trained, cmru_hw.load_technology("macro"), cmru_hw.calibrate(trained, data))
    exported = cmru_hw.export_design(tmp_path / "design", trained, design, data)
    with cmru_hw.open_engine() as engine:
        verified = cmru_hw.verify(design, trained, data, engine)
        kept = cmru_hw.keep_comparison(tmp_path / "compare", exported, data, verified, engine)
        shown = cmru_hw.unit_waveforms(design, data, engine, unit=(1, 2))
    summary = cmru_hw.run_montecarlo(exported, data, dies=4, folder=tmp_path / "dies", seed=1)
    report = cmru_hw.write_report([tmp_path / "design", tmp_path / "compare", tmp_path / "dies"], tmp_path / "report")
    assert verified.comparison.holds() and kept.provenance.netlist_sha256 == summary.provenance.netlist_sha256
    assert report.page.is_file() and report.figures == ("unit", "states", "dies", "yield")
    waveforms_leave_as_they_are(shown.traces, tmp_path)


def waveforms_leave_as_they_are(traces: Traces, folder: Path) -> None:
    cmru_hw.write_raw(traces, folder / "unit.raw")
    plot = rawfile.read(folder / "unit.raw")
    assert plot.names[0] == "time" and np.array_equal(plot.data[0], traces.time)
    assert all(
        np.array_equal(plot.data[plot.names.index(f"v({name})")], traces.values[name]) for name in ("o1_2", "y0")
    )
    cmru_hw.write_csv(traces, folder / "unit.csv")
    with (folder / "unit.csv").open() as file:
        header = file.readline().strip().split(",")
    values = np.loadtxt(folder / "unit.csv", delimiter=",", skiprows=1)
    assert header[0] == "time" and "v(a1_2)" in header and len(set(header)) == len(header)
    np.testing.assert_allclose(values[:, header.index("v(o1_2)")], traces.values["o1_2"], rtol=1e-9, atol=1e-12)


@pytest.mark.spice
def test_ngspice_loads_what_was_written(tmp_path: Path) -> None:
    traces = Traces(
        title="two points",
        time=np.array([0.0, 1.0, 2.0]),
        values={"o0_0": np.array([0.25, 0.5, 1.0]), "i(vdd)": np.array([1.0, 2.0, 3.0])},
    )
    cmru_hw.write_raw(traces, tmp_path / "x.raw")
    (tmp_path / "x.cir").write_text("* read\n.control\nload x.raw\nprint v(o0_0) i(vdd)\nquit\n.endc\n.end\n")
    command = [os.environ.get("CMRU_HW_NGSPICE", "ngspice"), "-b", "x.cir"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    numbers = [line.split()[-2:] for line in done.stdout.splitlines() if line[:1].isdigit()]
    assert [[float(a), float(b)] for a, b in numbers] == [[0.25, 1.0], [0.5, 2.0], [1.0, 3.0]]

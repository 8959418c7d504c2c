"""Tests that need a missing tool are skipped or fail, as the options say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
REMEDY = "pdflatex is not installed (Debian: apt-get install texlive-latex-recommended)"


@pytest.mark.parametrize(("tools", "status"), [("if-available", 0), ("required", 1)])
def test_a_missing_tool_skips_or_fails_by_name(tmp_path: Path, tools: str, status: int) -> None:
    test = "tests/test_report.py::test_latex_compiles"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tools", tools, test]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    if status:
        assert f"--tools required: {REMEDY}" in done.stdout and test in done.stdout
    else:
        assert f" not run: {REMEDY} " in done.stdout and f"\n{test}\n" in done.stdout

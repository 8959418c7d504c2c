"""A paper of two columns that includes the LaTeX tables of results without edits."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

# The preamble of an author, who knows the packages that the tables name and nothing else.
PREAMBLE = r"\documentclass[twocolumn,10pt]{article}\usepackage[T1]{fontenc}\usepackage{booktabs,tabularx,siunitx}"


def compiled(tables: Sequence[Path], folder: Path) -> str:
    """The log of a paper in ``folder`` with ``tables``. Fails if LaTeX fails, or if a table is wider than its place."""
    lines = [PREAMBLE, r"\begin{document}", *(rf"\input{{{table}}}" for table in tables), r"\end{document}", ""]
    return pdflatex(folder, "own.tex", "\n".join(lines))


def pdflatex(folder: Path, name: str, text: str = "") -> str:
    """The log of ``name`` in ``folder``, which is ``text`` unless it exists."""
    if text:
        (folder / name).write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", name]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=600, check=False)
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert "Overfull" not in log, log[log.index("Overfull") :][:500]
    return log

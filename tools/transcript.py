"""Run the commands of a page of docs/ and insert their output: ``python -m tools.transcript``.

A fenced block that begins with ``# NAME.py``, ``# NAME.toml`` or ``* NAME.cir`` is that file. In a ``console`` block,
lines with ``$`` are run in order, in one directory, and the lines after each are its output. Other blocks do not
change.
"""

from __future__ import annotations

import io
import os
import re
import runpy
import shlex
import sys
import tempfile
from contextlib import chdir, redirect_stdout
from pathlib import Path

from cmru_hw.cli import main as cmru_hw

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("first-hour.md", "bring-your-own.md", "own-network.md")
WIDTH = 100
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def replay(text: str, folder: Path) -> str:
    """``text`` of a page with its commands run in ``folder`` and their output inserted."""

    def block(found: re.Match[str]) -> str:
        language, body = found[1], found[2]
        if name := re.match(r"[#*] ([\w-]+\.(?:py|toml|cir))\n", body):
            (folder / name[1]).write_text(body, encoding="utf-8")
        if language != "console":
            return found[0]
        commands = [line[2:] for line in body.splitlines() if line.startswith("$ ")]
        shown = "".join(f"$ {command}\n{_run(command, folder)}" for command in commands)
        return f"```console\n{shown}```"

    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(WIDTH)
    try:
        return BLOCK.sub(block, text)
    finally:
        os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)


def masked(text: str) -> list[str]:
    """Words of ``text`` without the parts that differ between machines: last digits, hashes, times, and line breaks."""
    lines = [line for line in text.splitlines() if "CPU" not in line]
    return re.sub(r"[0-9a-f]{64}|[\d.]+(e-?\d+)?( [afpnµm](?=[VsFJW]))?", "#", "\n".join(lines)).split()


def _run(line: str, folder: Path) -> str:
    """The output of one command. It runs in this process, because a new one would load torch every time."""
    words = shlex.split(line, comments=True)
    out, arguments = io.StringIO(), sys.argv
    try:
        with chdir(folder), redirect_stdout(out):
            if words[0] == "python":
                sys.argv = words[1:]
                runpy.run_path(words[1], run_name="__main__")
            else:
                sys.argv = words
                _finish(line)
    finally:
        sys.argv = arguments
    return "".join(f"{printed.rstrip()}\n" for printed in out.getvalue().splitlines())


def _finish(line: str) -> None:
    try:
        cmru_hw()
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"{line}: exit code {ended.code}") from None


def main() -> None:
    for name in PAGES:
        with tempfile.TemporaryDirectory() as folder:
            page = DOCS / name
            page.write_text(replay(page.read_text(encoding="utf-8"), Path(folder)), encoding="utf-8")


if __name__ == "__main__":
    main()

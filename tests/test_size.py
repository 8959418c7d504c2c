"""No function has more than 60 lines and no file more than 450 without ``# long: REASON``."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path for folder in ("cmru_hw", "benchmarks", "tests", "tools") for path in (ROOT / folder).rglob("*.py"))
LINES_OF_A_FUNCTION = 60
"""Without signature and docstring."""
LINES_OF_A_FILE = 450
MARK = "# long: "


def long_functions(text: str) -> list[str]:
    """Names of the functions that are too long and have no reason above them or in their first line."""
    lines, found = text.splitlines(), []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[ast.get_docstring(node) is not None :]
        if not body:
            continue
        length = (body[-1].end_lineno or 0) - body[0].lineno + 1
        if length > LINES_OF_A_FUNCTION and not any(MARK in line for line in lines[node.lineno - 2 : node.lineno]):
            found.append(f"{node.name} ({length} lines)")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_long_files_and_functions_have_a_reason(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not long_functions(text)
    count = len(text.splitlines())
    assert count <= LINES_OF_A_FILE or any(line.startswith(MARK) for line in text.splitlines()), f"{count} lines"


def test_a_long_function_is_found_and_a_reason_excuses_it() -> None:
    body = "".join(f"    x = {k}\n" for k in range(LINES_OF_A_FUNCTION + 1))
    assert long_functions(f"def f():\n    '''Docstring.'''\n{body}") == ["f (61 lines)"]
    assert long_functions(f"# long: a table\ndef f():\n{body}") == []

"""``python -m tools.reference`` writes docs/cli.md from the commands' help, and docs/api.md from docstrings."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import click

import cmru_hw
from cmru_hw.cli import group

DOCS = Path(__file__).parent.parent / "docs"
MADE = "<!-- made by python -m tools.reference: change the code instead -->"
WIDTH = 100


def cli() -> str:
    """The help of every command, as printed."""
    parts = ["# Command line", MADE, _help(group, "cmru-hw")]
    for name in sorted(group.commands):
        parts += [f"## {name}", _help(group.commands[name], f"cmru-hw {name}")]
    return "\n\n".join(parts) + "\n"


def api() -> str:
    """Every public name: its signature, its docstring, and its module."""
    functions = [name for name in cmru_hw.__all__ if not inspect.isclass(getattr(cmru_hw, name))]
    classes = [name for name in cmru_hw.__all__ if name not in functions]
    overview = inspect.getdoc(cmru_hw)
    assert overview is not None
    parts = ["# Python", MADE, overview.split("\n", 2)[2].replace("::", ":"), "## Functions"]
    for name in functions:
        parts += _entry(name, inspect.signature(getattr(cmru_hw, name)))
    parts.append("## Values")
    for name in classes:
        kind = getattr(cmru_hw, name)
        parts += _entry(
            name, inspect.signature(kind) if dataclasses.is_dataclass(kind) and isinstance(kind, type) else None
        )
        parts += _fields(kind)
    return "\n\n".join(parts) + "\n"


def _entry(name: str, signature: inspect.Signature | None) -> list[str]:
    found = getattr(cmru_hw, name)
    text = inspect.getdoc(found) or ""
    shown = name if signature is None else _wrapped(name, signature)
    home = f"{found.__module__}.{found.__qualname__}"
    text = re.sub(r":\w+:`", "`", text.replace("::\n", ":\n"))
    return [f"### {name}", f"```python\n{shown}\n```", text, f"In `{home}`."]


def _fields(kind: type) -> list[str]:
    """A list of the fields that have a docstring."""
    (body,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(body, ast.ClassDef)
    lines = []
    for field, text in zip(body.body, body.body[1:], strict=False):
        if not (
            isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        ):
            continue
        said = re.sub(r":\w+:`", "`", " ".join(str(text.value.value).split()))
        lines.append(f"- `{ast.unparse(field.target)}`: {said}")
    return ["\n".join(lines)] if lines else []


class _Words:
    """An annotation that is printed as written, without quotation marks."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _wrapped(name: str, signature: inspect.Signature) -> str:
    parameters = [
        parameter.replace(
            annotation=_Words(str(parameter.annotation)),
            default=_Words(parameter.default.__name__) if inspect.isfunction(parameter.default) else parameter.default,
        )
        for parameter in signature.parameters.values()
    ]
    bare = signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    answer = signature.return_annotation
    end = "" if answer in (inspect.Signature.empty, None, "None") else f" -> {answer}"
    line = f"{name}{bare}{end}"
    if len(line) <= WIDTH:
        return line
    stars = [place for place, p in enumerate(parameters) if p.kind is inspect.Parameter.KEYWORD_ONLY][:1]
    lines = [str(parameter) for parameter in parameters]
    for place in stars:
        lines.insert(place, "*")
    return f"{name}(\n" + "".join(f"    {line},\n" for line in lines) + f"){end}"


def _help(command: click.Command, name: str) -> str:
    # click creates a command's help option once, with the names in the first context.
    names = group.context_settings["help_option_names"]
    context = click.Context(
        command, info_name=name, max_content_width=WIDTH, terminal_width=WIDTH, help_option_names=names
    )
    return f"```text\n{command.get_help(context)}\n```"


def main() -> None:
    for name, make in (("cli.md", cli), ("api.md", api)):
        (DOCS / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()

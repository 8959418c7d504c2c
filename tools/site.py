"""MkDocs hook: add pages that lie outside ``docs/``, and a page of reference for each folder of the package.

README.md becomes the start page. Links are rewritten from the repository to the site. Links to files
that are not pages (notebooks, model cards, scripts) become plain text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "cmru_hw"
# Page outside of docs/ → its place in the site.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "benchmarks/results/README.md": "benchmarks/results/README.md",
}
# Docstrings refer to other objects in Sphinx's syntax, and open literal blocks with two colons.
ROLE = re.compile(r":\w+:<code>~?")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages outside ``docs/``, their figures, and the references of modules."""
    for source, place in PAGES.items():
        files.append(File.generated(config, place, content=(ROOT / source).read_text(encoding="utf-8")))
    for figure in sorted((ROOT / "benchmarks" / "results").glob("*.svg")):
        place = figure.relative_to(ROOT).as_posix()
        files.append(File.generated(config, place, abs_src_path=str(figure)))
    for folder in sorted(path.parent for path in PACKAGE.glob("*/__init__.py")):
        if folder.name != "cli":
            files.append(File.generated(config, f"modules/{folder.name}.md", content=reference(folder)))
    return files


def reference(folder: Path) -> str:
    """One mkdocstrings entry for every module in ``folder`` that has public names."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted(folder.rglob("*.py"))
        if path.name != "__main__.py"
    ]
    return "\n".join([f"# cmru_hw.{folder.name}\n", *(f"::: {name}\n" for name in names)])


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite the links of ``page`` from the repository to the site."""
    del config
    here = page.file.src_uri
    origin = next((source for source, place in PAGES.items() if place == here), f"docs/{here}")

    def link(found: re.Match[str]) -> str:
        image, text, target = found.groups()
        path, _, anchor = target.partition("#")
        if "://" in target or not path:
            return found[0]
        place = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
        place = PAGES.get(place, place.removeprefix("docs/"))
        if files.get_file_from_path(place) is None:
            return found[0] if image else text
        relative = posixpath.relpath(place, posixpath.dirname(here) or ".")
        return f"{image}[{text}]({relative}{'#' if anchor else ''}{anchor})"

    return LINK.sub(link, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Convert the few marks of docstrings that Markdown does not know to HTML."""
    del page, config, files
    return ROLE.sub("<code>", html).replace("::</p>", ":</p>")

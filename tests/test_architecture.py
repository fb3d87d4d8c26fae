"""The layout of the house: imports point down, and stages meet only in the pipeline."""

from __future__ import annotations

import ast
from pathlib import Path

import rtprune_cli

PACKAGE = Path(rtprune_cli.__file__).parent
# Higher may import lower; modules of one level do not import each other.
LEVELS = [
    {"errors", "webpage"},
    {"options", "storage"},
    {"records"},
    {"failures"},
    {"device"},
    {"settings", "logs", "hub", "inputs"},
    {"views", "decoding", "report"},
    {"model", "pruning", "outputs"},
    {"markdown", "facts"},
    {"engine", "prepare"},
    {"pipeline"},
    {"bench", "inspection"},
    {"analysis"},
    {"commands"},
    {"__main__"},
]
LEVEL = {name: i for i, names in enumerate(LEVELS) for name in names}
FREE = {"__init__", "tiny"}  # the version; the bundled model's own folder


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports anywhere, lazily too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rtprune_cli"):
            parts = (node.module or "").split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return found & (LEVEL.keys() | FREE)


def test_imports_point_down() -> None:
    upward = []
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for target in imports(path) - {name} - FREE if name in LEVEL else ():
            if LEVEL[target] >= LEVEL[name]:
                upward.append(f"{name} imports {target}")
    assert not upward


def test_every_module_has_its_level() -> None:
    modules = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    assert modules == LEVEL.keys() | FREE

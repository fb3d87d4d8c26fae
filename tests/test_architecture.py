"""The layout of the house, as docs/architecture.md has it: imports point down; each class has one home."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest
from conftest import DOCS

import rtprune_cli

PACKAGE = Path(rtprune_cli.__file__).parent
TABLE = re.compile(r"^## Rooms$(.*?)^## ", re.MULTILINE | re.DOTALL)
FILES = sorted(PACKAGE.rglob("*.py"))


def rooms() -> list[str]:
    """The rooms of the table, from the top."""
    found = TABLE.search((DOCS / "architecture.md").read_text(encoding="utf-8"))
    assert found is not None
    return re.findall(r"^\| `(\w+)` \|", found[1], re.MULTILINE)


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports anywhere, lazily and for types too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rtprune_cli"):
            found |= {f"{node.module}.{alias.name}".removeprefix("rtprune_cli.") for alias in node.names}
    return found


def test_the_table_has_every_room_once() -> None:
    assert sorted(rooms()) == sorted({room(path) for path in FILES} - {"__init__"})


def test_imports_point_down() -> None:
    order = {name: place for place, name in enumerate(rooms())}
    upward = [
        f"{path.relative_to(PACKAGE)} imports {target}"
        for path in FILES
        if room(path) in order
        for target in imports(path)
        if (other := target.split(".")[0]) in order and order[other] < order[room(path)]
    ]
    assert not upward


@pytest.mark.parametrize("lower", ["bench/scoring", "outputs/layout.py", "views/grid.py", "records/page_record.py"])
def test_what_others_stand_on_imports_none_of_them(lower: str) -> None:
    """Parts of a room that lie below its other parts."""
    allowed = {"bench/scoring": ("bench.scoring", "storage", "errors"), "outputs/layout.py": ("errors",),
               "views/grid.py": ("records", "options"), "records/page_record.py": ("errors", "options"),
               }[lower]  # fmt: skip
    own = PACKAGE / lower
    files = own.rglob("*.py") if own.is_dir() else [own]
    assert not [target for path in files for target in imports(path) if not target.startswith(allowed)]


def test_a_public_class_is_defined_once() -> None:
    """Classes and aliases of types: whoever looks for a name finds one thing."""
    names = Counter[str]()
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                names[node.name] += 1
            elif isinstance(node, ast.Assign):
                targets = [target.id for target in node.targets if isinstance(target, ast.Name)]
                names.update(name for name in targets if name[:1].isupper() and not name.isupper())
    assert not {name: count for name, count in names.items() if count > 1 and not name.startswith("_") and name != "T"}

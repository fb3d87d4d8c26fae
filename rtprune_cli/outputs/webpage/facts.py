"""What was run, where and how, as small tables: one for each group of settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple


class FactTable(NamedTuple):
    """A group of facts under its name, for the macro in facts.html.jinja."""

    title: str
    rows: list[tuple[str, str]]


def fact_tables(title: str, facts: Mapping[str, Any]) -> list[FactTable]:
    """The facts that stand alone as a table called ``title``, then one for each group among them, and of groups in
    groups. What is None says nothing, and is left out."""
    alone = [
        (_name(name), _plain(value))
        for name, value in facts.items()
        if value is not None and not isinstance(value, Mapping)
    ]
    groups = [(name, value) for name, value in facts.items() if isinstance(value, Mapping)]
    found = [FactTable(title, alone)] if alone else []
    return found + [table for name, group in groups for table in fact_tables(_name(name), group)]


def _name(name: str) -> str:
    return name.replace("_", " ")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

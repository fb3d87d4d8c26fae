"""Owns the tests as the benchmark's files write them: a row of JSON in, a test that can be run out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from rtprune_cli.bench.scoring.olmocr.baseline import Baseline
from rtprune_cli.bench.scoring.olmocr.footnote import Footnote
from rtprune_cli.bench.scoring.olmocr.formula import Formula
from rtprune_cli.bench.scoring.olmocr.order import Order
from rtprune_cli.bench.scoring.olmocr.presence import Presence
from rtprune_cli.bench.scoring.olmocr.style import STYLES, Style
from rtprune_cli.bench.scoring.olmocr.table import RELATIONS, TableCell

KINDS = ("present", "absent", "order", "table", "math", "baseline", "format", "footnote")


Check = Presence | Order | TableCell | Formula | Baseline | Style | Footnote


@dataclass(frozen=True)
class Case:
    """A test of a page. ``file``: the stem of the file that it comes from; the score is the mean over files."""

    file: str
    kind: str
    check: Check


def read_case(row: Mapping[str, Any], file: str) -> Case | None:
    """The test in a row; None for a type that is not known.

    Raises:
        ValueError: the row lacks something, or has it in a form that the type does not take; the text says what.
    """
    kind = row.get("type")
    if kind not in KINDS:
        return None
    return Case(file, kind, _check(kind, _Fields(row)))


def describe(case: Case) -> str:
    """The test on a line, for people: its type, and what it sets."""
    values = ((each, getattr(case.check, each.name)) for each in fields(case.check))
    return f"{case.kind}: " + ", ".join(f"{each.name} {value!r}" for each, value in values if value != each.default)


class _Fields:
    """A row's values, checked."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self._row = row
        self.max_diffs = self.number("max_diffs") or 0

    def text(self, name: str, *, needed: bool = True) -> str:
        value = self._row.get(name)
        if value is None and not needed:
            return ""
        if not isinstance(value, str) or (needed and not value.strip()):
            raise ValueError(f"has no text {name!r}")
        return value

    def number(self, name: str) -> int | None:
        value = self._row.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise ValueError(f"has a {name!r} that is no count")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self._row.get(name, default)
        if not isinstance(value, bool):
            raise ValueError(f"has a {name!r} that is neither true nor false")
        return value


def _check(kind: str, row: _Fields) -> Check:
    if kind in ("present", "absent"):
        return Presence(
            row.text("text"),
            kind == "absent",
            row.max_diffs,
            row.flag("case_sensitive", True),
            row.number("first_n") or 0,
            row.number("last_n") or 0,
        )
    if kind == "order":
        return Order(row.text("before"), row.text("after"), row.max_diffs)
    if kind == "table":
        relations = {name: text for name in RELATIONS if (text := row.text(name, needed=False))}
        return TableCell(row.text("cell"), relations, row.max_diffs)
    if kind == "math":
        return Formula(row.text("math"), row.flag("ignore_dollar_delimited", False))
    if kind == "format":
        style = row.text("format")
        if style not in STYLES:
            raise ValueError(f"has a 'format' that is none of {', '.join(STYLES)}")
        return Style(row.text("text"), style, row.max_diffs, row.flag("case_sensitive", True))
    if kind == "footnote":
        return Footnote(
            row.text("marker"),
            row.text("appears_before_marker", needed=False),
            row.text("appears_after_marker", needed=False),
            row.max_diffs,
        )
    return Baseline(
        row.number("max_length"),
        row.flag("max_length_skips_image_alt_tags", False),
        30 if (repeats := row.number("max_repeats")) is None else repeats,
        row.flag("check_disallowed_characters", True),
    )

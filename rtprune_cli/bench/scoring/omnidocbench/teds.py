"""Owns TEDS, the tree-edit-distance similarity of two tables (Zhong et al. 2020, PubTabNet)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rapidfuzz.distance import Levenshtein

# The search needs hours and gigabytes for larger tables. No page holds such a one: a model in a loop writes it.
MOST_ELEMENTS = 5_000
MOST_PAIRS = 4_000_000  # of an element of the one and of the other


@dataclass
class _Node:
    """An element; a cell has no children but ``content``, its characters and tags."""

    tag: str
    colspan: int | None = None
    rowspan: int | None = None
    content: Sequence[str] = ()
    children: list[_Node] = field(default_factory=list)


class _Costs:
    """What apted asks: inserting and deleting costs 1; so does renaming, but between cells of one shape."""

    valuecls = int

    def delete(self, node: _Node) -> int:
        return 1

    def insert(self, node: _Node) -> int:
        return 1

    def rename(self, one: _Node, other: _Node) -> float:
        if (one.tag, one.colspan, one.rowspan) != (other.tag, other.colspan, other.rowspan):
            return 1.0
        if not one.content and not other.content:
            return 0.0
        return Levenshtein.distance(one.content, other.content) / max(len(one.content), len(other.content))

    def children(self, node: _Node) -> list[_Node]:
        return node.children


def teds(prediction: str, truth: str, *, structure_only: bool = False) -> float:
    """1 for the same table, about 0 for another (a little less where tags nest); 0 where one cannot be parsed.

    Both as ``tables.normal_table`` gives them. 1 less the tree edit distance over the number of elements in the larger
    table. ``structure_only``: cells count as empty (TEDS-S). Also 0, unlike
    officially, for tables above :data:`MOST_ELEMENTS` or :data:`MOST_PAIRS`.
    """
    if not prediction or not truth:
        return 0.0
    from apted import APTED

    try:
        tables = [_table(each) for each in (prediction, truth)]
        if tables[0] is None or tables[1] is None:
            return 0.0
        sizes = [len(table.xpath(".//*")) for table in tables]
        if max(sizes) > MOST_ELEMENTS or sizes[0] * sizes[1] > MOST_PAIRS:
            return 0.0
        one, other = (_tree(table, structure_only) for table in tables)
        return 1.0 - float(APTED(one, other, _Costs()).compute_edit_distance()) / max(sizes)
    except Exception:  # as the official code: a table that breaks a parser scores 0 (colspan="x", no cells, too deep)
        return 0.0


def _table(source: str) -> Any:
    """The element of the first table of the body, or None. Nothing is fetched: HTML has no entities to resolve."""
    from lxml import html

    parser = html.HTMLParser(remove_comments=True, encoding="utf-8", no_network=True)
    found = html.fromstring(source, parser=parser).xpath("body/table")
    return found[0] if found else None


def _tree(element: Any, structure_only: bool) -> _Node:
    if element.tag == "td":
        content = () if structure_only else _tokens(element)[1:-1]
        return _Node("td", int(element.get("colspan", "1")), int(element.get("rowspan", "1")), content)
    return _Node(element.tag, children=[_tree(child, structure_only) for child in element])


def _tokens(element: Any) -> list[str]:
    """Characters and tags of a cell. The text after a nested cell is left out, as in the original."""
    tokens = [f"<{element.tag}>", *(element.text or "")]
    for child in element:
        tokens += _tokens(child)
    if element.tag != "unk":
        tokens.append(f"</{element.tag}>")
    if element.tag != "td":
        tokens += element.tail or ""
    return tokens

"""The test table: a cell is there, and has the right neighbours and headings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rtprune_cli.bench.scoring.olmocr.grid import Node, tables
from rtprune_cli.bench.scoring.olmocr.normalise import normalised

RELATIONS = ("up", "down", "left", "right", "top_heading", "left_heading")
LEAST_RATIO = 0.5  # however many edits a test allows


@dataclass(frozen=True)
class TableCell:
    """One cell of some table reads ``text``, and for each of ``relations`` a cell there reads what it says."""

    text: str
    relations: Mapping[str, str] = field(default_factory=dict)
    max_diffs: int = 0

    def passes(self, markdown: str) -> bool:
        from rapidfuzz import fuzz

        known: dict[tuple[str, str], bool] = {}  # a model in a loop writes one cell thousands of times

        def reads(node: Node, text: str) -> bool:
            if (node.text, text) not in known:
                threshold = max(LEAST_RATIO, 1 - self.max_diffs / max(1, len(text)))
                known[node.text, text] = fuzz.ratio(text, normalised(node.text)) / 100 >= threshold
            return known[node.text, text]

        wanted = normalised(self.text)
        relations = {relation: normalised(text) for relation, text in self.relations.items()}
        return any(
            reads(node, wanted)
            and all(any(reads(other, text) for other in _related(node, name)) for name, text in relations.items())
            for nodes in tables(markdown)
            for node in nodes
        )


def _related(node: Node, relation: str) -> Iterable[Node]:
    if relation == "top_heading":
        return node.headings("up")
    if relation == "left_heading":
        return node.headings("left")
    related: list[Node] = getattr(node, relation)
    return related

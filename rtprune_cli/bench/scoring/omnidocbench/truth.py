"""Owns one annotated page: OmniDocBench's JSON -> the blocks that are scored, in the official order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rtprune_cli.bench.scoring.omnidocbench.arrays import array_rows

TEXT = ("text_block", "title", "code_txt", "code_txt_caption", "reference")
# Matched, so that a prediction of them is not held against the page, and never scored.
IGNORED = (
    "equation_caption", "figure_caption", "figure_footnote", "table_caption", "table_footnote", "code_algorithm",
    "code_algorithm_caption", "header", "footer", "page_footnote", "page_number",
)  # fmt: skip
FORMULA = "equation_isolated"
TABLE = "table"

_CONTENT = {FORMULA: "latex", TABLE: "html"}


@dataclass(frozen=True)
class TruthBlock:
    """A block of the truth: ``content`` is text, LaTeX of a formula or HTML of a table; ``order`` its reading order."""

    category: str
    content: str
    order: float | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Truth:
    """What a page holds. ``blocks``: text, ignored categories and formulas; ``attributes``: the page's own."""

    blocks: Sequence[TruthBlock]
    tables: Sequence[TruthBlock]
    attributes: Mapping[str, Any]


def read_page(page: Mapping[str, Any]) -> Truth:
    """One element of the annotation file, whose ``page_info`` and ``layout_dets`` are there (end2end_dataset.py)."""
    by_category: dict[str, list[TruthBlock]] = {}
    for block in _merged(page["layout_dets"], page.get("extra", {}).get("relation", ())):
        by_category.setdefault(block.category, []).append(block)
    # By reading order, and by category where that is equal or missing: the matching depends on it.
    pool = [block for category in (*TEXT, *IGNORED, FORMULA) for block in by_category.get(category, ())]
    ordered = sorted(pool, key=lambda block: block.order or 0)
    return Truth(
        blocks=[row for block in ordered for row in _rows(block)],
        tables=sorted(by_category.get(TABLE, ()), key=lambda block: block.order or 0),
        attributes=page["page_info"]["page_attribute"],
    )


def readable(page: Mapping[str, Any]) -> str:
    """The page as a person reads it: its ordered blocks, a blank line between."""
    blocks = sorted(
        (read_block(annotation) for annotation in page["layout_dets"] if annotation.get("order") is not None),
        key=lambda block: block.order or 0,
    )
    return "\n\n".join(block.content for block in blocks if block.content)


def _rows(block: TruthBlock) -> list[TruthBlock]:
    """Formulas of a single-column array one by one, numbered 7.1, 7.2 and so on behind 7."""
    rows = array_rows(block.content) if block.category == FORMULA else None
    if rows is None:
        return [block]
    order = block.order or 0
    return [
        replace(block, content=row.formula, order=round(order + number / 10, 1)) for number, row in enumerate(rows, 1)
    ]


def _merged(annotations: Sequence[Mapping[str, Any]], relations: Sequence[Mapping[str, Any]]) -> list[TruthBlock]:
    """Blocks, those of one truncated paragraph as one, after all others.

    The official code adds both ends of each relation to a chain. So the middle of a chain a-b, b-c stands in it twice,
    and so does its text: copied, since the published numbers hold it.
    """
    chains: list[list[Any]] = []
    for relation in relations:
        if relation.get("relation_type") != "truncated":
            continue
        ends = [relation["source_anno_id"], relation["target_anno_id"]]
        joined = [chain for chain in chains if ends[0] in chain or ends[1] in chain]
        for chain in joined:
            chain += ends
        if not joined:
            chains.append(ends)
    truncated = {identifier for chain in chains for identifier in chain}
    by_id = {each["anno_id"]: each for each in annotations if each.get("anno_id") in truncated}
    blocks = [read_block(each) for each in annotations if each.get("anno_id") not in truncated]
    for chain in chains:
        parts = sorted((by_id[each] for each in chain if each in by_id), key=lambda each: each.get("order") or 0)
        if parts:
            text = "".join(str(each.get("text") or "") for each in parts)
            blocks.append(TruthBlock(parts[0]["category_type"], text, parts[0].get("order")))
    return blocks


def read_block(annotation: Mapping[str, Any]) -> TruthBlock:
    category = annotation["category_type"]
    content = annotation.get(_CONTENT.get(category, "text"))
    return TruthBlock(category, str(content or ""), annotation.get("order"), annotation.get("attribute") or {})

"""Owns one annotated page as v1.6 reads it: JSON -> the blocks that are scored (end2end_dataset.py).

Unlike v1.5's reading, blocks marked ``ignore`` are left out, and a chain of truncated blocks is joined once, in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rtprune_cli.bench.scoring.omnidocbench.truth import FORMULA, IGNORED, TABLE, TEXT, TruthBlock, read_block
from rtprune_cli.bench.scoring.omnidocbench.v16.rows import formula_rows


@dataclass(frozen=True)
class AnnotatedPage:
    """``blocks``: text, ignored categories and formulas, a formula of several lines line by line.

    ``owes``: categories of blocks that the page has, even if nothing is left of them to compare.
    """

    blocks: Sequence[TruthBlock]
    tables: Sequence[TruthBlock]
    attributes: Mapping[str, Any]
    owes: frozenset[str]


def read_page(page: Mapping[str, Any]) -> AnnotatedPage:
    """One element of the annotation file, whose ``page_info`` and ``layout_dets`` are there."""
    annotations = page["layout_dets"]
    by_category: dict[str, list[TruthBlock]] = {}
    for block in _merged(annotations, page.get("extra", {}).get("relation", ())):
        by_category.setdefault(block.category, []).append(block)
    pool = [block for category in (*TEXT, *IGNORED, FORMULA) for block in by_category.get(category, ())]
    return AnnotatedPage(
        blocks=[row for block in sorted(pool, key=_order) for row in _rows(block)],
        tables=sorted(by_category.get(TABLE, ()), key=_order),
        attributes=page["page_info"]["page_attribute"],
        owes=frozenset(each["category_type"] for each in annotations if not each.get("ignore")) & {FORMULA, TABLE},
    )


def _order(block: TruthBlock) -> float:
    return block.order or 0


def _rows(block: TruthBlock) -> list[TruthBlock]:
    """The lines of a formula, numbered 7.001, 7.002 and so on behind 7."""
    rows = formula_rows(block.content) if block.category == FORMULA else None
    if rows is None:
        return [block]
    return [
        replace(block, content=row.formula, order=_order(block) + number / 1000) for number, row in enumerate(rows, 1)
    ]


def _merged(annotations: Sequence[Mapping[str, Any]], relations: Sequence[Mapping[str, Any]]) -> list[TruthBlock]:
    """Blocks, those of one truncated paragraph as one, after all others; a chain with an ignored block is none."""
    chains: list[set[Any]] = []
    for relation in relations:
        if relation.get("relation_type") == "truncated":
            chain = {relation["source_anno_id"], relation["target_anno_id"]}
            touching = [other for other in chains if other & chain]
            chains = [other for other in chains if not other & chain] + [chain.union(*touching)]
    truncated = set().union(*chains)
    by_id = {each["anno_id"]: each for each in annotations if each.get("anno_id") in truncated}
    blocks = [
        read_block(each) for each in annotations if each.get("anno_id") not in truncated and not each.get("ignore")
    ]
    for chain in chains:
        parts = sorted((by_id[each] for each in chain if each in by_id), key=lambda each: each.get("order") or 0)
        if parts and not any(part.get("ignore") for part in parts):
            text = "".join(str(part.get("text") or "") for part in parts)
            blocks.append(TruthBlock(parts[0]["category_type"], text, parts[0].get("order")))
    return blocks

"""Plain text of a document, for grep and for programs that index it."""

from __future__ import annotations

from rtprune_cli.convert.html_table import parse_table
from rtprune_cli.records import Block, DocumentBlocks, PageBlocks

PAGE_BREAK = "\f"


def to_text(document: DocumentBlocks) -> bytes:
    """Blocks in reading order, a blank line between two, a form feed between pages; UTF-8. A failed page is empty."""
    pages = PAGE_BREAK.join(_page(page) for page in document.pages)
    return pages.encode("utf-8", "replace")


def _page(page: PageBlocks) -> str:
    text = "\n\n".join(filter(None, map(block_text, page.blocks)))
    return f"{text}\n" if text else ""


def block_text(block: Block) -> str:
    """What a block says; nothing for a picture. A table's rows are lines, their cells between tabs."""
    if block.html is not None:
        lines = ("\t".join(row).rstrip("\t") for row in parse_table(block.html).by_row())
        return "\n".join(lines).strip("\n")
    text = block.latex if block.latex is not None else block.text or ""
    return text.replace(PAGE_BREAK, " ").strip()

"""A page as text: its marker, its markdown, or the comment that a failed page leaves."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rtprune_cli.outputs.layout import CROP_NAME, IMAGES
from rtprune_cli.records import Document, PageRecord, PageResult, WarningRecord

MAX_ERROR_TEXT = 200
_CROP_LINK = re.compile(rf"!\[\]\({IMAGES}/({CROP_NAME})\)")


# Warnings of a text that ends too early stand where it ends, others of missing text before it; what is left says
# nothing about the text.
AT_THE_END = frozenset(("token_limit", "loop"))
NOT_OF_THE_TEXT = frozenset(("untrained_mode", "untrained_prompt", "context"))


def page_text(record: PageRecord, text: str) -> str:
    """One page with its marker, and comments where text may be missing; a failed page (or document) is a comment in its
    place."""
    if record.error is None:
        return "\n\n".join(filter(None, ["\n".join(page_head(record)), text, *page_end(record)])).rstrip()
    code, message = _harmless(record.error.code), _harmless(record.error.message)
    return f"<!-- {_place(record)} failed: {code}: {message}".rstrip(" :") + " -->"


def page_head(record: PageRecord) -> list[str]:
    """The comments that a page begins with: its marker, and what it may lack."""
    said = [each for each in record.warnings if each.code not in NOT_OF_THE_TEXT | AT_THE_END]
    return [f"<!-- {_place(record)} -->", *(_comment(record, each) for each in said)]


def page_end(record: PageRecord) -> list[str]:
    """The comments that say why a page's text ends too early."""
    return [_comment(record, each) for each in record.warnings if each.code in AT_THE_END]


def _place(record: PageRecord) -> str:
    return "document" if record.page is None else f"page {record.page}"


def _comment(record: PageRecord, warning: WarningRecord) -> str:
    return f"<!-- {_place(record)} warning: {_harmless(warning.code)}: {_harmless(warning.message)} -->"


def _harmless(value: str) -> str:
    """Text that cannot end the comment it stands in, on one line."""
    text = " ".join(value.split())[:MAX_ERROR_TEXT]
    return re.sub("-{2,}", "-", text).replace(">", "&gt;").strip("-")


def document_line(document: Document) -> str:
    """What begins each of several documents in one text."""
    return f"<!-- document {_harmless(document.name)} -->"


def join(pages: Sequence[str]) -> bytes:
    """Pages as the bytes of a file, UTF-8."""
    return ("\n\n".join(pages) + "\n").encode("utf-8", "replace")


def without_crops(result: PageResult) -> str:
    """The page's markdown without references to crops, for outputs that have no files to lead to."""
    crops = result.markdown.crops
    text = _CROP_LINK.sub(lambda link: "" if link[1] in crops else link[0], result.markdown.text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()

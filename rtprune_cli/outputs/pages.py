"""A page as text: its marker, its markdown, or the comment that a failed page leaves."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rtprune_cli.outputs.layout import CROP_NAME, IMAGES
from rtprune_cli.records import PageRecord, PageResult

MAX_ERROR_TEXT = 200
_CROP_LINK = re.compile(rf"!\[\]\({IMAGES}/({CROP_NAME})\)")


def page_text(record: PageRecord, text: str) -> str:
    """One page with its marker; a failed page (or document) is a comment in its place."""
    place = "document" if record.page is None else f"page {record.page}"
    if record.error is None:
        return f"<!-- {place} -->\n\n{text}".rstrip()
    code, message = _harmless(record.error.code), _harmless(record.error.message)
    return f"<!-- {place} failed: {code}: {message}".rstrip(" :") + " -->"


def _harmless(value: str) -> str:
    """Text that cannot end the comment it stands in, on one line."""
    text = " ".join(value.split())[:MAX_ERROR_TEXT]
    return re.sub("-{2,}", "-", text).replace(">", "&gt;").strip("-")


def join(pages: Sequence[str]) -> bytes:
    """Pages as the bytes of a file, UTF-8."""
    return ("\n\n".join(pages) + "\n").encode("utf-8", "replace")


def without_crops(result: PageResult) -> str:
    """The page's markdown without references to crops, for outputs that have no files to lead to."""
    crops = result.markdown.crops
    text = _CROP_LINK.sub(lambda link: "" if link[1] in crops else link[0], result.markdown.text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()

"""Page ranges: ``--pages`` to page numbers."""

from __future__ import annotations

import re

from rtprune_cli.errors import PageRangeError

_PAGE = "0{0,9}[1-9][0-9]{0,8}"
_RANGE = re.compile(rf"(?P<single>{_PAGE}|end)|(?P<first>{_PAGE})\s*-\s*(?P<last>{_PAGE}|end|)")
_RANGE_HINT = "Write --pages like 1,3,5-10,20-end; the first page is 1"


def check_pages(spec: str | None) -> None:
    """Check the syntax of ``--pages`` before any document is opened.

    Raises:
        PageRangeError: it is malformed.
    """
    if spec is not None:
        _ranges(spec)


def parse_pages(spec: str | None, count: int) -> list[int]:
    """The 1-based pages that ``spec`` asks of a document of ``count`` pages: order kept, repeats dropped, None: all.

    Raises:
        PageRangeError: malformed, or a page that the document does not have.
    """
    if spec is None:
        return list(range(1, count + 1))
    pages: dict[int, None] = {}
    for first, last in _ranges(spec):
        start, stop = first or count, last or count
        if not 1 <= start <= stop <= count:
            asked = f"{first or 'end'}" if first == last else f"{first}-{last or 'end'}"
            raise PageRangeError(
                f"--pages asks for {asked} of a document of {count} page{'' if count == 1 else 's'}",
                f"Give pages from 1 to {count}" if count else _RANGE_HINT,
            )
        pages.update(dict.fromkeys(range(start, stop + 1)))
    return list(pages)


def _ranges(spec: str) -> list[tuple[int, int]]:
    """(first, last) of every item; 0 stands for the end of the document."""
    ranges = []
    for item in spec.split(","):
        match = _RANGE.fullmatch(item.strip())
        if not match:
            raise PageRangeError(f"--pages {_short(spec)} is malformed at {_short(item.strip())}", _RANGE_HINT)
        first = last = _page_number(match["single"])
        if match["single"] is None:
            first, last = _page_number(match["first"]), _page_number(match["last"])
        if first > last > 0:
            raise PageRangeError(f"--pages {_short(spec)} runs backwards at {_short(item.strip())}", _RANGE_HINT)
        ranges.append((first, last))
    return ranges


def _page_number(text: str | None) -> int:
    return int(text) if text and text != "end" else 0


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")

"""How large a PDF page is drawn."""

from __future__ import annotations

from rtprune_cli.inputs.formats import guard
from rtprune_cli.options import InputOptions
from rtprune_cli.records import Document

# No page is drawn longer than this: three times what the largest mode sees of it (gundam, 3 tiles of 640), so that its
# crops are sharp. A poster of 200 inches, or an A4 scan that says of itself that it has 72 dpi, is drawn coarser.
LONGEST_SIDE = 5760


def pixels_of(document: Document, page: int, width: float, height: float, options: InputOptions) -> int:
    """The resolution in dpi at which a page of ``width`` x ``height`` points is drawn.

    Raises:
        InputError: it has no area, or more pixels than ``options.max_pixels`` all the same.
    """
    dpi = options.resolution
    longest = max(width, height) * dpi / 72
    if longest > LONGEST_SIDE:
        dpi = max(1, int(dpi * LONGEST_SIDE / longest))
    guard(document, page, width * dpi / 72, height * dpi / 72, options.max_pixels, "Lower --dpi, or raise")
    return dpi

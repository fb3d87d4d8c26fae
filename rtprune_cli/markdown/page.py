"""One page of model text as markdown, blocks and boxes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rtprune_cli.markdown.pieces import Crops, Piece, in_order, pieces_of
from rtprune_cli.markdown.regions import LIKE_A_TAG, clean, find_regions, scaled
from rtprune_cli.markdown.writing import MarkdownStyle, block_of, plain_colons, written
from rtprune_cli.records import Block, Box, Markdown

DEFAULT_STYLE = MarkdownStyle()


def to_markdown(
    raw: str,
    *,
    size: tuple[int, int],
    page: int,
    style: MarkdownStyle = DEFAULT_STYLE,
    labels: bool = True,
    confidences: Sequence[float | None] = (),
) -> Markdown:
    """Clean one page of model text.

    ``size`` is (width, height) of the page image, to which boxes are scaled and clamped. Boxes of pictures become crops
    ``page-0001-1.png`` with a link each, boxes that nearly coincide one, and beyond MOST_CROPS a comment each; other
    tags go and the text after them stays; torn tags go, torn text stays. What would be hidden or taken for a tag or a
    page marker shows its letters. Captions stand below their picture or table.

    ``labels`` is as :func:`~rtprune_cli.markdown.regions.find_regions` takes it. ``confidences`` are of the text before
    the first opening of a region, and after each. Never raises on any text.
    """
    crops = Crops(page, size)
    boxes: list[Box] = []
    pieces: list[Piece] = []
    for region in find_regions(raw, labels=labels):
        places = [box for each in region.boxes if (box := scaled(each, size))]
        boxes += [Box(region.label or "text", box) for box in places]
        pieces += pieces_of(region, places, crops)
    texts = [(piece, text) for piece in in_order(pieces) if (text := written(piece, style))]
    whole = re.sub(r"\n{3,}", "\n\n", "\n\n".join(text for piece, text in texts if not piece.again))
    blocks = tuple(block_of(piece, size, confidences) for piece, _ in texts)
    return Markdown(whole, boxes, crops.named, crops.left_out, blocks)


def plain_markdown(text: str) -> Markdown:
    """Text of a PDF as markdown: what looks like a tag or a comment is shown as it is, so that page markers cannot be
    forged."""
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", clean(text)) if part.strip()]
    written = [LIKE_A_TAG.sub("&lt;", part) for part in paragraphs]
    return Markdown("\n\n".join(written), blocks=tuple(Block(label="text", text=part) for part in paragraphs))


def as_written(raw: str) -> str:
    """The text of a page without tags, else as the model wrote it: what benchmarks score."""
    text = "".join(region.text for region in find_regions(raw))
    text = re.sub(r"&lt;(?=\||｜)", "<", text)  # escaped to be told apart from tags (OcrModel.decode_text)
    return re.sub(r"\n{3,}", "\n\n", plain_colons(text)).strip()

"""The blocks of a document as data. The JSON schema and the tables in docs/blocks.md are made from these fields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rtprune_cli.records.page_record import ErrorRecord, Status, described

BLOCKS_VERSION = 1

# Labels of layout that mean a picture, and those that mean a caption beside others that end in _caption
PICTURES = frozenset(("image", "figure", "chart"))
CAPTIONS = frozenset(("caption", "figure_title", "table_title", "chart_title"))

PixelBox = tuple[int, int, int, int]
RelativeBox = tuple[float, float, float, float]


def is_caption(label: str) -> bool:
    """Whether a label of layout means the caption of a picture or table."""
    return label in CAPTIONS or label.endswith("_caption")


@dataclass(frozen=True, kw_only=True)
class Block:
    """What the model wrote of one place of a page, in reading order. What a block does not have is None."""

    label: str = described(
        "What the model takes it for: `title`, `sub_title`, `text`, `table`, `equation`, `image`, `figure`, `chart`, "
        "`image_caption`, `table_caption`, `table_footnote` and other words of layout; `text` where it named none."
    )
    box: PixelBox | None = described(
        "Left, top, right, bottom in pixels of the page as it was read, upright; null where the model gave none.",
        default=None,
    )
    box_relative: RelativeBox | None = described("The same as shares of the page's width and height.", default=None)
    text: str | None = described(
        "The text, without marks of headings; formulas in it stand as the model writes them, between `\\(` and "
        "`\\)`. Null for tables, displayed formulas and pictures.",
        default=None,
    )
    html: str | None = described("A table, as HTML.", default=None)
    latex: str | None = described("A displayed formula, as LaTeX without its marks.", default=None)
    crop: str | None = described("The picture's file, relative to this file.", default=None)
    level: int | None = described("Of a heading: from 1.", default=None, minimum=1, maximum=6)
    confidence: float | None = described(
        "Mean log-probability that the model gave to the tokens of the block's text, of a picture to those of its "
        "label and box: 0 is certain. It says how sure the model was of its words, not whether they stand on the page: "
        "what it invents it is often sure of. Null where the model was not asked.",
        default=None,
        maximum=0,
    )


@dataclass(frozen=True, kw_only=True)
class PageBlocks:
    """A page and its blocks in reading order: that of the markdown."""

    page: int = described("From 1, as in the document.", minimum=1)
    status: Status = described("`ok` or `failed`; a failed page has no blocks.")
    error: ErrorRecord | None = described("Null, or `code` and `message`.", default=None)
    width: int | None = described("Pixels of the page as it was read, upright.", default=None, minimum=1)
    height: int | None = described("Pixels.", default=None, minimum=1)
    dpi: int | None = described("Resolution at which a PDF page was drawn; null for images.", default=None)
    width_points: float | None = described("The same in points of 1/72 inch; null for images.", default=None)
    height_points: float | None = described("Points.", default=None)
    markdown: str = described("The page's text by itself, also where `--join-pages` made it part of another's.")
    blocks: tuple[Block, ...] = described("In reading order.", default=())

    @property
    def size(self) -> tuple[int, int] | None:
        """(width, height) in pixels."""
        return None if self.width is None or self.height is None else (self.width, self.height)

    @property
    def points(self) -> tuple[float, float] | None:
        """(width, height) in points."""
        sides = self.width_points, self.height_points
        return None if sides[0] is None or sides[1] is None else (sides[0], sides[1])


@dataclass(frozen=True, kw_only=True)
class BlocksSource:
    """The document that was read."""

    name: str = described("As named on the command line, or found in its folder.")
    path: str | None = described("Absolute, or a URL; null for standard input.")
    folder: str = described("Its place in the output folder.")
    sha256: str | None = described("Of the file; null where it could not be read, and with `version`.")
    version: str | None = described("Of a file at a URL: its ETag, else the time of its last change.", default=None)


@dataclass(frozen=True, kw_only=True)
class DocumentBlocks:
    """A file NAME.json."""

    schema_version: int = described(str(BLOCKS_VERSION), default=BLOCKS_VERSION)
    document: BlocksSource = described("What was read.")
    pages: tuple[PageBlocks, ...] = described("In the order of the markdown.")

    @property
    def path(self) -> Path | None:
        """Where the input lay; None for standard input, and for a file at a URL."""
        place = self.document.path
        return None if place is None or "://" in place else Path(place)

    @property
    def url(self) -> str | None:
        """Where the input lay, if that was at a URL."""
        return self.document.path if self.path is None else None

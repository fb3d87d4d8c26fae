"""A page as the API gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from rtprune_cli.errors import RtpruneError
from rtprune_cli.records import Block, PackedImage, PageRecord, PageResult, cut_crops
from rtprune_cli.records.block import PixelBox

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class ReadPage:
    """One page that was read, or could not be.

    A page with pictures keeps its pixels for :attr:`crops`, 12 MB of an A4 page at 200 dpi: let go of pages that you
    are done with.
    """

    document: str
    """The file's path as it was given or found, or a name such as ``image-1`` for what was in memory."""

    page: int | None
    """From 1; None where the document could not be opened, which has one such result."""

    text: str
    """Markdown; empty where the page failed."""

    blocks: tuple[Block, ...] = field(repr=False)
    """What the text is made of, in reading order, with boxes in pixels of the page."""

    raw: str = field(repr=False)
    """The model's own words, with their tags."""

    record: PageRecord = field(repr=False)
    """What the reports say of the page, such as tokens kept and merged, ratio, warnings, times."""

    error: RtpruneError | None = None
    """Why the page failed; None where it was read."""

    _pixels: Image | PackedImage | None = field(default=None, repr=False)
    _boxes: Mapping[str, PixelBox] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, result: PageResult) -> ReadPage:
        """The page of a result of :func:`rtprune_cli.run`."""
        markdown, page = result.markdown, result.page
        return cls(
            document=result.document.name,
            page=result.record.page,
            text=markdown.text,
            blocks=markdown.blocks,
            raw=result.raw,
            record=result.record,
            error=result.error,
            _pixels=None if page is None else page.pixels,
            _boxes=markdown.crops,
        )

    @property
    def ok(self) -> bool:
        """Whether the page was read."""
        return self.error is None

    @cached_property
    def crops(self) -> dict[str, Image]:
        """The pictures that the model found, by the file names that ``text`` links to in ``images/``; cut out of the
        page when they are first asked for."""
        if self._pixels is None:
            return {}
        page = self._pixels.unpack() if isinstance(self._pixels, PackedImage) else self._pixels
        return dict(cut_crops(page, self._boxes))

"""The records that stages hand to one another. N tokens, D hidden size, S side of the global view in pixels."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from rtprune_cli.errors import RtpruneError
from rtprune_cli.options import Mode, PruneOptions
from rtprune_cli.records.block import Block, PixelBox
from rtprune_cli.records.page_record import (
    FinishReason,
    PageReaderName,
    PageRecord,
    WarningRecord,
    failure_record,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor


@dataclass(frozen=True)
class RemoteFile:
    """A file at a URL, which is ``shown`` without what in it lets others in.

    ``size`` in bytes and ``version``, a text that changes with the content (an ETag, else a time), are None where the
    server does not say.
    """

    url: str
    shown: str
    size: int | None = None
    version: str | None = None

    @property
    def path(self) -> PurePosixPath:
        """Where it lies on its server or in its cloud."""
        place = self.shown.partition("://")[2]
        return PurePosixPath(unquote(urlsplit(self.shown).path) if self.shown.startswith("http") else place)


@dataclass(frozen=True)
class Document:
    """One input file. ``path`` is None for standard input, whose bytes are then in ``data``, and for a ``remote`` file.

    ``name`` is what messages and reports call it; ``folder`` is its place in the output folder, unique in a run.
    """

    path: Path | None
    name: str
    folder: PurePosixPath
    data: bytes | None = None
    remote: RemoteFile | None = None

    @property
    def stem(self) -> str:
        """The name of the markdown file, without ``.md``."""
        return self.folder.name

    @property
    def suffix(self) -> str:
        """Of the file's name, in lower case with its dot; empty for standard input."""
        path = self.path or (self.remote and self.remote.path)
        return path.suffix.lower() if path else ""


@dataclass(frozen=True)
class Earlier:
    """What an earlier run left of a document: all of it, or the ``pages`` that need not be read again. It tried the
    ``failed`` ones too."""

    finished: bool = False
    pages: frozenset[int] = frozenset()
    failed: frozenset[int] = frozenset()
    records: tuple[PageRecord, ...] = ()


@dataclass(frozen=True)
class PackedImage:
    """An RGB image as compressed bytes: pages wait in hundreds for their turn. ``size`` is (width, height), ``profile``
    the colour profile that crops are saved with."""

    size: tuple[int, int]
    packed: bytes
    profile: bytes | None = None

    @classmethod
    def of(cls, image: Image) -> PackedImage:
        """By the quickest of zlib's levels, which packs pages nearly as well as the slowest."""
        return cls(image.size, zlib.compress(image.tobytes(), 1), image.info.get("icc_profile"))

    def unpack(self) -> Image:
        """The image again, pixel by pixel."""
        from PIL import Image

        image = Image.frombytes("RGB", self.size, zlib.decompress(self.packed))
        if self.profile is not None:
            image.info["icc_profile"] = self.profile
        return image


@dataclass(frozen=True)
class PageImage:
    """One rasterised page: RGB, upright. ``page`` is 1-based; ``dpi`` is None when the file was pixels already.

    ``warnings`` are of the page, ``about`` of its document, to be said once; ``reader`` is what drew it. ``text`` is
    there for a page that the model need not read: "" without ink, else the PDF's own text. ``started`` is the time when
    its drawing began, in seconds since 1970.
    """

    document: Document
    page: int
    pixels: Image | PackedImage
    dpi: int | None
    rasterise_ms: float
    warnings: tuple[WarningRecord, ...] = ()
    about: tuple[WarningRecord, ...] = ()
    reader: PageReaderName = "pillow"
    text: str | None = None
    started: float | None = None

    @property
    def image(self) -> Image:
        """The page's pixels; of a packed page they are made anew at each call."""
        return self.pixels.unpack() if isinstance(self.pixels, PackedImage) else self.pixels

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.size


@dataclass(frozen=True)
class PageFault:
    """A page that could not be made ready; it keeps its place in the document. ``page`` is 1-based.

    With ``page`` None the document cannot be opened, and none of its pages follow. Warnings as in PageImage.
    """

    document: Document
    page: int | None
    error: RtpruneError
    warnings: tuple[WarningRecord, ...] = ()
    about: tuple[WarningRecord, ...] = ()


@dataclass(frozen=True)
class ViewLayout:
    """How a family of models sees a page, and how its visual tokens lie.

    Pages with a side longer than ``tile`` pixels have tiles of so many each way in mode gundam, up to ``most_tiles``.
    ``newlines``: each row of cells ends with a token of its own, and tiles are read row by row over the page; without,
    they come one after the other. ``placed``: a token stands for a cell of its view, and not for what a query found
    wherever it is. ``sides``: of the views that the encoder can see; None: any.
    """

    tile: int
    most_tiles: int
    newlines: bool = True
    placed: bool = True
    sides: tuple[int, ...] | None = None


@dataclass(frozen=True)
class ViewSpec:
    """How pages are seen: in this mode, by the layout of a family of models."""

    mode: Mode
    layout: ViewLayout


@dataclass(frozen=True)
class Views:
    """What the vision encoder sees of a page, as bytes; model/network.py normalises them.

    ``global_view`` (S, S, 3); ``tiles`` (T, tile, tile, 3) row by row, or None; ``grid`` is (columns, rows) of tiles,
    (1, 1) without tiles.
    """

    spec: ViewSpec
    global_view: NDArray[np.uint8]
    tiles: NDArray[np.uint8] | None
    grid: tuple[int, int]

    @property
    def mode(self) -> Mode:
        """Of the page."""
        return self.spec.mode

    @property
    def side(self) -> int:
        """S, pixels."""
        return int(self.global_view.shape[0])

    @property
    def pixels(self) -> int:
        """Pixels of all views together."""
        return (self.global_view.size + (0 if self.tiles is None else self.tiles.size)) // 3


@dataclass(frozen=True)
class PreparedPage:
    """A rasterised page and its views, ready for the model. ``prune``: how it is pruned, None: as the run says."""

    page: PageImage
    views: Views
    preprocess_ms: float
    prune: PruneOptions | None = None


@dataclass(frozen=True)
class Idle:
    """Stands among pages that are read as they come: there is none now, but more may follow."""


@dataclass(frozen=True)
class PreparedContext:
    """Pages of one document that are to be read as one text, in order, and between them those that need not be.

    ``number`` is the context's in its document, from 1.
    """

    number: int
    items: tuple[PreparedPage | PageResult, ...]

    @property
    def pages(self) -> list[PreparedPage]:
        """Those to be read."""
        return [item for item in self.items if isinstance(item, PreparedPage)]


@dataclass(frozen=True)
class VisualTokens:
    """The projected visual tokens of one page in decoder order, (N, D).

    ``newline`` (N,) marks row ends, where rows have one; the last token is the separator; all others are prunable.
    Where the encoder was asked for it, ``cls_attention`` (N,) float32 is what the class token of a token's view gives
    its patch, and ``keys`` (N, K) float32 the patch's keys, both of the penultimate CLIP layer, means over its heads;
    and ``features`` (N, C) float32 what the last CLIP layer makes of the patch, before the projector. 0 elsewhere.
    """

    tokens: Tensor
    newline: Tensor
    cls_attention: Tensor | None = None
    keys: Tensor | None = None
    features: Tensor | None = None

    @property
    def prunable(self) -> Tensor:
        """(N,) bool: neither newline nor separator."""
        mask = ~self.newline
        mask[-1] = False
        return mask


@dataclass(frozen=True)
class PrunedTokens:
    """What is left of a page's visual tokens: ``tokens`` (K, D), ``keep`` (K,) their original indices, and how."""

    tokens: Tensor
    keep: Tensor
    total: int
    prunable: int
    kept: int
    newlines_dropped: int
    ratio: float
    r_similarity: float
    r_density: float

    @property
    def merged(self) -> int:
        """Prunable tokens that were merged into others."""
        return self.prunable - self.kept


@dataclass(frozen=True)
class DecoderInput:
    """One page's prompt: ``embeds`` (L, D), ``positions`` (L,) on the CPU, ``next_position`` of the first new token.

    Pruned tokens leave gaps in ``positions``; ``next_position`` is the unpruned length.
    """

    embeds: Tensor
    positions: Tensor
    next_position: int


@dataclass(frozen=True)
class Decoded:
    """What the model wrote on one page. Token ids exclude the prompt and the final eos.

    ``logprobs``, one for each token: the natural log of the probability that the model gave it, in float32 and before
    the ban on repeats, so that a token in the place of a banned one has its own low probability.
    Pages of one batch share its times in equal parts. ``loop_tokens_cut``: tokens of repetition that were written and
    are not in ``token_ids``.
    """

    token_ids: list[int]
    logprobs: list[float]
    finish_reason: FinishReason
    prefill_ms: float
    decode_ms: float
    loop_tokens_cut: int = 0


@dataclass(frozen=True)
class Box:
    """A grounded region: ``label`` as the model named it, ``box`` (x1, y1, x2, y2) in page pixels."""

    label: str
    box: PixelBox


@dataclass(frozen=True)
class Markdown:
    """Clean markdown of one page, its blocks, and the boxes that the model named; ``crops``: file name -> page box.

    ``left_out``: pictures beyond so many that are kept of a page; they are comments in the text.
    """

    text: str
    boxes: list[Box] = field(default_factory=list)
    crops: dict[str, PixelBox] = field(default_factory=dict)
    left_out: int = 0
    blocks: tuple[Block, ...] = ()


def cut_crops(page: Image, boxes: Mapping[str, PixelBox]) -> Iterator[tuple[str, Image]]:
    """Cut the ``boxes`` of :class:`Markdown`'s ``crops`` out of their page, one at a time: file name, picture."""
    from PIL import Image

    for name, box in boxes.items():
        size = (box[2] - box[0], box[3] - box[1])
        # The same pixels as crop(), which has a size limit of its own that large pages would meet.
        yield PurePosixPath(name).name, page.resize(size, Image.Resampling.NEAREST, box=box)


@dataclass(frozen=True)
class PageView:
    """What the HTML report shows of a page, as the bytes of its files: two JPEGs, and JSON of the visual tokens."""

    picture: bytes
    thumbnail: bytes
    tokens: bytes


@dataclass(frozen=True)
class PageResult:
    """One page as it goes to the outputs: markdown, raw model text, and its report record.

    ``page`` has the pixels, which are needed only until the crops are saved; without crops it is None. A result that
    comes from another process has the ``crops`` themselves instead, as PNG files by name (:meth:`packed`). ``view`` is
    there when an HTML report was asked for. A page (or a whole document: ``page`` None in the record) that failed has
    an ``error``, empty text and a record of its failure.
    """

    document: Document
    record: PageRecord
    markdown: Markdown
    raw: str = ""
    page: PageImage | None = None
    error: RtpruneError | None = None
    view: PageView | None = None
    crops: Mapping[str, bytes] | None = None

    def crop_files(self) -> Iterator[tuple[str, bytes]]:
        """The pictures of the page as PNG files, one at a time: name, bytes."""
        if self.crops is not None:
            yield from self.crops.items()
        elif self.page is not None:
            for name, crop in cut_crops(self.page.image, self.markdown.crops):
                buffer = io.BytesIO()
                crop.save(buffer, "PNG")
                yield name, buffer.getvalue()

    def packed(self) -> PageResult:
        """The same as little as can be sent: with the pictures, but without the page that they are cut from."""
        return replace(self, crops=dict(self.crop_files()), page=None)


def failed(
    document: Document, page: int | None, error: RtpruneError, warnings: tuple[WarningRecord, ...] = ()
) -> PageResult:
    """The result of a page, or with ``page`` None of a document, that cannot be read."""
    record = failure_record(document.name, str(document.folder), page, error, warnings)
    return PageResult(document, record, Markdown(""), error=error)

"""What can be read from Python: files, bytes and pictures in memory, as documents, one at a time."""

from __future__ import annotations

import io
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from rtprune_cli.errors import InputError, RtpruneError
from rtprune_cli.inputs import find_files
from rtprune_cli.inputs.formats import printable, reason
from rtprune_cli.options import InputOptions
from rtprune_cli.outputs.layout import is_output, is_written
from rtprune_cli.prepare import select_pages, with_attachments
from rtprune_cli.records import Document

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

log = logging.getLogger("rtprune")

# A path of a PDF, image or folder; the bytes of such a file, or the file opened in binary; a picture; several of these
Readable: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image | NDArray[Any] | Iterable[Readable]"
)

KINDS = "a path, bytes, a file opened in binary, a PIL image, a numpy array, or several of these"
MOST_COUNTED = 256  # documents whose pages are counted ahead: opening one takes milliseconds
PLAIN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B", "I", "F")  # that a TIFF brings back as they were


class Found(NamedTuple):
    """A document, or with an ``error`` what stands for something that cannot be one."""

    document: Document
    error: RtpruneError | None = None


class Sources:
    """The documents of one read, each found when its turn comes, but for paths that are known from the start.

    A single path that does not exist is an error at once; one of several is a document that fails in its turn.

    Raises:
        TypeError, ValueError: something of a kind that cannot be read.
        UsageError: a path that does not exist, a folder without files that can be read.
        InputError: a folder that cannot be read.
    """

    def __init__(self, source: Readable, options: InputOptions) -> None:
        self._options = options
        self._numbers: Counter[str] = Counter()
        self._is_known = True
        self._entries: Any
        if isinstance(source, (str, os.PathLike)):
            self._entries = [Found(document) for document in self._files(source)]
        elif isinstance(source, (list, tuple)):
            self._entries = list(self._listed(source))
        else:
            self._is_known = not isinstance(source, Iterable) or _is_one(source)
            self._entries = [_checked(source)] if self._is_known else source

    def __iter__(self) -> Iterator[Found]:
        for entry in self._entries if self._is_known else self._listed(self._entries):
            yield from self._found(entry)

    def count(self) -> int | None:
        """How many pages there are, where that is known without much work."""
        if not self._is_known or self._options.attachments or len(self._entries) > MOST_COUNTED:
            return None
        counts = [self._pages(entry) for entry in self._entries]
        return None if None in counts else sum(filter(None, counts))

    def _pages(self, entry: Any) -> int | None:
        if isinstance(entry, (bytes, bytearray, memoryview)):
            entry = Found(_in_memory("bytes", bytes(entry)))
        if not isinstance(entry, Found):
            return 1 if _is_picture(entry) else None  # what else there is can be gone through only once
        if entry.error:
            return 1
        try:
            return len(select_pages(entry.document, self._options))
        except RtpruneError:  # one page, which says why
            return 1

    # --- From a source to documents

    def _listed(self, sources: Iterable[Any]) -> Iterator[Any]:
        """What stands in a list, with the files behind its paths."""
        for each in sources:
            if isinstance(each, (list, tuple)):
                yield from self._listed(each)
            elif isinstance(each, (str, os.PathLike)):
                yield from self._listed_files(each)
            else:
                yield _checked(each)

    def _listed_files(self, path: str | os.PathLike[str]) -> Iterator[Found]:
        try:
            found = self._files(path)
        except RtpruneError as error:
            place = Path(path)
            yield Found(Document(place, printable(str(place)), PurePosixPath(place.stem)), error)
        else:
            yield from map(Found, found)

    def _files(self, path: str | os.PathLike[str]) -> list[Document]:
        return find_files(
            [os.fspath(path)],
            recursive=self._options.recursive,
            patterns=self._options.excluded,
            is_written=is_written,
            is_output=is_output,
        )

    def _found(self, entry: Any) -> Iterator[Found]:
        if isinstance(entry, Found):
            yield from self._with_attachments(entry)
        elif isinstance(entry, (bytes, bytearray, memoryview)):
            yield from self._with_attachments(Found(_in_memory(self._next("bytes"), bytes(entry))))
        elif hasattr(entry, "read"):
            yield from self._with_attachments(self._file(entry))
        elif _is_picture(entry):
            yield self._picture(entry)
        else:
            for each in self._listed(entry):
                yield from self._found(each)

    def _with_attachments(self, found: Found) -> Iterator[Found]:
        if found.error or not self._options.attachments:
            yield found
        else:
            yield from map(Found, with_attachments([found.document], self._options))

    def _file(self, file: Any) -> Found:
        given = getattr(file, "name", None)
        name = printable(given) if isinstance(given, str) and given else self._next("file")
        try:
            data = file.read()
        except OSError as error:
            message = f"{name} cannot be read: {reason(error)}"
            return Found(_in_memory(name, b""), InputError(message, "Check that it is open, and at its start"))
        if not isinstance(data, bytes):
            raise TypeError(f"{name} gives {type(data).__name__}: open it in binary, as open(path, 'rb') does")
        return Found(_in_memory(name, data))

    def _picture(self, picture: Any) -> Found:
        image = _image_of(picture)
        name = printable(getattr(image, "filename", "") or self._next("image"))
        try:
            return Found(_in_memory(name, encoded(image)))
        except Exception as error:  # what is opened and not yet loaded may be damaged in any way
            log.debug("%s", name, exc_info=True)
            message = f"{name} cannot be read: {reason(error)}"
            return Found(_in_memory(name, b""), InputError(message, "Load it before, and see what is wrong with it"))

    def _next(self, kind: str) -> str:
        self._numbers[kind] += 1
        return f"{kind}-{self._numbers[kind]}"


def encoded(image: Image) -> bytes:
    """An image as the bytes of a file that gives what the image's own file would: a TIFF, which has all depths and is
    written in no time.

    Upright, as its EXIF says; resolution and, of RGB, the colour profile go with it. What TIFFs do not have in the same
    form becomes RGB, or RGBA where something is transparent, as it would when the page is made.
    """
    from PIL import ImageOps

    image.load()
    try:
        page = ImageOps.exif_transpose(image)
    except Exception:  # EXIF is a side note: a broken one must not cost the page
        log.debug("EXIF is broken", exc_info=True)
        page = image.copy()
    info, is_rgb = page.info, image.mode == "RGB"
    if page.has_transparency_data and page.mode not in ("LA", "RGBA"):
        page = page.convert("RGBA")
    elif page.mode not in PLAIN_MODES:
        page = page.convert("RGB")
    page.info = {}  # what it holds otherwise is of another format
    extra = {"dpi": info.get("dpi"), "icc_profile": info.get("icc_profile") if is_rgb else None}
    buffer = io.BytesIO()
    page.save(buffer, "TIFF", **{name: value for name, value in extra.items() if value is not None})
    return buffer.getvalue()


def _is_one(source: Any) -> bool:
    """Whether it is one source, though it may be gone through: a picture, an array, bytes, a file."""
    kinds = (str, os.PathLike, bytes, bytearray, memoryview)
    return isinstance(source, kinds) or hasattr(source, "read") or _is_picture(source)


def _is_picture(source: Any) -> bool:
    from PIL.Image import Image

    return isinstance(source, Image) or hasattr(source, "__array__")


def _checked(source: Any) -> Any:
    """
    Raises:
        TypeError, ValueError: it is nothing that can be read.
    """
    from PIL import Image

    if not (_is_one(source) or isinstance(source, Iterable)):
        raise TypeError(f"{type(source).__name__} is nothing that can be read: give {KINDS}")
    if hasattr(source, "__array__") and not isinstance(source, Image.Image):
        _check_array(np.asarray(source))
    return source


def _check_array(pixels: NDArray[Any]) -> None:
    if pixels.dtype != np.uint8 and not (pixels.dtype == np.uint16 and pixels.ndim == 2):
        raise TypeError(f"an array of {pixels.dtype} is no picture: give uint8, 0 to 255, or uint16 for shades of grey")
    if pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,), (4,)) or not pixels.size:
        raise ValueError(f"an array {pixels.shape} is no picture: give (H, W), (H, W, 3) RGB or (H, W, 4) RGBA")


def _image_of(picture: Any) -> Image:
    from PIL import Image

    if isinstance(picture, Image.Image):
        return picture
    return Image.fromarray(np.ascontiguousarray(picture))


def _in_memory(name: str, data: bytes) -> Document:
    return Document(None, name, PurePosixPath(PurePath(name).stem or "_"), data)

"""Every name in an output folder, once: what a run writes, what documents may therefore not be called, what is its own.

OUTPUT/report.jsonl          one record a page, of every document in the folder
OUTPUT/report.html           the same to look at, with --html
OUTPUT/NAME/NAME.md, NAME.report.json, NAME.raw.txt
OUTPUT/NAME/NAME.json        the blocks of its pages
OUTPUT/NAME/NAME.txt, NAME.docling.json, NAME.pdf
                             what `rtprune convert` makes of them
OUTPUT/NAME/images/          crops, page-0001-1.png
OUTPUT/NAME/report/          what report.html shows of a page, page-0001.jpg and others
OUTPUT/NAME.md               all there is of a document with --md-only
OUTPUT/NAME/page-0001.*.png  pictures of `rtprune inspect`, in a folder of its own
OUTPUT/.rtprune/             the tool's own: a journal a document, the lock, temporary files, a note a shard

NAME may have folders, as documents found in subfolders do.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rtprune_cli.errors import OutputError

REPORT, HTML, STATE = "report.jsonl", "report.html", ".rtprune"
RESERVED = (REPORT, HTML, STATE)  # whatever lies beside the documents
MARKDOWN, BLOCKS, RECORDS, RAW = ".md", ".json", ".report.json", ".raw.txt"  # endings of a document's files
TEXT, DOCLING, SEARCHABLE = ".txt", ".docling.json", ".pdf"  # of those that it is converted to
ENDINGS = (MARKDOWN, BLOCKS, RECORDS, RAW, TEXT, DOCLING, SEARCHABLE)
CONVERTED_MARK = b"%rtprune convert\n"  # a comment near the end of a PDF: by its name it might be a scan
TAIL = 1024  # bytes at the end of a PDF in which readers look for where to begin
IMAGES, VIEWS = "images", "report"  # its folders
LEFT_OUT = ("leave-one-out", "leave-one-out-tiles")
PICTURES = ("kept", "kept-tiles", "norms", "density", "transport", *LEFT_OUT)  # of an inspected page
MAX_STEM_BYTES = 200  # file systems allow 255 for a name; the longest ending and "_2" must still fit

_PAGE = r"page-(\d{4,12})"
CROP_NAME = rf"{_PAGE}-\d{{1,9}}\.png"
VIEW_NAME = rf"{_PAGE}(?:\.thumb\.jpg|\.jpg|\.json)"
_CROP, _VIEW = re.compile(CROP_NAME), re.compile(VIEW_NAME)
_PICTURE = re.compile(rf"{_PAGE}\.(?:{'|'.join(PICTURES)})\.png")


def crop_name(page: int, number: int) -> str:
    """The file of a page's crop; both count from 1."""
    return f"page-{page:04d}-{number}.png"


def crop_page(name: str) -> int | None:
    """The page of a crop; None for another file."""
    return int(found[1]) if (found := _CROP.fullmatch(name)) else None


def view_names(page: int) -> tuple[str, str, str]:
    """The files that report.html shows of a page: picture, thumbnail, visual tokens."""
    return f"page-{page:04d}.jpg", f"page-{page:04d}.thumb.jpg", f"page-{page:04d}.json"


def view_page(name: str) -> int | None:
    """The page of one of :func:`view_names`; None for another file."""
    return int(found[1]) if (found := _VIEW.fullmatch(name)) else None


def picture_name(page: int, kind: str) -> str:
    """The picture of an inspected page; ``kind`` is one of :data:`PICTURES`."""
    return f"page-{page:04d}.{kind}.png"


def numbers_name(page: int) -> str:
    """The numbers of an inspected page."""
    return f"page-{page:04d}.json"


def is_written(path: str, exists: Callable[[str], bool] = os.path.exists) -> bool:
    """Whether an image was written by an earlier run, and is no input of the next where output and input are mixed.

    A scan may well be called report/page-0001.jpg: it is a run's where the other files of such a page lie beside it,
    of which ``exists`` knows.
    """
    folder, name = os.path.split(path)
    if name.lower().endswith(SEARCHABLE):
        return is_converted(path)
    kind = os.path.basename(folder)
    if kind == IMAGES and crop_page(name) is not None:
        return True
    if kind == VIEWS and (page := view_page(name)) is not None:
        return any(exists(os.path.join(folder, other)) for other in view_names(page) if other != name)
    picture = _PICTURE.fullmatch(name)
    return picture is not None and exists(os.path.join(folder, numbers_name(int(picture[1]))))


def is_converted(path: str | Path) -> bool:
    """Whether a PDF was written by `rtprune convert` and not changed since; not so one that cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            return CONVERTED_MARK in file.read()
    except OSError:
        return False


def is_output(folder: str, is_folder: Callable[[str], bool] = os.path.isdir) -> bool:
    """Whether a folder is the output folder of a run; its documents lie in it and are no input."""
    return is_folder(os.path.join(folder, STATE))


def is_place(folder: PurePosixPath) -> bool:
    """Whether that lies inside the output folder."""
    return not folder.is_absolute() and ".." not in folder.parts and bool(folder.parts)


@dataclass(frozen=True)
class Layout:
    """The places in one output folder. ``md_only``: each document is one markdown file."""

    root: Path
    md_only: bool = False

    @property
    def report(self) -> Path:
        return self.root / REPORT

    @property
    def html(self) -> Path:
        return self.root / HTML

    @property
    def state(self) -> Path:
        return self.root / STATE

    @property
    def scratch(self) -> Path:
        """For temporary files; emptied by each run."""
        return self.state / "tmp"

    @property
    def rows(self) -> Path:
        """The records of a run's documents until it ends."""
        return self.scratch / "rows.jsonl"

    @property
    def journals(self) -> Path:
        """Below it, a folder for each beginning of their names."""
        return self.state / "journal"

    @property
    def shards(self) -> Path:
        """Notes of the shards whose documents are in the folder (shards.py)."""
        return self.state / "shards"

    def name(self, path: Path) -> str:
        """What a file of the folder is called, from there."""
        return path.relative_to(self.root).as_posix()

    def of(self, folder: PurePosixPath) -> DocumentFiles:
        """The files of the document whose place is ``folder``.

        Raises:
            OutputError: that is not inside the output folder.
        """
        if not is_place(folder):
            raise OutputError(f"{str(folder)!r} is not a place inside the output folder", "Report this bug")
        return DocumentFiles(self, folder)


@dataclass(frozen=True)
class DocumentFiles:
    """The places of one document's files."""

    layout: Layout
    folder: PurePosixPath

    @property
    def markdown(self) -> Path:
        return self.file(MARKDOWN)

    @property
    def blocks(self) -> Path:
        return self.file(BLOCKS)

    @property
    def records(self) -> Path:
        return self.file(RECORDS)

    @property
    def raw(self) -> Path:
        return self.file(RAW)

    @property
    def images(self) -> Path:
        return self.markdown.with_name(IMAGES)

    @property
    def views(self) -> Path:
        return self.markdown.with_name(VIEWS)

    @property
    def journal(self) -> Path:
        """Named after the markdown file, so that whoever owns that, with --md-only or without, is found; as a hash, so
        that no name is too long or in the way of another."""
        digest = hashlib.sha256(os.fsencode(self.text_path)).hexdigest()[:40]
        return self.layout.journals / digest[:2] / f"{digest}.jsonl"

    @property
    def text_path(self) -> str:
        """Of the markdown, relative to the output folder."""
        return self.layout.name(self.markdown)

    def own(self) -> Iterator[Path]:
        """The files of the document that are there, its markdown last."""
        if not self.layout.md_only:
            for folder, page_of in ((self.images, crop_page), (self.views, view_page)):
                names = sorted(os.listdir(folder)) if folder.is_dir() else []
                yield from (folder / name for name in names if page_of(name) is not None)
            yield from (path for path in map(self.file, reversed(ENDINGS)) if path.is_file() and path != self.markdown)
        if self.markdown.is_file():
            yield self.markdown

    def tidy(self) -> None:
        """Remove the document's folders, and those that they lie in, where nothing is left in them."""
        for folder in (self.images, self.views):
            with suppress(OSError):  # not empty, or not there
                folder.rmdir()
        remove_empty(self.markdown.parent, self.layout.root)

    def any_exists(self) -> bool:
        """Whether one of the document's own files is there."""
        own = [self.markdown] if self.layout.md_only else [self.markdown, self.blocks, self.records, self.raw]
        return any(path.exists() for path in own)

    def file(self, ending: str) -> Path:
        """The file with one of :data:`ENDINGS`."""
        folder = self.layout.root / self.folder
        name = f"{self.folder.name}{ending}"
        return folder.with_name(name) if self.layout.md_only else folder / name


def remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder and those that it lies in, up to ``root``, as far as they are empty."""
    with suppress(OSError):  # not empty
        while folder != root:
            folder.rmdir()
            folder = folder.parent


# --- Names in the way of one another, as keys: posix paths in one case and normal form


def files_of(key: str) -> list[str]:
    """The files of a document in its folder ``key``, and the one beside it that is all it has with ``--md-only``."""
    stem = f"{key}/{key.rpartition('/')[2]}"
    return [*(f"{stem}{ending}" for ending in ENDINGS), f"{key}{MARKDOWN}"]


def document_of(key: str) -> str | None:
    """The folder of the document of which ``key`` would be a crop or a view; None where it would be neither."""
    folder, _, name = key.rpartition("/")
    document, _, kind = folder.rpartition("/")
    is_page_file = (kind == IMAGES and crop_page(name)) or (kind == VIEWS and view_page(name))
    return document if document and is_page_file else None

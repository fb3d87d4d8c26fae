"""Owns the way out: the layout of the output folder, atomic writes, and markdown on standard output."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import sys
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, TextIO

from rtprune_cli.errors import OutputError
from rtprune_cli.options import OutputOptions
from rtprune_cli.records import Document, PageResult
from rtprune_cli.report import SCHEMA_VERSION

REPORT = "report.jsonl"
STDOUT = "-"
MAX_ERROR_TEXT = 200
_CROP_LINK = re.compile(r"!\[\]\(images/(page-\d{4,12}-\d{1,9}\.png)\)")

_HINTS = {
    errno.EACCES: "Choose another folder with -o, or change its permissions",
    errno.EPERM: "Choose another folder with -o, or change its permissions",
    errno.EROFS: "Choose another folder with -o; this one is read-only",
    errno.ENOSPC: "Free some space and run again",
    errno.EDQUOT: "Free some space and run again",
    errno.ENOTDIR: "A file stands where a folder is needed; choose another folder with -o",
    errno.EEXIST: "A file stands where a folder is needed; choose another folder with -o",
    errno.EISDIR: "A folder stands where a file is needed; choose another folder with -o",
    errno.ENAMETOOLONG: "Choose an output folder with a shorter path",
}


# --- Writing -----------------------------------------------------------------------------------------------------


def atomic_write(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that readers see the old file or the whole new one, also after a crash.

    Raises:
        OutputError: it cannot be written; nothing is left behind.
    """
    # Not tempfile: its files are private to the user, and results should follow the umask.
    temporary = path.parent / f".rtprune-{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        _remove(temporary)
        if isinstance(error, OSError):
            raise _output_error(path, error) from None
        raise


def _remove(path: Path) -> None:
    with suppress(OSError):  # never made, or on a disk that is gone: the first error is the one to report
        path.unlink()


def _output_error(path: Path | str, error: OSError) -> OutputError:
    reason = (error.strerror or type(error).__name__).lower()
    hint = _HINTS.get(error.errno or 0, "Check the disk, or choose another folder with -o")
    return OutputError(f"cannot write {str(path)!r}: {reason}", hint)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _output_error(path, error) from None


def _json(value: object, *, indent: int | None = None) -> bytes:
    separators = (",", ":") if indent is None else None
    text = json.dumps(
        _finite(value), ensure_ascii=False, allow_nan=False, indent=indent, separators=separators, default=str
    )
    return (text + "\n").encode("utf-8", "replace")


def _finite(value: object) -> object:
    """NaN and infinity are not JSON: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


# --- A page as text ----------------------------------------------------------------------------------------------


def _page_text(record: Mapping[str, object], text: str) -> str:
    """One page with its marker; a failed page (or document) is a comment in its place."""
    page = record.get("page")
    place = "document" if page is None else f"page {page}"
    if record.get("status") != "failed":
        return f"<!-- {place} -->\n\n{text}".rstrip()
    error = record.get("error")
    error = error if isinstance(error, Mapping) else {}
    code, message = (_harmless(error.get(key, default)) for key, default in (("code", "failure"), ("message", "")))
    return f"<!-- {place} failed: {code}: {message}".rstrip(" :") + " -->"


def _harmless(value: object) -> str:
    """Text that cannot end the comment it stands in, on one line."""
    text = " ".join(str(value).split())[:MAX_ERROR_TEXT]
    return re.sub("-{2,}", "-", text).replace(">", "&gt;").strip("-")


def _join(pages: list[str]) -> bytes:
    return ("\n\n".join(pages) + "\n").encode("utf-8", "replace")


# --- The output folder -------------------------------------------------------------------------------------------


class _Pending:
    """What is kept of a document until it is finished: text and records, no images."""

    def __init__(self) -> None:
        self.pages: list[str] = []
        self.raw: list[str] = []
        self.records: list[dict[str, object]] = []


class FolderOutput:
    """A folder with one subfolder a document, and ``report.jsonl`` of the whole run.

    Making it creates the folder and tries to write there, so that a wrong ``-o`` fails before a model is loaded;
    entering it opens the report, leaving it (also by an exception) moves the report into place.
    """

    def __init__(self, root: Path, options: OutputOptions) -> None:
        """
        Raises:
            OutputError: the folder cannot be created or written.
        """
        self.root = root
        self._options = options
        self._pending: dict[PurePosixPath, _Pending] = {}
        self._report: IO[bytes] | None = None
        self._finished = 0
        _make_folder(root)
        probe = root / f".rtprune-{uuid.uuid4().hex}.tmp"
        try:
            probe.touch(exist_ok=False)
        except OSError as error:
            raise _output_error(root, error) from None
        _remove(probe)

    def __enter__(self) -> FolderOutput:
        try:
            self._report = open(self._part, "wb")
        except OSError as error:
            raise _output_error(self._part, error) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._report is None:
            return
        report, self._report = self._report, None
        try:
            with report:
                report.flush()
                os.fsync(report.fileno())
            if kind is not None and not self._finished:
                _remove(self._part)  # nothing was done: the report of the run before stays
            else:
                os.replace(self._part, self.root / REPORT)
        except OSError as problem:
            if kind is None:  # else the exception under way is the one to report
                raise _output_error(self.root / REPORT, problem) from None

    @property
    def _part(self) -> Path:
        return self.root / f"{REPORT}.part"

    def add(self, result: PageResult) -> None:
        """Save the crops of a page and keep its text and record. Pages stand in the order they are added.

        Raises:
            OutputError: a crop cannot be written.
        """
        self._save_crops(result)
        pending = self._pending.setdefault(result.document.folder, _Pending())
        pending.pages.append(_page_text(result.record, result.markdown.text))
        pending.records.append(result.record)
        if self._options.raw:
            pending.raw.append(_page_text(result.record, result.raw))

    def finish(self, document: Document, summary: dict[str, object]) -> None:
        """Write the markdown, report and raw text of a document, and append its records to the run's report.

        Raises:
            OutputError: one of them cannot be written.
        """
        pending = self._pending.pop(document.folder, None) or _Pending()
        folder = self._folder(document)
        _make_folder(folder)
        path = None if document.path is None else str(document.path)
        about = {"name": document.name, "path": path, "folder": str(document.folder)}
        report = {"schema_version": SCHEMA_VERSION, "document": about, "pages": pending.records, **summary}
        if self._options.raw:
            atomic_write(folder / f"{document.stem}.raw.txt", _join(pending.raw))
        atomic_write(folder / f"{document.stem}.md", _join(pending.pages))
        atomic_write(folder / f"{document.stem}.report.json", _json(report, indent=2))
        self._append(pending.records)
        self._finished += 1

    def _append(self, records: list[dict[str, object]]) -> None:
        if self._report is None:
            raise RuntimeError("FolderOutput.finish() outside its with block")
        try:
            self._report.write(b"".join(map(_json, records)))
            self._report.flush()
        except OSError as error:
            raise _output_error(self._part, error) from None

    def _folder(self, document: Document) -> Path:
        if document.folder.is_absolute() or ".." in document.folder.parts or not document.folder.parts:
            raise OutputError(f"{str(document.folder)!r} is not a place inside the output folder", "Report this bug")
        return self.root / document.folder

    def _save_crops(self, result: PageResult) -> None:
        if not result.markdown.crops or result.image is None:
            return
        from PIL import Image

        folder = self._folder(result.document) / "images"
        _make_folder(folder)
        for name, box in result.markdown.crops.items():
            size = (box[2] - box[0], box[3] - box[1])
            # The same pixels as crop(), which has a size limit of its own that large pages would meet.
            crop = result.image.resize(size, Image.Resampling.NEAREST, box=box)
            buffer = io.BytesIO()
            crop.save(buffer, "PNG")
            atomic_write(folder / PurePosixPath(name).name, buffer.getvalue())


# --- Standard output ---------------------------------------------------------------------------------------------


class StreamOutput:
    """The same markdown page by page on a text stream (``-o -``): no folder, no report, no crops.

    References to crops are dropped, as there is no file that they could lead to.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._first = True

    def __enter__(self) -> StreamOutput:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def add(self, result: PageResult) -> None:
        """Write one page and flush.

        Raises:
            BrokenPipeError: the reader has gone.
            OutputError: any other failure to write.
        """
        crops = result.markdown.crops
        text = _CROP_LINK.sub(lambda link: "" if link[1] in crops else link[0], result.markdown.text)
        text = re.sub(r"\n{3,}", "\n\n", text).strip()
        self._write(b"" if self._first else b"\n", _join([_page_text(result.record, text)]))
        self._first = False

    def finish(self, document: Document, summary: dict[str, object]) -> None:
        """Nothing is left to write: pages went out as they came."""

    def _write(self, *chunks: bytes) -> None:
        data = b"".join(chunks)
        try:
            buffer = getattr(self._stream, "buffer", None)
            self._stream.flush()
            if buffer is None:
                self._stream.write(data.decode())
            else:  # UTF-8 and bare newlines whatever the locale and the platform
                buffer.write(data)
                buffer.flush()
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _output_error("standard output", error) from None


Output = FolderOutput | StreamOutput


def open_output(options: OutputOptions) -> Output:
    """The output that ``options.output`` names; enter it to use it.

    Raises:
        OutputError: the folder cannot be created or written.
    """
    return StreamOutput() if options.output == STDOUT else FolderOutput(Path(options.output), options)

"""Which documents: paths, folders and list files, each with its own place in the output folder."""

from __future__ import annotations

import itertools
import logging
import os
import re
import stat
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from rtprune_cli.errors import InputError, UsageError
from rtprune_cli.inputs.formats import EXTENSIONS, READS, printable, reason
from rtprune_cli.records import CROP_NAME, Document, Occupancy

log = logging.getLogger("rtprune")

STDIN = "-"
CROP = re.compile(rf"[\\/]images[\\/]{CROP_NAME}$")  # made by an earlier run
MAX_STEM_BYTES = 200  # file systems allow 255 for a name; ".report.json" and "_2" must still fit
RESERVED = ("report.jsonl", "report.jsonl.part", ".rtprune")  # the run's own beside the documents' folders


class Found(NamedTuple):
    """A file that was found, before it has its own place: ``place`` is the one it would like in the output folder.

    ``path`` is as it was given, None for standard input; ``data`` is what cannot be read twice.
    """

    path: Path | None
    name: str
    place: PurePosixPath
    data: bytes | None = None


def find_documents(
    paths: Sequence[str],
    *,
    recursive: bool,
    files_from: str | None = None,
    null: bool = False,
    stdin: BinaryIO | None = None,
    exclude: Iterable[Path] = (),
) -> list[Document]:
    """Turn command-line paths into documents: :func:`find_files`, then :func:`name_documents`.

    Raises:
        UsageError: as in :func:`find_files`.
        InputError: as in :func:`find_files`.
    """
    return name_documents(
        find_files(paths, recursive=recursive, files_from=files_from, null=null, stdin=stdin, exclude=exclude)
    )


def find_files(
    paths: Sequence[str],
    *,
    recursive: bool,
    files_from: str | None = None,
    null: bool = False,
    stdin: BinaryIO | None = None,
    exclude: Iterable[Path] = (),
) -> list[Found]:
    """The files behind command-line paths, in the order given; a folder's files are sorted.

    A folder gives its direct children with a supported extension, or its whole tree with ``recursive``; hidden files
    are skipped and linked folders below it are not followed. A file that is named is always returned: opening it
    decides whether it can be read. ``-`` is a document on standard input; ``files_from`` is a list of paths in a file
    (``-``: standard input), one a line or separated by NUL with ``null``. Nothing under ``exclude`` is found inside
    folders, so that a second run over a tree that holds the output folder does not read its own crops. A path that
    is reached twice is one file.

    Raises:
        UsageError: nothing to read, a path that does not exist, a folder without supported files.
        InputError: a folder or list that cannot be read.
    """
    if files_from == STDIN and STDIN in paths:
        raise UsageError("both a list and a document on standard input", "Put one of them in a file")
    skipped = {os.path.realpath(path) for path in exclude}
    found: list[Found] = []
    seen: set[str] = set()
    listed = [] if files_from is None else _read_list(files_from, null, stdin)
    for raw, is_listed in [(path, False) for path in paths] + [(path, True) for path in listed]:
        if raw == STDIN and not is_listed:
            if STDIN not in seen:
                seen.add(STDIN)
                found.append(Found(None, "stdin", PurePosixPath("stdin"), _standard_input(stdin).read()))
            continue
        for path, place in _expand(raw, recursive, skipped):
            if (key := os.path.abspath(path)) not in seen:
                seen.add(key)
                found.append(Found(path, printable(str(path)), place, _drain_pipe(path)))
    if not found:
        what = "no input given" if files_from is None else f"the list {printable(files_from)} names no files"
        raise UsageError(what, "Name PDFs, images or folders, or use --files-from")
    return found


def _free(document: Document) -> Occupancy:
    return "free"


def name_documents(found: Iterable[Found], occupancy: Callable[[Document], Occupancy] = _free) -> list[Document]:
    """Give every file its own place in the output folder.

    A place that another file of this run has, or whose ``occupancy`` is of another document of an earlier run, becomes
    ``NAME_2``, ``NAME_3`` and so on, with a warning the first time. A document of an earlier run finds its place again
    in whatever order the files come, unless a file that came first has it.
    """
    namer = _Namer(occupancy)
    return [namer.claim(item) for item in found]


def _standard_input(stdin: BinaryIO | None) -> BinaryIO:
    return sys.stdin.buffer if stdin is None else stdin


def _read_list(source: str, null: bool, stdin: BinaryIO | None) -> list[str]:
    try:
        blob = _standard_input(stdin).read() if source == STDIN else Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the list {printable(source)}: {reason(error)}", "Check --files-from") from None
    if null:
        return [os.fsdecode(entry) for entry in blob.split(b"\0") if entry]
    if b"\0" in blob:
        raise UsageError(f"the list {printable(source)} is separated by NUL", "Add -0 / --null")
    lines = blob.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [os.fsdecode(line) for line in (line.removesuffix(b"\r") for line in lines) if line.strip()]


def _expand(raw: str, recursive: bool, skipped: set[str]) -> list[tuple[Path, PurePosixPath]]:
    """The files behind one path, each with the place it would like in the output folder."""
    path = Path(raw)
    try:
        is_folder = stat.S_ISDIR(os.stat(raw).st_mode)
    except (OSError, ValueError) as error:
        name = printable(raw)
        if isinstance(error, PermissionError):
            raise InputError(f"{name} cannot be reached: permission denied", "Check its permissions") from None
        raise UsageError(f"{name!r} does not exist", "Check the spelling, or quote names with spaces") from None
    if not is_folder:
        return [(path, PurePosixPath(path.stem))]
    files = _walk(path, recursive, skipped)
    if not files:
        hint = f"rtprune reads {READS}" + ("" if recursive else "; add -r to look into subfolders")
        raise UsageError(f"the folder {printable(raw)} holds no file that can be read", hint)
    return [(file, PurePosixPath(*file.relative_to(path).with_suffix("").parts)) for file in files]


def _walk(root: Path, recursive: bool, skipped: set[str]) -> list[Path]:
    def give_up_or_warn(error: OSError) -> None:
        where = printable(str(error.filename))
        if error.filename == str(root):
            raise InputError(f"the folder {where} cannot be read: {reason(error)}", "Check its permissions")
        log.warning("the folder %s was skipped: %s", where, reason(error))

    files: list[Path] = []
    into_itself = os.path.realpath(root) in skipped  # the output goes beside the input
    # Linked folders are not followed, as in find(1): a loop of links ends here, and no file is reached twice.
    for folder, subfolders, names in os.walk(root, onerror=give_up_or_warn):
        wanted = [name for name in subfolders if not name.startswith(".")]
        wanted = [name for name in wanted if os.path.realpath(os.path.join(folder, name)) not in skipped]
        subfolders[:] = sorted(wanted) if recursive else []
        for name in sorted(names):
            if into_itself and CROP.search(os.path.join(folder, name)):
                continue
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS:
                path = Path(folder, name)
                if os.path.isfile(path):
                    files.append(path)
                else:
                    log.warning("%s was skipped: not a file, or a broken link", printable(str(path)))
    return files


def _drain_pipe(path: Path) -> bytes | None:
    """A named pipe or ``<(command)`` can be read only once, and a document is opened twice (count, then read)."""
    try:
        return path.read_bytes() if stat.S_ISFIFO(path.stat().st_mode) else None
    except OSError:
        return None  # opening it later says what is wrong, and costs only this document


class _Namer:
    """Gives every document its own folder, also where file systems ignore case or normalise Unicode."""

    def __init__(self, occupancy: Callable[[Document], Occupancy]) -> None:
        self._occupancy = occupancy
        self._folders: set[str] = set()
        self._ancestors: set[str] = set()
        self._files = set(RESERVED)
        self._numbers: dict[str, int] = {}  # wanted place -> the first number that may still be free in this run

    def claim(self, item: Found) -> Document:
        wanted = PurePosixPath(*([_safe_part(part) for part in item.place.parts] or ["_"]))
        inside = self._beside_files(wanted.parent)
        places = (
            Document(item.path, item.name, folder, item.data) for folder in self._candidates(inside / wanted.name)
        )
        held = ((document, self._occupancy(document)) for document in places)
        document, occupancy = next((document, by) for document, by in held if by != "other")
        folder = document.folder
        if folder != wanted and occupancy == "free":
            shown = printable(str(folder)), printable(str(wanted))
            log.warning("%s goes to %s: the name %s is taken", item.name, *shown)
        key = _key(folder)
        self._folders.add(key)
        self._ancestors.update(_way_to(key))
        self._files.update(_files_of(key))
        return document

    def _beside_files(self, folder: PurePosixPath) -> PurePosixPath:
        """``folder`` with a number in every part where a document has a file: ``a.md/b.pdf`` beside ``a.pdf``."""
        way = PurePosixPath()
        for part in folder.parts:
            numbered = (part if number == 1 else f"{part}_{number}" for number in itertools.count(1))
            way = next(way / name for name in numbered if _key(way / name) not in self._files)
        return way

    def _candidates(self, wanted: PurePosixPath) -> Iterator[PurePosixPath]:
        """Places that no file of this run has: ``wanted``, then numbered ones."""
        key = _key(wanted)
        # Numbers that this run has given away are not tried again: 5,000 folders may hold a 0001.tif each. Those
        # that are taken on disk are, as they are the own place of a file that is still to come.
        number = self._numbers.get(key, 1)
        contiguous = True
        while True:
            folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}_{number}")
            if self._free(_key(folder)):
                contiguous = False
                yield folder
            number += 1
            if contiguous:
                self._numbers[key] = number

    def _free(self, key: str) -> bool:
        """Not taken, and no folder of one document has the path of another's file (``a.pdf`` and ``a/a.md.pdf``)."""
        on_files = not self._files.isdisjoint(_way_to(key))
        return key not in self._folders and not on_files and self._ancestors.isdisjoint(_files_of(key))


def _key(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()


def _way_to(key: str) -> list[str]:
    """The folder and those that it lies in."""
    parts = key.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _files_of(key: str) -> list[str]:
    """The files of a document in its folder, and the one beside it that is all it has with ``--md-only``."""
    stem = f"{key}/{key.rpartition('/')[2]}"
    return [f"{stem}.md", f"{stem}.report.json", f"{stem}.raw.txt", f"{key}.md"]


def _safe_part(part: str) -> str:
    """One path component that cannot climb, and leaves room for the suffixes of the output files."""
    part = re.sub(r"[\\/\x00\ud800-\udfff]", "_", part)
    part = part.encode()[:MAX_STEM_BYTES].decode(errors="ignore")
    return "_" if part in ("", ".", "..") else part

"""Which documents: the files behind paths, folders and list files."""

from __future__ import annotations

import logging
import os
import stat
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from rtprune_cli.errors import InputError, UsageError
from rtprune_cli.inputs.formats import EXTENSIONS, READS, printable, reason
from rtprune_cli.records import Document

log = logging.getLogger("rtprune")

STDIN = "-"


def find_files(
    paths: Sequence[str],
    *,
    recursive: bool,
    files_from: str | None = None,
    null: bool = False,
    stdin: BinaryIO | None = None,
    exclude: Iterable[Path] = (),
    is_written: Callable[[str], bool] = lambda path: False,
) -> list[Document]:
    """The files behind command-line paths, in the order given; a folder's files are sorted.

    Each has the place that it would like in the output folder; which it gets is for the output to say.

    A folder gives its direct children with a supported extension, or its whole tree with ``recursive``; hidden files
    are skipped and linked folders below it are not followed. A file that is named is always returned: opening it
    decides whether it can be read. ``-`` is a document on standard input; ``files_from`` is a list of paths in a file
    (``-``: standard input), one a line or separated by NUL with ``null``. Nothing under ``exclude`` is found inside
    folders, so that a second run over a tree that holds the output folder does not read its own crops; where the two
    are one folder, what ``is_written`` knows as a run's own is left out. A path that is reached twice is one file.

    Raises:
        UsageError: nothing to read, a path that does not exist, a folder without supported files.
        InputError: a folder or list that cannot be read.
    """
    if files_from == STDIN and STDIN in paths:
        raise UsageError("both a list and a document on standard input", "Put one of them in a file")
    skipped = {os.path.realpath(path) for path in exclude}
    found: list[Document] = []
    seen: set[str] = set()
    listed = [] if files_from is None else _read_list(files_from, null, stdin)
    for raw, is_listed in [(path, False) for path in paths] + [(path, True) for path in listed]:
        if raw == STDIN and not is_listed:
            if STDIN not in seen:
                seen.add(STDIN)
                found.append(Document(None, "stdin", PurePosixPath("stdin"), _standard_input(stdin).read()))
            continue
        for path, place in _expand(raw, recursive, skipped, is_written):
            if (key := os.path.abspath(path)) not in seen:
                seen.add(key)
                found.append(Document(path, printable(str(path)), place, _drain_pipe(path)))
    if not found:
        what = "no input given" if files_from is None else f"the list {printable(files_from)} names no files"
        raise UsageError(what, "Name PDFs, images or folders, or use --files-from")
    return found


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


def _expand(
    raw: str, recursive: bool, skipped: set[str], is_written: Callable[[str], bool]
) -> list[tuple[Path, PurePosixPath]]:
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
    files = _walk(path, recursive, skipped, is_written)
    if not files:
        hint = f"rtprune reads {READS}" + ("" if recursive else "; add -r to look into subfolders")
        raise UsageError(f"the folder {printable(raw)} holds no file that can be read", hint)
    return [(file, PurePosixPath(*file.relative_to(path).with_suffix("").parts)) for file in files]


def _walk(root: Path, recursive: bool, skipped: set[str], is_written: Callable[[str], bool]) -> list[Path]:
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
            if into_itself and is_written(os.path.join(folder, name)):
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

"""Which documents: the files behind paths, URLs, folders and list files."""

from __future__ import annotations

import codecs
import fnmatch
import logging
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from rtprune_cli import remote
from rtprune_cli.errors import InputError, UsageError
from rtprune_cli.inputs.formats import EXTENSIONS, OTHERS, READS, printable, reason
from rtprune_cli.inputs.urls import IsOutput, IsWritten, UrlSearch
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
    patterns: Sequence[str] = (),
    is_written: IsWritten = lambda path, exists=os.path.exists: False,
    is_output: IsOutput = lambda folder, is_folder=os.path.isdir: False,
) -> list[Document]:
    """The files behind command-line paths, in the order given; a folder's files are sorted.

    Each has the place that it would like in the output folder; which it gets is for the output to say.

    A folder gives its direct children with a supported extension, or its whole tree with ``recursive``; hidden files
    are skipped, as are names that match one of ``patterns``, and linked folders below it are not followed. A file that
    is named is always returned: opening it decides whether it can be read. ``-`` is a document on standard input;
    ``files_from`` is a list of paths in a file (``-``: standard input), one a line or separated by NUL with ``null``.
    A path of a list that does not exist is a document that cannot be opened. Nothing under ``exclude`` is found inside
    folders, nor in a folder that ``is_output`` knows as written by a run, so that a second run over a tree that holds
    results does not read its own crops; where input and output are one folder, what ``is_written`` knows is left out.
    A path that is reached twice is one file.

    All of that holds for URLs too, as far as fsspec has a library for them; what an ``https`` URL names is a file.

    Raises:
        UsageError: nothing to read, a path that does not exist, a folder without supported files.
        InputError: a folder or list that cannot be read.
        EnvironmentFault: a library for URLs is not installed.
    """
    if files_from == STDIN and STDIN in paths:
        raise UsageError("both a list and a document on standard input", "Put one of them in a file")
    search = _Search(recursive, {os.path.realpath(path) for path in exclude}, patterns, is_written, is_output)
    found: list[Document] = []
    seen: set[str] = set()
    listed = [] if files_from is None else _read_list(files_from, null, stdin)
    search.look_up(listed)
    for raw, is_listed in [(path, False) for path in paths] + [(path, True) for path in listed]:
        if raw == STDIN and not is_listed:
            if STDIN not in seen:
                seen.add(STDIN)
                found.append(Document(None, "stdin", PurePosixPath("stdin"), _standard_input(stdin).read()))
            continue
        for each in search.expand(raw, is_listed):
            key = os.path.abspath(each.path) if each.path else each.name
            if key not in seen:
                seen.add(key)
                found.append(each)
    search.tell()
    if not found:
        if files_from is None:
            raise UsageError("no input given", "Name PDFs, images or folders")
        raise UsageError(f"the list {printable(files_from)} names no files", "Check --files-from")
    return found


def _standard_input(stdin: BinaryIO | None) -> BinaryIO:
    return sys.stdin.buffer if stdin is None else stdin


def _read_list(source: str, null: bool, stdin: BinaryIO | None) -> list[str]:
    try:
        if remote.is_url(source):
            blob = remote.read(source)
        else:
            blob = _standard_input(stdin).read() if source == STDIN else Path(source).read_bytes()
    except remote.RemoteError as error:
        raise UsageError(f"cannot read the list {remote.shown(source)}: {error.reason}", error.hint) from None
    except OSError as error:
        raise UsageError(f"cannot read the list {printable(source)}: {reason(error)}", "Check --files-from") from None
    if encoding := _utf16(blob):  # as Windows PowerShell writes lists
        blob = blob.decode(encoding, "surrogatepass").encode("utf-8", "surrogatepass")
    if null:
        return [os.fsdecode(entry) for entry in blob.split(b"\0") if entry]
    if b"\0" in blob:
        raise UsageError(f"the list {printable(source)} is separated by NUL", "Add -0 / --null")
    lines = blob.removeprefix(codecs.BOM_UTF8).split(b"\n")
    return [os.fsdecode(line) for line in (line.removesuffix(b"\r") for line in lines) if line.strip()]


def _utf16(blob: bytes) -> str | None:
    """The encoding of a list in UTF-16: by its mark, or by zeros in every other place, which paths in Latin letters
    have. In a list that NUL separates they are rare, and two never stand so near."""
    if blob.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros = blob[first::2].count(0)
        if len(blob) % 2 == 0 and zeros > len(blob) / 4 and not blob[1 - first :: 2].count(0):
            return name
    return None


class _Search:
    """Looks for the files behind paths, and counts what it leaves out."""

    def __init__(
        self,
        recursive: bool,
        skipped: set[str],
        patterns: Sequence[str],
        is_written: IsWritten,
        is_output: IsOutput,
    ) -> None:
        self._recursive, self._skipped, self._patterns = recursive, skipped, patterns
        self._is_written, self._is_output = is_written, is_output
        self._others: Counter[str] = Counter()  # suffixes of files that look like documents and are not read
        self._results: list[str] = []  # folders of other runs
        self._urls = UrlSearch(recursive, patterns, is_written, is_output)

    def look_up(self, paths: Sequence[str]) -> None:
        """See what is at those that are URLs, many at a time."""
        self._urls.look_up([path for path in dict.fromkeys(paths) if remote.is_url(path)])

    def expand(self, raw: str, is_listed: bool) -> list[Document]:
        """The files behind one path, each with the place it would like in the output folder."""
        if remote.is_url(raw):
            found, left_out, results = self._urls.expand(raw, is_listed)
            self._others.update(left_out)
            self._results += results
            if not found and not is_listed:
                self._refuse_empty(printable(remote.shown(raw)))
            return found
        return [
            Document(path, printable(str(path)), place, _drain_pipe(path))
            for path, place in self._expand_path(raw, is_listed)
        ]

    def _expand_path(self, raw: str, is_listed: bool) -> list[tuple[Path, PurePosixPath]]:
        path = Path(raw)
        try:
            is_folder = stat.S_ISDIR(os.stat(raw).st_mode)
        except (OSError, ValueError) as error:
            if is_listed and "\0" not in raw:  # one of many: it fails when its turn comes, and the others are read
                return [(path, PurePosixPath(path.stem))]
            name = printable(raw)
            if isinstance(error, PermissionError):
                raise InputError(f"{name} cannot be reached: permission denied", "Check its permissions") from None
            raise UsageError(f"{name!r} does not exist", "Check the spelling, or quote names with spaces") from None
        if not is_folder:
            return [(path, PurePosixPath(path.stem))]
        files = self._walk(path)
        if not files and not is_listed:
            self._refuse_empty(printable(raw))
        return [(file, PurePosixPath(*file.relative_to(path).with_suffix("").parts)) for file in files]

    def _refuse_empty(self, name: str) -> None:
        self.tell()
        hint = f"rtprune reads {READS}" + ("" if self._recursive else "; add -r to look into subfolders")
        raise UsageError(f"the folder {name} holds no file that can be read", hint)

    def tell(self) -> None:
        """Say what was left out."""
        if self._others:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in self._others.most_common())
            log.warning("files of types that are not read were left out: %s", kinds)
        if self._results:
            count = len(self._results)
            what = "the folder" if count == 1 else f"{count} folders, such as"
            log.warning("%s %s was written by rtprune and left out", what, printable(self._results[0]))
        self._others.clear()
        self._results.clear()

    def _walk(self, root: Path) -> list[Path]:
        def give_up_or_warn(error: OSError) -> None:
            where = printable(str(error.filename))
            if error.filename == str(root):
                raise InputError(f"the folder {where} cannot be read: {reason(error)}", "Check its permissions")
            log.warning("the folder %s was skipped: %s", where, reason(error))

        files: list[Path] = []
        # Crops and views where the output goes beside the input
        mixed = os.path.realpath(root) in self._skipped or self._is_output(str(root))
        # Linked folders are not followed, as in find(1): a loop of links ends here, and no file is reached twice.
        for folder, subfolders, names in os.walk(root, onerror=give_up_or_warn):
            subfolders[:] = sorted(name for name in subfolders if self._enters(folder, name)) if self._recursive else []
            for name in sorted(names):
                if not self._is_hidden(name) and not (mixed and self._is_written(os.path.join(folder, name))):
                    self._take(Path(folder, name), files)
        return files

    def _enters(self, folder: str, name: str) -> bool:
        path = os.path.join(folder, name)
        if self._is_hidden(name) or os.path.realpath(path) in self._skipped:
            return False
        if self._is_output(path):
            self._results.append(path)
            return False
        return True

    def _is_hidden(self, name: str) -> bool:
        return name.startswith(".") or any(fnmatch.fnmatchcase(name, pattern) for pattern in self._patterns)

    def _take(self, path: Path, files: list[Path]) -> None:
        suffix = path.suffix.lower()
        if suffix not in EXTENSIONS:
            if suffix in OTHERS:
                self._others[suffix] += 1
        elif os.path.isfile(path):
            files.append(path)
        else:
            log.warning("%s was skipped: not a file, or a broken link", printable(str(path)))


def _drain_pipe(path: Path) -> bytes | None:
    """A named pipe or ``<(command)`` can be read only once, and a document is opened twice (count, then read)."""
    try:
        return path.read_bytes() if stat.S_ISFIFO(path.stat().st_mode) else None
    except OSError:
        return None  # opening it later says what is wrong, and costs only this document

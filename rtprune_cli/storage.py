"""Owns writing to disk: files that appear whole or not at all, lines that are appended or not, and what to do else."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import NoneType
from typing import IO, Any

from rtprune_cli.errors import OutputError

log = logging.getLogger("rtprune")

# What file systems say of calls that they do not have.
NO_SUCH_CALL = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
_syncs = True  # until a file system says that it cannot

Json = Mapping[str, Any]  # an object of JSON that is read

_HINTS = {
    errno.EACCES: "Choose another folder with -o, or change its permissions",
    errno.EPERM: "Choose another folder with -o, or change its permissions",
    errno.EROFS: "Choose another folder with -o; this one is read-only",
    errno.ENOSPC: "Free some space and run the same command again: it goes on where it stopped",
    errno.EDQUOT: "Free some space and run the same command again: it goes on where it stopped",
    errno.ENOTDIR: "A file stands where a folder is needed; choose another folder with -o",
    errno.EEXIST: "A file stands where a folder is needed; choose another folder with -o",
    errno.EISDIR: "A folder stands where a file is needed; choose another folder with -o",
    errno.EMFILE: "Raise the limit of open files: ulimit -n 4096",
    errno.ENAMETOOLONG: "Choose an output folder with a shorter path",
}


def output_error(path: Path | str, error: OSError) -> OutputError:
    """What went wrong at ``path`` and what to do next."""
    reason = (error.strerror or type(error).__name__).lower()
    hint = _HINTS.get(error.errno or 0, "Check the disk, or choose another folder with -o")
    return OutputError(f"cannot write {str(path)!r}: {reason}", hint)


def atomic_write(path: Path, data: bytes, scratch: Path | None = None) -> None:
    """Write ``data`` to ``path`` so that readers see the old file or the whole new one, also after a crash.

    A kill can leave a temporary file in ``scratch``, a folder that its owner empties; without one, beside ``path``.

    Raises:
        OutputError: it cannot be written; nothing is left behind.
    """
    temporary = temporary_path(path, scratch)
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            sync(file)
        os.replace(temporary, path)
    except BaseException as error:
        remove(temporary)
        if isinstance(error, OSError):
            raise output_error(path, error) from None
        raise


def temporary_path(path: Path, scratch: Path | None) -> Path:
    """A new name on the same file system as ``path``, so that moving it there is one step."""
    # Not tempfile: its files are private to the user, and results should follow the umask.
    with suppress(OSError):  # where a folder is missing, opening the file says so
        if scratch is not None and os.stat(scratch).st_dev == os.stat(path.parent).st_dev:
            return scratch / uuid.uuid4().hex
    return path.parent / f".rtprune-{uuid.uuid4().hex}.tmp"


def link_or_copy(source: Path, target: Path, scratch: Path, *, link: bool = True) -> None:
    """Have a file at ``target`` too, whole or not at all, in the place of what is there: by a hard link, or as a copy
    without ``link`` and where the file system has none. Only for files that are replaced, not changed, later on.

    Raises:
        OutputError: it cannot be written; what was at ``target`` stays.
    """
    temporary = temporary_path(target, scratch)
    try:
        if not (link and _linked(source, temporary)):
            with open(source, "rb") as old, open(temporary, "xb") as new:
                shutil.copyfileobj(old, new)
                sync(new)
        os.replace(temporary, target)
    except OSError as error:
        raise output_error(target, error) from None
    finally:
        remove(temporary)  # it is still there where both were one file already


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(os.path.realpath(source), target)
    except (OSError, NotImplementedError):  # another file system, one without links, a file of somebody else
        return False
    return True


def append(descriptor: int, data: bytes, path: Path) -> None:
    """Append ``data`` to an open file and have it on the disk, or leave the file as it was.

    Raises:
        OutputError: it cannot be written; ``path`` is what the message names.
    """
    end = os.lseek(descriptor, 0, os.SEEK_END)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        sync(descriptor)
    except BaseException as error:  # a full disk takes the first half of a line before it refuses the second
        with suppress(OSError):
            os.ftruncate(descriptor, end)
        if isinstance(error, OSError):
            raise output_error(path, error) from None
        raise


def sync(file: IO[bytes] | int) -> None:
    """Have on the disk what was written. A file system that has no such call gets none, with a warning once.

    Raises:
        OSError: it cannot be written.
    """
    global _syncs
    descriptor = file if isinstance(file, int) else file.fileno()
    if not isinstance(file, int):
        file.flush()
    if not _syncs:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SUCH_CALL:
            raise
        _syncs = False
        log.warning("this file system cannot say when data is on the disk: a power cut may cost the latest pages")


def make_folder(path: Path) -> None:
    """Make a folder and its parents, unless it is there.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from None


def remove(path: Path) -> None:
    """Delete a file if it can be; one that was never made, or lies on a disk that is gone, is no new error."""
    with suppress(OSError):
        path.unlink()


def read_start(path: Path, size: int = 200) -> str:
    """The first characters of a text file; empty where there is none that can be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(size)
    except OSError:
        return ""


def to_json(value: object, *, indent: int | None = None) -> bytes:
    """One line of JSON (or indented), UTF-8, with NaN and infinity as null, and dataclasses as objects."""
    plain = _plain(value)
    text = _compact(plain) if indent is None else _indented(plain, "\n", " " * indent)
    return (text + "\n").encode("utf-8", "replace")


_compact = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str).encode


SIMPLE = frozenset((str, int, bool, NoneType))  # what JSON has words for as it is


def _plain(value: object) -> Any:
    """What JSON has words for. Pages by the thousand come through here, so that most values are not called for."""
    kind: type = type(value)
    if kind in SIMPLE:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if (names := _field_names(kind)) is not None:
        items = [(name, getattr(value, name)) for name in names]
        return {name: item if type(item) in SIMPLE else _plain(item) for name, item in items}
    if isinstance(value, Mapping):
        return {str(key): item if type(item) in SIMPLE else _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [item if type(item) in SIMPLE else _plain(item) for item in value]
    return value


@cache
def _field_names(kind: type) -> tuple[str, ...] | None:
    return tuple(each.name for each in fields(kind)) if is_dataclass(kind) else None


def _indented(value: Any, line: str, step: str) -> str:
    """A value of JSON as the standard library indents it, which takes many times as long; ``line`` begins a line where
    the value stands."""
    if not (value and isinstance(value, (dict, list))):
        return _leaf(value)
    inner = line + step
    if isinstance(value, dict):
        items = [f"{_key(key)}: {_indented(item, inner, step)}" for key, item in value.items()]
        return f"{{{inner}{f',{inner}'.join(items)}{line}}}"
    if NUMBERS.issuperset(map(type, value)):
        return f"[{inner}{f',{inner}'.join(map(repr, value))}{line}]"
    return f"[{inner}{f',{inner}'.join([_indented(item, inner, step) for item in value])}{line}]"


NUMBERS = frozenset((int, float))
_key = lru_cache(1000)(_compact)  # most are names of fields


def _leaf(value: Any) -> str:
    kind = type(value)
    return repr(value) if kind in NUMBERS else "null" if value is None else _compact(value)

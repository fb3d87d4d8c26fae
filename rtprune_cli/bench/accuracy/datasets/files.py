"""Reading a dataset's own files: folders that exist, UTF-8 text, JSON and JSON lines, with one-line errors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rtprune_cli.errors import InputError, UsageError
from rtprune_cli.inputs.formats import printable, reason

_REPAIR = "Repair the file, or get the dataset again"


def existing_folder(data: Path, what: str) -> Path:
    """``data``, or UsageError where it is no folder. ``what`` it should hold, for the message: "the dataset"."""
    if not data.is_dir():
        state = "is not a folder" if data.exists() else "does not exist"
        raise UsageError(f"the folder of {what} {state}: {printable(str(data))}", "Give the folder's path with --data")
    return data


def read_text(path: Path) -> str:
    """The file as UTF-8, a byte order mark dropped, line ends as ``\\n``; InputError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{printable(str(path))} is not UTF-8 (byte {error.start})", "Convert the file to UTF-8 and run again"
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot read {printable(str(path))}: {reason(error)}", "Check that the file exists and may be read"
        ) from error


def read_json(path: Path) -> Any:
    """The file's JSON value; InputError names the line where it is broken."""
    return _parsed(read_text(path), path, 1)


def read_jsonl(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of every line that is not blank; InputError where a line is no JSON object."""
    rows = []
    # not splitlines(): JSON strings may hold U+2028 and other characters that it takes for line ends
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        row = _parsed(line, path, number)
        if not isinstance(row, dict):
            raise InputError(f"line {number} of {printable(str(path))} is not a JSON object", _REPAIR)
        rows.append((number, row))
    return rows


def wrong_schema(path: Path, where: str, what: str) -> InputError:
    """The error for valid JSON that is not what the format says: ``where`` in the file, ``what`` is wrong with it."""
    return InputError(f"{where} of {printable(str(path))} {what}", _REPAIR)


def checksum(path: Path) -> str:
    """The first 12 hexadecimal digits of a file's SHA-256, as ``sha256sum`` has them."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def fingerprint(paths: Iterable[Path]) -> str:
    """A version for data that names none: 12 hexadecimal digits of the SHA-256 of the files' contents, in order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _parsed(text: str, path: Path, first_line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise InputError(f"line {line} of {printable(str(path))} is not valid JSON", _REPAIR) from error
    except RecursionError as error:
        raise InputError(f"{printable(str(path))} is not valid JSON: nested too deep", _REPAIR) from error

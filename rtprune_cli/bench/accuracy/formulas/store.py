"""Owns the boxes of formulas that were drawn, in a file, so that none is drawn twice: in this run, or in the next."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from rtprune_cli.bench.scoring.omnidocbench.cdm import TokenBoxes
from rtprune_cli.storage import append, make_folder, output_error, to_json

FILE = "boxes.jsonl"
RULES = 1  # raised where the same document would give other boxes


def document_key(document: str, version: str) -> str:
    """Stands for everything that a formula's boxes depend on: what is drawn, and by which programs."""
    return hashlib.sha256("\0".join((str(RULES), version, document)).encode("utf-8", "replace")).hexdigest()


class FormulaStore:
    """Boxes by key; None stands for a formula that gives no picture. A context manager: inside, boxes can be added."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        make_folder(folder)
        self._known: dict[str, TokenBoxes | None] = {}
        self._end = 0
        try:
            lines = self._path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            lines = []
        except OSError as error:
            raise output_error(self._path, error) from None
        for line in lines:
            try:
                if not line.endswith(b"\n"):  # a kill may have left half a line
                    break
                found = json.loads(line)
                self._known[found["key"]] = _boxes(found["picture"])
            except (ValueError, LookupError, TypeError):
                break
            self._end += len(line)
        self._descriptor = -1

    def __enter__(self) -> FormulaStore:
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            os.ftruncate(self._descriptor, self._end)
        except OSError as error:
            raise output_error(self._path, error) from None
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> TokenBoxes | None:
        return self._known[key]

    def add(self, key: str, boxes: TokenBoxes | None) -> None:
        """Keep a formula's boxes.

        Raises:
            OutputError: they cannot be written.
        """
        picture = None if boxes is None else {"tokens": boxes.tokens, "boxes": boxes.boxes, "size": boxes.size}
        append(self._descriptor, to_json({"key": key, "picture": picture}), self._path)
        self._known[key] = boxes


def _boxes(found: dict[str, Any] | None) -> TokenBoxes | None:
    if found is None:
        return None
    width, height = found["size"]
    return TokenBoxes(found["tokens"], [(x1, y1, x2, y2) for x1, y1, x2, y2 in found["boxes"]], (width, height))

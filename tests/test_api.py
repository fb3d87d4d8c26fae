"""The Python API: the names the README shows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import rtprune_cli
from rtprune_cli import DecodeOptions, InputOptions, ModelOptions, OcrOptions, find_documents, load, run


def test_every_public_name_is_there() -> None:
    assert all(getattr(rtprune_cli, name) for name in rtprune_cli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rtprune_cli.nothing  # noqa: B018


def test_importing_the_package_loads_nothing_else() -> None:
    code = "import sys, rtprune_cli; print([m for m in sys.modules if m.startswith('rtprune_cli.')])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_pages_are_read_from_python(make_pdf: Callable[..., Path]) -> None:
    options = OcrOptions(ModelOptions("tiny"), decode=DecodeOptions(max_new_tokens=3), input=InputOptions(dpi=92))
    documents = find_documents([str(make_pdf("seven", "eleven"))], recursive=False)
    pages = list(run(documents, load(options.model), options))
    assert [page.record.output_tokens for page in pages] == [3, 3]

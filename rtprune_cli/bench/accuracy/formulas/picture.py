"""Owns one formula's way through XeLaTeX and Ghostscript: a document in, the picture's pixels out."""

from __future__ import annotations

import logging
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rtprune_cli.bench.accuracy.formulas.tools import TexTools
from rtprune_cli.stopping import TICK

log = logging.getLogger("rtprune")

SECONDS = 30  # that a program may take, as officially
DPI = 200


class FormulaOverdue(Exception):
    """A program took longer than it may."""


class FormulaStopped(Exception):
    """The run was asked to end."""


def picture(document: str, tools: TexTools, is_stopped: Callable[[], bool]) -> NDArray[np.uint8] | None:
    """The only page of a document, (height, width, 4) at 200 dpi; None where there is none, or several.

    What a token touches has its pure colour, and everything else is white: the smoothing is all in the opacity.

    Args:
        document: of TeX; whatever is wrong with it, no file but its own is written and no program run.
        tools: what draws.
        is_stopped: asked all the while; once it says so, all is ended.

    Raises:
        FormulaOverdue: drawing took too long.
        FormulaStopped: the run was asked to end.
    """
    with tempfile.TemporaryDirectory(prefix="rtprune-formula-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "formula.tex").write_text(document, encoding="utf-8", errors="replace")
        _run([tools.xelatex, "-no-shell-escape", "-interaction=nonstopmode", "formula.tex"], folder, is_stopped)
        if not (folder / "formula.pdf").is_file():
            return None
        draw = [
            "-q", "-dBATCH", "-dNOPAUSE", "-dSAFER", "-sDEVICE=pngalpha", "-dTextAlphaBits=4", "-dGraphicsAlphaBits=4",
            f"-r{DPI}", "-dLastPage=2", "-sOutputFile=page-%d.png", "formula.pdf",
        ]  # fmt: skip
        _run([tools.ghostscript, *draw], folder, is_stopped)
        pages = sorted(folder.glob("page-*.png"))
        if len(pages) != 1:
            return None
        try:
            with Image.open(pages[0]) as image:
                return np.asarray(image.convert("RGBA"))
        except (OSError, ValueError, Image.DecompressionBombError):
            log.debug("a formula's picture cannot be read", exc_info=True)
            return None


def _run(command: Sequence[str], folder: Path, is_stopped: Callable[[], bool]) -> None:
    """Run a program to its end, however it ends; with all that it started it is gone when this returns."""
    environment = {**os.environ, "TMPDIR": str(folder), "openout_any": "p", "shell_escape": "f"}
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            _limit(process.pid)
            began = time.monotonic()
            while not _ended(process):
                if is_stopped():
                    raise FormulaStopped
                if time.monotonic() - began > SECONDS:
                    raise FormulaOverdue
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def _limit(process: int) -> None:
    """Have the system end a program that goes on: a second Ctrl-C ends this process alone, and nobody would."""
    if sys.platform == "linux":
        import resource

        with suppress(OSError):  # it has ended already
            resource.prlimit(process, resource.RLIMIT_CPU, (math.ceil(SECONDS), math.ceil(SECONDS)))


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(TICK)
    except subprocess.TimeoutExpired:
        return False
    return True

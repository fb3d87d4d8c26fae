"""Opens and rasterises every file of a folder, each within a time limit, and counts what became of its pages.

    python -m tests.corpus FOLDER --write docs/reliability.md

What fails without a reason, or lasts beyond its limit, is a bug. Where poppler's ``pdftoppm`` is installed, the ink of
each PDF page is held against its: a page with much less lost something of which nobody was told.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path, PurePosixPath

from PIL import Image

from rtprune_cli.errors import RtpruneError
from rtprune_cli.inputs.formats import EXTENSIONS
from rtprune_cli.options import InputOptions
from rtprune_cli.prepare import guard, read_pages
from rtprune_cli.records import Document, PageImage

SECTION = "## Files of others"
SLOW = 5.0  # seconds
DPI = 50
LIGHT = 0.5  # of poppler's ink
LEAST_INK = 2000.0  # below, a page has next to none and shares say nothing
SHOWN = 12


@dataclass
class Counts:
    """What became of the pages, and of the files that could not be opened."""

    files: int = 0
    pages: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    warned: Counter[str] = field(default_factory=Counter)
    readers: Counter[str] = field(default_factory=Counter)
    blank: int = 0
    slow: list[str] = field(default_factory=list)
    compared: int = 0
    light: list[str] = field(default_factory=list)  # with less ink than poppler's, and no warning
    reasons: list[str] = field(default_factory=list)


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file())


def ink(image: Image.Image) -> float:
    """The sum of what the pixels are darker than white, of 255."""
    levels = image.convert("L").histogram()
    return sum((255 - level) * count for level, count in enumerate(levels)) / 255


def read(path: Path, limit: float, counts: Counts, compare: bool) -> None:
    document = Document(path, path.name, PurePosixPath(path.stem))
    options = InputOptions(dpi=DPI, page_timeout=limit)
    began = time.monotonic()
    counts.files += 1
    drawn: dict[int, PageImage] = {}
    try:
        for page in read_pages(document, options):
            if isinstance(page, PageImage):
                counts.pages += 1
                counts.readers[page.reader] += 1
                counts.blank += page.text == ""
                counts.warned.update({each.code for each in page.warnings + page.about})
                drawn[page.page] = page
            else:
                counts.failed[page.error.code] += 1
                counts.reasons.append(str(page.error))
            now = time.monotonic()
            if now - began > SLOW:
                counts.slow.append(f"{path.name}, page {page.page}: {now - began:.0f} s")
            began = now
    except RtpruneError as error:
        counts.failed[error.code] += 1
        counts.reasons.append(str(error))
        if time.monotonic() - began > SLOW:
            counts.slow.append(f"{path.name}: {time.monotonic() - began:.0f} s")
    if compare and path.suffix.lower() == ".pdf" and drawn:
        hold_against_poppler(path, drawn, limit, counts)


def hold_against_poppler(path: Path, drawn: dict[int, PageImage], limit: float, counts: Counts) -> None:
    for number, other in poppler(path, max(drawn), limit):
        page = drawn.get(number)
        if page is None or (page.dpi or 0) != DPI:
            continue
        counts.compared += 1
        theirs, ours = ink(other), ink(page.image)
        if theirs > LEAST_INK and ours < LIGHT * theirs and not page.warnings:
            counts.light.append(f"{path.name}, page {number}: {ours / theirs:.0%}")


def poppler(path: Path, last: int, limit: float) -> Iterator[tuple[int, Image.Image]]:
    """The pages as pdftoppm draws them, 20 at most."""
    with tempfile.TemporaryDirectory() as folder:
        line = ["pdftoppm", "-r", str(DPI), "-l", str(min(last, 20)), "-cropbox", str(path), f"{folder}/page"]
        try:
            subprocess.run(line, capture_output=True, timeout=limit, check=False)
        except subprocess.TimeoutExpired:
            return
        for made in sorted(Path(folder).glob("*.ppm")):
            yield int(made.stem.rpartition("-")[2]), Image.open(made)


def section(counts: Counts, what: str, seconds: float) -> str:
    def listed(found: Counter[str]) -> str:
        return ", ".join(f"{count} `{code}`" for code, count in found.most_common()) or "none"

    versions = ", ".join(f"{name} {version(name)}" for name in ("pymupdf", "pypdfium2", "pillow"))
    rows = [
        ("files", f"{counts.files}"),
        ("pages read", f"{counts.pages}, of which {counts.blank} without ink"),
        ("drawn by", listed(counts.readers)),
        ("pages and documents that failed", f"{sum(counts.failed.values())}: {listed(counts.failed)}"),
        ("pages with warnings", listed(counts.warned)),
        (f"slower than {SLOW:g} s", f"{len(counts.slow)}"),
        (
            f"pages with less than {LIGHT:.0%} of the ink of poppler's, and no warning",
            f"{len(counts.light)} of {counts.compared}" if counts.compared else "not measured",
        ),
    ]
    return "\n".join([
        SECTION, "",
        f"`python -m tests.corpus FOLDER --write docs/reliability.md` wrote this section, over {what}.",
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, {versions};",
        f"{seconds:.0f} s at {DPI} dpi.", "",
        "| what | count |", "|---|---|", *(f"| {name} | {count} |" for name, count in rows), "",
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=float, default=20.0, help="seconds for a page")
    parser.add_argument("--what", default="a folder of PDFs and images", help="what the files are, for the page")
    parser.add_argument("--write", type=Path, help="markdown file whose last section is renewed")
    options = parser.parse_args()
    began, counts = time.monotonic(), Counts()
    compare = shutil.which("pdftoppm") is not None
    for path in files_of(options.folder):
        started = time.monotonic()
        read(path, options.limit, counts, compare)
        if time.monotonic() - started > options.limit:
            print(f"{path}: {time.monotonic() - started:.0f} s", flush=True)
    guard().stop()
    text = section(counts, options.what, time.monotonic() - began)
    print(text)
    for name, lines in (("slow", counts.slow), ("light", counts.light), ("failed", counts.reasons)):
        print(f"{name}:", *lines[: None if name != "failed" else 400], sep="\n  ")
    if options.write:
        before = options.write.read_text(encoding="utf-8").partition(SECTION)[0]
        options.write.write_text(f"{before.rstrip()}\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()

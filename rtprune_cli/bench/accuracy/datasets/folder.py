"""A user's own pages: images and PDFs, each beside a text file of its name that is the truth."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from rtprune_cli.bench.accuracy.datasets.base import Dataset, Sample, by_id
from rtprune_cli.bench.accuracy.datasets.files import existing_folder, fingerprint, read_json, read_text, wrong_schema
from rtprune_cli.bench.scoring.flatten import plain
from rtprune_cli.bench.scoring.records import Marks
from rtprune_cli.bench.scoring.text import METRICS, score_text
from rtprune_cli.errors import InputError, RtpruneError
from rtprune_cli.inputs.formats import EXTENSIONS, printable
from rtprune_cli.options import InputOptions
from rtprune_cli.prepare import select_pages
from rtprune_cli.records import Document

log = logging.getLogger("rtprune")

GROUPS = "groups.json"
TRUTHS = (".txt", ".md")
PAGED = (".pdf", ".tif", ".tiff")  # may have more than one page
_PAGE = re.compile(r"(.+)\.p0{0,5}([1-9]\d{0,5})", re.DOTALL)  # of a truth's name: page 2 of scan.pdf is scan.p2.txt
_MARKER = re.compile(r"<!-- page (\d{1,9})( failed\b[^\n]*?)? -->")  # of a joined page within a paragraph


@dataclass(frozen=True)
class PageTruth:
    """The text of a page, and where that is: in which document (a path without suffix), on which page from 1."""

    text: str
    document: str
    page: int = 1


def open_folder(data: Path, images: bool = True) -> Dataset:
    """The pages of ``data`` and its subfolders: ``NAME.png`` (or another type that is read) with ``NAME.txt``.

    ``NAME.md`` is a truth too; it is flattened as the predictions are, a ``.txt`` is taken as it is. A document of
    several pages has a truth a page, ``NAME.p1.txt``, ``NAME.p2.txt``; pages without one are not scored. An image
    without truth and a truth without image are left out with a warning; where ``images`` is False and the folder has no
    image at all, every truth is a page. Hidden files and folders are not looked at. Groups are the first subfolder, as
    ``folder``, and what ``groups.json`` at the root says: ``{"NAME": {"layout": "form", "language": ["en", "de"]}}``,
    where NAME is the path without suffix.

    Raises:
        UsageError: no such folder.
        InputError: nothing to score, two images or two truths of one name, a document of several pages with one text,
            a file that is not UTF-8, a groups.json of another form.
    """
    existing_folder(data, "the pages")
    found = list(_walk(data))
    sources = _by_name([path for path in found if path.suffix.lower() in EXTENSIONS], data, "images")
    truths = _by_name([path for path in found if path.suffix.lower() in TRUTHS], data, "truths")
    samples = []
    for name, path in truths.items():
        whole, page = _part(name)
        if name in sources:
            _check_one_page(sources[name], path)
            samples.append(_sample(name, sources[name], path, name, 1))
        elif whole in sources:
            samples.append(_sample(name, sources[whole], path, whole, page))
        elif not images and not sources and PurePosixPath(name).name.lower() != "readme":
            samples.append(_sample(name, path, path, whole, page))
    names, used = {sample.id for sample in samples}, {sample.source for sample in samples}
    _warn_of([path for name, path in truths.items() if name not in names], "texts without an image")
    _warn_of([path for path in sources.values() if path not in used], "images without a text")
    if not samples:
        raise InputError(
            f"no page with a truth in {printable(str(data))}",
            "Put NAME.txt or NAME.md beside every NAME.png or NAME.pdf",
        )
    return Dataset(
        "folder",
        fingerprint(truths[sample.id] for sample in samples),
        _grouped(samples, data),
        METRICS,
        ("cer",),
        score_page,
        find,
        title=f"folder {printable(data.resolve().name)}",
        about=(
            "CER and WER: Levenshtein distance over the length of the truth, in code points and in words, summed over "
            "pages; a Chinese character or kana is a word.",
            "Both texts: Unicode NFC, whitespace as one space; case and punctuation count. Predictions lose the marks "
            "of markdown and HTML first.",
        ),
    )


def score_page(truth: PageTruth, prediction: str | None) -> Marks:
    """As :func:`score_text`; of a prediction with the page markers of ``rtprune ocr`` the truth's page counts."""
    return score_text(truth.text, None if prediction is None else page_of(prediction, truth.page))


def page_of(markdown: str, page: int) -> str | None:
    """The text after the marker of ``page``; all of it where there are no markers, None where the page failed."""
    if markdown.startswith("<!-- document failed"):
        return None
    markers = list(_MARKER.finditer(markdown))
    if not markers:
        return markdown
    for number, marker in enumerate(markers):
        if int(marker[1]) == page:
            end = markers[number + 1].start() if number + 1 < len(markers) else len(markdown)
            return None if marker[2] else markdown[marker.end() : end]
    return None


def find(folder: Path, sample: Sample) -> Path | None:
    """``NAME.md``, or the document's as ``rtprune ocr`` writes it: ``NAME/NAME.md``, or ``NAME.md`` for every page."""
    document = sample.truth.document
    places = (folder / document / f"{PurePosixPath(document).name}.md", folder / f"{document}.md")
    return by_id(folder, sample) or next((path for path in places if path.is_file()), None)


def _part(name: str) -> tuple[str, int]:
    """The document and the page that a truth's name means: ``scan.p2`` is page 2 of ``scan``."""
    page = _PAGE.fullmatch(name)
    return (page[1], int(page[2])) if page else (name, 1)


def _walk(root: Path) -> Iterator[Path]:
    """Files in a fixed order; linked folders are not followed, so that no loop of links is."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))


def _by_name(paths: Sequence[Path], root: Path, what: str) -> dict[str, Path]:
    """By the path without suffix, a POSIX path from the root."""
    named: dict[str, Path] = {}
    for path in paths:
        name = path.relative_to(root).with_suffix("").as_posix()
        if name in named:
            raise InputError(
                f"two {what} of one name: {printable(named[name].name)} and {printable(path.name)}",
                "Remove or rename one of them",
            )
        named[name] = path
    return named


def _sample(name: str, source: Path, truth: Path, document: str, page: int) -> Sample:
    text = read_text(truth)
    if truth.suffix.lower() == ".md":
        text = plain(text)
    return Sample(name, source, PageTruth(text, document, page), text, page)


def _grouped(samples: Sequence[Sample], data: Path) -> list[Sample]:
    given = _read_groups(data / GROUPS) if (data / GROUPS).exists() else {}
    names = {sample.id for sample in samples}
    if unknown := [name for name in given if name not in names]:
        log.warning("%s has names of no page: %d, the first is %r", GROUPS, len(unknown), unknown[0])
    in_subfolders = any("/" in sample.id for sample in samples)
    grouped = []
    for sample in samples:
        parts = PurePosixPath(sample.id).parts
        own = {"folder": parts[0] if len(parts) > 1 else "."} if in_subfolders else {}
        grouped.append(replace(sample, groups={**own, **given.get(sample.id, {})}))
    return grouped


def _read_groups(path: Path) -> dict[str, dict[str, str | list[str]]]:
    given = read_json(path)
    if not isinstance(given, dict) or not all(isinstance(groups, dict) for groups in given.values()):
        raise wrong_schema(path, "the value", 'is not {"NAME": {"layout": "form"}}')
    for name, groups in given.items():
        for key, value in groups.items():
            if not (isinstance(value, str) or (isinstance(value, list) and all(isinstance(v, str) for v in value))):
                raise wrong_schema(path, f"{key!r} of {name!r}", "is neither a text nor a list of texts")
    return given


def _check_one_page(path: Path, truth: Path) -> None:
    """A text for a document of several pages says nothing of where one page ends."""
    if path.suffix.lower() not in PAGED:
        return
    try:
        document = Document(path, printable(path.name), PurePosixPath(path.stem))
        count = len(select_pages(document, InputOptions()))
    except RtpruneError:  # the run says what is wrong with it, and goes on
        return
    if count > 1:
        stem, suffix = printable(path.stem), truth.suffix
        raise InputError(
            f"{printable(path.name)} has {count} pages and one text, {printable(truth.name)}",
            f"Write a text a page: {stem}.p1{suffix}, {stem}.p2{suffix}",
        )


def _warn_of(paths: Sequence[Path], what: str) -> None:
    if paths:
        log.warning("%s are left out: %d, the first is %s", what, len(paths), printable(str(paths[0])))

"""Ocean-OCR's evaluation data as it is cloned: five lists of images with their text."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from rtprune_cli.bench.accuracy.datasets.base import Dataset, Sample, by_id
from rtprune_cli.bench.accuracy.datasets.files import existing_folder, fingerprint, read_json, wrong_schema
from rtprune_cli.bench.scoring.ocean_ocr import METEOR, METRICS, ImageTruth, has_meteor, score_image
from rtprune_cli.bench.scoring.text import METRICS as TEXT_METRICS
from rtprune_cli.errors import InputError
from rtprune_cli.inputs.formats import printable

log = logging.getLogger("rtprune")

INNER = "OCR_eval_data"  # the folder of the data in the repository
# Set -> language; scenes hold both, mostly one line.
SETS = {
    "document_en": "english",
    "document_zh": "chinese",
    "handwritten_en": "english",
    "handwritten_zh": "chinese",
    "scene_text_rec": "mixed",
}


def open_ocean_ocr(data: Path, images: bool = True) -> Dataset:
    """The sets in ``data``, or in its ``OCR_eval_data``: ``document_en.json`` with ``document_en/``, and so on.

    With ``images``, entries whose image is not there are left out with a warning: the published data lacks 100 of
    handwritten_en.

    Raises:
        UsageError: no such folder.
        InputError: none of the sets, a set of another form, none of its images.
    """
    existing_folder(data, "Ocean-OCR")
    root = data / INNER if (data / INNER).is_dir() else data
    there = [name for name in SETS if (root / f"{name}.json").is_file()]
    if not there:
        raise InputError(
            f"none of the sets of Ocean-OCR in {printable(str(root))}", f"Give the folder that holds {INNER}"
        )
    if len(there) < len(SETS):
        log.warning("sets of Ocean-OCR that are not there: %s", ", ".join(name for name in SETS if name not in there))
    samples = [sample for name in there for sample in _read(root, name)]
    if images:
        missing = [sample for sample in samples if not sample.source.is_file()]
        if missing:
            first = printable(str(missing[0].source))
            log.warning("images that are not there are left out: %d, the first is %s", len(missing), first)
        samples = [sample for sample in samples if sample.source.is_file()]
    if not samples:
        raise InputError(f"no image of Ocean-OCR in {printable(str(root))}", "Get the images of the sets too")
    meteor = has_meteor()
    return Dataset(
        "ocean-ocr",
        fingerprint(root / f"{name}.json" for name in there),
        samples,
        [*METRICS, *([METEOR] if meteor else []), *TEXT_METRICS],
        ("edit",),
        score_image,
        by_id,
        title="Ocean-OCR",
        about=(
            "Metrics as in guoxy25/Ocean-OCR eval.py, which takes truth and prediction for one another: its precision "
            "is the recall here, its recall the precision, and its BLEU differs.",
            "Predictions lose the marks of markdown and HTML first; their LaTeX stands between dollars. Whitespace is "
            "one space on both sides.",
            "METEOR is with NLTK's WordNet." if meteor else "METEOR is left out: NLTK's WordNet is not installed.",
        ),
        slow=True,
    )


def _read(root: Path, name: str) -> Iterator[Sample]:
    path = root / f"{name}.json"
    entries = read_json(path)
    if not isinstance(entries, list):
        raise wrong_schema(path, "the value", "is not a list of images")
    seen: dict[str, int] = {}
    for number, entry in enumerate(entries, 1):
        try:
            image, text = entry["image"], entry["conversations"][1]["value"]
        except (LookupError, TypeError):
            image = text = None
        if not isinstance(image, str) or not isinstance(text, str):
            raise wrong_schema(path, f"entry {number}", "has no image with a text")
        place = PurePosixPath(image)
        if not image or place.is_absolute() or ".." in place.parts or "\\" in image or "\0" in image:
            raise wrong_schema(path, f"entry {number}", "names no image inside the dataset")
        own = f"{name}/{place.with_suffix('').as_posix()}"
        seen[own] = seen.get(own, 0) + 1
        yield Sample(
            own if seen[own] == 1 else f"{own}_{seen[own]}",
            root / name / image,
            ImageTruth(text, name),
            text,
            groups={"set": name, "language": SETS[name]},
        )

"""The OmniDocBench dataset: one JSON file of annotations and a folder of page images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from rtprune_cli.bench.accuracy.datasets.base import Dataset, Release, Sample
from rtprune_cli.bench.accuracy.datasets.files import checksum, existing_folder, read_json, wrong_schema
from rtprune_cli.bench.accuracy.formulas.render import render_formulas
from rtprune_cli.bench.accuracy.formulas.tools import tex_tools
from rtprune_cli.bench.scoring.omnidocbench import metrics, read_page, readable, score_page, totals
from rtprune_cli.bench.scoring.records import Marks
from rtprune_cli.errors import InputError
from rtprune_cli.inputs.formats import printable

# Pages of the released files; one with other pages is told by its formulas, whose language v1.5 added.
RELEASES = {981: "v1.0", 1355: "v1.5"}
SUPPORTED = "Use OmniDocBench.json of v1.0 (981 pages) or v1.5 (1355 pages)"
GROUPS = ("data_source", "language", "layout", "special_issue")
ABOUT = (
    "OmniDocBench (arXiv 2412.07626), end to end with quick_match, as the official v1.5 evaluator scores it "
    "(opendatalab/OmniDocBench 7bd6c2e)",
    "figures are means over pages; a page without a prediction or without a sample is left out officially and counts "
    "as worst in the strict figures; unmatched predictions cost nothing officially (see the notes)",
)
# What accuracy is, where formulas can be drawn and where they cannot.
HEADLINE = ("text_edit", "teds", "cdm")
HEADLINE_UNDRAWN = ("text_edit", "formula_edit", "table_edit", "order_edit")
ACCURACY_IS = "Overall of OmniDocBench v1.5 / 100: the mean of 1 - text edit, TEDS and CDM by page averages"
ACCURACY_UNDRAWN_IS = (
    "1 - the mean of the text, formula, table and order edit distances, which v1.0 called Overall; not v1.5's Overall, "
    "which needs CDM, and formulas cannot be drawn here"
)


def open_omnidocbench(data: Path, images: bool = True) -> Dataset:
    """The dataset in the folder ``data``: annotations, and images in ``images/`` or beside them.

    ``images`` False: they need not be there, since predictions are.

    Raises:
        UsageError: no such folder.
        InputError: no annotations, several, another version or schema; an image is missing.
    """
    path, pages = _annotations(existing_folder(data, "OmniDocBench"))
    _check(path, pages)
    samples = [_sample(data, page) for page in pages]
    names = [sample.id for sample in samples]
    if repeated := next((name for number, name in enumerate(names) if name in names[:number]), None):
        raise wrong_schema(
            path, f"page {names.index(repeated) + 1}", f"shares its image with another: {printable(repeated)}"
        )
    missing = [sample.source.name for sample in samples if not sample.source.is_file()] if images else []
    if missing:
        raise InputError(
            f"{len(missing)} of {len(samples)} page images of OmniDocBench are missing, first {printable(missing[0])}",
            f"Put them into {printable(str(data / 'images'))}",
        )
    drawn = tex_tools() is not None
    return Dataset(
        name="omnidocbench",
        version=f"{_version(pages)}, {len(pages)} page{'s' * (len(pages) != 1)}",
        samples=samples,
        metrics=metrics(drawn=drawn),
        headline=HEADLINE if drawn else HEADLINE_UNDRAWN,
        accuracy_name="Overall" if drawn else None,
        accuracy_is=ACCURACY_IS if drawn else ACCURACY_UNDRAWN_IS,
        score=score_page,
        find=find_prediction,
        official=official_totals,
        about=ABOUT,
        slow=True,
        release=Release(annotations=checksum(path)),
        render=render_formulas if drawn else None,
    )


def find_prediction(folder: Path, sample: Sample) -> Path | None:
    """The prediction of a page under one of the official names, in the official order.

    Those of X.pdf_1.jpg: X.pdf_1.md, X_1.mmd, X_1.md, X.pdf_1.jpg.md.
    """
    short = sample.id.replace(".pdf", "")
    names = (f"{sample.id}.md", f"{short}.mmd", f"{short}.md", f"{sample.source.name}.md")
    return next((path for name in names if (path := folder / name).is_file()), None)


def official_totals(pages: Sequence[tuple[Sample, Marks]]) -> dict[str, Any]:
    """The structure of the official result file."""
    return totals(marks.details for _, marks in pages)


def _sample(data: Path, page: dict[str, Any]) -> Sample:
    name = PurePosixPath(page["page_info"]["image_path"]).name
    source = data / "images" / name
    beside = data / name
    attributes = page["page_info"]["page_attribute"]
    return Sample(
        id=PurePosixPath(name).stem,
        source=beside if beside.is_file() and not source.is_file() else source,
        truth=read_page(page),
        text=readable(page),
        groups={group: _values(attributes[group]) for group in GROUPS if group in attributes},
    )


def _values(value: Any) -> str | list[str]:
    return [str(each) for each in value] if isinstance(value, list) else str(value)


# --- The annotation file -----------------------------------------------------------------------------------------


def _annotations(data: Path) -> tuple[Path, Any]:
    """The file and what it holds: the one named like the official, else the one that is annotations."""
    paths = sorted(data.glob("OmniDocBench*.json")) or sorted(data.glob("*.json"))
    if not paths:
        raise InputError(
            f"no annotations of OmniDocBench in {printable(str(data))}",
            "Put OmniDocBench.json there, with the images in images/",
        )
    if len(paths) > 1:
        # of several, those that hold something else or cannot be read are none of ours
        paths = [path for path in paths if _is_annotations(path)] or paths
    if len(paths) > 1:
        names = ", ".join(printable(path.name) for path in paths)
        raise InputError(f"which file holds the annotations of OmniDocBench: {names}", "Keep one of them in the folder")
    return paths[0], read_json(paths[0])


def _is_annotations(path: Path) -> bool:
    try:
        pages = read_json(path)
    except InputError:
        return False
    return isinstance(pages, list) and all(isinstance(page, dict) and "layout_dets" in page for page in pages)


def _check(path: Path, pages: Any) -> None:
    """Raises InputError where ``pages`` is not what the evaluator reads."""
    if not isinstance(pages, list) or not pages or not all(isinstance(page, dict) for page in pages):
        raise _other_version(path, "is not a list of pages")
    for number, page in enumerate(pages, 1):
        if "layout_dets" not in page or "page_info" not in page:
            raise _other_version(path, "has no layout_dets and page_info (the PyPI package has blocks and relations)")
        problem = _problem(page)
        if problem:
            raise wrong_schema(path, f"page {number}", problem)
        if "subset" in page["page_info"]["page_attribute"]:
            raise _other_version(path, "is of v1.6, whose evaluator differs")


def _other_version(path: Path, why: str) -> InputError:
    return InputError(f"wrong version of OmniDocBench: {printable(str(path))} {why}", SUPPORTED)


def _problem(page: dict[str, Any]) -> str | None:
    info, blocks = page["page_info"], page["layout_dets"]
    if not isinstance(info, dict) or not isinstance(info.get("page_attribute"), dict):
        return "has no page_attribute"
    image = info.get("image_path")
    if not isinstance(image, str) or PurePosixPath(image).name in ("", "..") or "\0" in image:
        return "has no image_path"
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        return "has layout_dets that are no objects"
    for block in blocks:
        order = block.get("order")
        if not isinstance(block.get("category_type"), str):
            return "has a block without category_type"
        if order is not None and not isinstance(order, (int, float)):
            return "has an order that is no number"
        if not isinstance(block.get("attribute") or {}, dict):
            return "has an attribute that is no object"
    extra = page.get("extra", {})
    relations = extra.get("relation", []) if isinstance(extra, dict) else None
    if not isinstance(relations, list) or not all(
        isinstance(each, dict) and {"source_anno_id", "target_anno_id"} <= each.keys() for each in relations
    ):
        return "has relations that do not name two blocks"
    return None


def _version(pages: Sequence[dict[str, Any]]) -> str:
    if len(pages) in RELEASES:
        return RELEASES[len(pages)]
    formulas = [
        block.get("attribute") or {}
        for page in pages
        for block in page["layout_dets"]
        if block["category_type"] == "equation_isolated"
    ]
    if not formulas:
        return "unknown version"
    return "v1.5" if any("equation_language" in attributes for attributes in formulas) else "v1.0"

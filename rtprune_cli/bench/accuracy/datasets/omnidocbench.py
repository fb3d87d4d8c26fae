"""The OmniDocBench dataset: one JSON file of annotations and a folder of page images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from rtprune_cli.bench.accuracy.datasets.base import Dataset, Release, Sample
from rtprune_cli.bench.accuracy.datasets.files import checksum, existing_folder, read_json, wrong_schema
from rtprune_cli.bench.accuracy.formulas.render import render_formulas, rendered
from rtprune_cli.bench.accuracy.formulas.tools import tex_tools
from rtprune_cli.bench.scoring.omnidocbench import RULES, readable
from rtprune_cli.bench.scoring.omnidocbench.rules import Rules
from rtprune_cli.bench.scoring.records import Marks
from rtprune_cli.errors import InputError, UsageError
from rtprune_cli.inputs.formats import printable

# Pages of the released files. Since v1.6 a page says which subset it is of; before, a file with other pages is told by
# its formulas, whose language v1.5 added.
RELEASES = {981: "v1.0", 1355: "v1.5", 1651: "v1.6"}
SUPPORTED = "Use OmniDocBench.json of v1.0 (981 pages), v1.5 (1355 pages) or v1.6 (1651 pages)"
GROUPS = ("subset", "data_source", "language", "layout", "special_issue")
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
ACCURACY_V16_IS = (
    "1 - the mean of the text, formula, table and order edit distances; not v1.6's Overall, which needs v1.6's CDM, "
    "and that is not computed"
)
ABOUT_V16 = (
    "OmniDocBench (arXiv 2412.07626), end to end with quick_match, by the rules of the v1.6 evaluator (as vendored in "
    "open-compass/VLMEvalKit pull request 1572, fb4d575), without its limits of time",
    "figures are means over pages; a page without a prediction is an empty page; unmatched predictions cost nothing "
    "(see the notes); a table predicted as LaTeX stands for nothing, as officially where LaTeXML is absent",
    "CDM is not computed: that of v1.6 is another programme than that of v1.5; so v1.6's Overall is not",
    "figures by the rules of v1.5 and of v1.6 are not comparable, nor are the truths of the two releases the same",
)


def open_omnidocbench(data: Path, images: bool = True, rules: str | None = None) -> Dataset:
    """The dataset in the folder ``data``: annotations, and images in ``images/`` or beside them.

    ``images`` False: they need not be there, since predictions are. ``rules``: of the evaluator of that version;
    None: of v1.6 for annotations of v1.6, else of v1.5.

    Raises:
        UsageError: no such folder, no such rules.
        InputError: no annotations, several, another version or schema; an image is missing.
    """
    path, pages = _annotations(existing_folder(data, "OmniDocBench"))
    _check(path, pages)
    version = _version(pages)
    rules = rules or ("v1.6" if version == "v1.6" else "v1.5")
    by = rules_named(rules)
    samples = [_sample(data, page, by) for page in pages]
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
    drawn = bool(by.drawn_metrics) and tex_tools() is not None
    return Dataset(
        name="omnidocbench",
        version=f"{version}, {len(pages)} page{'s' * (len(pages) != 1)}"
        + (f", by the rules of {rules}" if "v1.6" in (version, rules) else ""),
        samples=samples,
        metrics=by.drawn_metrics if drawn else by.metrics,
        headline=HEADLINE if drawn else HEADLINE_UNDRAWN,
        accuracy_name="Overall" if drawn else None,
        accuracy_is=ACCURACY_IS if drawn else ACCURACY_UNDRAWN_IS if by.drawn_metrics else ACCURACY_V16_IS,
        score=by.score,
        find=find_prediction,
        official=partial(official_totals, rules=by),
        about=ABOUT_V16 if rules == "v1.6" else ABOUT,
        slow=True,
        release=Release(annotations=checksum(path)),
        render=render_formulas if drawn else None,
        rendered=rendered if drawn else dict,
    )


def find_prediction(folder: Path, sample: Sample) -> Path | None:
    """The prediction of a page under one of the official names, in the official order.

    Those of X.pdf_1.jpg: X.pdf_1.md, X_1.mmd, X_1.md, X.pdf_1.jpg.md.
    """
    short = sample.id.replace(".pdf", "")
    names = (f"{sample.id}.md", f"{short}.mmd", f"{short}.md", f"{sample.source.name}.md")
    return next((path for name in names if (path := folder / name).is_file()), None)


def rules_named(name: str) -> Rules:
    """Raises UsageError where there are none of that name."""
    if name not in RULES:
        raise UsageError(f"unknown rules {name!r}", f"Use one of {', '.join(RULES)}")
    return RULES[name]


def official_totals(pages: Sequence[tuple[Sample, Marks]], rules: Rules) -> dict[str, Any]:
    """The structure of the official result file."""
    return rules.totals(marks.details for _, marks in pages)


def _sample(data: Path, page: dict[str, Any], rules: Rules) -> Sample:
    name = PurePosixPath(page["page_info"]["image_path"]).name
    source = data / "images" / name
    beside = data / name
    attributes = page["page_info"]["page_attribute"]
    return Sample(
        id=PurePosixPath(name).stem,
        source=beside if beside.is_file() and not source.is_file() else source,
        truth=rules.read(page),
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
    if any("subset" in page["page_info"]["page_attribute"] for page in pages):
        return "v1.6"
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

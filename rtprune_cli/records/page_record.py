"""What the reports say of a page. The JSON schema and the table in docs/report-format.md are made from these fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from rtprune_cli.errors import RtpruneError
from rtprune_cli.options import MODE_FORM, Mode

SCHEMA_VERSION = 1

Status = Literal["ok", "failed"]
FinishReason = Literal["eos", "length", "loop", "blank", "text_layer"]
PageReaderName = Literal["mupdf", "pdfium", "pillow"]
WarningCode = Literal[
    "damaged",  # something on the page cannot be drawn, and is missing
    "truncated",  # an image ends before its end
    "repaired",  # the file was damaged, and what could be mended is read
    "placeholder",  # the page stands in for a form that cannot be drawn
    "attachments",  # the document has files inside that are not read
    "animated",  # pictures after the first are not read
    "stretched",  # a strip so long that the model cannot read it
    "sideways",  # the lines of the page seem to run upright
    "untrained_mode",  # the checkpoint was not trained for the mode
    "untrained_prompt",  # nor for the prompt
    "token_limit",  # the text was cut at the token limit
    "loop",  # the text repeated itself, and was cut there
    "crops",  # more pictures than are kept of a page
    "context",  # the page was read by itself, since reading it together with others failed
]


def described(doc: str, *, default: Any = MISSING, always: bool = False, of_failed: bool = False, **limits: Any) -> Any:
    """A field with its description and, as JSON schema names them, the ``limits`` of its numbers.

    ``always``: it is there for every page that was read. Without a ``default`` it is there for failures too, and may be
    with ``of_failed``.
    """
    return field(default=default, metadata={"doc": doc, "always": always, "of_failed": of_failed, "limits": limits})


def _read(doc: str, **limits: Any) -> Any:
    """A number, zero or more, of every page that was read; None of one that failed."""
    return described(doc, default=None, always=True, **{"minimum": 0, **limits})


def _share(doc: str) -> Any:
    return _read(doc, maximum=1)


def _optional(doc: str, **limits: Any) -> Any:
    """A number that not every page has that was read."""
    return described(doc, default=None, **{"minimum": 0, **limits})


@dataclass(frozen=True)
class ErrorRecord:
    """Why a page or document failed."""

    code: str = described("Short and machine-readable.")
    message: str = described("For people.")


@dataclass(frozen=True)
class WarningRecord:
    """Why a page that was read may lack something, or not be what was meant."""

    code: WarningCode = described("Short and machine-readable.")
    message: str = described("For people.")


@dataclass(frozen=True, kw_only=True)
class AttemptRecord:
    """One reading of a page that was read more than once."""

    mode: str = described("The mode of this reading.")
    retention: float = described("Visual tokens after over before.", exclusiveMinimum=0, maximum=1)
    finish_reason: FinishReason = described("As below.")
    output_tokens: int = described("Text tokens written.", minimum=0)
    loop_tokens_cut: int = described("As below.", minimum=0)


@dataclass(frozen=True, kw_only=True)
class PageRecord:
    """A page, or with ``page`` None a document that could not be opened, as the reports have it, in their order.

    What a failed page lacks is None. Times are milliseconds; pages that shared a stage have equal parts of its time.
    """

    schema_version: int = described("1", default=SCHEMA_VERSION)
    document: str = described("The input as named on the command line, found in its folder, or - for standard input.")
    folder: str = described("The document's place in the output folder: `NAME`, or `sub/NAME_2`.")
    page: int | None = described("From 1; null when the document as a whole failed.", minimum=1)
    status: Status = described("`ok` or `failed`.")
    error: ErrorRecord | None = described("Null, or `code` and `message`.", default=None)
    warnings: tuple[WarningRecord, ...] = described(
        "What may be missing or wrong on the page: `code` and `message` of each; empty where nothing is. What concerns "
        "the whole document stands with the first of its pages that was read.",
        default=(),
    )
    reader: PageReaderName | None = described(
        "What drew the page: `mupdf`, `pdfium`, or `pillow` for an image.", default=None, always=True
    )
    text_path: str | None = described(
        "The document's markdown in the output folder: `NAME/NAME.md`; null where no folder is written.",
        default=None,
        of_failed=True,
    )
    input_sha256: str | None = described(
        "SHA-256 of the input file; null where it could not be read, and with `input_version`.",
        default=None,
        of_failed=True,
    )
    input_version: str | None = described(
        "Of an input at a URL: its ETag, else when it was changed, which stands for its content; null for others.",
        default=None,
        of_failed=True,
    )
    started: str | None = described("When the drawing of the page began, UTC, ISO 8601.", default=None)
    seconds: float | None = _read("Seconds of all its stages together.")
    mode: Mode | None = described(
        "The mode that was used: by name, or `side-N` for one view of N x N pixels.",
        default=None,
        always=True,
        pattern=MODE_FORM,
    )
    prompt: str | None = described(
        "The prompt that was used: the name of a task, `locate WORDS`, or a text.", default=None, always=True
    )
    context: int | None = _optional(
        "With `--pages-per-context`: which of its document's contexts the page was read in, from 1; null for a page "
        "that was read by itself.",
        minimum=1,
    )
    context_pages: int | None = _optional(
        "Pages that were read together in that context, this one included; they have equal parts of its times.",
        minimum=2,
    )
    image_width: int | None = _read("Pixels of the page.")
    image_height: int | None = _read("Pixels of the page.")
    dpi: int | None = _optional("Resolution at which a PDF page was drawn; null for images.")
    tile_columns: int | None = _optional("Tiles beside one another; null without tiles.")
    tile_rows: int | None = _optional("Tiles below one another; null without tiles.")
    visual_tokens_before: int | None = _read("Visual tokens of the page, newlines and separator included.")
    visual_tokens_after: int | None = _read("Of these, how many enter the decoder.")
    prunable: int | None = _read("Visual tokens less newlines and separator.")
    kept: int | None = _read("Prunable tokens that stay.")
    merged: int | None = _read("Prunable tokens merged into them: `prunable - kept`.")
    newlines_dropped: int | None = _read("Newline tokens of cell rows that are wholly gone.")
    r_similarity: float | None = _share(
        "A measure of the dynamic ratio (computed for a fixed ratio too): 1 less the mean squared cosine between "
        "tokens."
    )
    r_density: float | None = _share("The other measure: the share of edge pixels of the global view.")
    ratio: float | None = _share(
        "Share of prunable tokens asked for; `kept` is the whole part of `prunable * ratio`, at least 1."
    )
    retention: float | None = _share("`visual_tokens_after / visual_tokens_before`.")
    output_tokens: int | None = _read("Text tokens written, without eos.")
    finish_reason: FinishReason | None = described(
        "`eos`: the model ended the page; `length`: cut at the token limit; `loop`: stopped because the text repeated "
        "itself; `blank`: there is no ink, and the model was not asked; `text_layer`: written from the PDF's own text, "
        "and the model was not asked.",
        default=None,
        always=True,
    )
    loop_tokens_cut: int | None = _read(
        "Tokens of repetition that were cut off; one copy of the repeated passage stays. 0 without a loop."
    )
    attempts: tuple[AttemptRecord, ...] | None = described(
        "Null, or the readings of a page whose text ran into a loop, in order: `mode`, `retention`, `finish_reason`, "
        "`output_tokens`, `loop_tokens_cut` of each. The other fields are of the reading that was kept: the first "
        "without a loop, else the one with most text before its loop.",
        default=None,
        minItems=2,
    )
    rasterise_ms: float | None = _read("Milliseconds for opening and rendering the page.")
    preprocess_ms: float | None = _read("Milliseconds for resizing and tiling.")
    encode_ms: float | None = _read("Milliseconds of the vision encoder.")
    prune_ms: float | None = _read("Milliseconds for measuring, choosing and merging.")
    prefill_ms: float | None = _read("Milliseconds of the decoder over the prompt.")
    decode_ms: float | None = _read("Milliseconds for writing the text.")
    retry_ms: float | None = _read("Milliseconds of the readings that were not kept.")
    prefill_flops: int | None = _optional(
        "Floating-point operations of the decoder's prefill, counted from the model's sizes (`prefill_flops` in "
        "`rtprune_cli/report/flops.py`); 0 where the model was not asked, null in records of earlier versions."
    )
    prune_flops: int | None = _optional(
        "Floating-point operations of the prune step, counted from sizes too (`prune_flops` in "
        "`rtprune_cli/pruning/costs.py`); 0 where nothing is pruned, null in records of earlier versions."
    )
    flops_speedup: float | None = _read(
        "Decoder prefill operations without pruning over those with it and the prune step's: over `prefill_flops + "
        "prune_flops`. Records of earlier versions leave the prune step out."
    )
    prefill_speedup: float | None = _optional(
        "With `--measure-baseline`: the prefill without pruning over the prune step and the prefill with it, this page "
        "alone, 3 times in turns, median over median; 1 where pruning is off."
    )
    page_speedup: float | None = _optional(
        "With `--measure-baseline`: encode, prefill and decode without pruning over encode, prune, prefill and decode "
        "with it: the page's own times, with prune step and prefill `prefill_speedup` times as long, the text's as it "
        "is."
    )
    edit_distance_to_unpruned: float | None = _optional(
        "With `--compare`: Levenshtein distance between the raw texts with and without pruning, over the longer "
        "length.",
        maximum=1,
    )

    @property
    def failed(self) -> bool:
        return self.status == "failed"

    @property
    def milliseconds(self) -> dict[str, float]:
        """By the names of the fields; what a failed page lacks is 0."""
        return {name: getattr(self, name) or 0.0 for name in TIMES}

    def to_json(self) -> dict[str, Any]:
        """The fields by name, in their order."""
        return asdict(self)


FIELDS = tuple(each.name for each in fields(PageRecord))
TIMES = tuple(name for name in FIELDS if name.endswith("_ms"))


def failure_record(
    document: str, folder: str, page: int | None, error: RtpruneError, warnings: tuple[WarningRecord, ...] = ()
) -> PageRecord:
    """The record of a page that failed, or with ``page`` None of a document that could not be opened."""
    reason = ErrorRecord(error.code, error.message)
    return PageRecord(document=document, folder=folder, page=page, status="failed", error=reason, warnings=warnings)


def from_json(value: Any) -> PageRecord:
    """A record as it was written, by this version or another: fields that this one does not know are left out, those
    that it has added are as they are by default.

    Raises:
        ValueError: it is none: a field is missing, or is not what it must be.
    """
    try:
        record: PageRecord = parse(PageRecord, value)
    except (LookupError, TypeError) as error:
        raise ValueError(f"no page record: {error!r}") from None
    if record.failed != (record.error is not None):
        raise ValueError(f"no page record: status {record.status} with error {record.error}")
    return record


def parse(kind: Any, value: Any) -> Any:
    """A JSON value as ``kind``: a record, or one of the types of its fields.

    Raises:
        LookupError: an object lacks a field that has no default.
        TypeError: it is something else.
    """
    return _parser(kind)(value)


@cache
def _parser(kind: Any) -> Callable[[Any], Any]:
    """:func:`parse` for one kind. What there is to know of a kind is found out once: journals have many pages."""
    outer, arguments = get_origin(kind), get_args(kind)
    if outer in (Union, UnionType):  # with None
        inner = _parser(arguments[0])
        return lambda value: None if value is None else inner(value)
    if outer is tuple:
        return _tuple_parser(kind, _parser(arguments[0]), None if ... in arguments else len(arguments))
    if is_dataclass(kind):
        return _record_parser(kind)
    types, words = ((int, float) if kind is float else (kind,)), arguments if outer is Literal else None

    def parsed(value: Any) -> Any:
        if value in words if words is not None else type(value) in types:
            return value
        raise TypeError(f"{value!r} is no {kind}")

    return parsed


def _tuple_parser(kind: Any, inner: Callable[[Any], Any], length: int | None) -> Callable[[Any], Any]:
    def parsed(value: Any) -> Any:
        if isinstance(value, list) and length in (None, len(value)):
            return tuple([inner(each) for each in value])
        raise TypeError(f"{value!r} is no {kind}")

    return parsed


def _record_parser(kind: Any) -> Callable[[Any], Any]:
    types = get_type_hints(kind)
    known = [(each.name, _parser(types[each.name]), each.default is not MISSING) for each in fields(kind)]

    def parsed(value: Any) -> Any:
        if isinstance(value, dict):
            # What has a default may lack: another version has written it.
            return kind(**{name: inner(value[name]) for name, inner, may in known if not may or name in value})
        raise TypeError(f"{value!r} is no {kind}")

    return parsed

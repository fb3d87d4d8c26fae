"""The JSON schema of a page record and the table that documents it, made from the record's fields."""

from __future__ import annotations

from dataclasses import Field, fields, is_dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from rtprune_cli.errors import InputError, PageRangeError
from rtprune_cli.records import DocumentBlocks, ErrorRecord, PageRecord


def error_codes() -> list[str]:
    """What ``error.code`` can be: of pages and documents that fail, and of ranges that do not fit one."""
    kinds: list[type[InputError]] = [InputError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return sorted({kind.code for kind in kinds} | {PageRangeError.code})


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a line of report.jsonl."""
    own = [
        each
        for each in fields(PageRecord)
        if each.default is None and each.name != "error" and not each.metadata["of_failed"]
    ]
    null, there = {"type": "null"}, {"not": {"type": "null"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rtprune page record",
        "description": "One line of report.jsonl, and one entry of pages in NAME.report.json.",
        **_object(PageRecord),
        "if": {"properties": {"status": {"const": "ok"}}},
        "then": {
            "properties": {
                "page": there,
                "error": null,
                **{each.name: there for each in own if each.metadata["always"]},
            }
        },
        "else": {"properties": {"error": there, **{each.name: null for each in own}}},
    }


def blocks_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a file NAME.json."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rtprune blocks",
        "description": "NAME.json: the blocks of a document's pages.",
        **_object(DocumentBlocks),
    }


def table(kind: type[Any] = PageRecord) -> str:
    """The fields of a record and their meaning, in markdown."""
    rows = [f"| `{each.name}` | {_meaning(each)} |" for each in fields(kind)]
    return "\n".join(["| field | meaning |", "|---|---|", *rows])


def _meaning(of: Field[Any]) -> str:
    codes = f" Codes: {', '.join(f'`{code}`' for code in error_codes())}." if of.name == "error" else ""
    return of.metadata["doc"] + codes


def _object(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {
        "type": "object",
        "required": [each.name for each in fields(kind)],
        "additionalProperties": False,
        "properties": {each.name: _property(kind, each, hints[each.name]) for each in fields(kind)},
    }


def _property(kind: type[Any], of: Field[Any], hint: Any) -> dict[str, Any]:
    if of.name == "schema_version":
        return {"const": of.default, "description": of.metadata["doc"]}
    if kind is ErrorRecord and of.name == "code":
        return {"enum": error_codes(), "description": of.metadata["doc"]}
    return {**_type(hint), **of.metadata["limits"], "description": of.metadata["doc"]}


def _type(hint: Any) -> dict[str, Any]:
    parts = get_args(hint)
    if NoneType in parts:
        (own,) = (part for part in parts if part is not NoneType)
        found = _type(own)
        if "enum" in found:
            return {"enum": [*found["enum"], None]}
        return {**found, "type": [found["type"], "null"]}
    if get_origin(hint) is Literal:
        return {"enum": list(parts)}
    if get_origin(hint) is tuple:
        length = {} if ... in parts else {"minItems": len(parts), "maxItems": len(parts)}
        return {"type": "array", "items": _type(parts[0]), **length}
    if is_dataclass(hint):
        return _object(hint)  # type: ignore[arg-type]
    return {"type": {int: "integer", float: "number", str: "string"}[hint]}

"""Records, totals, the table, and the schema that documents them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import jsonschema
import pytest
from conftest import DOCS, GOLDEN, load_script

import rtprune_cli
from rtprune_cli.errors import EncryptedError
from rtprune_cli.model.adapters import network_config
from rtprune_cli.records import TIMES, AttemptRecord, Document, ErrorRecord, PageRecord, failed, from_json
from rtprune_cli.report import SPEEDUPS, prefill_flops, summarise
from rtprune_cli.storage import to_json

SCHEMA = json.loads((Path(rtprune_cli.__file__).parent / "report.schema.json").read_text())


def record(**values: Any) -> PageRecord:
    """A page that was read, with plausible numbers."""
    known = dict(
        document="a.pdf", folder="a", page=1, status="ok", reader="mupdf", mode="tiny", prompt="free",
        image_width=9, image_height=9, seconds=1.0,
        visual_tokens_before=100, visual_tokens_after=80, prunable=64, kept=44, merged=20, newlines_dropped=0,
        r_similarity=0.5, r_density=0.5, ratio=0.75, retention=0.8, output_tokens=10, finish_reason="eos",
        loop_tokens_cut=0, flops_speedup=1.25, **dict.fromkeys(TIMES, 1.0),
    )  # fmt: skip
    return PageRecord(**{**known, **values})


def lost() -> PageRecord:
    return failed(Document(None, "[b].pdf", PurePosixPath("b")), None, EncryptedError("no")).record


def test_the_schema_and_its_table_are_fresh() -> None:
    made = load_script("make_report_format").made()
    assert all(path.read_text(encoding="utf-8") == text for path, text in made.items()), (
        "renew them: python docs/make_report_format.py"
    )


@pytest.mark.parametrize("code", ["out_of_memory", "loop", "page_range", "encrypted", "unreadable"])
def test_every_error_of_a_page_fits_the_schema(code: str) -> None:
    jsonschema.validate(json.loads(to_json(replace(lost(), error=ErrorRecord(code, "no")).to_json())), SCHEMA)


ATTEMPT = AttemptRecord(mode="tiny", retention=0.5, finish_reason="loop", output_tokens=1, loop_tokens_cut=2)


@pytest.mark.parametrize("given", [record(), lost(), record(attempts=(ATTEMPT, ATTEMPT), flops_speedup=1, page=7)])
def test_a_record_comes_back_as_it_was_written(given: PageRecord) -> None:
    assert from_json(json.loads(to_json(given.to_json()))) == given


@pytest.mark.parametrize(
    "change",
    [
        {"page": "1"},
        {"document": None},
        {"kept": "x"},
        {"error": {}},
        {"attempts": [1]},
        {"status": "failed"},
        {"mode": 7},
    ],
)
def test_what_is_no_record_is_told(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no page record"):
        from_json({**record().to_json(), **change})
    with pytest.raises(ValueError, match="no page record"):
        from_json([])


def test_a_record_of_an_earlier_version_is_one() -> None:
    written = record().to_json()
    del written["text_path"], written["warnings"]
    assert from_json(written) == record()
    del written["document"]
    with pytest.raises(ValueError, match="no page record"):
        from_json(written)


def test_records_of_a_real_run_fit_the_schema(make_pdf: Callable[..., Path], rtprune: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pdf"
    bad.write_bytes(b"")
    flags = ["--model", "tiny", "--max-new-tokens", "5", "--measure-baseline", "--compare"]
    assert rtprune("ocr", make_pdf("one"), bad, "-o", tmp_path / "out", *flags).exit_code == 4
    rows = [json.loads(line) for line in (tmp_path / "out" / "report.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["ok", "failed"]
    for row in rows:
        jsonschema.validate(row, SCHEMA)
    faster = rows[0]["prefill_speedup"]
    assert faster > 0 and min(1, faster) <= rows[0]["page_speedup"] <= max(1, faster)
    assert 0 <= rows[0]["edit_distance_to_unpruned"] <= 1


@pytest.mark.parametrize("change", [{"kept": None}, {"ratio": 1.5}, {"surplus": 1}, {"finish_reason": "tired"}])
def test_schema_refuses_a_wrong_record(change: dict[str, Any]) -> None:
    good = json.loads(to_json(record().to_json()))
    jsonschema.validate(good, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**good, **change}, SCHEMA)


def test_retention_of_a_run_counts_tokens_not_pages() -> None:
    total = summarise([record(), record(visual_tokens_before=300, visual_tokens_after=120), lost()])
    assert (total["pages"], total["failed"], total["retention"]) == (2, 1, 0.5)


def test_summary_of_nothing_has_no_means() -> None:
    total = summarise([lost()])
    assert total["retention"] is None
    assert total["flops_speedup"] is None


def test_flops_count_the_real_decoder() -> None:
    config = network_config(json.loads((GOLDEN / "deepseek_ocr_config.json").read_text())).text_config
    # 2 x active parameters of the decoder layers (570 M) a token, and causal attention; worked out by hand for 1 token
    attention, dense = 4 * 1280**2, 3 * 1280 * 6848
    sparse = 3 * 1280 * 896 * (6 + 2) + 1280 * 64
    weights = 12 * attention + dense + 11 * sparse + 1280 * 129280
    assert prefill_flops(config, 1) == 2 * weights + 12 * 4 * 1280
    assert prefill_flops(config, 427) / prefill_flops(config, 361) > 427 / 361 * 0.99


@pytest.mark.parametrize(
    ("tokens", "gflops"), [(283, 235.7), (219, 181.5), (240, 199.2), (431, 363.0), (331, 276.6), (367, 307.5)]
)
def test_flops_are_the_papers_but_for_what_the_docs_say(tokens: int, gflops: float) -> None:
    config = network_config(json.loads((GOLDEN / "deepseek_ocr_config.json").read_text())).text_config
    causal, full = 2 * tokens * (tokens + 1) * 1280 * 12, 4 * tokens**2 * 1280 * 12
    router, output = 2 * tokens * 1280 * 64 * 11, 2 * 1280 * 129280
    ours = prefill_flops(config, tokens)
    assert ours / 1e9 == pytest.approx(gflops, rel=0.014)
    assert (ours - causal + full - router - output) / 1e9 == pytest.approx(gflops, rel=5e-4)


def test_the_docs_explain_the_speedups_in_the_same_words() -> None:
    docs = (DOCS / "accuracy.md").read_text(encoding="utf-8")
    for each in SPEEDUPS:
        assert f"| {each.title} (`{each.field}`) | {each.meaning} |" in docs

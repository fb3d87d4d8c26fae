"""Stages together: order, failures, batches, settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import torch

import rtprune_cli.prepare.loader as loader
from rtprune_cli.model import OcrModel, load
from rtprune_cli.options import DecodeOptions, InputOptions, ModelOptions, OcrOptions, PruneOptions
from rtprune_cli.pipeline import run, run_settings
from rtprune_cli.records import Document, PageResult
from rtprune_cli.report import prefill_flops

OPTIONS = OcrOptions(decode=DecodeOptions(max_new_tokens=6), input=InputOptions(dpi=92))


def document(path: Path) -> Document:
    return Document(path, str(path), PurePosixPath(path.stem))


def read(path: Path, model: OcrModel, **options: Any) -> list[PageResult]:
    return list(run([document(path)], model, replace(OPTIONS, **options)))


def test_a_batch_of_pages_reads_like_single_pages(make_pdf: Callable[..., Path], tiny: OcrModel) -> None:
    path = make_pdf("one", "two\nlines", "three")
    alone = read(path, tiny)
    together = read(path, tiny, decode=DecodeOptions(max_new_tokens=6, batch_size=2))
    assert [page.raw for page in together] == [page.raw for page in alone]
    assert [page.record.page for page in together] == [1, 2, 3]


def test_ratio_one_compares_equal_to_unpruned(make_pdf: Callable[..., Path], tiny: OcrModel) -> None:
    page = read(make_pdf("one"), tiny, prune=PruneOptions(ratio=1.0), compare=True)[0]
    assert page.record.edit_distance_to_unpruned == 0
    assert (page.record.flops_speedup, page.record.prune_flops) == (1, 0)
    assert page.record.merged == 0


def test_counts_of_a_record_add_up(make_pdf: Callable[..., Path], tiny: OcrModel) -> None:
    row = read(make_pdf("one"), tiny, prune=PruneOptions(ratio=0.25))[0].record
    assert (row.prunable, row.kept, row.merged) == (64, 16, 48)
    assert row.visual_tokens_before == 73
    assert row.visual_tokens_after == 16 + 9 - row.newlines_dropped
    flops, added = row.prefill_flops or 0, row.visual_tokens_before - row.visual_tokens_after
    prompt = next(n for n in range(1, 99) if prefill_flops(tiny.text_config, row.visual_tokens_after + n) == flops)
    whole = prefill_flops(tiny.text_config, row.visual_tokens_after + added + prompt)
    assert row.flops_speedup == pytest.approx(whole / (flops + (row.prune_flops or 0)), rel=1e-4)
    assert 1 < row.flops_speedup < 0.95 * whole / flops, "the prune step counts"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["small", "base", "large", "gundam"])
def test_every_mode_runs(make_pdf: Callable[..., Path], tiny: OcrModel, mode: str) -> None:
    row = read(make_pdf("one"), tiny, mode=mode, input=InputOptions(dpi=144))[0].record
    assert (row.status, row.mode) == ("ok", mode)


@pytest.mark.usefixtures("pages_here")
def test_a_failing_page_keeps_its_place_in_a_batch(
    make_pdf: Callable[..., Path], tiny: OcrModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loader.make_views
    sizes = []

    def fail_on_second(image: Any, mode: str) -> Any:
        sizes.append(image.size)
        if image.getpixel((5, 5)) == (255, 0, 0):
            raise RuntimeError("secret <text> of the exception")
        return real(image, mode)

    monkeypatch.setattr(loader, "make_views", fail_on_second)
    path = make_pdf("one", "two", "three")
    import pymupdf

    with pymupdf.open(path) as pdf:
        pdf[1].draw_rect(pdf[1].rect, fill=(1, 0, 0))
        pdf.saveIncr()
    pages = read(path, tiny, decode=DecodeOptions(max_new_tokens=3, batch_size=3))
    assert [page.record.status for page in pages] == ["ok", "failed", "ok"]
    assert pages[1].record.error.code == "page_failed"
    assert "secret" not in pages[1].record.error.message


def test_a_document_that_cannot_be_opened_yields_one_failure(tiny: OcrModel, tmp_path: Path) -> None:
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    (page,) = read(tmp_path / "bad.pdf", tiny)
    assert (page.record.status, page.record.page) == ("failed", None)


def test_settings_name_the_model_and_keep_the_password_out(tiny: OcrModel) -> None:
    settings = run_settings(tiny, replace(OPTIONS, input=InputOptions(password="secret")))
    assert settings["model"]["dtype"] == "float32"
    assert settings["mode"] == "tiny"
    assert (settings["model"]["attention"], settings["model"]["experts"]) == ("sdpa", "eager")
    assert settings["versions"]["transformers"]
    assert "secret" not in str(settings)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_reads_what_the_cpu_does(make_pdf: Callable[..., Path], tiny: OcrModel) -> None:
    """Twenty pages: workers start, images are encoded together, prompts wait for rows, steps run ahead."""
    path = make_pdf(*(f"page {number}\nof twenty" for number in range(20)))
    on_gpu = load(ModelOptions("tiny", device="cuda", dtype="float32"))
    found = [page.raw for page in read(path, on_gpu, decode=DecodeOptions(max_new_tokens=40, batch_size=8))]
    assert found == [page.raw for page in read(path, tiny, decode=DecodeOptions(max_new_tokens=40))]

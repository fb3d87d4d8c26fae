"""What other tests stand on: the small checkpoints with their tokenizer, and networks that write what they are told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import make_tokenizer
from conftest import GOLDEN, GOLDEN2, OCR2, UNLIMITED, golden_cases, make_views
from PIL import Image, ImageDraw
from stubs import Prompt, Says, scripted, writes

from rtprune_cli.decoding import Scheduler
from rtprune_cli.errors import ExitCode
from rtprune_cli.failures import Failure
from rtprune_cli.model import OcrModel, load
from rtprune_cli.model.network import assemble
from rtprune_cli.options import DecodeOptions, ModelOptions, PruneOptions
from rtprune_cli.pruning import prune_pages
from rtprune_cli.records import Decoded, DecoderInput

TITLE = "<|ref|>title<|/ref|><|det|>[[100, 50, 900, 120]]<|/det|>\n# Größe\n"
PAGES = "<|det|>title [1, 2, 3, 4]<|/det|>Eins\n<PAGE>\n<|det|>text [0, 0, 999, 999]<|/det|>Zwei"
FREE = DecodeOptions(max_new_tokens=200, no_repeat_ngram=0, loop_window=24)
MODELS = [GOLDEN, GOLDEN2 / OCR2, GOLDEN2 / UNLIMITED]


@pytest.fixture(scope="module")
def model(deepseek_ocr_folder: Path) -> OcrModel:
    return load(ModelOptions(model=str(deepseek_ocr_folder), device="cpu"))


# --- The material --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_every_golden_case_has_its_pages(folder: Path) -> None:
    cases = golden_cases(folder)
    assert cases
    for case in cases.values():
        sizes = case.values["size"]
        assert [list(image.size) for image in case.images] == (sizes if isinstance(sizes[0], list) else [sizes])


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_the_tokenizer_fits_every_small_checkpoint(folder: Path) -> None:
    config, tokenizer = json.loads((folder / "checkpoint" / "config.json").read_text()), make_tokenizer()
    assert sorted(tokenizer.get_vocab().values()) == list(range(config["language_config"]["vocab_size"]))
    assert tokenizer.token_to_id("<image>") == config["image_token_id_for_tests"]
    assert tokenizer.id_to_token(config["eos_token_id"]) == "<｜end▁of▁sentence｜>"


@pytest.mark.parametrize("text", [TITLE, PAGES, "<table><tr><td>1007</td></tr></table>", "".join(map(chr, range(600)))])
def test_the_tokenizer_writes_any_text(text: str) -> None:
    tokenizer = make_tokenizer()
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_tags_are_tokens_and_a_page_break_is_pieces() -> None:
    assert make_tokenizer().encode("<|det|>text [100").tokens == ["<|det|>", "t", "e", "x", "t", "Ġ", "[", "1", "00"]
    assert make_tokenizer().encode("<PAGE>").tokens == ["<", "PAGE", ">"]


# --- Networks that write what they are told ------------------------------------------------------------------------


def read(model: OcrModel, pages: int) -> list[str | Failure]:
    """Prompts of so many pages through two rows: what each wrote, with ``...`` where it looped."""
    scheduler = Scheduler(model.network, FREE, eos_token_id=model.eos_token_id, rows=2)
    for key in range(pages):
        ids = [0, *range(20, 24 + key)]
        scheduler.add(key, DecoderInput(model.embed(ids), torch.arange(len(ids)), len(ids)))
    found: dict[Any, str | Failure] = {}
    while scheduler.busy:
        for key, result in scheduler.step():
            if isinstance(result, Decoded):
                found[key] = model.decode_text(result.token_ids) + ("..." if result.finish_reason == "loop" else "")
            else:
                found[key] = result
    return [found[key] for key in range(pages)]


def test_rows_write_their_texts_whoever_is_beside_them(model: OcrModel) -> None:
    texts = ["short", PAGES, "", TITLE, Says("And so on:", loop=" la"), "<td>x</td>"]
    assert read(scripted(model, texts), 6) == ["short", PAGES, "", TITLE, "And so on: la...", "<td>x</td>"]


def test_a_fault_comes_after_its_text(model: OcrModel) -> None:
    model = scripted(model, [Says("<td>half</td>", fault=ValueError())])
    assert read(model, 1) == [Failure("ValueError")]
    assert model.network.batches == [1] * 7  # the prompt, and a step after each of six tokens


def test_a_page_that_is_tried_again_finds_its_text(model: OcrModel) -> None:
    def text(prompt: Prompt) -> str | Says:
        return Says("half of it", fault=ValueError()) if prompt.length == 6 else "whole"

    assert read(scripted(model, text), 3) == ["whole", Failure("ValueError"), "whole"]


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_all_images_of_a_context_are_known(model: OcrModel, ratio: float) -> None:
    pages = [Image.new("RGB", (400, 300), paper) for paper in ("white", "gray", "black")]
    for number, page in enumerate(pages):
        ImageDraw.Draw(page).text((30, 100), f"page {number}", "red", font_size=60)
    views = [make_views(page, "tiny") for page in pages]
    model = scripted(model, lambda _: "")
    pixels = model.pixels(views)
    visual = prune_pages(model.encode(views, pixels), pixels, PruneOptions(ratio=ratio))
    before, after = model.embed([0]), model.embed(range(20, 140))  # a text as long as an image
    first, *others = (visual[i] for i in (2, 0, 1))
    for page in others:
        joined, keep = torch.cat([first.tokens, page.tokens]), torch.cat([first.keep, first.total + page.keep])
        first = replace(first, tokens=joined, keep=keep, total=first.total + page.total)
    scheduler = Scheduler(model.network, FREE, eos_token_id=model.eos_token_id, rows=1)
    for prompt in (first, visual[1]):
        scheduler.add(prompt.total, assemble(before, [prompt], after))
    while scheduler.busy:
        scheduler.step()
    assert [[view.ordinal for view in prompt.views] for prompt in model.network.prompts] == [[2, 0, 1], [1]]


@pytest.mark.slow
def test_the_command_line_reads_what_was_written(
    rtprune: Any, make_pdf: Any, deepseek_ocr_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = writes(monkeypatch, [TITLE, Says("abc", fault=torch.OutOfMemoryError("full"))])
    out, small = tmp_path / "out", ["--model", deepseek_ocr_folder, "--mode", "tiny", "--batch-size", 1]
    result = rtprune("ocr", make_pdf("one", "two"), "-o", out, "--device", "cpu", *small)
    assert result.exit_code == ExitCode.PARTIAL, result.output
    assert "out_of_memory" in result.output
    assert "# Größe" in (out / "doc" / "doc.md").read_text(encoding="utf-8")
    assert len(networks[0].prompts) == 2

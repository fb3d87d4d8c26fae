"""The bundled model reads: held-out pages of its range, and the sample PDFs at the default settings and as markdown."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from rtprune_cli.engine.steps import normalised_edit_distance
from rtprune_cli.model import OcrModel
from rtprune_cli.options import OcrOptions, PruneOptions
from rtprune_cli.pipeline import run
from rtprune_cli.records import Document, PageResult
from rtprune_cli.tiny.evaluate import held_out, measure

ROOT = Path(__file__).parents[1]
DOCS = (ROOT / "docs" / "tiny-model.md").read_text(encoding="utf-8")
# CER in percent of 500 held-out pages as docs/tiny-model.md states it, by prompt and ratio
DOCUMENTED = {("free", "1"): 2.13, ("free", "dynamic"): 2.15, ("markdown", "1"): 4.84}
ROOM = 1.5  # 50 pages scatter more than 500
SAMPLE_CER = 0.05

NOTICE = [
    "Old papers, new words\nScan the page and read\nit on your own machine.\nNothing leaves the room.",
    "Chapter 2. The ledger\nIn 1904 the shop sold\n312 loaves of bread at\na price of 6 pence each.",
    "Room 14, first floor\nOpen 9-12 and 2-5\nClosed on Sunday",
]
LEAFLET = [
    "Ferry times\nDay First Last\nSat 6.30 22.15\nSun 8.00 20.45",
    "Lost and found\nOne silver watch.\nAsk for Mrs. Gray,\nroom 12, until June.",
]


@pytest.mark.slow
@pytest.mark.parametrize(("prompt", "ratio"), DOCUMENTED)
def test_held_out_pages_are_read_as_well_as_the_docs_say(tiny: OcrModel, prompt: str, ratio: str) -> None:
    options = PruneOptions(ratio=None if ratio == "dynamic" else float(ratio))
    result = measure(tiny, held_out(seed=500_000, count=50), options, prompt)
    assert result["cer"]["all"] <= ROOM * DOCUMENTED[prompt, ratio] / 100


@pytest.mark.parametrize(("prompt", "ratio"), DOCUMENTED)
def test_the_docs_state_these_numbers(prompt: str, ratio: str) -> None:
    how = "dynamic" if ratio == "dynamic" else "nothing pruned"
    rows = [row for row in DOCS.splitlines() if row.startswith(f"| `{prompt}` | {how} |")]
    assert len(rows) == 1
    assert f"| {DOCUMENTED[prompt, ratio]:.2f} % |" in rows[0]


def pages_of(name: str, model: OcrModel, options: OcrOptions) -> list[PageResult]:
    path = ROOT / "samples" / f"{name}.pdf"
    return list(run([Document(path, str(path), PurePosixPath(name))], model, options))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "texts"), [("notice", NOTICE), ("leaflet", LEAFLET)])
def test_sample_pdfs_are_read_as_they_stand_on_the_page(tiny: OcrModel, name: str, texts: list[str]) -> None:
    results = pages_of(name, tiny, OcrOptions())
    assert [r.record.finish_reason for r in results] == ["eos"] * len(texts)
    for truth, result in zip(texts, results, strict=True):
        assert normalised_edit_distance(truth, result.markdown.text) <= SAMPLE_CER
        assert result.record.merged > 0


@pytest.mark.parametrize(("name", "texts"), [("notice", NOTICE), ("leaflet", LEAFLET)])
def test_the_texts_beside_the_samples_are_theirs(name: str, texts: list[str]) -> None:
    assert (ROOT / "samples" / f"{name}.txt").read_text(encoding="utf-8") == "\f".join(texts) + "\n"


@pytest.mark.slow
def test_the_markdown_prompt_finds_titles_tables_and_pictures(tiny: OcrModel) -> None:
    first, second = pages_of("leaflet", tiny, OcrOptions(prompt="markdown"))
    assert [box.label for box in first.markdown.boxes] == ["title", "table"]
    assert [box.label for box in second.markdown.boxes] == ["title", "image", "text"]
    assert first.markdown.text.startswith("# Ferry times\n")
    assert first.markdown.text.count("<tr>") == 3
    assert list(second.markdown.crops) == ["page-0002-1.png"]


@pytest.mark.slow
@pytest.mark.parametrize(("prompt", "count"), [("free", 1), ("markdown", 3)])
def test_each_block_says_how_sure_the_model_was_of_it(tiny: OcrModel, prompt: str, count: int) -> None:
    blocks = pages_of("leaflet", tiny, OcrOptions(prompt=prompt))[1].markdown.blocks
    confidences = [block.confidence for block in blocks if block.confidence is not None]
    assert len(confidences) == len(blocks) == count
    assert len(set(confidences)) == count
    assert all(-2 < confidence <= 0 for confidence in confidences)

"""`rtprune inspect --leave-one-out`: the text without each single visual token, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pymupdf
import pytest
from conftest import decode_rows, make_views, spec_of
from PIL import Image
from rapidfuzz.distance import Levenshtein

from rtprune_cli.decoding import Scheduler
from rtprune_cli.engine.prompts import PromptDecoder
from rtprune_cli.failures import Failure, PageFailure
from rtprune_cli.inspection.leave_one_out import (
    FIRST,
    LAST,
    LeaveOneOut,
    draw,
    leave_one_out,
    share_interval,
    without,
)
from rtprune_cli.markdown import as_written
from rtprune_cli.model import OcrModel
from rtprune_cli.options import DecodeOptions, OcrOptions, ResolvedOptions
from rtprune_cli.pruning import untouched
from rtprune_cli.records import Decoded, VisualTokens
from rtprune_cli.views.grid import TokenGrid
from rtprune_cli.views.tokenmap import TokenMap

WORD = 3 * 9 + 2  # the token of the fourth row and third column of mode tiny, rows of 8 cells and a newline
NEXT, NEWLINE, SEPARATOR = WORD + 1, 8, 72


@pytest.fixture(scope="module")
def options(tiny: OcrModel) -> ResolvedOptions:
    return tiny.resolve(OcrOptions())


@pytest.fixture(scope="module")
def decoder(tiny: OcrModel, options: ResolvedOptions) -> PromptDecoder:
    return PromptDecoder(tiny, options)


@pytest.fixture(scope="module")
def page(tiny: OcrModel) -> VisualTokens:
    """A page with one word, in one cell."""
    with pymupdf.open() as document:
        sheet = document.new_page(width=512, height=512)
        sheet.insert_text((2 * 64 + 4, 3 * 64 + 48), "no", fontsize=40)
        pixmap = sheet.get_pixmap(dpi=72)
    image = Image.frombytes("RGB", (pixmap.width, pixmap.height), pixmap.samples)
    (tokens,) = tiny.encode([make_views(image, "tiny")])
    return tokens


def test_the_token_of_the_only_word_is_the_cell_that_matters(
    tiny: OcrModel, decoder: PromptDecoder, options: ResolvedOptions, page: VisualTokens
) -> None:
    found = leave_one_out(tiny, decoder, page, options.prompt, [0, WORD - 9, WORD, NEXT, 63])
    assert found.text == "no"
    assert found.edits.tolist() == [0, 0, 2, 0, 0]
    assert found.unchanged == 4 and found.noise == 0


def test_it_is_what_each_prompt_gives_alone(
    tiny: OcrModel, decoder: PromptDecoder, options: ResolvedOptions, page: VisualTokens
) -> None:
    tried = [NEWLINE, WORD, SEPARATOR]
    found = leave_one_out(tiny, decoder, page, options.prompt, tried)
    whole = [untouched(page), *(without(page, index) for index in tried)]
    alone = [
        decode_rows(
            tiny, [tiny.make_prompt(each, options.prompt)], options.decode, eos_token_id=tiny.eos_token_id, rows=1
        )[0][0]
        for each in whole
    ]
    text, *others = (as_written(tiny.decode_text(ids)) for ids in alone)
    assert found.text == text
    assert found.edits.tolist() == [Levenshtein.distance(text, other) for other in others]


@pytest.mark.parametrize(("index", "kept", "newlines"), [(WORD, 63, 0), (NEWLINE, 64, 1), (SEPARATOR, 64, 0)])
def test_a_token_is_gone_and_the_others_keep_values_and_places(
    tiny: OcrModel, options: ResolvedOptions, page: VisualTokens, index: int, kept: int, newlines: int
) -> None:
    left = without(page, index)
    others = [place for place in range(73) if place != index]
    assert left.keep.tolist() == others and (left.kept, left.newlines_dropped, left.total) == (kept, newlines, 73)
    assert (left.tokens == page.tokens[others]).all()
    prompt, full = (tiny.make_prompt(each, options.prompt) for each in (left, untouched(page)))
    start = len(tiny.prompt_embeds(options.prompt)[0])
    assert prompt.next_position == full.next_position
    assert set(full.positions.tolist()) - set(prompt.positions.tolist()) == {start + index}


def test_a_page_that_fails_leaves_nothing_for_the_next(
    tiny: OcrModel, options: ResolvedOptions, page: VisualTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder, real = PromptDecoder(tiny, options), Scheduler.step

    def failing(self: Scheduler, **more: Any) -> list[Any]:
        return [(key, Failure("Broken") if key == WORD else result) for key, result in real(self, **more)]

    monkeypatch.setattr(Scheduler, "step", failing)
    with pytest.raises(PageFailure, match="Broken"):
        leave_one_out(tiny, decoder, page, options.prompt, [0, WORD, NEXT])
    monkeypatch.undo()
    assert leave_one_out(tiny, decoder, page, options.prompt, [NEXT]).edits.tolist() == [0]


def test_no_more_prompts_are_made_than_there_are_rows(
    tiny: OcrModel, options: ResolvedOptions, page: VisualTokens
) -> None:
    decoder = PromptDecoder(tiny, tiny.resolve(OcrOptions(decode=DecodeOptions(batch_size=2))))
    made: list[int] = []

    def asked() -> Any:
        for number in range(5):
            made.append(number)
            yield number, tiny.make_prompt(untouched(page), options.prompt)

    done = 0
    for _ in decoder.decode(asked()):
        assert len(made) - done <= 4  # two that run, and two that a step has just ended
        done += 1
    assert done == 5


def test_what_a_second_reading_changes_is_noise(tiny: OcrModel, options: ResolvedOptions, page: VisualTokens) -> None:
    class Unsteady(PromptDecoder):
        def decode(self, prompts: Any) -> Any:
            texts = {FIRST: "no", NEXT: "no", LAST: "not"}
            for key, _ in prompts:
                yield key, Decoded(tiny.tokenizer.encode(texts[key]).ids, [], "eos", 0.0, 0.0)

    found = leave_one_out(tiny, Unsteady(tiny, options), page, options.prompt, [NEXT])
    assert (found.noise, found.edits.tolist()) == (1, [0])


# --- What is said


def test_all_tokens_or_some_by_chance() -> None:
    assert draw(5, None, 0) == draw(5, 9, 3) == [0, 1, 2, 3, 4]
    assert draw(1000, 20, 1) == draw(1000, 20, 1) != draw(1000, 20, 2)
    assert len(set(draw(1000, 20, 1))) == 20


def test_the_sums_are_by_kind_and_by_what_pruning_made_of_a_token() -> None:
    kind = TokenGrid(spec_of("tiny")).kinds()
    stays = np.ones(73, dtype=bool)
    stays[[1, NEWLINE]] = False
    tokens = TokenMap(kind, TokenGrid(spec_of("tiny")).boxes((512, 512)), np.ones(73, np.float32), stays)
    found = LeaveOneOut("text", 73, np.array([0, 1, NEWLINE, SEPARATOR]), np.array([3, 0, 0, 0])).record(tokens)
    assert (found["tried"], found["unchanged"], found["most_edits"]) == (4, 3, 3)
    assert found["by_kind"] == {
        "global": {"tried": 2, "unchanged": 1},
        "newline": {"tried": 1, "unchanged": 1},
        "separator": {"tried": 1, "unchanged": 1},
    }
    assert found["by_state"] == {
        "kept": {"tried": 2, "unchanged": 1},
        "merged": {"tried": 1, "unchanged": 1},
        "dropped": {"tried": 1, "unchanged": 1},
    }


def test_the_interval_of_a_sample_of_all_is_the_share_itself_and_of_few_wilsons() -> None:
    assert share_interval(70, 73, 73) == (0.958904, 0.958904)
    low, high = share_interval(95, 100, 10**9)  # Wilson's, as tables have it: 88.8 to 97.8 %
    assert (low, high) == pytest.approx((0.8882, 0.9785), abs=2e-4)
    narrow = share_interval(95, 100, 110)
    assert low < narrow[0] < 0.95 < narrow[1] < high
    assert share_interval(20, 20, 400)[1] == 1.0 > share_interval(20, 20, 400)[0] > 0.8


@pytest.mark.slow
def test_the_command_says_and_draws_what_the_text_hangs_on(rtprune: Any, make_pdf: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ("--leave-one-out", "--tokens", "6", "--seed", "3")
    found = rtprune("inspect", make_pdf("one"), "--model", "tiny", *asked, "-o", out)
    assert found.exit_code == 0, found.output
    record = json.loads((out / "doc" / "page-0001.json").read_bytes())
    about, tried = record["leave_one_out"], [token["index"] for token in record["tokens"] if "edits" in token]
    assert tried == draw(73, 6, 3) and about["tried"] == 6
    assert about["unchanged"] == sum(token.get("edits") == 0 for token in record["tokens"])
    assert about["share_unchanged"]["low"] < about["share_unchanged"]["value"] + 1e-6
    assert (record["settings"]["tokens"], record["settings"]["prompt"]) == (6, "free")
    assert f"{about['unchanged']} of 6 tokens can go" in found.output
    assert (out / "doc" / "page-0001.leave-one-out.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tokens", "5"), "--tokens is of --leave-one-out"),
        (("--leave-one-out", "--tokens", "0"), "tokens is 0"),
        (("--leave-one-out", "--seed", "-1"), "seed is -1"),
    ],
)
def test_what_is_wrong_with_the_question_is_one_line(
    rtprune: Any, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    found = rtprune("inspect", tmp_path, "--model", "tiny", *arguments, "-o", tmp_path / "out")
    assert found.exit_code == 2 and said in found.output and len(found.output.splitlines()) == 1

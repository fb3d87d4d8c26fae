"""Parity of DeepSeek-OCR-2 and Unlimited-OCR with their official code, in float32 on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from conftest import GOLDEN2, OCR2, SHARED_GOLDEN2, UNLIMITED, Case, case_params, golden_cases

from rtprune_cli.decoding import decode, prefill
from rtprune_cli.decoding.runner import ModelRunner
from rtprune_cli.model import OcrModel, load
from rtprune_cli.model.network import assemble, normalise
from rtprune_cli.options import DecodeOptions, ModelOptions, PruneOptions
from rtprune_cli.pruning import prune_pages, untouched
from rtprune_cli.records import DecoderInput, PrunedTokens, Views, VisualTokens
from rtprune_cli.views import make_views
from rtprune_cli.views.grid import token_grid

CASES = [
    *case_params(GOLDEN2 / OCR2, SHARED_GOLDEN2 / OCR2),
    *case_params(GOLDEN2 / UNLIMITED, SHARED_GOLDEN2 / UNLIMITED),
]
RATIOS = {"none": 1.0, "dynamic": None, "0.75": 0.75}
AFTER = [5, 17, 33, 210, 9]
CPU = torch.device("cpu")
FREE = DecodeOptions(max_new_tokens=32, no_repeat_ngram=0, loop_window=0)


@cache
def model_of(name: str) -> OcrModel:
    return load(ModelOptions(model=str(GOLDEN2 / name / "checkpoint"), device="cpu"))


@cache
def seen(name: str, model: str, folder: Any) -> tuple[list[Views], torch.Tensor, list[VisualTokens]]:
    case = Case(name, folder, {})
    spec = model_of(model).view_spec("base" if case.mode == "multi" else case.mode)
    views = [make_views(image, spec) for image in case.images]
    pixels = model_of(model).pixels(views)
    return views, pixels, [model_of(model).encode([each])[0] for each in views]


def see(case: Case) -> tuple[list[Views], torch.Tensor, list[VisualTokens]]:
    return seen(case.name, case.folder.name, case.folder)


def prompt_of(case: Case, pages: list[PrunedTokens]) -> DecoderInput:
    model = model_of(case.folder.name)
    return assemble(model.embed([0]), pages, model.embed(AFTER))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_views_and_kinds_equal_the_official_ones(case: Case) -> None:
    views, pixels, _ = see(case)
    sample = pixels[..., ::16, ::16]
    assert torch.equal(sample if case.mode == "multi" else sample[0], case.tensor("pixels_sample"))
    if views[0].tiles is not None:
        assert torch.equal(normalise(views[0].tiles, CPU)[:, :, ::32, ::32], case.tensor("tiles_sample"))
    kinds = torch.cat([torch.from_numpy(token_grid(each).kinds()) for each in views])
    assert torch.equal(kinds.long(), case.tensor("kind").long())


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_visual_tokens_equal_the_official_ones(case: Case) -> None:
    _, _, tokens = see(case)
    torch.testing.assert_close(torch.cat([page.tokens for page in tokens]), case.tensor("features"), rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_pruning_and_decoding_equal_the_official_ones(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen_from: list[torch.Tensor] = []
    choose: Callable[..., torch.Tensor] = ModelRunner._choose

    def watched(runner: ModelRunner, rows: Any, logits: torch.Tensor) -> torch.Tensor:
        chosen_from.append(logits.clone())
        return choose(runner, rows, logits)

    monkeypatch.setattr(ModelRunner, "_choose", watched)
    _, pixels, tokens = see(case)
    for name, expected in case.values["results"].items():
        pages = [untouched(page) for page in tokens]
        if name != "none":
            pages = prune_pages(tokens, pixels, PruneOptions(ratio=RATIOS[name]))
            starts = [0, *torch.tensor([page.total for page in pages]).cumsum(0).tolist()]
            keep = torch.cat([page.keep + start for page, start in zip(pages, starts, strict=False)])
            assert torch.equal(keep, case.tensor(f"{name}/keep").long())
            merged = torch.cat([page.tokens for page in pages])
            torch.testing.assert_close(merged, case.tensor(f"{name}/embeds"), rtol=0, atol=1e-4)
        prompt = prompt_of(case, pages)
        network = model_of(case.folder.name).network
        logits = prefill(network, [prompt])[0]
        torch.testing.assert_close(logits, case.tensor(f"{name}/first_logits"), rtol=0, atol=1e-3)
        chosen_from.clear()
        assert decode(network, [prompt], FREE, eos_token_id=-1)[0].token_ids == expected["tokens"], name
        torch.testing.assert_close(chosen_from[31][0], case.tensor(f"{name}/last_logits"), rtol=0, atol=1e-3)


UNLIMITED_CASES = golden_cases(GOLDEN2 / UNLIMITED)


def unpruned(case: Case) -> DecoderInput:
    return prompt_of(case, [untouched(page) for page in see(case)[2]])


@pytest.mark.parametrize(("n", "window"), [(3, 12), (2, 6)])
def test_the_no_repeat_rule_is_that_of_unlimited_ocr(n: int, window: int) -> None:
    options = DecodeOptions(max_new_tokens=32, no_repeat_ngram=n, no_repeat_window=window, loop_window=0)
    for case in UNLIMITED_CASES.values():
        found = decode(model_of(UNLIMITED).network, [unpruned(case)], options, eos_token_id=-1)[0]
        assert found.token_ids == case.values["results"]["none"][f"tokens_no_repeat_{n}_in_{window}"]


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_ragged_prompts_together_give_the_tokens_of_each_alone(rows: int) -> None:
    """Also where the window slides, and where rows end and others take their places."""
    for name in (OCR2, UNLIMITED):
        cases = golden_cases(GOLDEN2 / name).values()
        prompts = [unpruned(case) for case in cases]
        assert len({len(prompt.embeds) for prompt in prompts}) == len(prompts)
        found = decode(model_of(name).network, prompts, FREE, eos_token_id=-1, rows=rows)
        assert [each.token_ids for each in found] == [case.values["results"]["none"]["tokens"] for case in cases]


def test_a_decoder_without_the_window_would_write_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The golden tokens of full attention: what this test could not tell apart, the others could not either."""
    monkeypatch.setattr("rtprune_cli.decoding.scheduler.window_of", lambda _: None)
    for case in UNLIMITED_CASES.values():
        found = decode(model_of(UNLIMITED).network, [unpruned(case)], FREE, eos_token_id=-1)[0]
        assert found.token_ids == case.values["results"]["none"]["tokens_with_full_attention"]
        assert found.token_ids != case.values["results"]["none"]["tokens"]


def test_a_long_text_takes_no_more_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring of 8 tokens behind the prompt, however long the text."""
    reaches: list[int] = []
    step: Callable[..., Any] = ModelRunner.step

    def watched(runner: ModelRunner, count: int, reach: int) -> Any:
        reaches.append(reach)
        return step(runner, count, reach)

    monkeypatch.setattr(ModelRunner, "step", watched)
    prompt = unpruned(UNLIMITED_CASES["note_small/gundam"])
    options = DecodeOptions(max_new_tokens=100, no_repeat_ngram=0, loop_window=0)
    found = decode(model_of(UNLIMITED).network, [prompt], options, eos_token_id=-1)[0]
    assert len(found.token_ids) == 100
    assert max(reaches) < len(prompt.embeds) + 8 + 16  # a reach is rounded up to 16

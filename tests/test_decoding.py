"""Greedy decoding of pages: prompts, ends and loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from conftest import GOLDEN, decode_rows, golden_cases, make_views
from stubs import Act, ScriptedNetwork
from torch import Tensor

from rtprune_cli.decoding import decode
from rtprune_cli.decoding.forward import run_decoder
from rtprune_cli.model import OcrModel, load
from rtprune_cli.model.network import assemble
from rtprune_cli.options import DecodeOptions, ModelOptions, PruneOptions
from rtprune_cli.pruning import prune_pages
from rtprune_cli.records import Decoded, DecoderInput
from rtprune_cli.tiny.evaluate import views_of
from rtprune_cli.tiny.synth import make_page

FREE = DecodeOptions(max_new_tokens=24, no_repeat_ngram=0)


@pytest.fixture(scope="module")
def inputs(golden_model: OcrModel) -> list[DecoderInput]:
    """Prompts of unequal lengths: golden pages at several ratios."""
    pages = []
    for name, ratio in (("note_small/tiny", None), ("note_small/base", 0.5), ("note_small/small", 1.0)):
        case = golden_cases(GOLDEN)[name]
        views = make_views(case.image, case.mode)
        pixels = golden_model.pixels([views])
        pruned = prune_pages(golden_model.encode([views], pixels), pixels, PruneOptions(ratio=ratio))[0]
        pages.append(assemble(golden_model.embed([0]), [pruned], golden_model.embed([5, 17, 33, 210, 9])))
    return pages


@pytest.mark.slow
def test_a_batch_gives_the_tokens_of_each_page_alone(golden_model: OcrModel, inputs: list[DecoderInput]) -> None:
    # eos 29 ends the pages at different steps, so rows leave the batch on the way
    together = decode(golden_model.network, inputs, FREE, eos_token_id=29)
    alone = [decode(golden_model.network, [page], FREE, eos_token_id=29)[0] for page in inputs]
    assert [page.token_ids for page in together] == [page.token_ids for page in alone]
    assert len({len(page.token_ids) for page in together}) > 1


def test_kept_tokens_keep_their_positions(inputs: list[DecoderInput]) -> None:
    page = inputs[1]
    assert len(page.positions) == len(page.embeds) < page.next_position == 1 + 273 + 5
    assert page.positions[0] == 0
    assert page.positions[-6:].tolist() == [273, 274, 275, 276, 277, 278]


def test_eos_ends_a_page_and_is_not_part_of_it(golden_model: OcrModel, inputs: list[DecoderInput]) -> None:
    first = decode(golden_model.network, inputs[:1], FREE, eos_token_id=-1)[0].token_ids
    eos = first[3]
    ended = decode(golden_model.network, inputs[:1], FREE, eos_token_id=eos)[0]
    assert ended.finish_reason == "eos"
    assert ended.token_ids == first[: first.index(eos)]


def test_the_token_limit_ends_a_page(golden_model: OcrModel, inputs: list[DecoderInput]) -> None:
    page = decode(golden_model.network, inputs[:1], DecodeOptions(max_new_tokens=5), eos_token_id=-1)[0]
    assert (len(page.token_ids), len(page.logprobs), page.finish_reason) == (5, 5, "length")


def test_the_last_position_ends_a_page(golden_model: OcrModel, inputs: list[DecoderInput]) -> None:
    page = inputs[0]
    late = DecoderInput(page.embeds, page.positions, next_position=8192 - 3)
    assert len(decode(golden_model.network, [late], FREE, eos_token_id=-1)[0].token_ids) == 3


def test_no_ngram_repeats_within_the_window(golden_model: OcrModel, inputs: list[DecoderInput]) -> None:
    options = DecodeOptions(max_new_tokens=80, no_repeat_ngram=4, no_repeat_window=0)
    tokens = decode(golden_model.network, inputs[:1], options, eos_token_id=-1)[0].token_ids
    grams = [tuple(tokens[i : i + 4]) for i in range(len(tokens) - 3)]
    assert len(grams) == len(set(grams))


@torch.inference_mode()
def plain(model: OcrModel, prompt: DecoderInput, page: Decoded) -> Tensor:
    """Log-probabilities (T, V) of a page's T tokens, by one pass over its prompt and all that it wrote."""
    written = model.embed(page.token_ids[:-1])
    positions = torch.cat([prompt.positions, prompt.next_position + torch.arange(len(written))])
    hidden = run_decoder(model.network, torch.cat([prompt.embeds, written])[None], positions[None], None, None)
    return model.network.lm_head(hidden[0, len(prompt.embeds) - 1 :]).float().log_softmax(dim=-1)


def own(logprobs: Tensor, page: Decoded) -> Tensor:
    """Those (T,) of the tokens that the page has."""
    return logprobs[torch.arange(len(page.token_ids)), page.token_ids]


@pytest.mark.parametrize("together", [False, True])
def test_logprobs_are_those_of_a_plain_pass(golden_model: OcrModel, inputs: list[DecoderInput], together: bool) -> None:
    groups = [inputs] if together else [[prompt] for prompt in inputs]
    # eos 29 ends the pages at different steps
    pages = [page for group in groups for page in decode(golden_model.network, group, FREE, eos_token_id=29)]
    for prompt, page in zip(inputs, pages, strict=True):
        expected = own(plain(golden_model, prompt, page), page)
        torch.testing.assert_close(torch.tensor(page.logprobs), expected, rtol=0, atol=1e-4)


def test_a_token_in_the_place_of_a_banned_one_has_its_own_low_logprob(
    golden_model: OcrModel, inputs: list[DecoderInput]
) -> None:
    options = replace(FREE, no_repeat_ngram=1, no_repeat_window=0)
    page = decode(golden_model.network, inputs[:1], options, eos_token_id=-1)[0]
    logprobs = plain(golden_model, inputs[0], page)
    best, first_choice = logprobs.max(dim=-1)
    replaced = first_choice != torch.tensor(page.token_ids)
    assert 0 < replaced.sum() < len(replaced)
    assert (torch.tensor(page.logprobs) < best - 1e-3)[replaced].all()
    torch.testing.assert_close(torch.tensor(page.logprobs), own(logprobs, page), rtol=0, atol=1e-4)


CYCLE = tuple(range(20, 50))


def read(model: OcrModel, seeds: Sequence[int], acts: Sequence[Act | None], **settings: int) -> list[Decoded]:
    """Pages of large print, read together by the bundled model; each has its act."""
    model = replace(model, network=ScriptedNetwork(model.network, lambda prompt: acts[prompt.view.ordinal]))
    views = views_of(make_page(seed) for seed in seeds)
    before, after = (model.embed(ids) for ids in model.prompt_ids("free"))
    pixels = model.pixels(views)
    pruned = prune_pages(model.encode(views, pixels), pixels, PruneOptions())
    options = DecodeOptions(**{"max_new_tokens": 160, "no_repeat_ngram": 0, "loop_window": 64, **settings})
    prompts = [assemble(before, [page], after) for page in pruned]
    return decode(model.network, prompts, options, eos_token_id=model.eos_token_id)


@pytest.mark.slow
def test_a_page_in_a_loop_stops_and_keeps_the_first_copy(tiny: OcrModel) -> None:
    page, whole = read(tiny, [1], [Act(CYCLE, after=3)])[0], read(tiny, [1], [None])[0]
    assert page.finish_reason == "loop"
    assert page.token_ids == whole.token_ids[:3] + list(CYCLE)
    assert page.logprobs == whole.logprobs[:3] + [0.0] * len(CYCLE)  # it writes the cycle with logits of infinity
    # the second copy, 7 tokens that end no n-gram of the third, and the window
    assert page.loop_tokens_cut == len(CYCLE) + 7 + 64


@pytest.mark.slow
def test_a_page_in_a_loop_leaves_its_batch_as_it_was(tiny: OcrModel) -> None:
    seeds, acts = (1, 2, 3), (None, Act(CYCLE, after=3), Act(endless=True))
    together = read(tiny, seeds, acts)
    alone = [read(tiny, [seed], [act])[0] for seed, act in zip(seeds, acts, strict=True)]
    assert [page.token_ids for page in together] == [page.token_ids for page in alone]
    assert [page.finish_reason for page in together] == ["eos", "loop", "length"]


@pytest.mark.slow
def test_a_loop_is_seen_through_the_no_repeat_rule(tiny: OcrModel) -> None:
    page = read(tiny, [1], [Act(CYCLE)], no_repeat_ngram=30)[0]
    assert (page.token_ids, page.finish_reason) == (list(CYCLE), "loop")


def test_a_loop_at_the_token_limit_is_cut_too(tiny: OcrModel) -> None:
    page = read(tiny, [1], [Act((7,))], max_new_tokens=80, loop_window=0)[0]
    assert (page.token_ids, page.finish_reason, page.loop_tokens_cut) == ([7], "loop", 79)
    assert len(page.logprobs) == 1


def test_a_short_repetition_at_the_token_limit_stays(tiny: OcrModel) -> None:
    page = read(tiny, [1], [Act((7,), after=5)], max_new_tokens=60, loop_window=0)[0]
    assert (len(page.token_ids), page.finish_reason, page.loop_tokens_cut) == (60, "length", 0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("graphs", [False, True])
def test_cuda_writes_the_tokens_of_the_cpu(inputs: list[DecoderInput], golden_model: OcrModel, graphs: bool) -> None:
    on_gpu = load(ModelOptions(model=str(GOLDEN / "checkpoint"), device="cuda", dtype="float32"))
    moved = [DecoderInput(page.embeds.cuda(), page.positions, page.next_position) for page in inputs] * 3
    expected = decode(golden_model.network, inputs, FREE, eos_token_id=29) * 3
    found, seen = decode_rows(on_gpu, moved, replace(FREE, cuda_graphs=graphs), eos_token_id=29)
    assert found == [page.token_ids for page in expected]
    assert (seen.recorded > 0, seen.failed) == (graphs, False)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_recorded_steps_write_what_plain_ones_do(inputs: list[DecoderInput], dtype: str) -> None:
    on_gpu = load(ModelOptions(model=str(GOLDEN / "checkpoint"), device="cuda", dtype=dtype))
    moved = [DecoderInput(page.embeds.cuda().to(on_gpu.dtype), page.positions, page.next_position) for page in inputs]
    options = replace(FREE, max_new_tokens=300, no_repeat_ngram=5)  # reaches of 256, 512 and 768 tokens
    plain, _ = decode_rows(on_gpu, moved * 3, replace(options, cuda_graphs=False), eos_token_id=29)
    recorded, seen = decode_rows(on_gpu, moved * 3, options, eos_token_id=29)
    assert plain == recorded
    assert seen.recorded > 1
    assert not seen.failed

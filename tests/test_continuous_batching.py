"""Continuous batching: whatever happens to the other pages, a page gets the tokens that it gets alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import GOLDEN, Case, Encoded, golden_cases
from stubs import Act, Prompt, ScriptedNetwork

from rtprune_cli.decoding import Scheduler, decode, forward
from rtprune_cli.decoding.cache import KvCache
from rtprune_cli.decoding.runner import ModelRunner
from rtprune_cli.decoding.scheduler import reach_bucket, rows_bucket
from rtprune_cli.failures import Failure
from rtprune_cli.model import OcrModel
from rtprune_cli.model.network import assemble
from rtprune_cli.options import DecodeOptions, PruneOptions
from rtprune_cli.pruning import prune_pages
from rtprune_cli.records import Decoded, DecoderInput

FREE = DecodeOptions(max_new_tokens=24, no_repeat_ngram=0)
EOS = 29  # the golden model comes upon it at different steps
OWN_EOS = 1  # its own, which endless pages never write
ENDS = Act((OWN_EOS,))
AFTER = [5, 17, 33, 210, 9]
BLOCKS = pytest.mark.parametrize("steps", [1, 4])  # as on a CPU, and looked at one block later as on a GPU


SLOW_FIXTURES = {"prompts"}  # what uses one of them is slow


@pytest.fixture(scope="module")
def prompts(golden_model: OcrModel, encode_case: Callable[[Case], Encoded]) -> list[DecoderInput]:
    """Golden pages at several ratios, of 43 to 421 tokens."""
    pages = []
    for case in golden_cases(GOLDEN).values():
        seen = encode_case(case)
        for ratio in (None, 1.0, 0.5):
            pruned = prune_pages(seen.tokens, seen.pixels, PruneOptions(ratio=ratio))[0]
            pages.append(assemble(golden_model.embed([0]), [pruned], golden_model.embed(AFTER)))
    return pages


@pytest.fixture(scope="module")
def alone(golden_model: OcrModel, prompts: list[DecoderInput]) -> list[list[int]]:
    return [decode(golden_model.network, [page], FREE, eos_token_id=EOS)[0].token_ids for page in prompts]


def make_scheduler(network: Any, options: DecodeOptions = FREE, *, eos: int = EOS, **settings: Any) -> Scheduler:
    return Scheduler(network, options, eos_token_id=eos, **{"rows": 4, "steps": 1, **settings})


def run(scheduler: Scheduler, prompts: Sequence[DecoderInput]) -> dict[Hashable, Decoded | Failure]:
    """Add all pages, and decode until they are done."""
    for key, prompt in enumerate(prompts):
        scheduler.add(key, prompt)
    results: dict[Hashable, Decoded | Failure] = {}
    while scheduler.busy:
        for key, result in scheduler.step():
            assert key not in results
            results[key] = result
    return results


def tokens_of(results: dict[Hashable, Decoded | Failure]) -> list[list[int]]:
    return [result.token_ids if isinstance(result, Decoded) else [] for _, result in sorted(results.items())]


# --- Rows ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@BLOCKS
@pytest.mark.parametrize("rows", [2, 3, 7])
def test_pages_that_arrive_in_any_order_get_the_tokens_they_get_alone(
    golden_model: OcrModel, prompts: list[DecoderInput], alone: list[list[int]], rows: int, steps: int
) -> None:
    chance = random.Random(rows)
    order = chance.sample(range(len(prompts)), len(prompts))
    scheduler = make_scheduler(golden_model.network, rows=rows, steps=steps)
    found = {}
    while order or scheduler.busy:
        for _ in range(chance.choice((0, 0, 1, 3))):
            if order:
                scheduler.add(order[-1], prompts[order.pop()])
        found |= dict(scheduler.step())
    assert tokens_of(found) == alone
    assert len({len(tokens) for tokens in alone}) > 1


def test_a_row_that_becomes_free_is_taken_at_once(golden_model: OcrModel, prompts: list[DecoderInput]) -> None:
    network = ScriptedNetwork(golden_model.network, lambda p: ENDS if p.ordinal == 0 else Act(endless=True))
    scheduler = make_scheduler(network, rows=3, eos=OWN_EOS)
    for key, prompt in enumerate(prompts[:5]):
        scheduler.add(key, prompt)
    assert [key for key, _ in scheduler.step()] == [0]
    scheduler.step()
    assert sorted(scheduler.keys, key=str) == [1, 2, 3]


def test_only_rows_in_use_are_run(golden_model: OcrModel, prompts: list[DecoderInput]) -> None:
    network = ScriptedNetwork(golden_model.network, lambda _: None)
    found = run(make_scheduler(network, rows=9), prompts[:9])
    # A page's first token comes with its prefill, and eos takes a step of its own.
    steps = [len(page.token_ids) - (page.finish_reason == "length") for page in found.values()]  # type: ignore[union-attr]
    assert network.batches[-max(steps) :] == [sum(own > step for own in steps) for step in range(max(steps))]
    assert min(steps) < max(steps)


@pytest.mark.slow
@BLOCKS
def test_buckets_of_rows_and_of_reach_change_nothing_but_the_shapes(
    golden_model: OcrModel, prompts: list[DecoderInput], steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of 100 to 270 tokens that grow by 250: beyond the first bucket, and the longest beyond the second."""
    options = DecodeOptions(max_new_tokens=250, no_repeat_ngram=5, loop_window=0)
    pages = [*prompts[:5], max(prompts, key=lambda page: len(page.embeds))]
    exact = tokens_of(run(make_scheduler(golden_model.network, options, rows=5, steps=steps), pages))
    shapes = []
    real = ModelRunner.step

    def step(runner: ModelRunner, count: int, reach: int) -> torch.Tensor:
        shapes.append((count, reach))
        return real(runner, count, reach)

    monkeypatch.setattr(ModelRunner, "step", step)
    scheduler = make_scheduler(golden_model.network, options, rows=5, steps=steps, buckets=True)
    assert tokens_of(run(scheduler, pages)) == exact
    counts, reaches = ({shape[i] for shape in shapes} for i in (0, 1))
    assert counts <= {1, 2, 4, 5}  # 5: there are no more rows
    assert len(counts) > 1
    assert len(reaches) > 1
    assert all(reach % 256 == 0 or reach == scheduler._cache.capacity for reach in reaches)


def test_a_page_may_go_first(golden_model: OcrModel, prompts: list[DecoderInput]) -> None:
    scheduler = make_scheduler(golden_model.network, rows=1)
    scheduler.add("a", prompts[0])
    scheduler.add("b", prompts[1], first=True)
    scheduler.step()
    assert scheduler.keys == ["b"]


# --- The cache -----------------------------------------------------------------------------------------------------


LONG = DecodeOptions(max_new_tokens=600, no_repeat_ngram=0, loop_window=0)


@pytest.fixture(scope="module")
def long_alone(golden_model: OcrModel, prompts: list[DecoderInput]) -> list[list[int]]:
    """Long texts of four pages, each decoded by itself."""
    return [decode(golden_model.network, [page], LONG, eos_token_id=-1)[0].token_ids for page in prompts[:4]]


@pytest.mark.slow
@BLOCKS
def test_a_row_that_outgrows_its_slot_moves_with_its_text(
    golden_model: OcrModel,
    prompts: list[DecoderInput],
    long_alone: list[list[int]],
    steps: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pool holds four short pages but only two long ones: slots grow, later pages are preempted and start again."""
    monkeypatch.setattr("rtprune_cli.decoding.slots.USUAL_OUTPUT", 100)
    scheduler = make_scheduler(golden_model.network, LONG, eos=-1, pool_tokens=2200, longest=1050, steps=steps)
    layouts = record_layouts(scheduler)
    assert tokens_of(run(scheduler, prompts[:4])) == long_alone
    assert {rows for rows, _ in layouts} == {4, 2}


def record_layouts(scheduler: Scheduler) -> list[tuple[int, int]]:
    layouts: list[tuple[int, int]] = []
    real = scheduler._cache.lay_out

    def lay_out(rows: int, capacity: int, *used: int) -> None:
        layouts.append((rows, capacity))
        real(rows, capacity, *used)

    scheduler._cache.lay_out = lay_out  # type: ignore[method-assign]
    return layouts


@pytest.mark.slow
def test_slots_become_small_again_for_short_pages(
    golden_model: OcrModel, prompts: list[DecoderInput], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtprune_cli.decoding.slots.USUAL_OUTPUT", 100)
    options = DecodeOptions(max_new_tokens=2000, no_repeat_ngram=0, loop_window=0)
    network = ScriptedNetwork(golden_model.network, lambda p: Act(endless=True) if p.ordinal == 0 else ENDS)
    scheduler = make_scheduler(network, options, eos=OWN_EOS, pool_tokens=5000, longest=2500)
    layouts = record_layouts(scheduler)
    run(scheduler, prompts[:1])
    scheduler._slots._outputs = 100  # as if pages were short as a rule
    run(scheduler, prompts[1:9])
    assert layouts[0][0] == layouts[-1][0] == 4
    assert min(rows for rows, _ in layouts) < 4


@pytest.mark.slow
def test_where_memory_holds_the_longest_pages_nothing_ever_moves(
    golden_model: OcrModel, prompts: list[DecoderInput]
) -> None:
    scheduler = make_scheduler(golden_model.network, DecodeOptions(max_new_tokens=700, loop_window=0), eos=-1)
    layouts = record_layouts(scheduler)
    run(scheduler, prompts[:4])
    assert len(layouts) == 1


def test_slots_of_a_fixed_size_stay_until_a_page_outgrows_them(
    golden_model: OcrModel, prompts: list[DecoderInput], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    options = DecodeOptions(max_new_tokens=250, no_repeat_ngram=0, loop_window=0)
    network = ScriptedNetwork(golden_model.network, lambda p: Act(endless=True) if p.ordinal == 4 else ENDS)
    scheduler = make_scheduler(network, options, eos=OWN_EOS, pool_tokens=4 * 320, capacity=320, longest=700)
    layouts = record_layouts(scheduler)
    scheduler.graphs._recorded["a step on the old slots"] = None  # type: ignore[assignment]
    run(scheduler, prompts[:4])
    assert layouts == [(4, 320)]
    scheduler.graphs._recorded["a step on the old slots"] = None  # type: ignore[assignment]
    run(scheduler, prompts[4:5])
    assert len(layouts) == 2
    assert scheduler.graphs.recorded == 0


def test_prompts_padded_to_lengths_that_come_again_give_the_same_tokens(
    golden_model: OcrModel, prompts: list[DecoderInput], alone: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU."""
    seen = []
    real, padded = forward.run_decoder, forward.padded_length

    def watched(network: Any, embeds: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(embeds.shape[1])
        return real(network, embeds, *rest)

    monkeypatch.setattr(forward, "run_decoder", watched)
    monkeypatch.setattr(forward, "padded_length", lambda length, _: padded(length, torch.device("cuda")))
    assert tokens_of(run(make_scheduler(golden_model.network), prompts[:8])) == alone[:8]
    assert {length % forward.PADDING for length in seen} == {0}


@pytest.mark.parametrize(
    ("count", "rows"), [(1, 1), (3, 4), (33, 64), (64, 64), (65, 96), (128, 128), (130, 160), (256, 256)]
)
def test_few_numbers_of_rows_are_recorded(count: int, rows: int) -> None:
    assert rows_bucket(count) == rows


def test_few_reaches_are_recorded_and_none_is_much_too_far() -> None:
    reaches = {reach_bucket(length) for length in range(1, 8257)}
    assert len(reaches) == 15
    assert all(reach_bucket(length) <= 1.5 * length for length in range(512, 8257))


def test_a_layout_larger_than_the_pool_is_refused(golden_model: OcrModel) -> None:
    cache = KvCache(golden_model.text_config, 100, torch.device("cpu"), torch.float32)
    with pytest.raises(ValueError, match="do not fit"):
        cache.lay_out(2, 51, 0, 0)


def test_a_layout_keeps_what_is_in_use(golden_model: OcrModel) -> None:
    cache = KvCache(golden_model.text_config, 100, torch.device("cpu"), torch.float32)
    cache.lay_out(5, 20, 0, 0)
    cache._slots.copy_(torch.randn(cache._slots.shape))
    before = cache._slots[:, :, :3, :, :15].clone()
    cache.lay_out(3, 32, 3, 15)
    assert torch.equal(cache._slots[:, :, :, :, :15], before)
    cache.lay_out(6, 16, 3, 15)
    assert torch.equal(cache._slots[:, :, :3, :, :15], before)


# --- Batches that fail ---------------------------------------------------------------------------------------------

OUT_OF_MEMORY = torch.OutOfMemoryError("full")


def failing(model: OcrModel, script: Callable[[Prompt], Act | None]) -> ScriptedNetwork:
    return ScriptedNetwork(model.network, script)


@pytest.mark.slow
@BLOCKS
@pytest.mark.parametrize("after", [0, 5])
def test_a_page_that_fails_costs_itself_only(
    golden_model: OcrModel, prompts: list[DecoderInput], alone: list[list[int]], after: int, steps: int
) -> None:
    worst = next(i for i, tokens in enumerate(alone) if len(tokens) > 8)
    bad = len(prompts[worst].embeds), prompts[worst].next_position
    pages = [prompts[worst], *(page for page in prompts[:9] if (len(page.embeds), page.next_position) != bad)]
    expected = [alone[next(i for i, other in enumerate(prompts) if other is page)] for page in pages]
    network = failing(golden_model, lambda p: Act(fault=ValueError(), after=after) if p.length == bad[0] else None)
    found = run(make_scheduler(network, rows=5, steps=steps), pages)
    assert found[0] == Failure("ValueError")
    assert tokens_of(found)[1:] == expected[1:]


@BLOCKS
def test_a_page_whose_numbers_overflow_fails_and_leaves_no_trace(
    golden_model: OcrModel, prompts: list[DecoderInput], alone: list[list[int]], steps: int
) -> None:
    """In float16 it happens. Attention weighs what is masked with 0, and 0 times NaN is NaN."""
    network = failing(golden_model, lambda p: Act(overflow=True, after=6) if p.ordinal == 0 else None)
    scheduler = make_scheduler(network, rows=1, steps=steps)
    for key in (0, 1):
        scheduler.add(key, prompts[3 - key])
    scheduler.step()
    scheduler._cache._slots[:, :, 0, :, -100:] = float("nan")
    found = {}
    while scheduler.busy:
        found |= dict(scheduler.step())
    assert found[0] == Failure("the numbers overflow")
    assert tokens_of(found)[1] == alone[2]
    assert scheduler._cache._slots.isfinite().all()


@pytest.mark.slow
def test_short_memory_halves_the_rows_for_good(
    golden_model: OcrModel, prompts: list[DecoderInput], alone: list[list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    network = ScriptedNetwork(golden_model.network, lambda _: None, most_rows=2)
    scheduler = make_scheduler(network, rows=4)
    assert tokens_of(run(scheduler, prompts[:8])) == alone[:8]
    assert scheduler.rows == 2
    assert "out of memory: going on with 2 pages together instead of 4" in caplog.text


@pytest.mark.slow
def test_a_page_that_is_too_large_alone_leaves_the_rows(golden_model: OcrModel, prompts: list[DecoderInput]) -> None:
    longest = max(len(page.embeds) for page in prompts[:8])
    network = failing(golden_model, lambda p: Act(fault=OUT_OF_MEMORY) if p.length == longest else None)
    scheduler = make_scheduler(network, rows=4)
    found = run(scheduler, prompts[:8])
    assert {type(found[key]) for key in found if len(prompts[int(str(key))].embeds) < longest} == {Decoded}
    assert Failure("OutOfMemoryError", out_of_memory=True) in found.values()
    assert scheduler.rows == 4


def test_a_broken_gpu_is_no_fault_of_a_page(golden_model: OcrModel, prompts: list[DecoderInput]) -> None:
    network = failing(golden_model, lambda _: Act(fault=torch.AcceleratorError("CUDA error")))
    with pytest.raises(torch.AcceleratorError):
        run(make_scheduler(network), prompts[:2])


def test_every_page_may_fail(golden_model: OcrModel, prompts: list[DecoderInput]) -> None:
    network = failing(golden_model, lambda _: Act(fault=ValueError()))
    assert set(run(make_scheduler(network), prompts[:5]).values()) == {Failure("ValueError")}


def test_a_loop_found_late_is_cut_at_the_same_place(golden_model: OcrModel, prompts: list[DecoderInput]) -> None:
    options = replace(FREE, max_new_tokens=120, loop_window=40)
    loops = [
        run(make_scheduler(failing(golden_model, lambda _: Act(tuple(range(30, 40)))), options, steps=n), prompts[:2])
        for n in (1, 7)
    ]
    cut = [[(p.token_ids, p.finish_reason, p.loop_tokens_cut) for p in found.values()] for found in loops]  # type: ignore[union-attr]
    assert cut[0] == cut[1]
    assert cut[0][0][1] == "loop"

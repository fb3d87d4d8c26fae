"""How much is done at a time, on cards of different sizes."""

from __future__ import annotations

import pytest
import torch
from conftest import spec_of

from rtprune_cli.bench.speed.arch import read_arch, skeleton
from rtprune_cli.decoding import Scheduler
from rtprune_cli.decoding.cache import bytes_per_token
from rtprune_cli.decoding.scheduler import STEPS_AHEAD
from rtprune_cli.engine import memory
from rtprune_cli.engine.memory import CONTEXT_BYTES, FIXED_SLOT, MemoryPlan, Workload, fit, needed_bytes
from rtprune_cli.model.adapters import adapter_of, network_config
from rtprune_cli.options import MODES, DecodeOptions, Mode, PruneOptions
from rtprune_cli.pruning.methods import Batch, prune_batch
from rtprune_cli.records import ViewSpec

CONFIG = network_config(read_arch("deepseek-ocr"))
BASE = Workload(CONFIG, spec_of("base"))
BF16 = torch.bfloat16
TOKEN = bytes_per_token(CONFIG.text_config, BF16)
WEIGHTS = 3_335_504_128 * 2
GB = 10**9


def usable_of(card: float, fraction: float = 0.9) -> int:
    """Bytes that a run may take on a card of so many GiB, beside CUDA itself and the weights."""
    return int(fraction * card * 2**30 - CONTEXT_BYTES - WEIGHTS)


def on_card(card: float, mode: Mode = "base", **options: int) -> MemoryPlan:
    return fit(Workload(CONFIG, spec_of(mode)), DecodeOptions(**options), "cuda", BF16, usable_of(card))


def total(found: MemoryPlan, work: Workload) -> int:
    """All that a plan takes."""
    page = memory.page_bytes(work.config.vision_config, work.spec, BF16)
    recorded = found.recorded_pixels // memory.page_pixels(work.spec)
    return (
        found.pool_tokens * TOKEN
        + found.rows * memory.row_bytes(work.config.text_config, BF16)
        + (found.encoded_pages + recorded) * page
        + found.prompt_tokens * memory.prompt_bytes(work.config.text_config, BF16)
        + found.graphs * memory.GRAPH_BYTES
        + memory.prune_bytes(work.spec, found.encoded_pages)
        + memory.OVERHEAD_BYTES
    )


def work_of(name: str, mode: Mode, pages: int = 1) -> Workload:
    """Pages of another architecture."""
    raw = read_arch(name)
    return Workload(network_config(raw), ViewSpec(mode, adapter_of(raw).layout), pages)


def test_a_token_of_the_real_model_takes_60_kib() -> None:
    assert TOKEN == 2 * 12 * 1280 * 2


@pytest.mark.parametrize(
    ("card", "rows", "fixed"),
    [
        (12, 22, False),  # RTX 3060, 4070
        (16, 44, False),  # T4 in its own precision, RTX 4080
        (24, 103, False),  # RTX 3090, 4090, L4
        (40, 256, False),  # A100
        (80, 250, True),  # A100, H100
        (141, 256, True),  # H200
    ],
)
def test_rows_and_slots_follow_the_card(card: int, rows: int, fixed: bool) -> None:
    found = on_card(card)
    assert rows * 0.9 <= found.rows <= rows * 1.1
    assert (found.capacity is not None) == fixed
    assert found.lacking == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("card", [12, 16, 24, 40, 80, 141])
def test_all_parts_together_fit(card: int, mode: Mode) -> None:
    found = on_card(card, mode)
    if not found.lacking:
        assert total(found, Workload(CONFIG, spec_of(mode))) <= usable_of(card)
    assert found.encoded_pages >= 1


def test_a_fixed_slot_is_as_large_as_the_cache_allows() -> None:
    found = on_card(141)
    assert found.capacity is not None
    assert FIXED_SLOT <= found.capacity <= BASE.longest
    assert found.pool_tokens - found.rows * found.capacity < found.rows * 64


def test_gundam_pages_are_encoded_in_batches_where_memory_allows() -> None:
    assert on_card(80, "gundam").encoded_pages == 8
    assert on_card(12, "gundam").encoded_pages == 1


def test_eight_gigabytes_are_not_enough_and_say_so() -> None:
    found = on_card(8)
    assert found.lacking == pytest.approx(needed_bytes(BASE, BF16) - usable_of(8), rel=0.01)
    assert (found.rows, found.encoded_pages, found.pool_tokens) == (1, 1, BASE.longest)  # one page is still tried


def test_what_is_needed_is_enough_for_one_row() -> None:
    needed = needed_bytes(BASE, BF16)
    assert fit(BASE, DecodeOptions(), "cuda", BF16, needed).lacking == 0
    assert fit(BASE, DecodeOptions(), "cuda", BF16, needed - 10**8).lacking > 0


def test_a_batch_size_that_was_given_is_kept_and_takes_no_more() -> None:
    found = on_card(141, batch_size=4)
    assert (found.rows, found.pool_tokens, found.capacity) == (4, 4 * BASE.longest, BASE.longest)


def test_a_cpu_encodes_page_by_page() -> None:
    found = fit(BASE, DecodeOptions(), "cpu", BF16, 20 * GB)
    assert (found.encoded_pages, found.encoded_pixels, found.rows) == (1, 1024**2, 32)


def test_the_share_is_one_of_what_is_there() -> None:
    cpu = torch.device("cpu")
    assert memory.usable_bytes(cpu, 0.5) == pytest.approx(memory.usable_bytes(cpu, 1.0) / 2, rel=0.1)


# --- Other models ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "card", "rows", "encoded"),
    [
        ("unlimited-ocr", 16, 16, 1),
        ("unlimited-ocr", 24, 34, 2),
        ("unlimited-ocr", 80, 202, 7),
        ("deepseek-ocr-2", 16, 41, 3),
        ("deepseek-ocr-2", 24, 96, 5),
        ("deepseek-ocr-2", 80, 239, 8),
    ],
)
def test_pages_of_32_tiles_and_of_6_of_768_are_planned_for(name: str, card: int, rows: int, encoded: int) -> None:
    work = work_of(name, "gundam")
    found = fit(work, DecodeOptions(), "cuda", BF16, usable_of(card))
    assert total(found, work) <= usable_of(card)
    assert rows * 0.9 <= found.rows <= rows * 1.1
    assert (found.encoded_pages, found.lacking) == (encoded, 0)


def test_twelve_gigabytes_read_pages_of_32_tiles_and_eight_say_what_is_lacking() -> None:
    work = work_of("unlimited-ocr", "gundam")
    assert fit(work, DecodeOptions(), "cuda", BF16, usable_of(12)).lacking == 0
    found = fit(work, DecodeOptions(), "cuda", BF16, usable_of(8))
    assert found.lacking == needed_bytes(work, BF16) - usable_of(8) > GB


def test_learned_queries_take_less_than_what_sees_the_cells() -> None:
    """A layer of Qwen2 over twice the cells: state, norm, queries, output, keys and values of two heads, the mask and
    three inner states, none of them given back."""
    vision, side = work_of("deepseek-ocr-2", "gundam").config.vision_config, 768
    qwen, tokens = vision.encoder_config, 2 * (side // 64) ** 2
    layer = tokens * (4 * qwen.hidden_size + 2 * 2 * 64 + 3 * qwen.intermediate_size + tokens) * BF16.itemsize
    assert layer < memory.encoder_bytes(vision, side, BF16) / 4


@pytest.mark.parametrize("pages", [1, 8, 25])
@pytest.mark.parametrize("card", [16, 80])
def test_contexts_have_slots_that_never_grow(pages: int, card: int) -> None:
    """Every context is as long as the longest: a prompt and a ring. A slot that grows would cost all that is
    recorded."""
    work = work_of("unlimited-ocr", "base", pages)
    found = fit(work, DecodeOptions(), "cuda", BF16, usable_of(card))
    assert total(found, work) <= usable_of(card)
    assert found.capacity == found.longest == work.longest
    assert found.longest - memory.SLACK - (work.longest_prompt + 128) < memory.SLOT
    assert found.pool_tokens >= found.rows * found.longest


def test_the_scheduler_makes_slots_as_they_are_planned() -> None:
    work = work_of("unlimited-ocr", "base", 8)
    network = skeleton(read_arch("unlimited-ocr"), torch.device("cpu"), BF16)
    scheduler = Scheduler(
        network,
        DecodeOptions(),
        eos_token_id=1,
        rows=1,
        pool_tokens=work.longest,
        prompt_tokens=1,
        longest=work.longest - memory.SLACK,
        steps=STEPS_AHEAD,  # as on a GPU
    )
    assert scheduler._cache.tokens == work.longest


@pytest.mark.slow
def test_pruning_a_page_of_32_tiles_takes_what_is_planned() -> None:
    """Cosines of all pairs of 3,793 tokens are more than all else that pruning makes of a page."""
    spec = work_of("unlimited-ocr", "gundam").spec
    tokens = memory.page_tokens(spec)
    masks = torch.zeros(2, tokens, dtype=torch.bool)
    masks[0, 10::11] = True
    masks[1] = ~masks[0]
    batch = Batch(torch.randn(1, tokens, 1280), torch.randn(1, 3, 1024, 1024), masks)
    with torch.inference_mode(), torch.profiler.profile(profile_memory=True) as seen:
        prune_batch(batch, PruneOptions(ratio=0.84))
    now = most = 0
    for event in seen.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    kept = memory.FLOAT32 * memory.PRUNE_GRAPHS * 3 * 1024**2  # of recorded shapes, of which a CPU has none
    assert 2 * memory.FLOAT32 * tokens**2 < most <= memory.prune_bytes(spec, 1) - kept

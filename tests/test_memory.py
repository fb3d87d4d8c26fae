"""How much is done at a time, on cards of different sizes."""

from __future__ import annotations

import pytest
import torch
from conftest import spec_of

from rtprune_cli.bench.speed.arch import read_arch
from rtprune_cli.decoding.cache import bytes_per_token
from rtprune_cli.engine import memory
from rtprune_cli.engine.memory import CONTEXT_BYTES, FIXED_SLOT, MemoryPlan, Workload, fit, needed_bytes
from rtprune_cli.model.adapters import network_config
from rtprune_cli.options import MODES, DecodeOptions, Mode

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


def total(found: MemoryPlan, mode: Mode) -> int:
    """All that a plan takes."""
    page = memory.page_bytes(CONFIG.vision_config, spec_of(mode), BF16)
    recorded = found.recorded_pixels // memory.page_pixels(spec_of(mode))
    return (
        found.pool_tokens * TOKEN
        + found.rows * memory.row_bytes(CONFIG.text_config, BF16)
        + (found.encoded_pages + recorded) * page
        + found.prompt_tokens * memory.prompt_bytes(CONFIG.text_config, BF16)
        + found.graphs * memory.GRAPH_BYTES
        + memory.prune_bytes(spec_of(mode), found.encoded_pages)
        + memory.OVERHEAD_BYTES
    )


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
        assert total(found, mode) <= usable_of(card)
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

"""How much is done at a time, on cards of different sizes."""

from __future__ import annotations

import pytest
import torch

from rtprune_cli import memory
from rtprune_cli.bench.arch import read_arch
from rtprune_cli.decoding.cache import bytes_per_token
from rtprune_cli.memory import Plan, encoder_bytes, plan
from rtprune_cli.model import build_config
from rtprune_cli.options import DecodeOptions

CONFIG = build_config(read_arch("deepseek-ocr"))
TOKEN = bytes_per_token(CONFIG.text_config, torch.bfloat16)
GB = 10**9


def fitting(
    free: float, monkeypatch: pytest.MonkeyPatch, *, side: int = 1024, device: str = "cuda", **options: int
) -> Plan:
    monkeypatch.setattr(memory, "usable_bytes", lambda _device, _fraction: free)
    return plan(CONFIG, side, DecodeOptions(**options), torch.device(device), torch.bfloat16)


def test_a_token_of_the_real_model_takes_60_kib() -> None:
    assert TOKEN == 2 * 12 * 1280 * 2


@pytest.mark.parametrize(("free", "rows"), [(8, 50), (14, 105), (120, 128)])  # 16, 24 and 141 GB less the weights
def test_rows_follow_the_free_memory(free: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fitting(free * GB, monkeypatch)
    assert rows * 0.8 <= found.rows <= rows * 1.2
    assert found.pool_tokens * TOKEN < free * GB


@pytest.mark.parametrize("side", [512, 1024, 1280])
def test_all_parts_together_fit(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fitting(14 * GB, monkeypatch, side=side)
    images = found.encoded_pixels / side**2
    encoder = images * encoder_bytes(CONFIG.vision_config, side, torch.bfloat16)
    assert found.pool_tokens * TOKEN + encoder + memory.PREFILL_BYTES <= 14 * GB
    assert images >= 1


def test_a_batch_size_that_was_given_is_kept_and_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fitting(120 * GB, monkeypatch, batch_size=4)
    assert found.rows == 4
    assert found.pool_tokens == 4 * memory.LONGEST_PAGE


def test_where_nearly_nothing_is_free_one_page_is_still_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fitting(0.1 * GB, monkeypatch)
    assert found.pool_tokens == memory.LONGEST_PAGE
    assert found.encoded_pixels == 1024**2


def test_a_cpu_encodes_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fitting(20 * GB, monkeypatch, device="cpu")
    assert (found.encoded_pixels, found.rows) == (1024**2, 32)


def test_the_share_is_one_of_what_is_there() -> None:
    cpu = torch.device("cpu")
    assert memory.usable_bytes(cpu, 0.5) == pytest.approx(memory.usable_bytes(cpu, 1.0) / 2, rel=0.1)

"""What `rtprune info` says of a GPU; without one, of what torch says of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import UnlimitedOcrForConditionalGeneration

from rtprune_cli.bench.speed.arch import read_arch, skeleton
from rtprune_cli.commands import info
from rtprune_cli.commands.info import PARAMETERS, good_for
from rtprune_cli.device import hardware

GIB = 2**30


def test_the_default_model_is_as_large_as_it_is_taken_to_be() -> None:
    network: UnlimitedOcrForConditionalGeneration = skeleton(
        read_arch("deepseek-ocr"), torch.device("cpu"), torch.bfloat16
    )
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS


def test_eight_gigabytes_do_not_hold_the_model() -> None:
    pages, words = good_for(8 * GIB, torch.bfloat16)
    assert not pages
    assert words.startswith("too small for DeepSeek-OCR")
    assert "this has 8.6" in words


def test_a_card_that_holds_some_modes_says_which() -> None:
    pages, words = good_for(9 * GIB, torch.bfloat16)
    assert "small" in pages
    assert "gundam" not in pages
    assert "too small for mode gundam" in words


def test_float32_takes_twice_as_much() -> None:
    assert not good_for(12 * GIB, torch.float32)[0]


def card(monkeypatch: pytest.MonkeyPatch, memory: int, capability: tuple[int, int]) -> None:
    found = SimpleNamespace(name="Card", total_memory=memory)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: found)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    hardware.capability.cache_clear()


@pytest.fixture(autouse=True)
def _forget() -> Any:
    yield
    hardware.capability.cache_clear()


def test_a_gpu_is_told_with_its_precision_and_its_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    card(monkeypatch, 16 * GIB, (7, 5))
    facts = info.collect()
    gpu = facts["gpus"][0]
    assert (gpu["capability"], gpu["dtype"]) == ("7.5", "float16")
    text = info.as_text(facts)
    assert "cuda:0: Card, 16.0 GiB, float16" in text
    assert "pages together" in text
    assert "experts: batched_mm for few tokens, dense up to 512" in text
    assert not [lack for lack in facts["missing"] if "GPU" in lack]


def test_a_gpu_that_is_too_small_is_missing_something(monkeypatch: pytest.MonkeyPatch) -> None:
    card(monkeypatch, 8 * GIB, (8, 9))
    (lack,) = [lack for lack in info.collect()["missing"] if "GPU" in lack]
    assert "too small" in lack

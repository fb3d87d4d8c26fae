"""What the steps measure on: models, prompts, pages and schedulers, and the switches that they compare."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from PIL import Image

from probe.common import DEVICE, GOLDEN, GPU
from rtprune_cli import views as seeing
from rtprune_cli.bench.speed.arch import build, describe
from rtprune_cli.decoding import Scheduler
from rtprune_cli.decoding.fused import FusedStep, fused_step, sizes_of
from rtprune_cli.decoding.kernels.chosen import twins
from rtprune_cli.device.graphs import Graphs
from rtprune_cli.device.hardware import Capability, set_up
from rtprune_cli.failures import Failure
from rtprune_cli.model import OcrModel, experts, load
from rtprune_cli.model.adapters import deepseek_ocr
from rtprune_cli.options import DecodeOptions, Mode, ModelOptions
from rtprune_cli.records import DecoderInput, Views, ViewSpec

NEVER = -1  # no token has this id: pages are as long as they were asked to be
WAYS = ("grouped_mm", "batched_mm", "dense")  # to compute experts, see experts.py
AMPERE: Capability = (8, 0)


def spec_of(mode: Mode) -> ViewSpec:
    """A mode as DeepSeek-OCR has it."""
    return ViewSpec(mode, deepseek_ocr.ADAPTER.layout)


def make_views(image: Image.Image, mode: Mode) -> Views:
    """The views of DeepSeek-OCR."""
    return seeing.make_views(image, spec_of(mode))


def golden(dtype: str) -> OcrModel:
    """The official layout at reduced sizes, whose numbers on a CPU are known."""
    return load(ModelOptions(model=str(GOLDEN / "checkpoint"), device=os.environ.get("DEVICE", "cuda"), dtype=dtype))


def full_size() -> OcrModel:
    """The full-size model with random weights in bfloat16; on a CPU the golden one, to try the script."""
    return build(describe("deepseek-ocr", DEVICE, torch.bfloat16), 0) if GPU else golden("float32")


def in_dtype(model: OcrModel, dtype: torch.dtype) -> OcrModel:
    """The same network in another precision; it is converted in place."""
    set_up(DEVICE, dtype)
    return replace(model, dtype=dtype, network=model.network.to(dtype))


def experts_layers(model: OcrModel) -> list[Any]:
    """The decoder's layers that have experts."""
    return [layer for layer in model.network.model.language_model.layers if hasattr(layer.mlp, "experts")]


# --- Switches --------------------------------------------------------------------------------------------------------


@contextmanager
def cudnn_attention(on: bool) -> Iterator[None]:
    """With or without cuDNN's attention, which a run leaves out (device/hardware.py)."""
    torch.backends.cuda.enable_cudnn_sdp(on)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(False)


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    """With or without TF32 in convolutions of float32: torch's default, which a run switches off."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def as_card(model: OcrModel, found: Capability) -> Iterator[None]:
    """Experts computed as on a card of this capability: it stands in for cards that are not there."""
    own = experts.capability
    experts.capability = lambda _: found  # type: ignore[assignment]
    try:
        with by_way(model, experts.CUDA_IMPLEMENTATION):
            yield
    finally:
        experts.capability = own


@contextmanager
def by_way(model: OcrModel, way: str) -> Iterator[None]:
    """Experts computed in one way for any number of tokens."""
    experts.implementation(torch.device("cuda"))  # makes the names known, also where a CPU stands in
    before = model.text_config._experts_implementation
    model.network.set_experts_implementation(way)
    try:
        yield
    finally:
        model.network.set_experts_implementation(before)


# --- Prompts and schedulers ------------------------------------------------------------------------------------------


def prompts(model: OcrModel, count: int, length: int) -> list[DecoderInput]:
    """Random text of ``length`` tokens, another for each page."""
    chance = torch.Generator().manual_seed(length)
    ids = torch.randint(3, model.text_config.vocab_size - 1, (count, length), generator=chance)
    return [DecoderInput(model.embed(row.tolist()), torch.arange(length), length) for row in ids]


def make_scheduler(
    model: OcrModel, rows: int, longest: int, new: int, *, fused: FusedStep | None = None, **options: Any
) -> Scheduler:
    """For prompts of at most ``longest`` tokens and ``new`` more."""
    decode = DecodeOptions(max_new_tokens=new, loop_window=0, **options)
    return Scheduler(model.network, decode, eos_token_id=NEVER, rows=rows, longest=longest + new, fused=fused)


def with_kernels(model: OcrModel) -> FusedStep | None:
    """What runs a step with rtprune's kernels; on a CPU with their twins; None without Triton."""
    if GPU:
        return fused_step(model.network)
    if importlib.util.find_spec("triton") is None:
        return None
    sizes = sizes_of(model.network)
    assert sizes is not None
    return FusedStep(model.network, twins(), sizes)


def decode_all(
    model: OcrModel, pages: Sequence[DecoderInput], new: int, *, rows: int = 4, **options: Any
) -> tuple[list[list[int]], Graphs]:
    """The tokens of each page, and where the steps were recorded.

    Raises:
        RuntimeError: a page failed.
    """
    scheduler = make_scheduler(model, min(rows, len(pages)), max(len(page.embeds) for page in pages), new, **options)
    for key, page in enumerate(pages):
        scheduler.add(key, page)
    found: dict[Any, list[int]] = {}
    while scheduler.busy:
        for key, result in scheduler.step():
            if isinstance(result, Failure):
                raise RuntimeError(f"page {key} failed: {result.kind}")
            found[key] = result.token_ids
    return [found[key] for key in range(len(pages))], scheduler.graphs


def told(graphs: Graphs) -> str:
    """What became of recordings, in words."""
    return f"{graphs.recorded} recorded" + (", then one failed" if graphs.failed else "")

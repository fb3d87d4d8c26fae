"""Step smoke: versions, the card, which attention a step gets as torch chooses, and what can be recorded."""

from __future__ import annotations

import importlib
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
import torch.nn.functional as F

from probe import kernels
from probe.clock import recorded_ms, seconds
from probe.common import DEVICE, GPU, Parts, first_line, give_back, keep, on_default_stream, say
from probe.material import cudnn_attention
from rtprune_cli.commands import info
from rtprune_cli.device.hardware import capability, pick_dtype
from rtprune_cli.model.experts import describe

PACKAGES = (
    "torch", "transformers", "triton", "numpy", "tokenizers", "huggingface_hub", "safetensors", "pymupdf", "pillow",
    "pytest", "hypothesis",
)  # fmt: skip
MODULES = ("rtprune_cli.bench.speed.run", "rtprune_cli.commands.app", "rtprune_cli.pipeline")


def run() -> None:
    parts = Parts()
    parts.run("versions", 10, versions)
    if GPU:
        parts.run("card", 20, card)
        parts.run("attention of a step", 30, attention)
        parts.run("grouped products", 40, grouped_products)


def versions() -> None:
    found = {name: _version(name) for name in PACKAGES}
    say(f"python {platform.python_version()}, " + ", ".join(f"{name} {number}" for name, number in found.items()))
    keep("smoke", versions=found, python=platform.python_version())
    for name in MODULES:
        importlib.import_module(name)
    say("imports ok")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def card() -> None:
    """The GPU, and what `rtprune info` takes it to be good for."""
    properties, (free, total) = torch.cuda.get_device_properties(DEVICE), torch.cuda.mem_get_info()
    dtype, found = pick_dtype("auto", DEVICE), capability(DEVICE)
    pages, words = info.good_for(total, dtype)
    facts: dict[str, Any] = {
        "gpu": properties.name,
        "sms": properties.multi_processor_count,
        "free": free,
        "total": total,
        "cudnn": torch.backends.cudnn.version(),
        "cuda": torch.version.cuda,
        "capability": found,
        "dtype": str(dtype),
        "experts": describe(DEVICE, dtype),
        "pages_together": pages,
    }
    say(
        f"{properties.name} {found} {facts['sms']} SMs, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free, "
        f"cuDNN {facts['cudnn']}, CUDA {facts['cuda']}; experts: {facts['experts']}"
    )
    say(words)
    keep("smoke", **facts)


def attention() -> None:
    """The kernels of one masked query a row, as torch chooses, and as it does in a run; the first call of each."""
    query = torch.randn(8, 10, 1, 128, device=DEVICE, dtype=torch.bfloat16)
    keys = torch.randn(8, 10, 512, 128, device=DEVICE, dtype=torch.bfloat16)
    mask = torch.zeros(8, 1, 1, 512, device=DEVICE, dtype=torch.bfloat16)

    def work() -> None:
        F.scaled_dot_product_attention(query, keys, keys, attn_mask=mask)

    for name, on in (("step_attention", torch.backends.cuda.cudnn_sdp_enabled()), ("step_attention_of_a_run", False)):
        with cudnn_attention(on):
            first = seconds(work) * 1e3
            names = [kernel for kernel, *_ in kernels.profile(work)["top"]]
        say(f"{name.replace('_', ' ')}, cuDNN {on}: {names}; its first call took {first:.0f} ms")
        keep("smoke", **{name: names, f"{name}_first_ms": first})


def grouped_products() -> None:
    """Whether torch's grouped product can be recorded in each precision; what a recording that fails leaves behind."""
    hidden = torch.randn(48, 1280, device=DEVICE)
    ends = torch.arange(6, 49, 6, device=DEVICE, dtype=torch.int32)
    weights = torch.randn(8, 1792, 1280, device=DEVICE)
    found = {}
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        own, table, name = hidden.to(dtype), weights.to(dtype).transpose(1, 2), str(dtype).removeprefix("torch.")
        try:
            ms, recorded = recorded_ms(lambda: F.grouped_mm(own, table, offs=ends))  # noqa: B023
        except Exception as error:
            say(f"grouped_mm in {name} raises {first_line(error)}")
            continue
        found[name] = recorded
        text = f"grouped_mm in {name} can{'' if recorded else 'not'} be recorded ({ms * 1e3:.0f} us)"
        if not recorded:
            text += f"; default stream afterwards: {on_default_stream()}; empty_cache: {give_back() or 'ok'}"
        say(text)
    keep("smoke", grouped_mm=found)

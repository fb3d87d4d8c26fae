"""How much is done at a time: rows of the decoder, its cache, images of one encoding, from the memory that is free."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rtprune_cli.decoding.cache import bytes_per_token
from rtprune_cli.options import DecodeOptions

# More rows than these gain little: on a GPU the weights are read once for all of them, on a CPU arithmetic rules.
MOST_ROWS = {"cuda": 128, "cpu": 32}
USUAL_PAGE = 1536  # tokens of prompt and output; longer ones make others wait, see decoding/decoder.py
LONGEST_PAGE = 8192 + 64  # all positions of the decoder, and the steps of a page that has ended but is not looked at
# Pixels of one encoding. A CPU does one page after the other as fast, and its caches hold it.
ENCODED_PIXELS = {"cuda": 8 * 1024**2, "cpu": 1}
ENCODER_SHARE = 0.2  # of the memory that may be used, where that is less
PREFILL_BYTES = 1_500_000_000  # of the widest layer over the tokens of one prefill, and the fragments between
PATCH = 16  # pixels of SAM's patches each way


@dataclass(frozen=True)
class Plan:
    """``rows`` of the decoder, tokens of its cache, pixels of one encoding (at least one page goes in any case)."""

    rows: int
    pool_tokens: int
    encoded_pixels: int


def plan(config: Any, side: int, options: DecodeOptions, device: torch.device, dtype: torch.dtype) -> Plan:
    """What fits on this device now, with the weights there. ``config`` is the model's, ``side`` that of its views."""
    usable = int(usable_bytes(device, options.memory_fraction))
    image = encoder_bytes(config.vision_config, side, dtype)
    images = max(1, min(ENCODED_PIXELS[device.type] // side**2, int(ENCODER_SHARE * usable) // image))
    left = usable - images * image - (PREFILL_BYTES if device.type == "cuda" else 0)
    tokens = max(left // bytes_per_token(config.text_config, dtype), LONGEST_PAGE)
    rows = options.batch_size or max(1, min(MOST_ROWS[device.type], tokens // USUAL_PAGE))
    return Plan(rows, min(tokens, rows * LONGEST_PAGE), images * side**2)


def encoder_bytes(vision_config: Any, side: int, dtype: torch.dtype) -> int:
    """What one image takes in the encoder's widest layer: SAM's global attention over all patches, whose scores and
    relative positions are written out, (heads, patches, patches) three times over."""
    sam = vision_config.sam_config
    patches = (side // PATCH) ** 2
    return int(3 * sam.num_attention_heads * patches**2 * dtype.itemsize)


def usable_bytes(device: torch.device, fraction: float) -> float:
    """Bytes that may still be taken: ``fraction`` of the device's memory less what is in use."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return fraction * total - (total - free - unused)
    return fraction * _host_bytes()


def _host_bytes() -> float:
    """Memory that this process may take on the host: the system's, or its container's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 4 * 2**30
    limits = [float(total)]
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            limits.append(float(line.split()[1]) * 1024)
    limits += [float(line) for line in _lines("/sys/fs/cgroup/memory.max") if line.strip().isdecimal()]
    return min(limits)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []

"""How much is done at a time: rows of the scheduler, its cache, pages of one encoding, from the memory that is free.

All bytes are estimates from the configuration, on the safe side; docs/benchmarks.md has what an H200 took beside them.
What a card is good for is said by `rtprune info` from the same plan.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rtprune_cli.decoding.cache import bytes_per_token, window_of
from rtprune_cli.decoding.scheduler import PROMPT_TOKENS, SLOT
from rtprune_cli.options import DecodeOptions, view_side
from rtprune_cli.records import ViewSpec
from rtprune_cli.views.grid import page_tokens

# On a GPU the weights are read once for all rows: at 128 they are still half of the bytes of a step. On a CPU
# arithmetic rules, and more gain little.
MOST_ROWS = {"cuda": 256, "cpu": 32}
USUAL_PAGE = 1536  # tokens of prompt and output; longer ones make others wait, see decoding/slots.py
SLACK = SLOT  # the steps of a page that has ended but is not looked at
PROMPT_TEXT = 64  # tokens beside the image, where the prompt is not known: the models' own have up to 20
# Rows get slots of one fixed size where so many of this size have room: slots that grow copy the cache and lose the
# recorded steps each time.
FIXED_SLOT, FIXED_ROWS = 4096, 128
# Pages of one encoding: these, or as many as have these pixels. A CPU does one after the other as fast, and its caches
# hold it.
ENCODED_PAGES = {"cuda": 8, "cpu": 1}
ENCODED_PIXELS = {"cuda": 8 * 1024**2, "cpu": 1}
LEAST_PROMPT_TOKENS = 2048
# Encodings of more pixels are not recorded: they keep a GPU busy for longer than their launches take.
RECORDED_PIXELS = 5 * 1024**2
MOST_GRAPHS, LEAST_GRAPHS = 64, 8  # recorded steps; a run of pages alike needs 10 to 30
ENCODE_GRAPHS, PRUNE_GRAPHS = 8, 4
# Shares of the memory that is left beside the least of each, where that is less than the most
ENCODER_SHARE, RECORDED_SHARE, PREFILL_SHARE, GRAPHS_SHARE = 0.2, 0.1, 0.1, 0.05
GRAPH_BYTES = 10_000_000  # of one recorded step: some 900 kernels and their arguments
OVERHEAD_BYTES = 300_000_000  # workspaces of cuBLAS and cuDNN, and fragments between what is in use
CONTEXT_BYTES = 750_000_000  # CUDA's own, and the code of the kernels; 718 MB on an H200 (CUDA 13.0, torch 2.11.0)
PATCH = 16  # pixels of SAM's patches each way
COSINES = 4  # matrices of a page's tokens by its tokens that pruning has at a time, at most (3.2 were measured)
FLOAT32 = 4  # bytes


@dataclass(frozen=True)
class MemoryPlan:
    """What is done at a time. Tokens are those of prompts and texts together; no page has more than ``longest``, which
    counts :data:`SLACK`.

    ``rows`` of the decoder and ``pool_tokens`` of their cache, in slots of ``capacity`` tokens each, or None: slots
    grow with their pages. ``prompt_tokens`` of one prefill. ``encoded_pages`` of one encoding, with at most
    ``encoded_pixels`` (one page goes in any case), recorded up to ``recorded_pixels``. ``graphs`` recorded steps are
    kept. ``lacking`` bytes are too few even for one page at a time.
    """

    rows: int
    pool_tokens: int
    longest: int
    capacity: int | None
    prompt_tokens: int
    encoded_pages: int
    encoded_pixels: int
    recorded_pixels: int = 0
    graphs: int = LEAST_GRAPHS
    lacking: int = 0


@dataclass(frozen=True)
class Workload:
    """What is read with a model of this configuration: so many ``pages`` as one text, seen by ``spec``, with ``text``
    tokens around their images."""

    config: Any
    spec: ViewSpec
    pages: int = 1
    text: int = PROMPT_TEXT

    @property
    def longest_prompt(self) -> int:
        """Tokens, where nothing is pruned."""
        return min(self.pages * page_tokens(self.spec) + self.text, self._positions)

    @property
    def longest(self) -> int:
        """Tokens that a page may have in the cache: all positions, or with a window the prompt and a ring, in a slot as
        the scheduler makes them."""
        window = window_of(self.config.text_config)
        return SLACK + (self._positions if window is None else -(-(self.longest_prompt + window) // SLOT) * SLOT)

    @property
    def usual(self) -> int:
        """Tokens that a page has in the cache as a rule."""
        return USUAL_PAGE if window_of(self.config.text_config) is None else self.longest

    @property
    def _positions(self) -> int:
        return int(self.config.text_config.max_position_embeddings)


def plan(work: Workload, options: DecodeOptions, device: torch.device, dtype: torch.dtype) -> MemoryPlan:
    """What fits on this device now, with the weights there."""
    return fit(work, options, device.type, dtype, int(usable_bytes(device, options.memory_fraction)))


def fit(work: Workload, options: DecodeOptions, kind: str, dtype: torch.dtype, usable: int) -> MemoryPlan:
    """What fits into ``usable`` bytes beside the weights, on a device of this kind: ``cuda`` or ``cpu``."""
    config, spec, longest = work.config, work.spec, work.longest
    page, pixels = page_bytes(config.vision_config, spec, dtype), page_pixels(spec)
    most_pages = max(ENCODED_PAGES[kind], ENCODED_PIXELS[kind] // pixels)
    token = bytes_per_token(config.text_config, dtype)
    if kind == "cpu":
        tokens = max((usable - page) // token, longest)
        rows = options.rows or max(1, min(MOST_ROWS[kind], tokens // work.usual))
        pool = min(tokens, rows * longest)
        return MemoryPlan(rows, pool, longest, None, PROMPT_TOKENS[kind], most_pages, most_pages * pixels)
    prompt, row = prompt_bytes(config.text_config, dtype), row_bytes(config.text_config, dtype)
    needed = needed_bytes(work, dtype)
    spare = max(0, usable - needed)
    pages = _more(1, most_pages, ENCODER_SHARE * spare, page + prune_bytes(spec, 1))
    least_prompt = max(LEAST_PROMPT_TOKENS, work.longest_prompt)
    prompt_tokens = _more(least_prompt, max(least_prompt, PROMPT_TOKENS[kind]), PREFILL_SHARE * spare, prompt)
    graphs = _more(LEAST_GRAPHS, MOST_GRAPHS, GRAPHS_SHARE * spare, GRAPH_BYTES)
    recorded = _more(0, RECORDED_PIXELS // pixels, RECORDED_SHARE * spare, page)
    left = usable - (pages + recorded) * page - prune_bytes(spec, pages) - OVERHEAD_BYTES
    left -= prompt_tokens * prompt + graphs * GRAPH_BYTES

    def fitting(tokens: int) -> int:
        enough_for_the_longest = (left - longest * token) // row
        return max(1, min(MOST_ROWS[kind], left // (tokens * token + row), enough_for_the_longest))

    fixed = min(longest, max(FIXED_SLOT, work.usual))
    rows = options.rows or (fitting(fixed) if fitting(fixed) >= FIXED_ROWS else fitting(work.usual))
    tokens = min(max((left - rows * row) // token, longest), rows * longest)
    capacity = min(longest, tokens // rows // SLOT * SLOT)
    return MemoryPlan(
        rows,
        tokens,
        longest,
        capacity if capacity >= fixed else None,
        prompt_tokens,
        pages,
        pages * pixels,
        recorded * pixels,
        graphs,
        max(0, needed - usable),
    )


def needed_bytes(work: Workload, dtype: torch.dtype) -> int:
    """The least that a GPU must have free beside the weights to read one page, or one context, at a time."""
    text = work.config.text_config
    return (
        page_bytes(work.config.vision_config, work.spec, dtype)
        + prune_bytes(work.spec, 1)
        + max(LEAST_PROMPT_TOKENS, work.longest_prompt) * prompt_bytes(text, dtype)
        + LEAST_GRAPHS * GRAPH_BYTES
        + row_bytes(text, dtype)
        + work.longest * bytes_per_token(text, dtype)
        + OVERHEAD_BYTES
    )


def _more(least: int, most: int, share: float, each: int) -> int:
    """As many as a share of the spare bytes allows beyond the least."""
    return min(most, least + int(share) // each)


def page_pixels(spec: ViewSpec) -> int:
    """Pixels of a page's views, at most."""
    tiles = spec.layout.most_tiles * spec.layout.tile**2 if spec.mode == "gundam" else 0
    return int(view_side(spec.mode) ** 2 + tiles)


def page_bytes(vision_config: Any, spec: ViewSpec, dtype: torch.dtype) -> int:
    """What one page takes in the encoder, which sees the global views first and then the tiles."""
    view = encoder_bytes(vision_config, view_side(spec.mode), dtype)
    if spec.mode != "gundam":
        return view
    return max(view, spec.layout.most_tiles * encoder_bytes(vision_config, spec.layout.tile, dtype))


def encoder_bytes(vision_config: Any, side: int, dtype: torch.dtype) -> int:
    """What one image takes in the encoder's widest layer: SAM's global attention over all patches, where queries, keys,
    values and the output are lengthened by a number for each row and column of patches (model/sam.py), beside the
    state, its norm and what these are made of. An H200 took 0.15 GB of 0.17 GB for a page in mode base.

    What follows SAM has a sixteenth of its tokens, an eighth in DeepSeek-OCR-2, and takes less."""
    sam = vision_config.sam_config
    each_way = side // PATCH
    lengthened = sam.hidden_size + 2 * each_way * sam.num_attention_heads
    return int(each_way**2 * (12 * sam.hidden_size + 5 * lengthened) * dtype.itemsize)


def prompt_bytes(text_config: Any, dtype: torch.dtype) -> int:
    """What one token takes in a prefill's widest layer: copies of its hidden state, and for each of its experts the
    gathered state and the output, which are weighed and put in order again in float32."""
    experts = text_config.num_experts_per_tok * (2 * dtype.itemsize + 2 * FLOAT32)
    return int(text_config.hidden_size * (experts + 10 * dtype.itemsize))


def row_bytes(text_config: Any, dtype: torch.dtype) -> int:
    """What one row takes in a step beside the cache: the logits four times over in float32, and all experts' inner and
    outer states where each is computed for every row (experts.py). Twice: plain, and in the recordings' memory."""
    logits = 4 * FLOAT32 * text_config.vocab_size
    widths = 3 * text_config.moe_intermediate_size + text_config.hidden_size
    return int(2 * (logits + text_config.n_routed_experts * widths * dtype.itemsize))


def prune_bytes(spec: ViewSpec, pages: int) -> int:
    """What pruning takes: the pixels that each recorded shape keeps, twice as many numbers in between, and what is
    computed for each pair of tokens: of a page of 32 tiles three times as much as all else."""
    return FLOAT32 * pages * ((PRUNE_GRAPHS * 3 + 6) * view_side(spec.mode) ** 2 + COSINES * page_tokens(spec) ** 2)


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

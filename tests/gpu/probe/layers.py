"""Of step arch: parts of a step. From the times of experts by way come the thresholds of model/experts.py."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from probe import steps
from probe.bench import Bench
from probe.clock import graph_ms, recorded_ms, seconds
from probe.common import DEVICE, GPU, first_line, give_back, keep, say
from probe.material import AMPERE, WAYS, as_card, experts_layers, in_dtype, told
from rtprune_cli.model import experts

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
STEP_TOKENS = (1, 4, 8, 64, 128, 256) if GPU else (1, 4)
PROMPT_TOKENS = (512, 1024, 4096) if GPU else (8,)  # where batched_mm's copies are out of the question
BACKENDS = ("EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "MATH", "FLASH_ATTENTION") if GPU else ("MATH",)
REACHES = (512, 1536) if GPU else (64,)
CACHE = 25 * 2**20  # bytes; keys and values that are fewer would come from the GPU's own cache, and not as in a step

Routed = tuple[Tensor, Tensor, Tensor]  # hidden (T, D), chosen (T, k), weights (T, k)


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# --- Experts ---------------------------------------------------------------------------------------------------------


def experts_ways(bench: Bench) -> None:
    """Experts of a layer by each way, in each precision, for a step's tokens and a prompt's.

    All layers in turn, so that no weights are in the GPU's cache from the time before. A way that waits for the host
    cannot be recorded and is timed with its waits.
    """
    experts.implementation(torch.device("cuda"))  # makes the names known, also where a CPU stands in
    out: dict[str, Any] = {}
    for dtype in DTYPES if GPU else (bench.model.dtype,):
        own = [_in(layer.mlp.experts, dtype) for layer in experts_layers(bench.model)]
        for tokens in (*STEP_TOKENS, *PROMPT_TOKENS):
            routed = [_routed(layer, tokens, bench) for layer in experts_layers(bench.model)]
            row: dict[str, Any] = {}
            for way in WAYS if tokens in STEP_TOKENS else ("grouped_mm", "dense"):
                row[way] = _experts_ms(way, own, routed, dtype)
                give_back()
            out.setdefault(name_of(dtype), {})[tokens] = row
            keep("arch", experts=out)
            told_row = ", ".join(f"{way} {_shown(value)}" for way, value in row.items())
            say(f"experts of a layer in {name_of(dtype)}, {tokens:4} tokens (ms): {told_row}")
        del own


def _shown(value: list[Any] | str) -> str:
    return value if isinstance(value, str) else f"{value[0]:.4f}{'' if value[1] else ' (waits)'}"


def _in(module: Any, dtype: torch.dtype) -> Any:
    """The module itself, or a copy in another precision."""
    return module if next(module.parameters()).dtype == dtype else deepcopy(module).to(dtype)


def _routed(layer: Any, tokens: int, bench: Bench) -> Routed:
    """Tokens at random, and the experts that the layer's router takes for them."""
    hidden = torch.randn(tokens, bench.text.hidden_size, device=DEVICE, dtype=bench.model.dtype)
    _, weights, chosen = layer.mlp.gate(hidden)
    return hidden, chosen, weights


def _experts_ms(way: str, own: list[Any], routed: list[Routed], dtype: torch.dtype) -> list[Any] | str:
    """[milliseconds of a layer, whether it was recorded], or why there are none."""
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    function, inputs = ALL_EXPERTS_FUNCTIONS[way], [(h.to(dtype), c, w) for h, c, w in routed]

    def work() -> None:
        for module, each in zip(own, inputs, strict=True):
            function(module, *each)

    try:
        return list(recorded_ms(work, len(own)))
    except RuntimeError as error:  # memory is short, or the card has no such product
        return first_line(error, 80)


def as_ampere(bench: Bench) -> None:
    """Whole steps in each precision with the experts as an Ampere card computes them: recorded? and how fast?

    The model is converted in place, and back.
    """
    out = {}
    try:
        for dtype in DTYPES if GPU else (bench.model.dtype,):
            model = in_dtype(bench.model, dtype) if GPU else bench.model
            for rows in (1, 8, 64, min(256, bench.rows())) if GPU else (1, 2):
                with as_card(model, AMPERE):
                    case = steps.decode_case(model, rows, steps.PROMPT, blocks=2)
                floor, graphs = steps.step_floor(bench, model, rows, steps.PROMPT), case.scheduler.graphs
                out[f"{name_of(dtype)}/{rows}"] = [case.step, floor, graphs.recorded, graphs.failed]
                say(
                    f"as on Ampere, {name_of(dtype)}, {rows:3} rows: {case.step:.2f} ms, floor {floor:.2f} "
                    f"({case.step / floor:.1f}x); {told(graphs)}"
                )
                keep("arch", ampere=out)
                del case, graphs
                give_back()
    finally:
        if GPU:
            in_dtype(bench.model, torch.bfloat16)


# --- Attention and the rest ------------------------------------------------------------------------------------------


def others(bench: Bench) -> None:
    """Of a layer, by tokens: the half with the experts, norms, attention by backend; and the output layer."""
    out: dict[int, Any] = {}
    found = experts_layers(bench.model)
    for tokens in STEP_TOKENS:
        hidden = torch.randn(tokens, 1, bench.text.hidden_size, device=DEVICE, dtype=bench.model.dtype)
        layer, size = found[-1], bench.text.hidden_size
        hit = len(layer.mlp.gate(hidden[:, 0])[2].unique())
        moved = hit * 3 * size * bench.text.moe_intermediate_size * bench.model.dtype.itemsize
        row: dict[str, Any] = {
            "experts_hit": hit,
            "experts_floor_ms": moved / bench.rates.bandwidth * 1e3,
            "moe": graph_ms(lambda: [each.mlp(hidden) for each in found], len(found)),  # noqa: B023
            "norm": graph_ms(lambda: [each.input_layernorm(hidden) for each in found], len(found)),  # noqa: B023
            "fused_norm": graph_ms(lambda: _fused_norms(found, hidden), len(found)),  # noqa: B023
            "head": graph_ms(lambda: bench.model.network.lm_head(hidden[:, 0]).float().max(-1)),  # noqa: B023
        }
        for reach in REACHES:
            row |= _attention(bench, tokens, reach)
        out[tokens] = row
        rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
        shown = ", ".join(f"{key} {value}" for key, value in rounded.items())
        say(f"parts at {tokens:3} tokens (ms): {shown[:600]}")
        keep("arch", parts=out)


def _fused_norms(layers: list[Any], hidden: Tensor) -> None:
    for layer in layers:
        F.rms_norm(hidden, (hidden.shape[-1],), layer.input_layernorm.weight, 1e-6)


def _attention(bench: Bench, tokens: int, reach: int) -> dict[str, Any]:
    """One query a row over ``reach`` of its keys, by each backend."""
    heads, item = bench.text.num_attention_heads, bench.model.dtype.itemsize
    size, capacity = bench.text.hidden_size // heads, reach * 4 // 3
    moved = 2 * tokens * heads * reach * size * item
    copies = max(1, min(16, 2 * CACHE // moved)) if GPU else 1
    pools = torch.randn(copies, 2, tokens, heads, capacity, size, device=DEVICE, dtype=bench.model.dtype)
    query = torch.randn(tokens, heads, 1, size, device=DEVICE, dtype=bench.model.dtype)
    mask = torch.zeros(tokens, 1, 1, reach, device=DEVICE, dtype=bench.model.dtype)
    row: dict[str, Any] = {f"attention_{reach}_floor": moved / bench.rates.bandwidth * 1e3}
    for backend in BACKENDS:
        own = None if backend == "FLASH_ATTENTION" else mask  # flash takes none: its speed on whole rows

        def work() -> None:
            for keys, values in pools[..., :reach, :]:
                F.scaled_dot_product_attention(query, keys, values, attn_mask=own)  # noqa: B023

        try:
            with sdpa_kernel(getattr(SDPBackend, backend)):
                row[f"attention_{reach}_{backend}"] = graph_ms(work, copies)
        except RuntimeError as error:
            row[f"attention_{reach}_{backend}"] = first_line(error, 80)
    return row


def compiled(bench: Bench) -> None:
    """What fusing would gain: norm and experts of one layer, plain and by torch.compile."""
    if not GPU:
        return
    layer, out = experts_layers(bench.model)[-1], {}

    def half(hidden: Tensor) -> Tensor:
        return hidden + layer.mlp(layer.post_attention_layernorm(hidden))

    fused = torch.compile(half, dynamic=False)
    for tokens in (1, 64):
        hidden = torch.randn(tokens, 1, bench.text.hidden_size, device=DEVICE, dtype=bench.model.dtype)
        took = seconds(lambda: fused(hidden))  # noqa: B023
        out[tokens] = [graph_ms(lambda: half(hidden)), graph_ms(lambda: fused(hidden)), took]  # noqa: B023
        say(f"norm and experts of a layer, {tokens} tokens: {out[tokens][0]:.4f} ms, compiled {out[tokens][1]:.4f} ms")
        say(f"    compiling took {took:.0f} s")
        keep("arch", compiled=out)

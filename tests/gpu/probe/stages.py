"""Of step arch: what comes before decoding, against its floor and its plan: encode, prefill, prune."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from probe import kernels
from probe.bench import Bench
from probe.clock import graph_ms, seconds, syncs, timed
from probe.common import DEVICE, GPU, keep, say
from probe.material import cudnn_attention, make_views, prompts, spec_of
from rtprune_cli.bench.speed import floors
from rtprune_cli.bench.speed.pages import make_page
from rtprune_cli.decoding import prefill as run_prefill
from rtprune_cli.decoding.forward import padded_length, run_decoder
from rtprune_cli.device.graphs import Graphs
from rtprune_cli.engine import memory
from rtprune_cli.options import Mode, PruneOptions
from rtprune_cli.pruning import Pruner
from rtprune_cli.records import Views

USUAL: Mode = "base" if GPU else "tiny"
TOGETHER = 8 if GPU else 2  # pages of an encoding and of a prune step
FRESH_LENGTHS = range(200, 456, 32) if GPU else range(20, 22)  # each is a shape of its own, also when it is padded


def pages(mode: Mode, count: int) -> list[Views]:
    return [make_views(make_page(seed), mode) for seed in range(count)]


# --- Encode ----------------------------------------------------------------------------------------------------------


def _encode_cases() -> Iterator[tuple[Mode, int, bool]]:
    """Mode, pages, cuDNN's attention; as a run does it first."""
    if not GPU:
        yield "tiny", 1, False
        return
    for mode in ("base", "gundam"):
        yield mode, 1, False
        yield mode, TOGETHER, False
    yield "base", TOGETHER, True
    yield "gundam", 1, True


def encode(bench: Bench) -> None:
    """The encoder plain and recorded, from the bytes of the views on."""
    model, made = bench.model, {mode: pages(mode, TOGETHER) for mode in (("base", "gundam") if GPU else ("tiny",))}
    out, recorded = {}, {}
    for mode, count, cudnn in _encode_cases():
        views, graphs = made[mode][:count], Graphs()
        with cudnn_attention(cudnn):
            plain = timed(lambda: model.encode(views, model.pixels(views)), 4)  # noqa: B023
            again = timed(lambda: model.encode(views, model.pixels(views), graphs=graphs), 4)  # noqa: B023
        sides = [view.side for view in views]
        sides += [tile.shape[0] for view in views if view.tiles is not None for tile in view.tiles]
        floor = bench.floor_ms(floors.encode_cost(bench.config, sides, model.dtype.itemsize))
        planned = count * memory.page_bytes(bench.config.vision_config, model.view_spec(mode), model.dtype)
        key = f"{mode}/{count}/cudnn={cudnn}"
        say(
            f"encode {mode} x{count} cudnn {cudnn!s:5}: {plain.usual:.1f} ms ({plain.usual / count:.1f} a page), floor "
            f"{floor:.1f} ({plain.usual / floor:.1f}x), first {plain.first:.0f} ms; recorded {again.usual:.1f} ms; "
            f"peak {plain.peak / 1e9:.2f} GB, planned {planned / 1e9:.2f}"
        )
        out[key] = [plain.usual, floor, plain.first, plain.peak, planned]
        recorded[key] = [again.usual, graphs.recorded, graphs.failed, again.peak]
        keep("arch", encode=out, encode_recorded=recorded)
        graphs.clear()
    views = made[USUAL]
    waits = {
        "encode": syncs(lambda: model.encode(views, model.pixels(views))),
        "embed": syncs(lambda: model.embed([1, 2, 3])),
    }
    say(f"waits in an encoding: {waits['encode']}, in embed: {waits['embed']}")
    found = kernels.profile(lambda: model.encode(views, model.pixels(views)))
    kernels.tell(f"encode {USUAL} x{len(views)}", found)
    keep("arch", profile_encode=found, waits=waits)


# --- Prefill ---------------------------------------------------------------------------------------------------------


def prefill(bench: Bench) -> None:
    """Prompts of one length and of ever new ones, with and without cuDNN's attention, and without their launches."""
    out, recorded, planned = {}, {}, {}
    for cudnn in (False, True) if GPU else (False,):
        with cudnn_attention(cudnn):
            for count, length in ((1, 283), (16, 283), (16, 913)) if GPU else ((1, 40),):
                key = f"{count}x{length}/cudnn={cudnn}"
                out[key], recorded[key], planned[key] = _prefill(bench, count, length, key)
                keep("arch", prefill=out, prefill_recorded=recorded, prefill_planned=planned)
            fresh = [_fresh_ms(bench, length) for length in FRESH_LENGTHS]
        say(f"prefill {TOGETHER} x a new length each time, cudnn {cudnn!s:5}: {[round(ms, 1) for ms in fresh]} ms")
        out[f"new_lengths/cudnn={cudnn}"] = fresh
        keep("arch", prefill=out)
    count, length = (16, 283) if GPU else (1, 40)
    some = prompts(bench.model, count, length)
    found = kernels.profile(lambda: run_prefill(bench.model.network, some))
    kernels.tell(f"prefill {count} x {length}", found)
    keep("arch", profile_prefill=found, waits_prefill=syncs(lambda: run_prefill(bench.model.network, some)))


def _prefill(bench: Bench, count: int, length: int, key: str) -> tuple[list[float], float, int]:
    """[ms, floor, first, peak bytes] of prompts as a run takes them; ms without launches; planned bytes."""
    model = bench.model
    some = prompts(model, count, length)
    plain = timed(lambda: run_prefill(model.network, some))
    padded = padded_length(length, DEVICE)
    embeds = torch.randn(count, padded, bench.text.hidden_size, device=DEVICE, dtype=model.dtype)
    positions = torch.arange(padded, device=DEVICE).expand(count, -1)
    bare = graph_ms(lambda: run_decoder(model.network, embeds, positions, None, None))
    floor = bench.floor_ms(floors.prefill_cost(bench.text, [length] * count, model.dtype.itemsize))
    planned = count * padded * memory.prompt_bytes(bench.text, model.dtype)
    say(
        f"prefill {key}: {plain.usual:.1f} ms, floor {floor:.1f} ({plain.usual / floor:.1f}x), "
        f"without launches and head {bare:.1f}, first {plain.first:.0f} ms; "
        f"peak {plain.peak / 1e9:.2f} GB, planned {planned / 1e9:.2f}"
    )
    return [plain.usual, floor, plain.first, plain.peak], bare, planned


def _fresh_ms(bench: Bench, length: int) -> float:
    some = prompts(bench.model, TOGETHER, length)
    return seconds(lambda: run_prefill(bench.model.network, some)) * 1e3


# --- Prune -----------------------------------------------------------------------------------------------------------


def prune(bench: Bench) -> None:
    """The prune step of a batch: plain, then recorded, then replayed."""
    views = pages(USUAL, TOGETHER)
    pixels = bench.model.pixels(views)
    tokens = bench.model.encode(views, pixels)
    plain = timed(lambda: Pruner(PruneOptions()).start(tokens, pixels).result())
    graphs = Graphs()
    pruner = Pruner(PruneOptions(), graphs=graphs)
    runs = [seconds(lambda: pruner.start(tokens, pixels).result()) * 1e3 for _ in range(6)]
    waits = syncs(lambda: pruner.start(tokens, pixels))
    planned = memory.prune_bytes(spec_of(USUAL), TOGETHER)
    say(
        f"prune {len(views)} pages: {[round(ms, 2) for ms in runs]} ms (plain, recorded, replayed ...), without graphs "
        f"{plain.usual:.2f}; {graphs.recorded} recorded; waits {waits}; peak {plain.peak / 1e6:.0f} MB, "
        f"planned {planned / 1e6:.0f} with all recordings"
    )
    keep("arch", prune=runs, prune_plain=[plain.usual, plain.peak, planned], prune_waits=waits)

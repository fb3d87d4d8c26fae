"""Step arch: the full-size architecture with random weights, most important parts first; here also what is planned."""

from __future__ import annotations

from dataclasses import asdict

from probe import layers, stages, steps
from probe.bench import Bench, make_bench, outside_bytes
from probe.common import DEVICE, GPU, Parts, keep, say
from rtprune_cli.engine import memory
from rtprune_cli.options import DecodeOptions, Mode

MODES: tuple[Mode, ...] = ("base", "gundam")
CARDS = (12, 16, 24, 40, 80)  # GiB


def run() -> None:
    parts = Parts()
    bench = make_bench()
    parts.run("plan", 60, plans, bench)
    parts.run("decode", 70, steps.decode, bench)
    parts.run("steps with kernels", 80, steps.with_and_without_kernels, bench)
    parts.run("profile of steps", 85, steps.profile_steps, bench)
    parts.run("encode", 105, stages.encode, bench)
    parts.run("prefill", 120, stages.prefill, bench)
    parts.run("prune", 130, stages.prune, bench)
    parts.run("experts by way", 145, layers.experts_ways, bench)
    parts.run("steps as on an Ampere card", 165, layers.as_ampere, bench)
    parts.run("attention and the rest of a layer", 175, layers.others, bench)
    parts.run("half a layer, compiled", 150, layers.compiled, bench)


def plans(bench: Bench) -> None:
    """What a run would do at a time, here and on smaller cards that nothing else uses."""
    found, dtype = {}, bench.model.dtype
    for mode in MODES:
        here = memory.plan(bench.work(mode), DecodeOptions(), DEVICE, dtype)
        found[f"{mode}/here"] = asdict(here)
        _tell_plan(f"plan {mode} here", here)
        for card in CARDS:
            beside = memory.CONTEXT_BYTES + bench.weight_bytes
            usable = int(DecodeOptions.memory_fraction * card * 2**30) - beside
            fitting = memory.fit(bench.work(mode), DecodeOptions(), "cuda", dtype, usable)
            found[f"{mode}/{card}"] = asdict(fitting)
            _tell_plan(f"plan {mode} {card} GB", fitting)
    context = outside_bytes() if GPU else 0
    say(f"CUDA itself takes {context / 1e6:.0f} MB, planned {memory.CONTEXT_BYTES / 1e6:.0f}")
    keep("arch", plans=found, context_bytes=[context, memory.CONTEXT_BYTES])


def _tell_plan(name: str, found: memory.MemoryPlan) -> None:
    say(
        f"{name}: {found.rows} rows of {found.capacity or 'growing'} tokens, cache {found.pool_tokens}, "
        f"prefill {found.prompt_tokens}, encode {found.encoded_pages} pages = {found.encoded_pixels / 2**20:.0f} Mpx "
        f"(recorded up to {found.recorded_pixels / 2**20:.0f}), "
        f"{found.graphs} graphs, lacking {found.lacking / 1e9:.1f} GB"
    )

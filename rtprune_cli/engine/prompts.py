"""Owns the making of the scheduler, and prompts decoded by it that no page asked for: what probes of a page do.

A probe (inspection/, bench/glyphs/) makes many prompts of one page, each with other visual tokens, and wants their
texts. They go through the same continuous batching as pages do.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Iterator
from typing import TypeVar

from rtprune_cli.decoding import Scheduler
from rtprune_cli.decoding.fused import fused_step
from rtprune_cli.device import hardware
from rtprune_cli.device.graphs import Graphs
from rtprune_cli.engine.memory import SLACK, MemoryPlan, Workload, plan
from rtprune_cli.failures import Failure
from rtprune_cli.model import OcrModel, experts
from rtprune_cli.options import ResolvedOptions
from rtprune_cli.records import Decoded, DecoderInput

log = logging.getLogger("rtprune")

PromptKey = TypeVar("PromptKey", bound=Hashable)


def workload(model: OcrModel, options: ResolvedOptions) -> Workload:
    """What a run with these options reads at a time."""
    text = sum(map(len, model.prompt_embeds(options.prompt)))  # of a context it has about as many tokens
    return Workload(model.network.config, model.view_spec(options.mode), options.pages_per_context, text)


def make_scheduler(model: OcrModel, options: ResolvedOptions, size: MemoryPlan) -> Scheduler:
    """The scheduler of a run with this model, as large as the plan says."""
    fused = fused_step(model.network) if options.decode.kernels == "auto" else None
    recorded = options.decode.cuda_graphs and ((fused and not fused.waits) or _recordable(model, size.rows))
    return Scheduler(
        model.network,
        options.decode,
        eos_token_id=model.eos_token_id,
        ngram_exempt=model.ngram_exempt,
        token_kinds=model.token_kinds,
        rows=size.rows,
        pool_tokens=size.pool_tokens,
        longest=size.longest - SLACK,
        capacity=size.capacity,
        prompt_tokens=size.prompt_tokens,
        graphs=Graphs(bool(recorded), most=size.graphs),
        fused=fused,
    )


class PromptDecoder:
    """Decodes prompts with one model, as many at a time as memory allows; its cache is made once."""

    def __init__(self, model: OcrModel, options: ResolvedOptions) -> None:
        size = plan(workload(model, options), options.decode, model.device, model.dtype)
        self._scheduler = make_scheduler(model, options, size)

    def decode(
        self, prompts: Iterable[tuple[PromptKey, DecoderInput]]
    ) -> Iterator[tuple[PromptKey, Decoded | Failure]]:
        """What the model writes for each prompt, with its key, in the order in which they end.

        A prompt is asked for when a row is free for it, so that no more are in memory than are decoded. All results
        have to be taken before the next call. Each text is the one that its prompt would get alone (exactly so in
        float32).

        Raises:
            torch.AcceleratorError: the GPU failed.
        """
        source, more = iter(prompts), True
        while more or self._scheduler.busy:
            while more and self._scheduler.waiting < self._scheduler.free_rows:
                try:
                    key, prompt = next(source)
                except StopIteration:
                    more = False
                else:
                    self._scheduler.add(key, prompt)
            yield from self._scheduler.step(more=more)  # type: ignore[misc]  # the keys are those that were given


def _recordable(model: OcrModel, rows: int) -> bool:
    """Whether steps of so many rows can be recorded on the model's device; says so where they cannot."""
    if model.device.type != "cuda" or not experts.waits(hardware.capability(model.device), model.dtype, rows):
        return True
    log.warning(
        "steps of %d pages cannot be recorded on this GPU and take longer: give --batch-size %d or less",
        rows, experts.DENSE_TOKENS,
    )  # fmt: skip
    return False

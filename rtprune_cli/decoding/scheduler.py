"""Continuous batching: which page is in which row, when it ends, and what happens when a batch fails.

A page that ends leaves its row, and the next prompt takes it at once. On a GPU steps are queued in blocks, and a block
is looked at while the next one runs; what a page wrote after its end is thrown away.
"""

from __future__ import annotations

import itertools
import logging
from collections import abc, deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch

from rtprune_cli.decoding.cache import KvCache, window_of
from rtprune_cli.decoding.forward import padded_length
from rtprune_cli.decoding.fused import FusedStep
from rtprune_cli.decoding.loops import LoopGuard, TokenKinds
from rtprune_cli.decoding.repeats import RepeatRule
from rtprune_cli.decoding.runner import NOT_A_TOKEN, ModelRunner
from rtprune_cli.decoding.slots import Sequence, Slots
from rtprune_cli.device.graphs import Fetch, Graphs
from rtprune_cli.device.timing import Span
from rtprune_cli.failures import OVERFLOW, Failure, failure_of, free_memory
from rtprune_cli.options import DecodeOptions
from rtprune_cli.records import Decoded, DecoderInput, FinishReason

log = logging.getLogger("rtprune")

# Tokens of one prefill, padding included. More pages together do not use the device better, but hold up the others.
PROMPT_TOKENS = {"cuda": 16384, "cpu": 1024}
# One prefill of several pages takes less than as many of one. While others run, pages wait until this part of the rows
# can start together, which leaves half as many rows empty on average.
GATHERED = 8
SLOT = 64  # a slot of the cache has a multiple of so many tokens
STEPS_AHEAD = 8  # of a block on a GPU: one look at the tokens costs as much as a fraction of a step


@dataclass(frozen=True)
class _Block:
    """Tokens with their log-probabilities (steps, 2, rows) that are on their way, of these rows; ``prefill``: each
    sequence's first."""

    rows: list[Sequence]
    chosen: Fetch
    span: Span
    prefill: bool


class Scheduler:
    """Decodes pages in ``rows`` rows at most; each gets the tokens that it would get alone (exactly so in float32).

    A page ends at eos, after ``options.max_new_tokens``, at the decoder's last position, or when its text has run into
    a loop, whichever comes first. Of a loop only the first copy of its passage stays, also where the limit ended it.

    A step that fails takes all of its pages with it. They are tried again in halves, until the page at fault stands
    alone. When memory was short and no page was too large on its own, ``rows`` stays at the half.
    """

    def __init__(
        self,
        network: Any,
        options: DecodeOptions,
        *,
        eos_token_id: int,
        ngram_exempt: frozenset[int] = frozenset(),
        token_kinds: TokenKinds | None = None,
        rows: int,
        pool_tokens: int | None = None,
        capacity: int | None = None,
        prompt_tokens: int | None = None,
        longest: int | None = None,
        steps: int | None = None,
        buckets: bool | None = None,
        graphs: Graphs | None = None,
        fused: FusedStep | None = None,
    ) -> None:
        """``token_kinds``: what the loop guard knows of the vocabulary; None: it sees exact repetition alone.
        ``longest``: no page has more tokens in the cache, prompt and output; None: as many as the decoder has
        positions.
        ``pool_tokens``: tokens of all rows for which there is memory, no less than ``longest``; None: enough for
        ``rows`` of the longest pages. ``capacity``: tokens of a sequence's slot from the start, None: slots grow with
        their pages where memory is short. ``prompt_tokens`` of one prefill. ``steps`` of a block, which is
        looked at one block later when it has more than one; ``buckets``: few numbers of rows and few reaches, so that
        few graphs are recorded. None: as the device needs. ``graphs``: where steps are recorded, None: in its own.
        ``fused``: what runs the layers of a step; None: the network itself.
        """
        text_config = network.config.text_config
        weight = network.get_input_embeddings().weight
        self._device = weight.device
        self._on_gpu = self._device.type == "cuda"
        self._steps = steps or (STEPS_AHEAD if self._on_gpu else 1)
        self._blocks_ahead = 0 if self._steps == 1 else 1
        self._buckets = self._on_gpu if buckets is None else buckets
        self._options, self._eos, self._token_kinds = options.resolved(), eos_token_id, token_kinds
        self._last_position = int(text_config.max_position_embeddings)
        self._window = window_of(text_config)
        slack = self._steps * (1 + self._blocks_ahead)  # steps that a page may run on after its end
        largest = _rounded(min(longest or self._last_position, self._last_position) + slack, SLOT)
        pool_tokens = max(pool_tokens or rows * largest, largest)
        self._cache = KvCache(text_config, pool_tokens, self._device, weight.dtype)
        rule = RepeatRule(
            self._options.no_repeat_ngram,
            self._options.no_repeat_window or min(self._options.max_new_tokens, self._last_position),
            ngram_exempt,
            rows=rows,
            vocabulary=text_config.vocab_size,
            device=self._device,
        )
        self._prompt_tokens = prompt_tokens or PROMPT_TOKENS[self._device.type]
        if self._on_gpu and rows * largest <= pool_tokens:
            capacity = largest  # nothing ever has to move (on a CPU, what is not touched is not there yet)
        self.graphs = graphs or Graphs(options.cuda_graphs)
        self._fused = fused
        self._runner = ModelRunner(
            network, self._cache, rule, rows=rows, device=self._device, graphs=self.graphs, window=self._window,
            fused=fused,
        )  # fmt: skip
        self._slots = Slots(self._cache, self._runner, rows=rows, largest=largest, fixed=capacity)
        self._waiting: deque[Sequence] = deque()
        self._blocks: deque[_Block] = deque()
        self._done: list[tuple[Hashable, Decoded | Failure]] = []
        # Of a batch that failed: its pages in groups, each of which is now decoded by itself
        self._suspects: list[list[Sequence]] = []
        self._on_trial: set[Hashable] = set()
        self._halved: int | None = None
        self._too_large = False

    @property
    def rows(self) -> int:
        """Pages that are decoded together, at most."""
        return self._slots.rows

    @property
    def kernels(self) -> tuple[str, ...]:
        """The names of those that steps run with."""
        return () if self._fused is None else self._fused.kernels

    @property
    def busy(self) -> bool:
        """Whether any page is not done."""
        return bool(self.waiting or self._slots.running or self._done)

    @property
    def waiting(self) -> int:
        """Pages that have no row yet."""
        return len(self._waiting) + sum(map(len, self._suspects))

    @property
    def free_rows(self) -> int:
        """Rows in which no page is."""
        return max(0, self.rows - len(self._slots.running))

    @property
    def keys(self) -> list[Hashable]:
        """The pages that are in the batch now."""
        return [sequence.key for sequence in self._slots.running]

    def add(self, key: Hashable, prompt: DecoderInput, *, first: bool = False) -> None:
        """A page to decode; ``first``: before those that wait."""
        (self._waiting.appendleft if first else self._waiting.append)(self._new_sequence(key, prompt))

    def _new_sequence(self, key: Hashable, prompt: DecoderInput) -> Sequence:
        budget = min(self._options.max_new_tokens, self._last_position - prompt.next_position)
        guard = LoopGuard(self._options.loop_window, self._token_kinds)
        length = len(prompt.embeds)
        return Sequence(key, prompt, budget, guard, length, None if self._window is None else length + self._window)

    def step(self, *, more: bool = False) -> list[tuple[Hashable, Decoded | Failure]]:
        """Go on by one block of steps; the pages that ended, in the order in which they did.

        ``more``: other pages are about to come, so that it pays to let some gather and start them together.

        Raises:
            torch.AcceleratorError: the GPU failed, and with it everything after.
        """
        failure = self._try_step(self.rows // GATHERED if more else 1)
        if failure is not None:  # outside of the handler, where no traceback keeps the step's tensors alive
            self._isolate(failure)
        self._settle()
        done, self._done = self._done, []
        return done

    def _try_step(self, least: int) -> Failure | None:
        try:
            self._admit(least)
            self._slots.close_gaps()
            self._launch()
            self._collect(self._blocks_ahead if self._slots.running else 0)
        except Exception as error:
            log.debug("a batch of %d pages failed", len(self._slots.running), exc_info=True)
            return failure_of(error)
        return None

    # --- Rows ------------------------------------------------------------------------------------------------------

    def _admit(self, least: int) -> None:
        """Prompts into free rows, no fewer than ``least`` and as many at a time as one prefill should take."""
        if self._slots.running and not self._suspects and min(self.free_rows, len(self._waiting)) < least:
            return
        while group := self._next_group():
            group = group[: self._slots.room_for(group)]
            if not group:
                return  # the cache would have to be laid out for longer rows, and those that run have no room then
            self._take(group)
            slots = self._slots.start(group)
            span = Span(self._device)
            chosen = self._runner.start(slots, [sequence.prompt for sequence in group])
            self._blocks.append(_Block(group, Fetch(chosen[None]), span.end(), prefill=True))

    def _next_group(self) -> list[Sequence]:
        """Rows that could start now; they stay where they wait until they are taken."""
        if self._suspects:
            return [] if self._slots.running else self._suspects[-1]
        group: list[Sequence] = []
        longest = 0
        for sequence in itertools.islice(self._waiting, self.free_rows):
            longest = max(longest, padded_length(sequence.length, self._device))
            if group and longest * (len(group) + 1) > self._prompt_tokens:
                break
            group.append(sequence)
        return group

    def _take(self, group: list[Sequence]) -> None:
        if self._suspects:
            self._suspects[-1] = self._suspects[-1][len(group) :]
            if not self._suspects[-1]:
                self._suspects.pop()
        else:
            for _ in group:
                self._waiting.popleft()

    # --- Steps -----------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        """Queue a block of steps of all rows."""
        for sequence in self._slots.grow(self._slots.longest_after(self._steps)):
            self.add(sequence.key, sequence.prompt, first=True)
        rows = self._slots.running
        if not rows:
            return
        count = len(rows)
        if self._buckets:
            count = min(rows_bucket(count), self._cache.rows)
        span = Span(self._device)
        chosen = []
        for _ in range(self._steps):
            for sequence in rows:
                sequence.length = sequence.length_after(1)
            reach = reach_bucket(self._slots.longest) if self._buckets else _rounded(self._slots.longest, 16)
            chosen.append(self._runner.step(count, min(reach, self._cache.capacity)))
        self._blocks.append(_Block(rows, Fetch(torch.stack(chosen)), span.end(), prefill=False))

    def _collect(self, ahead: int) -> None:
        """Look at the tokens of the blocks that are through, all but the last ``ahead``."""
        while sum(not block.prefill for block in self._blocks) > ahead or (self._blocks and not ahead):
            block = self._blocks.popleft()
            steps = block.chosen.get().tolist()
            rows = [(slot, sequence) for slot, sequence in enumerate(block.rows) if not sequence.done]
            for _, sequence in rows:
                if block.prefill:
                    sequence.prefill_ms += block.span.milliseconds / len(rows)
                else:
                    sequence.decode_ms += block.span.milliseconds / len(rows)
            for tokens, logprobs in steps:
                for slot, sequence in rows:
                    if not sequence.done:
                        self._push(sequence, int(tokens[slot]), logprobs[slot])

    def _push(self, sequence: Sequence, token: int, logprob: float) -> None:
        if token == NOT_A_TOKEN:
            log.debug("the logits of a page are not numbers")
            self._finish(sequence, Failure(OVERFLOW))
        elif token == self._eos:
            self._finish(sequence, self._decoded(sequence, "eos"))
        else:
            if sequence.budget > 0:
                sequence.tokens.append(token)
                sequence.logprobs.append(logprob)
                sequence.loop.push(token)
            if sequence.loop.looping:
                self._finish(sequence, self._decoded(sequence, "loop"))
            elif len(sequence.tokens) >= sequence.budget:
                self._finish(sequence, self._decoded(sequence, "loop" if sequence.loop.looping_at_limit else "length"))

    def _decoded(self, sequence: Sequence, reason: FinishReason) -> Decoded:
        kept = sequence.loop.kept if reason == "loop" else len(sequence.tokens)
        cut = len(sequence.tokens) - kept
        times = sequence.prefill_ms, sequence.decode_ms
        return Decoded(sequence.tokens[:kept], sequence.logprobs[:kept], reason, *times, loop_tokens_cut=cut)

    def _finish(self, sequence: Sequence, result: Decoded | Failure) -> None:
        (self._slots.finish if isinstance(result, Decoded) else self._slots.spoil)(sequence)
        self._done.append((sequence.key, result))

    # --- Batches that fail -----------------------------------------------------------------------------------------

    def _isolate(self, failure: Failure) -> None:
        """Take all rows out and try them again in halves; a page that failed alone is done."""
        rows = self._slots.clear()
        if not rows:  # not even the first prompt got as far as a row
            rows = [self._suspects.pop()[0]] if self._suspects else [self._waiting.popleft()]
        self._blocks.clear()
        if failure.out_of_memory:
            free_memory()
        if len(rows) == 1:
            self._done.append((rows[0].key, failure))
            self._too_large |= failure.out_of_memory
            return
        half = len(rows) // 2
        fresh = [self._new_sequence(sequence.key, sequence.prompt) for sequence in rows]
        self._suspects += [fresh[half:], fresh[:half]]
        self._on_trial.update(sequence.key for sequence in rows)
        if failure.out_of_memory:
            self._halved = len(rows) - half

    def _settle(self) -> None:
        """When every page of a failed batch is through: was memory short for the batch, or for one page?"""
        self._on_trial.difference_update(key for key, _ in self._done)
        if self._on_trial or self._halved is None:
            return
        if not self._too_large and self._halved < self.rows:
            log.warning("out of memory: going on with %d pages together instead of %d", self._halved, self.rows)
            self._slots.rows = self._halved
        self._halved, self._too_large = None, False


def rows_bucket(count: int) -> int:
    """Rows of a step that is recorded for ``count`` rows: a power of two up to 64, then a multiple of 32."""
    return 1 << (count - 1).bit_length() if count <= 64 else _rounded(count, 32)


def reach_bucket(length: int) -> int:
    """Tokens of each row that a recorded step looks at, where the longest has ``length``: up to a half more of a short
    one, a quarter of a long one. Every reach is a recording of its own, and a finer one costs more than it saves."""
    return _rounded(length, 256 if length <= 1024 else 512 if length <= 4096 else 1024)


def _rounded(number: int, step: int) -> int:
    return -(-number // step) * step


def decode(
    network: Any,
    prompts: abc.Sequence[DecoderInput],
    options: DecodeOptions,
    *,
    eos_token_id: int,
    ngram_exempt: frozenset[int] = frozenset(),
    rows: int | None = None,
    fused: FusedStep | None = None,
) -> list[Decoded]:
    """Decode pages, ``rows`` of them at a time (None: all); one result a page, in order. See :class:`Scheduler`.

    Raises:
        RuntimeError: a page failed.
    """
    scheduler = Scheduler(
        network,
        options,
        eos_token_id=eos_token_id,
        ngram_exempt=ngram_exempt,
        rows=min(rows or len(prompts), len(prompts)),
        longest=max(len(prompt.embeds) for prompt in prompts) + options.resolved().max_new_tokens,
        fused=fused,
    )
    for number, prompt in enumerate(prompts):
        scheduler.add(number, prompt)
    results: dict[Hashable, Decoded] = {}
    while scheduler.busy:
        for key, result in scheduler.step():
            if isinstance(result, Failure):
                raise RuntimeError(f"page {key} failed: {result.kind}")
            results[key] = result
    return [results[number] for number in range(len(prompts))]

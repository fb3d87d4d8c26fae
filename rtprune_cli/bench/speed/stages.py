"""Owns how each stage is run for its time: the same calls that a run makes, on pages and prompts made beforehand.

Every function returns rows of the result (docs/benchmarks.md). Letters: B pages of a batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import cached_property
from statistics import mean, median
from typing import Any, cast

import torch
from torch import Tensor

from rtprune_cli.bench.speed import authors, floors
from rtprune_cli.bench.speed.arch import architecture_of, prompt_ids
from rtprune_cli.bench.speed.clock import WARM_UP, Times, Work, spread, take_turns
from rtprune_cli.bench.speed.floors import Cost, Rates
from rtprune_cli.bench.speed.machine import PeakMemory
from rtprune_cli.bench.speed.material import UNPRUNED, Material
from rtprune_cli.bench.speed.plan import SpeedPlan
from rtprune_cli.decoding import Scheduler, prefill
from rtprune_cli.decoding.fused import fused_step
from rtprune_cli.decoding.loops import TokenKinds
from rtprune_cli.decoding.scheduler import STEPS_AHEAD
from rtprune_cli.device.graphs import Graphs
from rtprune_cli.device.timing import Stopwatch
from rtprune_cli.engine import PageReader
from rtprune_cli.engine.memory import ENCODED_PAGES, RECORDED_PIXELS
from rtprune_cli.errors import OutOfMemoryError
from rtprune_cli.failures import Failure
from rtprune_cli.model import OcrModel
from rtprune_cli.options import DecodeOptions, KernelChoice, OcrOptions
from rtprune_cli.pruning import Pruner, untouched
from rtprune_cli.records import DecoderInput
from rtprune_cli.views import make_views

EOS = -1  # no token has this id: every page is as long as it was asked to be


SpeedRow = dict[str, Any]


class TimedModel(OcrModel):
    """A model that writes to the limit on every page, and each time after another text (see arch.py); no tokenizer."""

    eos_token_id = EOS  # type: ignore[assignment]
    ngram_exempt = frozenset()  # type: ignore[assignment]
    token_kinds = TokenKinds()  # type: ignore[assignment]

    def prompt_embeds(self, prompt: str) -> tuple[Tensor, Tensor]:
        before, after = prompt_ids(next(self._count), self.text_config.vocab_size, architecture_of(self).text_after)
        return self.embed(before), self.embed(after)

    def decode_text(self, token_ids: Sequence[int]) -> str:
        return ""

    def confidences(self, token_ids: Sequence[int], logprobs: Sequence[float]) -> list[float | None]:
        return []

    @cached_property
    def _count(self) -> Iterator[int]:
        return itertools.count()


class Stages:
    """The stages of one model in one mode."""

    def __init__(self, material: Material, plan: SpeedPlan, rates: Rates) -> None:
        self.material, self.plan, self.rates = material, plan, rates
        self.model, self.mode, self.images = material.model, material.mode, material.images
        self._item = self.model.dtype.itemsize
        self._text = self.model.text_config
        self._steps = STEPS_AHEAD if self.model.device.type == "cuda" else 1

    @property
    def output_length(self) -> int:
        """Tokens of a page: enough for a block of steps to be timed, however few were asked for."""
        return max(self.plan.output_tokens, 4 * self._steps)

    # --- Stages ----------------------------------------------------------------------------------------------------

    def preprocess(self) -> Iterator[SpeedRow]:
        """From a page image to the views, on one core."""
        (times,) = take_turns(
            [lambda: make_views(self.images[0], self.material.spec)], torch.device("cpu"), self.plan.repeats
        )
        yield self._row("preprocess", None, 1, times)

    def encode(self, batch_size: int) -> Iterator[SpeedRow]:
        """From views in the host's memory to visual tokens."""
        views = [page.views for page in self.material.encoded(batch_size)]
        graphs = Graphs() if sum(view.pixels for view in views) <= RECORDED_PIXELS else None
        (times,) = self._time(lambda: self.model.encode(views, self.model.pixels(views), graphs=graphs))
        sides = []
        for view in views:
            sides += [view.side] + [self.material.spec.layout.tile] * (0 if view.tiles is None else len(view.tiles))
        cost = floors.encode_cost(self.model.network.config, sides, self._item)
        yield self._row("encode", None, batch_size, times, cost)

    def prune(self, ratio: str, batch_size: int) -> Iterator[SpeedRow]:
        """Ours over the batch, and in turns with it the authors' formulation page by page."""
        pages, options = self.material.encoded(batch_size), self.plan.prune[ratio]
        tokens, pixels = [page.tokens for page in pages], torch.stack([page.pixels for page in pages])
        pruner = Pruner(options, graphs=Graphs())
        ours, theirs = self._time(
            lambda: pruner.start(tokens, pixels).result(),
            lambda: [authors.prune(*page, options) for page in zip(tokens, pixels, strict=True)],
        )
        yield self._row("prune", ratio, batch_size, ours, self._prune_costs(ratio, batch_size))
        times = pairwise(theirs, ours)
        yield self._row("prune", ratio, batch_size, theirs, engine="authors", times_rtprune=times)

    def prefill(self, ratio: str, batch_size: int, together: int | None = None) -> Iterator[SpeedRow]:
        """The decoder over the prompts of a batch of pages, or of contexts of so many pages ``together``. With pruning:
        in turns without it, and with the prune step of all pages."""
        network, count = self.model.network, batch_size * (together or 1)
        whole_pages = self.material.pruned(UNPRUNED, count)

        def without_pruning() -> None:
            prefill(network, self.material.assembled(whole_pages, together))

        unpruned = self.material.assembled(whole_pages, together)
        if ratio == UNPRUNED:
            (times,) = self._time(without_pruning)
            yield self._prefill_row(ratio, unpruned, times, Cost(), together)
            return
        pages, pruner = self.material.encoded(count), Pruner(self.plan.prune[ratio], graphs=Graphs())
        # As a run does it: pages of a context are pruned as they are encoded, some at a time.
        size = count if together is None else ENCODED_PAGES[self.model.device.type]
        groups = [pages[start : start + size] for start in range(0, count, size)]
        batches = [([p.tokens for p in group], torch.stack([p.pixels for p in group])) for group in groups]
        prune_seconds: list[float] = []

        def with_pruning() -> None:
            watch = Stopwatch(self.model.device)
            pruned = [page for batch in batches for page in pruner.start(*batch).result()]
            prune_seconds.append(watch.stop() / 1000)
            prefill(network, self.material.assembled(pruned, together))

        plain, pruned = self._time(without_pruning, with_pruning)
        prompts, steps = self.material.prompts(ratio, batch_size, together), prune_seconds[-self.plan.repeats :]
        shares = [step / (whole - step) for step, whole in zip(steps, pruned.seconds, strict=True)]
        row = self._prefill_row(ratio, prompts, pruned, self._prune_costs(ratio, count), together)
        row |= {
            "retention": sum(len(p.embeds) for p in prompts) / sum(len(p.embeds) for p in unpruned),
            "unpruned": {"seconds": plain.seconds, **spread(plain.seconds)},
            "prune": {"seconds": steps, **spread(steps)},
            "prune_share_of_prefill": median(shares),
            "times_unpruned": pairwise(plain, pruned),
        }
        yield row

    def step(self, ratio: str, batch_size: int, together: int | None = None) -> Iterator[SpeedRow]:
        """One token more of each page, or of each context of so many pages ``together``, the mean over a text. Contexts
        that are pruned: in turns without pruning."""
        prompts = self.material.prompts(ratio, batch_size, together)
        rivals = [prompts]
        if together is not None and ratio != UNPRUNED:
            rivals.insert(0, self.material.prompts(UNPRUNED, batch_size, together))
        hit = self._experts_hit(prompts)
        *others, times = self._time_steps(rivals)
        context, cost = self._step_cost(prompts)
        even = floors.experts_hit(batch_size, self._text.num_experts_per_tok, self._text.n_routed_experts)
        row = self._row(
            "step",
            ratio,
            batch_size,
            times,
            cost,
            together,
            context=context,
            experts_hit=hit,
            experts_hit_if_even=even,
            tokens_per_second=batch_size / times.median,
        )
        if together is not None:
            row |= {"prompt_tokens": mean(len(prompt.embeds) for prompt in prompts), "step_bytes": cost.bytes}
        for plain in others:
            whole = self._step_cost(rivals[0])[1].bytes
            row |= {
                "unpruned": {"seconds": plain.seconds, **spread(plain.seconds), "step_bytes": whole},
                "times_unpruned": pairwise(plain, times),
                "times_unpruned_bytes": whole / cost.bytes,
                "retention": row["prompt_tokens"] / mean(len(prompt.embeds) for prompt in rivals[0]),
            }
        yield row

    def _time_steps(self, rivals: Sequence[Sequence[DecoderInput]]) -> list[Times]:
        """Seconds of a step of each of several batches, in turns."""
        device, schedulers = self.model.device, [self._scheduler(prompts, len(prompts)) for prompts in rivals]
        found = [Times() for _ in rivals]
        for repeat in range(WARM_UP[device.type] + self.plan.repeats):
            for scheduler, prompts, times in zip(schedulers, rivals, found, strict=True):
                for key, prompt in enumerate(prompts):
                    scheduler.add(key, prompt)
                scheduler.step()  # the prompts, and a first block
                peak, watch = PeakMemory(device), Stopwatch(device)
                for _ in range(self._blocks):
                    scheduler.step()
                seconds = watch.stop() / 1000 / (self._blocks * self._steps)
                if repeat >= WARM_UP[device.type]:
                    times.seconds.append(seconds)
                    times.peak_bytes = max(times.peak_bytes, peak.bytes())
                if len(scheduler.keys) < len(prompts):  # the scheduler tries again in halves
                    raise torch.OutOfMemoryError
                drain(scheduler)
        return found

    @property
    def _blocks(self) -> int:
        """Blocks of steps that are timed, between the first and the last ones of a text."""
        return (self.output_length - 1) // self._steps - 2

    def _step_cost(self, prompts: Sequence[DecoderInput]) -> tuple[float, Cost]:
        """Tokens in the cache of a row of these, the mean over the steps that are timed, and what such a step costs."""
        written = range(self._steps + 1, self._steps * (1 + self._blocks) + 1)
        length = mean(len(prompt.embeds) for prompt in prompts)
        context = mean(floors.in_cache(self._text, length, count) for count in written)
        return context, floors.step_cost(self._text, len(prompts), context, self._item)

    def whole(self, ratio: str, batch_size: int, baseline: float | None) -> Iterator[SpeedRow]:
        """From page images to tokens in ``batch_size`` rows, by the reader that a run uses.

        ``baseline``: pages/s of :meth:`generate`.
        """
        images = self.images[: self.plan.pages or max(self.plan.batches)]
        share = DecodeOptions.memory_fraction * (self.plan.memory_fraction or 1)
        decode = DecodeOptions(
            max_new_tokens=self.output_length,
            batch_size=batch_size,
            loop_window=0,
            memory_fraction=share,
            kernels=cast(KernelChoice, self.plan.kernels),
        )
        options = OcrOptions(prune=self.plan.prune[ratio], decode=decode, mode=self.mode)
        model = TimedModel(**{each.name: getattr(self.model, each.name) for each in fields(self.model)})
        reader = PageReader(model, options)

        def read() -> None:
            for page in reader.read(self.material.prepared(images)):
                if page.error is not None:
                    raise torch.OutOfMemoryError if isinstance(page.error, OutOfMemoryError) else page.error
            if reader.batch_size < batch_size:  # it went on with half of them
                raise torch.OutOfMemoryError

        (times,) = self._time(read, repeats=self.plan.whole_repeats)
        yield self._whole_row("rtprune", ratio, batch_size, len(images), times, baseline)

    def generate(self) -> Iterator[SpeedRow]:
        """What the official script does: page by page, no pruning, transformers' generate with its growing cache.

        Without the script's ban on repeated n-grams, which would cost it more.
        """
        images = self.images[: self.plan.baseline_pages]
        length = self.output_length

        def read() -> None:
            for number, image in enumerate(images):
                tokens = self.model.encode([make_views(image, self.material.spec)])[0]
                prompt = self.material.prompt(number, [untouched(tokens)])
                generate(self.model.network, prompt, length)

        (times,) = self._time(read, repeats=self.plan.whole_repeats)
        yield self._whole_row("generate", UNPRUNED, 1, len(images), times, None)

    # --- Helpers ---------------------------------------------------------------------------------------------------

    def _time(self, *works: Work, repeats: int | None = None) -> list[Times]:
        with torch.inference_mode():
            return take_turns(works, self.model.device, repeats or self.plan.repeats)

    def _scheduler(self, prompts: Sequence[DecoderInput], rows: int, *, watched: bool = False) -> Scheduler:
        """With a cache for as many rows of the longest of these prompts and its text, so that none has to move.

        ``watched``: the network's own modules run, each time anew, as hooks need it.
        """
        # With random weights every page is a loop.
        options = DecodeOptions(max_new_tokens=self.output_length, loop_window=0, cuda_graphs=not watched)
        longest = max(len(prompt.embeds) for prompt in prompts) + self.output_length
        return Scheduler(
            self.model.network,
            options,
            eos_token_id=EOS,
            rows=rows,
            # On a CPU, what is not touched takes no memory: any page will do.
            longest=longest if self.model.device.type == "cuda" else None,
            steps=self._steps,
            fused=None if watched or self.plan.kernels == "off" else fused_step(self.model.network),
        )

    def _experts_hit(self, prompts: Sequence[DecoderInput]) -> float | None:
        """How many of a layer's experts a step of these pages needs, the mean over layers and some steps."""
        hits: list[int] = []

        def count(_router: Any, _inputs: Any, output: tuple[Tensor, Tensor, Tensor]) -> None:
            chosen = output[2]  # (tokens, experts of each)
            if len(chosen) == len(prompts):
                hits.append(len(chosen.unique()))

        routers = [m for m in self.model.network.modules() if type(m).__name__.endswith("TopkRouter")]
        hooks = [router.register_forward_hook(count) for router in routers]
        scheduler = self._scheduler(prompts, len(prompts), watched=True)
        for key, prompt in enumerate(prompts):
            scheduler.add(key, prompt)
        for _ in range(4):
            scheduler.step()
        for hook in hooks:
            hook.remove()
        return mean(hits) if hits else None

    def _prune_costs(self, ratio: str, count: int) -> Cost:
        hidden, iterations = self._text.hidden_size, self.plan.prune[ratio].iterations
        cost = Cost()
        for page in self.material.pruned(ratio, count):
            side = self.material.encoded(1)[0].views.side
            cost += floors.prune_cost(hidden, side, page.prunable, page.ratio, iterations, self._item)
        return cost

    def _prefill_row(
        self, ratio: str, prompts: Sequence[DecoderInput], times: Times, prune: Cost, together: int | None
    ) -> SpeedRow:
        lengths = [len(prompt.embeds) for prompt in prompts]
        cost = floors.prefill_cost(self._text, lengths, self._item) + prune
        row = self._row("prefill", ratio, len(prompts), times, cost, together, prompt_tokens=mean(lengths))
        row["tokens_per_second"] = sum(lengths) / times.median
        return row

    def _whole_row(
        self, engine: str, ratio: str, batch_size: int, pages: int, times: Times, baseline: float | None
    ) -> SpeedRow:
        speed = pages / times.median
        return self._row(
            "whole",
            ratio,
            batch_size,
            times,
            engine=engine,
            pages=pages,
            pages_per_second=speed,
            output_tokens_per_second=speed * self.output_length,
            times_generate=speed / baseline if baseline else None,
        )

    def _row(
        self,
        stage: str,
        ratio: str | None,
        batch_size: int,
        times: Times,
        cost: Cost | None = None,
        together: int | None = None,
        **more: Any,
    ) -> SpeedRow:
        """A row of the result; of contexts of so many pages ``together`` it says so, under a stage of its own."""
        floor = None if cost is None else cost.seconds(self.rates)
        return {
            "stage": stage if together is None else f"context {stage}",
            "engine": "rtprune",
            "mode": self.mode,
            "ratio": ratio,
            "batch_size": batch_size,
            "pages": batch_size * (together or 1),
            **({} if together is None else {"pages_per_context": together}),
            "seconds": times.seconds,
            **spread(times.seconds),
            "floor": None if cost is None else {"bytes": cost.bytes, "flops": cost.flops, "seconds": floor},
            "times_floor": times.median / floor if floor else None,
            "peak_memory_bytes": times.peak_bytes,
            "error": None,
            **more,
        }


def generate(network: Any, prompt: DecoderInput, length: int) -> list[int]:
    """What transformers' own loop writes, so many tokens of it, whether eos is among them or not."""
    device = prompt.embeds.device
    found = network.generate(
        inputs_embeds=prompt.embeds[None],
        attention_mask=torch.ones(1, len(prompt.embeds), dtype=torch.long, device=device),
        position_ids=prompt.positions[None].to(device),
        max_new_tokens=length,
        min_new_tokens=length,
        do_sample=False,
        pad_token_id=0,
    )
    return [int(token) for token in found[0]]


def pairwise(one: Times, other: Times) -> SpeedRow:
    """How many times as long ``one`` took as ``other`` in the same round."""
    ratios = [a / b for a, b in zip(one.seconds, other.seconds, strict=True)]
    return {"ratios": ratios, **spread(ratios)}


def drain(scheduler: Scheduler) -> None:
    """Go on until every page is done."""
    while scheduler.busy:
        check(scheduler.step())


def check(done: Sequence[tuple[Any, Any]]) -> None:
    """Nothing that failed may count as fast.

    Raises:
        RuntimeError: a page failed.
        torch.OutOfMemoryError: for want of memory.
    """
    for _, result in done:
        if isinstance(result, Failure):
            kind = torch.OutOfMemoryError if result.out_of_memory else RuntimeError
            raise kind(result.kind)

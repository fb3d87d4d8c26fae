"""Owns what `rtprune bench speed` is asked for: every default and check."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import get_args

from rtprune_cli.errors import UsageError
from rtprune_cli.options import (
    DTYPES,
    DYNAMIC,
    DecodeOptions,
    KernelChoice,
    Mode,
    PruneOptions,
    check_mode,
    parse_ratio,
)

STAGES = ("preprocess", "encode", "prune", "prefill", "step", "whole")
CONTEXT_STAGES = ("prefill", "step")  # what is timed of contexts of many pages: all else is a page's own
BATCH_SIZES, CONTEXT_BATCH_SIZES = (1, 4, 8), (1,)
MIN_OUTPUT_TOKENS = 4


@dataclass(frozen=True)
class Architecture:
    """A family of models as it is timed: ``config`` is the file of its official config.json beside this one,
    ``modes`` are timed where none are asked for, and the prompt has ``text_after`` tokens after the image,
    ``context_text_after`` after many pages."""

    config: str
    modes: tuple[Mode, ...]
    text_after: int
    context_text_after: int = 0


# By the names of their families in small letters. "\n<|grounding|>Convert the document to markdown." has 9 tokens;
# "document parsing." and "Multi page parsing." are taken to have one for each word and for the full stop.
ARCHITECTURES = {
    "deepseek-ocr": Architecture("deepseek_ocr.json", ("base", "large"), 9),
    "deepseek-ocr-2": Architecture("deepseek_ocr2.json", ("base", "gundam"), 9),
    "unlimited-ocr": Architecture("unlimited_ocr.json", ("base", "gundam"), 3, 4),
}


@dataclass(frozen=True)
class SpeedPlan:
    """One run of the benchmark: an architecture or a model, and what is timed of it.

    ``modes``: None: those of the architecture; ``view_sides`` are further modes. ``ratios`` are texts as --ratio takes
    them. ``batch_sizes`` are pages together; with ``pages_per_context`` contexts of so many pages are timed in the
    place of pages, and these are contexts together. Each stage is timed ``repeats`` times, the whole ``whole_repeats``
    times over ``pages`` pages (None: as many as the largest batch), of which generate reads ``baseline_pages``.
    ``memory_fraction`` is the share of the GPU's memory that this process may use, so that a smaller card can be
    tried on a larger one. ``kernels`` as in :class:`~rtprune_cli.options.DecodeOptions`.
    """

    arch: str | None = None
    model: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    modes: tuple[Mode, ...] | None = None
    view_sides: tuple[Mode, ...] = ()
    ratios: tuple[str, ...] = ("1", "dynamic", "0.84")
    batch_sizes: tuple[int, ...] | None = None
    stages: tuple[str, ...] | None = None
    pages_per_context: tuple[int, ...] | None = None
    pages: int | None = None
    output_tokens: int = 1000
    repeats: int = 5
    whole_repeats: int = 2
    baseline_pages: int = 1
    seed: int = 0
    memory_fraction: float | None = None
    kernels: str = DecodeOptions.kernels
    prune: dict[str, PruneOptions] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.arch is None and self.model is None:
            raise UsageError("neither an architecture nor a model to time", "Give --arch deepseek-ocr or --model tiny")
        if self.arch is not None and self.model is not None:
            raise UsageError("--arch and --model exclude each other", "Give one of them")
        _check("architecture", [self.arch] if self.arch else [], ARCHITECTURES)
        _check("dtype", [self.dtype], DTYPES)
        _check("kernels", [self.kernels], get_args(KernelChoice))
        if self.modes is not None:
            object.__setattr__(self, "modes", tuple(dict.fromkeys(map(check_mode, self.modes))))
        for name in ("modes", "ratios", "batch_sizes", "stages", "pages_per_context"):
            if getattr(self, name) == ():
                raise UsageError(f"{name.replace('_', '-')} is empty", "Give at least one, with commas between them")
        if self.pages_per_context and (self.modes is not None or self.view_sides):
            raise UsageError("--modes and --pages-per-context exclude each other", "Give one of them")
        _check("stage", self.stages or (), CONTEXT_STAGES if self.pages_per_context else STAGES)
        least = {"output_tokens": MIN_OUTPUT_TOKENS, "pages": 1, "repeats": 1, "whole_repeats": 1, "baseline_pages": 1}
        counts = [(name, getattr(self, name), smallest) for name, smallest in least.items()]
        counts += [("batch_sizes", size, 1) for size in self.batches]
        counts += [("pages_per_context", size, 1) for size in self.pages_per_context or ()]
        for name, value, smallest in counts:
            if value is not None and value < smallest:
                raise UsageError(f"{name.replace('_', '-')} is {value}", f"Give a whole number of at least {smallest}")
        if self.memory_fraction is not None and not 0 < self.memory_fraction <= 1:
            raise UsageError(
                f"memory-fraction {self.memory_fraction:g} is out of range", "Give a share above 0, up to 1"
            )
        options = [PruneOptions(ratio=parse_ratio(text)) for text in self.ratios]
        texts = [DYNAMIC if each.fixed_ratio is None else f"{each.fixed_ratio:g}" for each in options]  # 1.0 is 1
        object.__setattr__(self, "ratios", tuple(texts))
        object.__setattr__(self, "prune", dict(zip(texts, options, strict=True)))

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes, also where none were given."""
        return self.batch_sizes or (CONTEXT_BATCH_SIZES if self.pages_per_context else BATCH_SIZES)

    @property
    def timed(self) -> tuple[str, ...]:
        """The stages, also where none were given."""
        return self.stages or (CONTEXT_STAGES if self.pages_per_context else STAGES)

    @property
    def page_count(self) -> int:
        """Pages that are made: enough for the whole and for the largest batch."""
        return max(self.pages or 0, max(self.batches) * max(self.pages_per_context or (1,)))

    @property
    def pruning(self) -> list[str]:
        """The ratios that prune."""
        return [text for text, options in self.prune.items() if options.ratio != 1]


def _check(what: str, values: Iterable[str], choices: Collection[str]) -> None:
    for value in values:
        if value not in choices:
            raise UsageError(f"unknown {what} {value!r}", f"Use one of {', '.join(choices)}")

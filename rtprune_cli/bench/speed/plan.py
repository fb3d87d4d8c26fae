"""Owns what `rtprune bench speed` is asked for: every default and check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rtprune_cli.errors import UsageError
from rtprune_cli.options import DTYPES, DYNAMIC, Mode, PruneOptions, check_mode, parse_ratio

ARCHITECTURES = ("deepseek-ocr",)
STAGES = ("preprocess", "encode", "prune", "prefill", "step", "whole")
MIN_OUTPUT_TOKENS = 4


@dataclass(frozen=True)
class SpeedPlan:
    """One run of the benchmark: an architecture or a model, and what is timed of it.

    ``ratios`` are texts as --ratio takes them. Each stage is timed ``repeats`` times, the whole ``whole_repeats``
    times over ``pages`` pages (None: as many as the largest batch), of which generate reads ``baseline_pages``.
    ``memory_fraction`` is the share of the GPU's memory that this process may use, so that a smaller card can be
    tried on a larger one.
    """

    arch: str | None = None
    model: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    modes: tuple[Mode, ...] = ("base", "large")
    ratios: tuple[str, ...] = ("1", "dynamic", "0.84")
    batch_sizes: tuple[int, ...] = (1, 4, 8)
    stages: tuple[str, ...] = STAGES
    pages: int | None = None
    output_tokens: int = 1000
    repeats: int = 5
    whole_repeats: int = 2
    baseline_pages: int = 1
    seed: int = 0
    memory_fraction: float | None = None
    prune: dict[str, PruneOptions] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.arch is None and self.model is None:
            raise UsageError("neither an architecture nor a model to time", "Give --arch deepseek-ocr or --model tiny")
        if self.arch is not None and self.model is not None:
            raise UsageError("--arch and --model exclude each other", "Give one of them")
        _check("architecture", [self.arch] if self.arch else [], ARCHITECTURES)
        _check("dtype", [self.dtype], DTYPES)
        object.__setattr__(self, "modes", tuple(dict.fromkeys(map(check_mode, self.modes))))
        _check("stage", self.stages, STAGES)
        least = {"output_tokens": MIN_OUTPUT_TOKENS, "pages": 1, "repeats": 1, "whole_repeats": 1, "baseline_pages": 1}
        counts = [(name, getattr(self, name), smallest) for name, smallest in least.items()]
        for name, value, smallest in [*counts, *(("batch_sizes", size, 1) for size in self.batch_sizes)]:
            if value is not None and value < smallest:
                raise UsageError(f"{name.replace('_', '-')} is {value}", f"Give a whole number of at least {smallest}")
        for name in ("modes", "ratios", "batch_sizes", "stages"):
            if not getattr(self, name):
                raise UsageError(f"{name.replace('_', '-')} is empty", "Give at least one, with commas between them")
        if self.memory_fraction is not None and not 0 < self.memory_fraction <= 1:
            raise UsageError(
                f"memory-fraction {self.memory_fraction:g} is out of range", "Give a share above 0, up to 1"
            )
        options = [PruneOptions(ratio=parse_ratio(text)) for text in self.ratios]
        texts = [DYNAMIC if each.fixed_ratio is None else f"{each.fixed_ratio:g}" for each in options]  # 1.0 is 1
        object.__setattr__(self, "ratios", tuple(texts))
        object.__setattr__(self, "prune", dict(zip(texts, options, strict=True)))

    @property
    def page_count(self) -> int:
        """Pages that are made: enough for the whole and for the largest batch."""
        return max(self.pages or 0, *self.batch_sizes)

    @property
    def pruning(self) -> list[str]:
        """The ratios that prune."""
        return [text for text, options in self.prune.items() if options.ratio != 1]


def _check(what: str, values: Iterable[str], choices: tuple[str, ...]) -> None:
    for value in values:
        if value not in choices:
            raise UsageError(f"unknown {what} {value!r}", f"Use one of {', '.join(choices)}")

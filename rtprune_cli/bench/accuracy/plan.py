"""Owns what `rtprune bench` compares: the configurations of pruning, and every default and check of the comparison."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

from rtprune_cli.errors import UsageError
from rtprune_cli.options import DYNAMIC, WITH_VARIANTS, Method, Mode, PruneOptions, Variant, check_mode, parse_ratio

BASELINE = "none"
METHODS = (BASELINE, *get_args(Method))
VARIANTS: tuple[Variant, ...] = get_args(Variant)
OURS = VARIANTS[0]
# Fields of PruneOptions that an ablation changes, one at a time.
ABLATIONS = ("importance", "merge", "ratio_terms", "sobel_threshold", "alpha", "ot_reg")
# These say how the dynamic ratio is found, and change nothing where the ratio is given.
OF_THE_DYNAMIC_RATIO = ("ratio_terms", "sobel_threshold")
MAX_SLUG = 100  # letters of a folder's name


@dataclass(frozen=True)
class Configuration:
    """One way to read the pages. Predictions that came from elsewhere have neither ``ratio`` nor ``prune``.

    ``mode`` None: that of the run's settings. ``baseline`` is the name of what it is compared with, the unpruned pages
    in the same mode; their own name is their baseline's.
    """

    name: str
    method: str
    ratio: str = ""
    prune: PruneOptions | None = None
    mode: Mode | None = None
    baseline: str = BASELINE

    @property
    def slug(self) -> str:
        """A name for its folder of predictions."""
        return re.sub(r"[^\w.=-]+", "-", self.name)[:MAX_SLUG]

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that pruning depends on, by name."""
        return {f.name: getattr(self.prune, f.name) for f in fields(PruneOptions)} if self.prune else {}


@dataclass(frozen=True)
class AccuracyPlan:
    """What is compared: each method at each ratio, beside pages that are not pruned, in each mode.

    ``modes``: none means that of the run's settings. With several, names of configurations begin with their mode.
    ``ratios`` are texts as --ratio takes them. ``ablations``: names of :data:`ABLATIONS` with the values that rtprune
    is read with besides, one change at a time. ``variants``: forms of the methods that have them; of the others there
    is one. ``limit``: pages, at most, the first ones; ``sample``: pages, at most, by chance. ``seed``: of the synthetic
    pages, of ``sample``, of the method random and of the bootstrap's ``resamples``. ``timed_pages``: how many are read
    again alone where times are asked for.
    """

    modes: tuple[Mode, ...] = ()
    methods: tuple[str, ...] = (BASELINE, "rtprune")
    ratios: tuple[str, ...] = (DYNAMIC,)
    ablations: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    variants: tuple[str, ...] = (OURS,)
    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    resamples: int = 10_000
    worst: int = 12
    timed_pages: int = 20

    def __post_init__(self) -> None:
        object.__setattr__(self, "modes", tuple(dict.fromkeys(map(check_mode, self.modes))))
        for method in self.methods:
            if method not in METHODS:
                raise UsageError(f"unknown method {method!r}", f"Use one of {', '.join(METHODS)}")
        for name, value, least in (("limit", self.limit, 1), ("sample", self.sample, 1), ("seed", self.seed, 0),
                                   ("resamples", self.resamples, 100), ("worst", self.worst, 0),
                                   ("timed-pages", self.timed_pages, 1)):  # fmt: skip
            if value is not None and value < least:
                raise UsageError(f"{name} is {value}", f"Give a whole number of at least {least}")
        if self.limit is not None and self.sample is not None:
            raise UsageError("--limit and --sample exclude each other", "Give one of them")
        for variant in self.variants:
            if variant not in VARIANTS:
                raise UsageError(f"unknown baseline variant {variant!r}", f"Use one of {', '.join(VARIANTS)}")
        if not self.variants:
            raise UsageError("no baseline variant", f"Give --baseline-variant {' or '.join(VARIANTS)}, or leave it out")
        if self.variants != (OURS,) and not set(WITH_VARIANTS) & set(self.methods):
            raise UsageError(
                "a baseline variant without a method that has one",
                f"Add one of {', '.join(WITH_VARIANTS)} to --methods",
            )
        if not self.methods or not self.ratios:
            raise UsageError("nothing to compare", "Give --methods and --ratios at least one word each")
        if self.ablations and "rtprune" not in self.methods:
            raise UsageError("an ablation without the method rtprune", "Add rtprune to --methods")
        dynamic_only = [name for name, _ in self.ablations if name in OF_THE_DYNAMIC_RATIO]
        if dynamic_only and DYNAMIC not in self.ratios:
            name = dynamic_only[0].replace("_", "-")
            raise UsageError(f"{name} changes nothing at a given ratio", f"Add {DYNAMIC} to --ratios")

    @property
    def unpruned(self) -> list[str]:
        """The pairs of a method and a ratio that prune nothing, by name: the baseline stands for them."""
        pruning = [method for method in self.methods if method != BASELINE]
        return [f"{method} {ratio}" for method in pruning for ratio in self.ratios if parse_ratio(ratio) == 1]

    def configurations(self) -> list[Configuration]:
        """Mode by mode: unpruned pages first, to which the mode's others are compared; then each method, then the
        ablations.

        Raises:
            UsageError: a ratio or a value of an ablation is out of range.
        """
        own = self._of_a_mode()
        if len(self.modes) < 2:
            return [replace(each, mode=mode) for mode in self.modes or (None,) for each in own]
        return [
            replace(each, name=f"{mode} {each.name}", mode=mode, baseline=f"{mode} {each.baseline}")
            for mode in self.modes
            for each in own
        ]

    def _of_a_mode(self) -> list[Configuration]:
        found = [Configuration(BASELINE, BASELINE, "1", PruneOptions(ratio=1.0))]
        for method, variant in self._forms():
            for ratio in self.ratios:
                options = PruneOptions(
                    ratio=parse_ratio(ratio), method=method, variant=variant, seed=self.seed  # type: ignore[arg-type]
                )  # fmt: skip
                if options.ratio != 1:
                    text = DYNAMIC if options.fixed_ratio is None else f"{options.fixed_ratio:g}"
                    title = method if variant == OURS else f"{method}-{variant}"
                    found.append(Configuration(f"{title} {text}", title, text, options))
        for each in [each for each in found if each.method == "rtprune"]:
            for name, value in ((name, value) for name, values in self.ablations for value in values):
                assert each.prune is not None
                changed = replace(each.prune, **{name: value})
                if changed != each.prune and (each.ratio == DYNAMIC or name not in OF_THE_DYNAMIC_RATIO):
                    title = f"{each.name} {name.replace('_', '-')}={value}"
                    found.append(Configuration(title, each.method, each.ratio, changed))
        return list({each.name: each for each in found}.values())

    def _forms(self) -> list[tuple[str, str]]:
        """Each method in each of its forms."""
        methods = [method for method in self.methods if method != BASELINE]
        return [(m, v) for m in methods for v in (self.variants if m in WITH_VARIANTS else (OURS,))]


def values(name: str, texts: Sequence[str], kind: Callable[[str], Any]) -> tuple[Any, ...]:
    """The values of an ablation's flag.

    Raises:
        UsageError: one of them is no number where numbers are wanted.
    """
    try:
        return tuple(kind(text) for text in texts)
    except ValueError:
        raise UsageError(f"{name} is {','.join(texts)!r}", "Give numbers with commas between them") from None

"""Owns times that can be compared: some pages, each read alone under every configuration, in turns.

The times of the reading itself cannot: configurations are read one after the other, so that the first pays for warming
up, and a page's share of a batch depends on the pages beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rtprune_cli.bench.accuracy.datasets.base import Sample
from rtprune_cli.bench.accuracy.plan import BASELINE, Configuration
from rtprune_cli.bench.accuracy.progress import Tell
from rtprune_cli.bench.accuracy.reader import page_image
from rtprune_cli.engine.reader import PageReader
from rtprune_cli.model import OcrModel
from rtprune_cli.options import Mode, OcrOptions
from rtprune_cli.records import PageRecord, PreparedPage
from rtprune_cli.views import make_views

ROUNDS = 2  # readings of a page under a configuration, of which the faster counts: the first may load or record kernels


@dataclass(frozen=True)
class PageTimes:
    """Milliseconds of a page: ``prefill`` with its prune step, ``page`` from the encoder to the end of the text.

    An unpruned page is not charged for the prune step, which measures it for the report all the same.
    """

    prefill: float
    page: float


Timings = Mapping[str, Mapping[str, PageTimes]]  # configuration -> sample -> its times


def take_times(
    model: OcrModel,
    samples: Sequence[Sample],
    configurations: Sequence[Configuration],
    options: Callable[[Configuration], OcrOptions],
    tell: Tell,
) -> Timings:
    """The times of each sample; one that cannot be read under all configurations is left out.

    Raises:
        EnvironmentFault: the GPU failed.
    """
    settled = {each.name: model.resolve(options(each)) for each in configurations}
    modes = {name: each.mode for name, each in settled.items()}
    readers: dict[Mode, PageReader] = {}  # one engine a mode, as each has a cache of its own
    for each in configurations:
        alone = options(each)
        alone = replace(alone, decode=replace(alone.decode, batch_size=1))
        readers.setdefault(modes[each.name], PageReader(model, alone))
    found: dict[str, dict[str, PageTimes]] = {each.name: {} for each in configurations}
    for sample in samples:
        page = page_image(sample, settled[configurations[0].name].input)
        if page is not None:
            views = {mode: make_views(page.image, model.view_spec(mode)) for mode in readers}
            times: dict[str, list[PageTimes]] = {each.name: [] for each in configurations}
            for number in range(ROUNDS):
                for each in reversed(configurations) if number % 2 else configurations:
                    mode = modes[each.name]
                    (result,) = readers[mode].read([PreparedPage(page, views[mode], 0.0, each.prune)])
                    if result.error is None:
                        times[each.name].append(_times(result.record, charged=each.method != BASELINE))
            if all(len(rounds) == ROUNDS for rounds in times.values()):
                for name, rounds in times.items():
                    found[name][sample.id] = min(rounds, key=lambda one: one.page)
        tell("timing", 1)
    return found


def _times(record: PageRecord, *, charged: bool) -> PageTimes:
    taken = record.milliseconds
    prefill = taken["prefill_ms"] + (taken["prune_ms"] if charged else 0.0)
    return PageTimes(prefill, taken["encode_ms"] + prefill + taken["decode_ms"])

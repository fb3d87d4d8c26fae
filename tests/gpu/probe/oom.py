"""Step oom: cards with less memory as they are planned, memory taken away afterwards, and recordings without any."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import torch

from probe import recordings
from probe.common import DEVICE, GPU, Parts, give_back, keep, say
from probe.material import full_size, make_views, told
from rtprune_cli.bench.speed.material import DOCUMENT
from rtprune_cli.bench.speed.pages import make_page
from rtprune_cli.bench.speed.stages import TimedModel
from rtprune_cli.engine import PageReader
from rtprune_cli.engine.engine import Engine
from rtprune_cli.model import OcrModel
from rtprune_cli.options import DecodeOptions, Mode, OcrOptions
from rtprune_cli.records import PageImage, PageResult, PreparedPage

MODE: Mode = "gundam" if GPU else "tiny"
PAGES, NEW = (36, 48) if GPU else (4, 4)  # and tokens of each
SHAPES = [(1654, 2339), (2339, 1654), (1654, 1654), (700, 2339), (2339, 700), (600, 500)]  # grids of tiles differ
TAKEN_AT = 3  # the page before which another program takes memory: by then the run is planned
FRACTION = DecodeOptions.memory_fraction


class Listener(logging.Handler):
    """What rtprune says."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")


def run() -> None:
    parts, listener = Parts(), Listener()
    log = logging.getLogger("rtprune")
    log.addHandler(listener)
    log.setLevel(logging.INFO)
    parts.run("recordings without memory", 10, recordings.short)
    model = full_size()
    parts.run("12 GB card", 40, drill, "12 GB card", model, listener, 12)
    parts.run("24 GB card", 50, drill, "24 GB card", model, listener, 24)
    name = "24 GB card, all but 0.6 GB taken after the plan"
    parts.run(name, 65, drill, name, model, listener, 24, int(0.6e9))
    log.removeHandler(listener)


def drill(name: str, model: OcrModel, listener: Listener, gib: int, left: int | None = None) -> None:
    """Read pages with as much memory as a smaller card has; ``left`` bytes of it once the run is planned."""
    total = torch.cuda.mem_get_info()[1] if GPU else gib * 2**30
    share = min(1.0, gib * 2**30 / total)
    listener.lines.clear()
    if GPU:
        torch.cuda.set_per_process_memory_fraction(share)
        torch.cuda.reset_peak_memory_stats()
    try:
        _read(name, reader_of(model, share), int(share * total), left)
    finally:
        if GPU:
            torch.cuda.set_per_process_memory_fraction(1.0)
    for line, times in Counter(listener.lines).most_common(6):
        say(f"    {times} x {line[:170]}")


def _read(name: str, reader: PageReader, limit: int, left: int | None) -> None:
    began, done, failed, at_start = time.perf_counter(), 0, Counter[str](), [0]
    for page in reader.read(_source(reader, at_start, limit, left)):
        done += 1
        if isinstance(page, PageResult) and page.error is not None:
            failed[type(page.error).__name__] += 1
    most = (torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()) if GPU else (0, 0)
    peak = [f"{each / 1e9:.1f}" for each in most]
    say(
        f"{name}: {done} of {PAGES} pages out, failed {dict(failed)}, rows {at_start[0]} -> {reader.batch_size}, "
        f"{time.perf_counter() - began:.1f} s, peak allocated/reserved {peak} of {limit / 1e9:.1f} GB"
    )
    keep("oom", **{name: [done, PAGES, dict(failed), at_start[0], reader.batch_size, peak]})
    if reader._engine is not None:
        _tell_graphs(reader._engine)


def _tell_graphs(engine: Engine) -> None:
    kinds = {"steps": engine.scheduler.graphs, "encodings": engine._encodings, "prunings": engine._prunings}
    say("    graphs: " + ", ".join(f"{kind} {told(graphs)}" for kind, graphs in kinds.items()))


def _source(reader: PageReader, at_start: list[int], limit: int, left: int | None) -> Iterator[PreparedPage]:
    """The pages; meanwhile notes the rows that were planned, and takes memory away."""
    taken: list[Any] = []
    images = [make_page(seed) for seed in range(len(SHAPES) if GPU else 1)]
    for number in range(PAGES):
        if number == TAKEN_AT:
            at_start[0] = reader.batch_size
            if left is not None and GPU:
                taken.append(_take(limit - left))
        image = images[number % len(images)].resize(SHAPES[number % len(SHAPES)])
        yield PreparedPage(PageImage(DOCUMENT, number + 1, image, None, 0.0), make_views(image, MODE), 0.0)


def _take(up_to: int) -> torch.Tensor:
    """So many bytes that torch has them in all, as if another program held them."""
    give_back()
    return torch.empty(max(0, up_to - torch.cuda.memory_reserved()), dtype=torch.uint8, device=DEVICE)


def reader_of(model: OcrModel, share: float) -> PageReader:
    """A run's reader, for pages that are as long as they were asked to be."""
    own = TimedModel(**{each.name: getattr(model, each.name) for each in fields(model)})
    decode = DecodeOptions(max_new_tokens=NEW, loop_window=0, memory_fraction=FRACTION * share)
    return PageReader(own, OcrOptions(decode=decode, mode=MODE))

"""Runs of many readers in simulated time, with the cluster's own Dispatcher: docs/benchmarks.md, "On a cluster".

A reader is an H200 as docs/benchmarks/gpu/h200/result.json has it, in mode base. It reads a page's image (encoder,
prefill, pruning) while its rows wait, whenever one of its 256 rows is free and a page is there; else all its rows write
a token a step. A step takes as long as was measured for that many rows, and longer by the length of what they wrote. A
page's length in tokens is drawn from TOKENS. All times are stretched so that the model takes as long as the H200 did
for 256 pages of 256 tokens with 128 rows.

The one that writes does one thing at a time: it looks at all readers and gives them pages, then takes what they said.
A page and a document cost it what docs/cluster_speed.py measured with Ray on a tmpfs. Answers gather for GATHER
seconds, as in remote.py, and travel for TRAVEL.

python docs/simulate_cluster.py --json docs/benchmarks/cluster/simulation.json
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import random
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from rtprune_cli.cluster import dispatch
from rtprune_cli.cluster.dispatch import Chunk, Dispatcher
from rtprune_cli.cluster.driver import ROOM
from rtprune_cli.cluster.remote import GATHER
from rtprune_cli.pipeline import Closed, Opened
from rtprune_cli.records import Document, DocumentPlan, Markdown, PageRecord, PageResult

RESULTS = Path(__file__).with_name("benchmarks")
# Tokens that a model writes of a page, boxes included: of the 18 pages of OmniDocBench's demo (the predictions that
# come with v1.5), 0.6 a Chinese character and 0.3 any other, DeepSeek's rule of thumb for its tokenizer, and 20 for
# tags and box of each block. No tokenizer of a full-size model was at hand.
TOKENS = (161, 231, 394, 573, 722, 768, 874, 989, 1004, 1030, 1039, 1075, 1084, 1718, 1750, 1902, 1993, 2580)
ROWS = 256
TRAVEL = 0.001  # seconds, one way
LOOK = 1e-6  # seconds for which the one that writes looks at a reader that needs nothing, as measured
MIXES = {"1 of 3,000 pages": (1, 3000), "1,000 of 100 pages": (1000, 100), "100,000 of 1 page": (100_000, 1)}
READERS = (1, 8, 64, 512)


# --- A reader ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Card:
    """Seconds: ``page`` before its first token, ``steps`` of so many rows, and ``longer`` a row and token of a text
    beyond that of ``steps``."""

    page: float
    steps: tuple[tuple[int, float], ...]
    longer: float = 0.0
    rows: int = ROWS

    def step(self, rows: int, written: float) -> float:
        """Of so many rows, which have written so many tokens each, in the mean."""
        (low, least), (high, most) = self.steps[-2:]
        for (low, least), (high, most) in itertools.pairwise(self.steps):  # noqa: B007
            if rows <= high:
                break
        return least + (most - least) * (rows - low) / (high - low) + self.longer * rows * written

    def stretched(self, factor: float) -> Card:
        """The same, slower."""
        steps = tuple((rows, factor * seconds) for rows, seconds in self.steps)
        return Card(factor * self.page, steps, factor * self.longer, self.rows)


def h200() -> Card:
    """As measured, in mode base, and stretched to what a whole took."""
    arch = json.loads((RESULTS / "gpu" / "h200" / "result.json").read_text(encoding="utf-8"))["arch"]
    step = {key.partition("/cudnn")[0]: value[0] for key, value in arch["step"].items() if "False/graphs=True" in key}
    ms = arch["encode_recorded"]["base/8/cudnn=False"][0] / 8 + arch["prefill"]["16x283/cudnn=False"][0] / 16
    ms += arch["prune"][2] / 8
    steps = tuple((rows, step[f"{rows}/283"] / 1000) for rows in (1, 8, 64, 128, 256))
    longer = statistics.mean((step[f"{n}/1290"] - step[f"{n}/283"]) / 1000 / n / (1290 - 283) for n in (64, 128))
    whole = json.loads((RESULTS / "gpu" / "h200" / "speed.json").read_text(encoding="utf-8"))
    took = next(r["median"] for r in whole["rows"] if r["engine"] == "rtprune" and r["ratio"] == "dynamic")
    card = Card(ms / 1000, steps, longer, rows=128)
    factor = took / alone(card, [256] * 256)
    return Card(card.page, steps, longer).stretched(factor)


@dataclass
class Reader:
    """Continuous batching in simulated time. ``tokens`` is how many each row has written since the beginning."""

    card: Card
    now: float = 0.0
    tokens: float = 0.0
    waiting: deque[tuple[int, Any]] = field(default_factory=deque)
    rows: list[tuple[float, int, float, Any]] = field(default_factory=list)  # end in tokens, tie, begin in tokens, page
    reading: float | None = None  # when the page in hand has its first token
    busy: float = 0.0
    begun: float = 0.0  # the sum of the rows' beginnings
    ties: Iterator[int] = field(default_factory=itertools.count)

    def _step(self) -> float:
        return self.card.step(len(self.rows), max(0.0, self.tokens - self.begun / len(self.rows)))

    def next_time(self) -> float | None:
        """When something happens by itself."""
        if self.reading is not None:
            return self.reading
        return self.now + max(0.0, self.rows[0][0] - self.tokens) * self._step() if self.rows else None

    def advance(self, until: float) -> list[Any]:
        """Go on to a time that is not after :meth:`next_time`; the pages that ended."""
        spent, self.now = until - self.now, until
        if self.reading is not None or self.rows:
            self.busy += spent
        ended = []
        if self.reading is None and self.rows:
            self.tokens += spent / self._step()
            while self.rows and self.rows[0][0] <= self.tokens + 1e-6:
                _, _, begin, page = heapq.heappop(self.rows)
                self.begun -= begin
                ended.append(page)
        elif self.reading is not None and self.reading <= until:
            length, page = self.waiting.popleft()
            heapq.heappush(self.rows, (self.tokens + length, next(self.ties), self.tokens, page))
            self.begun += self.tokens
            self.reading = None
        if self.reading is None and self.waiting and len(self.rows) < self.card.rows:
            self.reading = until + self.card.page
        return ended

    @property
    def idle(self) -> bool:
        """Nothing is here to be read."""
        return not (self.rows or self.waiting)


def alone(card: Card, lengths: Sequence[int]) -> float:
    """Seconds that a reader takes for pages that are all there."""
    reader = Reader(card, waiting=deque((length, None) for length in lengths))
    reader.advance(0.0)
    while (at := reader.next_time()) is not None:
        reader.advance(at)
    return reader.now


def draw(seed: int) -> Callable[[], int]:
    """Lengths of pages."""
    generator = random.Random(seed)
    return lambda: generator.choice(TOKENS)


@cache
def best_rate(card: Card) -> float:
    """Pages a second of a reader that always has pages; without its first and last ones."""
    length = draw(1)
    reader = Reader(card, waiting=deque((length(), None) for _ in range(20 * card.rows)))
    reader.advance(0.0)
    times = []
    while len(reader.waiting) > 0 and (at := reader.next_time()) is not None:
        times += [at] * len(reader.advance(at))
    middle = times[len(times) // 4 :]
    return (len(middle) - 1) / (middle[-1] - middle[0])


# --- The run -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Costs:
    """Seconds of the one that writes: a page, and a document from its plan to its last file."""

    page: float
    document: float
    look: float = LOOK


@dataclass(frozen=True)
class Outcome:
    """``utilisation``: pages/s over what the readers could at best. ``driver``: share of the time that the one that
    writes was busy. ``tail``: share of the run after the first reader was out of pages for good. ``dispatcher``:
    real seconds spent in the Dispatcher."""

    pages: int
    seconds: float
    utilisation: float
    driver: float
    tail: float
    dispatcher: float


class Simulation:
    """One run. Each page comes once: else ``run`` raises RuntimeError."""

    def __init__(self, card: Card, costs: Costs, readers: int, mix: tuple[int, int], room: int, seed: int = 0) -> None:
        self._card, self._costs, self._mix, self._length = card, costs, mix, draw(seed)
        self._readers = [Reader(card) for _ in range(readers)]
        self._results: list[list[PageResult]] = [[] for _ in range(readers)]  # that wait for the next answer
        self._asked = [0.0] * readers  # when the reader was last asked for results
        self._answering = [False] * readers
        self._dispatcher = Dispatcher(self._plans(), room=room)
        self._heard: deque[tuple[int, list[PageResult]]] = deque()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._ties, self._versions = itertools.count(), [0] * readers
        self._idle_since: float | None = 0.0  # when the one that writes had nothing left to do
        self._busy = self._in_dispatcher = self.now = 0.0
        self._given, self._out_of_pages = 0, 0.0
        self._came: set[tuple[PurePosixPath, int]] = set()

    def _plans(self) -> Iterator[DocumentPlan]:
        count, pages = self._mix
        numbers = tuple(range(1, pages + 1))
        for number in range(count):
            document = Document(Path(f"{number}.pdf"), f"{number}.pdf", PurePosixPath(str(number)))
            yield DocumentPlan(document, numbers)

    def run(self) -> Outcome:
        """To the end of the last document."""
        for number in range(len(self._readers)):
            self._dispatcher.join(number)
        self._at(0.0, self._round)
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            event()
        pages = self._mix[0] * self._mix[1]
        if len(self._came) != pages or not self._dispatcher.done:
            raise RuntimeError(f"{len(self._came)} of {pages} pages came")
        best = len(self._readers) * best_rate(self._card)
        tail = 1 - self._out_of_pages / self.now if self._out_of_pages else 0.0
        rate = pages / self.now / best
        return Outcome(pages, self.now, rate, self._busy / self.now, tail, self._in_dispatcher)

    def _at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._ties), event))

    # --- The one that writes

    def _round(self) -> None:
        """One turn of ClusterSource.read: give pages, then take what was said."""
        start = time.perf_counter()
        cost = self._costs.look * len(self._readers)
        for number in range(len(self._readers)):
            chunks = self._dispatcher.assign(number)
            cost += self._document_costs()
            if chunks:
                self._given += sum(len(chunk.pages) for chunk in chunks)
                self._at(self.now + cost + TRAVEL, lambda n=number, c=chunks: self._arrive(n, c))  # type: ignore[misc]
        for _ in range(min(len(self._heard), len(self._readers))):
            number, results = self._heard.popleft()
            for result in results:
                event = self._dispatcher.arrived(number, result)
                if not isinstance(event, PageResult) or self._place(event) in self._came:
                    raise RuntimeError("a page came twice")
                self._came.add(self._place(event))
                cost += self._costs.page
        cost += self._document_costs()
        self._in_dispatcher += time.perf_counter() - start
        self._idle_since = None
        worked = cost - self._costs.look * len(self._readers)
        self._busy += cost
        if worked or self._heard:
            self._at(self.now + cost, self._round)
        else:
            self._at(self.now + cost, self._wait)

    def _wait(self) -> None:
        self._idle_since = self.now
        if self._heard:
            self._round()

    def _document_costs(self) -> float:
        ends = sum(isinstance(event, (Opened, Closed)) for event in self._dispatcher.events())
        return ends * self._costs.document / 2

    @staticmethod
    def _place(result: PageResult) -> tuple[PurePosixPath, int]:
        return result.document.folder, result.record.page or 0

    # --- Readers

    def _arrive(self, number: int, chunks: list[Chunk]) -> None:
        reader = self._readers[number]
        self._go_on(number)
        for chunk in chunks:
            reader.waiting.extend((self._length(), result_of(chunk.plan.document, page)) for page in chunk.pages)
        self._go_on(number)

    def _go_on(self, number: int) -> None:
        """Bring a reader to now, and have it go on by itself."""
        reader = self._readers[number]
        ended = reader.advance(self.now)
        if ended:
            self._results[number] += ended
            self._answer(number)
        if reader.idle and self._given == self._mix[0] * self._mix[1]:
            self._out_of_pages = self._out_of_pages or self.now
        self._versions[number] += 1
        version, when = self._versions[number], reader.next_time()
        if when is not None:
            self._at(max(when, self.now), lambda: self._go_on(number) if self._versions[number] == version else None)

    def _answer(self, number: int) -> None:
        """What has ended is gathered from when it was asked for, or from now on."""
        if not self._answering[number] and self._results[number]:
            self._answering[number] = True
            self._at(max(self.now, self._asked[number]) + GATHER, lambda: self._send(number))

    def _send(self, number: int) -> None:
        results, self._results[number] = self._results[number], []
        self._answering[number] = False
        self._asked[number] = self.now + 2 * TRAVEL
        self._at(self.now + TRAVEL, lambda: self._hear(number, results))

    def _hear(self, number: int, results: list[PageResult]) -> None:
        self._heard.append((number, results))
        if self._idle_since is not None:
            self._round()


def result_of(document: Document, page: int) -> PageResult:
    """A page that was read."""
    record = PageRecord(document=document.name, folder=str(document.folder), page=page, status="ok")
    return PageResult(document, record, Markdown(""))


# --- The command ---------------------------------------------------------------------------------------------------


def measured_costs(path: Path = RESULTS / "cluster" / "driver-ray.json") -> Costs:
    """As docs/cluster_speed.py --ray found them on a tmpfs, in the best of its runs."""
    rows = [row for row in json.loads(path.read_text(encoding="utf-8"))["rows"] if row["folder"] == "/dev/shm"]
    seconds = {row["pages_a_document"]: 1 / max(row["pages_per_second"]) for row in rows}
    long = max(seconds)
    document = (seconds[1] - seconds[long]) / (1 - 1 / long)
    return Costs(seconds[1] - document, document)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--readers", type=int, nargs="+", default=READERS)
    parser.add_argument("--rooms", type=int, nargs="+", default=[ROOM["cuda"]])
    parser.add_argument("--chunks", type=int, nargs="+", default=[dispatch.CHUNK])
    parser.add_argument("--mixes", nargs="+", default=list(MIXES))
    parser.add_argument("--page-ms", type=float, help="of the one that writes; 0 with --document-ms 0: nothing")
    parser.add_argument("--document-ms", type=float)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    costs = Costs(arguments.page_ms / 1000, arguments.document_ms / 1000) if arguments.page_ms is not None else None
    costs, card, rows = costs or measured_costs(), h200(), []
    print(f"page {1000 * costs.page:.2f} ms, document {1000 * costs.document:.2f} ms", file=sys.stderr)
    print(f"a reader: {best_rate(card):.2f} pages/s", file=sys.stderr)
    for mix, room, chunk, readers in itertools.product(
        arguments.mixes, arguments.rooms, arguments.chunks, arguments.readers
    ):
        dispatch.CHUNK = chunk
        found = Simulation(card, costs, readers, MIXES[mix], room).run()
        rows.append({"mix": mix, "room": room, "chunk": chunk, "readers": readers, **vars(found)})
        print(
            f"{mix}, room {room}, chunk {chunk}, {readers} readers: {found.pages / found.seconds:.1f} pages/s, "
            f"{100 * found.utilisation:.0f} % of readers, driver {100 * found.driver:.0f} %, "
            f"tail {100 * found.tail:.0f} %, {found.seconds:.0f} s, "
            f"dispatcher {1e6 * found.dispatcher / found.pages:.0f} us a page",
            file=sys.stderr,
        )
        if arguments.json:
            found_all = {"costs": vars(costs), "best_rate": best_rate(card), "rows": rows}
            arguments.json.write_text(json.dumps(found_all, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

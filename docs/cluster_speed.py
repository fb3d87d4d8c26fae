"""How many pages a second the process that writes can take, with readers that answer at once: docs/benchmarks.md.

Documents are planned (SHA-256, number of pages), pages are handed out by the cluster's own Dispatcher, and results go
to an output folder with journal, markdown, blocks, records and report, all as in a run; only the reading is left out. A
result is one of the bundled model, its text and blocks repeated until the text has 3,000 characters; each tenth page
has a crop. With --ray readers are Ray's actors, in processes of their own.

python docs/cluster_speed.py --json docs/benchmarks/cluster/driver.json
python docs/cluster_speed.py --ray --json docs/benchmarks/cluster/driver-ray.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pymupdf

from rtprune_cli.cluster import crew, driver
from rtprune_cli.cluster.dispatch import Chunk, Dispatcher
from rtprune_cli.cluster.remote import RemoteReader
from rtprune_cli.engine import StepFacts
from rtprune_cli.model import Checkpoint, locate
from rtprune_cli.options import InputOptions, ModelOptions, OcrOptions, RunOptions
from rtprune_cli.outputs import open_output
from rtprune_cli.pipeline import Event, PageSource, ReadingSession, ocr
from rtprune_cli.records import Document, DocumentPlan, Idle, PageResult
from rtprune_cli.report.facts import ENGINE, machine_facts, versions

SAMPLE = Path(__file__).parents[1] / "samples" / "notice.pdf"
CHARACTERS = 3000  # of a page's text
CROP_EVERY = 10  # pages
SIZES = {1: 2000, 10: 200, 300: 7}  # pages of a document: how many of them
OPTIONS = OcrOptions(model=ModelOptions(model="tiny", device="cpu"), input=InputOptions(workers=0))


# --- Readers that answer at once -----------------------------------------------------------------------------------


def sample(checkpoint: Checkpoint) -> PageResult:
    """A page as a reader sends it, of :data:`CHARACTERS`, with a crop."""
    plan = DocumentPlan(Document(SAMPLE, SAMPLE.name, PurePosixPath(SAMPLE.stem)), (1,))
    (page,) = ReadingSession(checkpoint, OPTIONS).read([plan])
    box = (0, 0, min(page.record.image_width or 0, 640), 200)
    page = replace(page, markdown=replace(page.markdown, crops={"images/page-0001-1.png": box})).packed()
    times = 1 + CHARACTERS // (len(page.markdown.text) + 2)
    text = "\n\n".join([page.markdown.text] * times)
    markdown = replace(page.markdown, text=text, blocks=page.markdown.blocks * times, crops={})
    return replace(page, markdown=markdown, raw="\n".join([page.raw] * times))


def answer(page: PageResult, document: Document, number: int) -> PageResult:
    """The sample as the result of another page."""
    record = replace(page.record, document=document.name, folder=str(document.folder), page=number)
    pictures = (page.crops or {}).values() if number % CROP_EVERY == 1 else ()
    crops = {f"page-{number:04d}-1.png": each for each in pictures}
    return replace(page, document=document, record=record, crops=crops)


def answers(page: PageResult, chunk: Chunk) -> Iterator[PageResult]:
    """What a reader makes of a chunk."""
    for number in chunk.pages:
        yield answer(page, chunk.plan.document, number)


class HereAtOnce:
    """Readers in this process."""

    steps = StepFacts()

    def __init__(self, page: PageResult, readers: int) -> None:
        self._page, self._readers = page, range(readers)

    def read(self, plans: Iterable[DocumentPlan]) -> Generator[Event, None, None]:
        """As PageSource says."""
        dispatcher = Dispatcher(plans, room=driver.ROOM["cuda"])
        for reader in self._readers:
            dispatcher.join(reader)
        while not dispatcher.done:
            for reader in self._readers:
                for chunk in dispatcher.assign(reader):
                    yield from dispatcher.events()
                    for result in answers(self._page, chunk):
                        event = dispatcher.arrived(reader, result)
                        if event is not None:
                            yield event
            yield from dispatcher.events()

    def summary(self) -> dict[str, Any]:
        """As PageSource says."""
        return {}


class RemoteAtOnce(RemoteReader):
    """A reader on the cluster that has its pages at once."""

    page: PageResult

    def _work(self, checkpoint: Checkpoint) -> None:
        for plan in self._plans():
            if isinstance(plan, Idle):
                time.sleep(0.002)
                continue
            for result in answers(self.page, Chunk(plan)):
                self._put(result)


@contextmanager
def remote_readers(page: PageResult, readers: int) -> Iterator[driver.ClusterSource]:
    """Readers on a cluster that is started for the time being."""
    options = replace(OPTIONS, run=RunOptions(cluster="local", readers=readers))
    with driver.connected("local") as ray:
        from ray import cloudpickle

        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        RemoteAtOnce.page = page
        crew.RemoteReader = RemoteAtOnce  # type: ignore[misc]
        driver.ROOM["cpu"] = driver.ROOM["cuda"]
        source = driver.ClusterSource(ray, options, 1)
        try:
            source.start()
            yield source
        finally:
            source.end()


# --- Measuring -----------------------------------------------------------------------------------------------------


def make_inputs(folder: Path, pages: int, count: int) -> list[Document]:
    """So many PDFs of so many pages, all one file under many names."""
    folder.mkdir(parents=True)
    first = folder / "0.pdf"
    with pymupdf.open() as pdf:
        for _ in range(pages):
            pdf.new_page()
        pdf.save(first)
    for number in range(1, count):
        os.link(first, folder / f"{number}.pdf")
    return [Document(folder / f"{n}.pdf", f"{n}.pdf", PurePosixPath(str(n))) for n in range(count)]


def measure(documents: list[Document], source: PageSource, checkpoint: Checkpoint, out: Path) -> dict[str, float]:
    """One run into a new folder."""
    start, used = time.perf_counter(), time.process_time()
    with open_output(replace(OPTIONS.output, output=str(out))) as output:
        totals = ocr(documents, checkpoint, OPTIONS, output, source=source)
    seconds, cpu = time.perf_counter() - start, time.process_time() - used
    shutil.rmtree(out)
    return {"pages": totals.pages, "seconds": seconds, "cpu_seconds": cpu}


def hash_rate() -> float:
    """Bytes a second of the SHA-256 of inputs that are in memory."""
    data, start = bytes(64 * 2**20), time.perf_counter()
    hashlib.sha256(data)
    return len(data) / (time.perf_counter() - start)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All measurements, and the table on standard error as it grows."""
    checkpoint = locate(OPTIONS.model)
    page = sample(checkpoint)
    found: dict[str, Any] = {
        "command": f"python docs/cluster_speed.py{' --ray' if arguments.ray else ''}",
        "machine": machine_facts(checkpoint.device),
        "versions": versions((*ENGINE, *(["ray"] if arguments.ray else []))),
        "readers": arguments.readers,
        "hash_bytes_per_second": hash_rate(),
        "rows": [],
    }
    sizes = {size: max(1, int(count * arguments.scale)) for size, count in SIZES.items()}
    readers = (
        remote_readers(page, arguments.readers) if arguments.ray else nullcontext(HereAtOnce(page, arguments.readers))
    )
    with readers as source:
        for where in arguments.folders:
            with tempfile.TemporaryDirectory(dir=where) as folder:
                for size, count in sizes.items():
                    documents = make_inputs(Path(folder, f"in{size}"), size, count)
                    measure(
                        documents[:2], source, checkpoint, Path(folder, "out")
                    )  # what is imported when it is needed
                    times = [
                        measure(documents, source, checkpoint, Path(folder, "out")) for _ in range(arguments.repeats)
                    ]
                    found["rows"].append({"folder": where, "pages_a_document": size, **summary(times)})
                    print(json.dumps(found["rows"][-1]), file=sys.stderr)
    found["machine"]["load_after"] = os.getloadavg()[0]
    return found


def summary(times: list[dict[str, float]]) -> dict[str, Any]:
    """Runs of the same pages, each in its place."""
    return {
        "pages": times[0]["pages"],
        "pages_per_second": [round(each["pages"] / each["seconds"], 1) for each in times],
        "cpu_ms_a_page": [round(1000 * each["cpu_seconds"] / each["pages"], 3) for each in times],
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ray", action="store_true", help="readers are Ray's actors")
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of documents")
    parser.add_argument("--folders", nargs="+", default=[tempfile.gettempdir(), "/dev/shm"], help="a disk, a tmpfs")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = run(arguments)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

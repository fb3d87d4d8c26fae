"""How much faster two readers on two cores are than one on one: docs/benchmarks.md, "On a cluster".

samples/notice.pdf many times in one PDF, read with the bundled model by the cluster's own readers, which have read a
page each before the clock starts. By turns one reader on one core, with all else of the run on that core too, and two
on two. Beside the time there is the CPU time of all processes of the run: where others use the machine as well, twice
one's CPU time over the other's is the most that the speed-up can be on two cores of their own.

OMP_NUM_THREADS=1 python docs/cluster_speedup.py --json docs/benchmarks/cluster/two-readers.json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import psutil
import pymupdf

from rtprune_cli.cluster import driver
from rtprune_cli.model import Checkpoint, locate
from rtprune_cli.options import InputOptions, ModelOptions, OcrOptions, RunOptions
from rtprune_cli.outputs import open_output
from rtprune_cli.pipeline import ocr
from rtprune_cli.records import Document
from rtprune_cli.report.facts import ENGINE, machine_facts, versions

SAMPLE = Path(__file__).parents[1] / "samples" / "notice.pdf"


def options_of(readers: int) -> OcrOptions:
    """Of a run in mode base."""
    model = ModelOptions(model="tiny", device="cpu")
    run = RunOptions(cluster="local", readers=readers)
    return OcrOptions(mode="base", model=model, run=run, input=InputOptions(workers=0))


def make_pdf(path: Path, pages: int) -> Document:
    """The sample's pages again and again."""
    with pymupdf.open() as pdf, pymupdf.open(SAMPLE) as sample:
        while len(pdf) < pages:
            pdf.insert_pdf(sample, to_page=min(len(sample), pages - len(pdf)) - 1)
        pdf.save(path)
    return Document(path, path.name, PurePosixPath(path.stem))


def cpu_seconds() -> float:
    """Of this process and all that it started."""
    own = psutil.Process()
    return sum(sum(each.cpu_times()[:2]) for each in [own, *own.children(recursive=True)])


def measure(readers: int, checkpoint: Checkpoint, pages: int, folder: Path) -> dict[str, Any]:
    """One run on as many cores as there are readers."""
    options, cores = options_of(readers), os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:readers])  # what is started has them too
    try:
        with driver.cluster_source(options, 1) as source:
            for name, count in (("first", 4 * readers), ("timed", pages)):
                document = make_pdf(folder / f"{name}.pdf", count)
                start, used = time.perf_counter(), cpu_seconds()
                with open_output(replace(options.output, output=str(folder / "out"))) as output:
                    totals = ocr([document], source.seen(checkpoint), options, output, source=source)
                seconds, cpu = time.perf_counter() - start, cpu_seconds() - used
                shutil.rmtree(folder / "out")
    finally:
        os.sched_setaffinity(0, cores)
    return {"readers": readers, "pages": totals.pages, "seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    checkpoint, rows = locate(options_of(1).model), []
    found: dict[str, Any] = {
        "command": f"OMP_NUM_THREADS=1 python docs/cluster_speedup.py --pages {arguments.pages}",
        "machine": machine_facts(checkpoint.device),
        "versions": versions((*ENGINE, "ray")),
        "rows": rows,
    }
    for readers in (1, 2) * arguments.repeats:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(readers, checkpoint, arguments.pages, Path(folder)))
        print(rows[-1], file=sys.stderr)
        found["machine"]["load_after"] = os.getloadavg()[0]
        if arguments.json:
            arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""What readers on a cluster were put through for docs/scaling.md, run by hand: readers that are killed, a node that is
taken away, calls that are lost, a large document that only the driver sees, memory over a long run. Needs psutil.

    python docs/cluster_trials.py kills --pages 240 --kills 10 --seed 1
    python docs/cluster_trials.py node --pages 120
    python docs/cluster_trials.py calls --pages 60
    python docs/cluster_trials.py ship --size 700
    python docs/cluster_trials.py memory --pages 3000

All but ``ship`` read samples/notice.pdf many times in one PDF, with ``--model tiny --device cpu``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import psutil
import pymupdf

from rtprune_cli.cluster.dispatch import Chunk
from rtprune_cli.cluster.link import connected
from rtprune_cli.cluster.shipping import Copies, FileStamp, Shipper
from rtprune_cli.records import Document, DocumentPlan

NOTICE = Path(__file__).parent.parent / "samples" / "notice.pdf"
TIMES = re.compile(rb'"\w*(_ms|started|finished)":[^,}\]]*')
MODEL = ["--model", "tiny", "--device", "cpu"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trial", choices=("kills", "node", "calls", "ship", "memory"))
    parser.add_argument("--pages", type=int, default=240)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--size", type=int, default=700, help="MiB")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trial-") as folder:
        pdf = Path(folder) / "long.pdf"
        write_pdf(pdf, arguments.pages)
        trials = {"kills": kills, "node": node, "calls": calls, "ship": ship, "memory": memory}
        trials[arguments.trial](pdf, Path(folder) / "out", arguments)


def write_pdf(path: Path, pages: int) -> None:
    """The sample's pages, as often as it takes."""
    with pymupdf.open(NOTICE) as sample, pymupdf.open() as pdf:
        while pdf.page_count < pages:
            pdf.insert_pdf(sample, to_page=min(sample.page_count, pages - pdf.page_count) - 1)
        pdf.save(path)


def start(pdf: Path, out: Path, *options: str, **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rtprune_cli", "ocr", str(pdf), "-o", str(out), *MODEL, *options]
    return subprocess.Popen(command, env=os.environ | environment)


def pages_done(out: Path) -> int:
    """Lines of the journal, less its head."""
    return sum(max(0, path.read_bytes().count(b"\n") - 1) for path in out.glob(".rtprune/journal/*/*.jsonl"))


def readers_of(driver: psutil.Process) -> list[psutil.Process]:
    """The readers of a local cluster that run now."""
    found = []
    for process in driver.children(recursive=True):
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::RemoteReader"):
                found.append(process)
        except psutil.Error:
            continue
    return found


def settings_of(out: Path) -> dict[str, Any]:
    """What the report says of the cluster."""
    (report,) = out.glob("*/*.report.json")
    return json.loads(report.read_bytes())["settings"]["cluster"]


def check_same(plain: Path, out: Path, pages: int) -> None:
    """End with an error unless both folders have the same texts and every page once."""
    for kind in ("md", "json"):
        (one,), (other,) = plain.glob(f"long/long.{kind}"), out.glob(f"long/long.{kind}")
        assert TIMES.sub(b"", one.read_bytes()) == TIMES.sub(b"", other.read_bytes()), f"{kind} differs"
    (report,) = out.glob("*/*.report.json")
    records = json.loads(report.read_bytes())["pages"]
    assert [record["page"] for record in records] == list(range(1, pages + 1)), "a page is missing, or there twice"
    assert not [record for record in records if record["error"]], "a page failed"


def kills(pdf: Path, out: Path, arguments: argparse.Namespace) -> None:
    """A reader, whichever, is killed at random moments: on average as often as the kills are spread over the run."""
    plain = out.with_name("plain")
    before = time.monotonic()
    assert start(pdf, plain, "-q").wait() == 0
    alone = time.monotonic() - before
    draw = random.Random(arguments.seed)
    before = time.monotonic()
    run = start(pdf, out, "--cluster", "local", "--readers", str(arguments.readers))
    driver = psutil.Process(run.pid)
    while not pages_done(out):
        time.sleep(0.2)
    done = 0
    moments = sorted(draw.randint(1, arguments.pages - arguments.pages // 8) for _ in range(arguments.kills))
    for moment in moments:
        while run.poll() is None and (pages_done(out) < moment or not readers_of(driver)):
            time.sleep(0.1)
        time.sleep(draw.random())
        if run.poll() is None and (alive := readers_of(driver)):
            victim = draw.choice(alive)
            age = time.time() - victim.create_time()
            print(f"kill at {pages_done(out)} pages, a reader of {age:.1f} s", flush=True)
            victim.kill()
            done += 1
    code = run.wait()
    print(f"{done} kills, exit code {code}, {time.monotonic() - before:.1f} s; a plain run {alone:.1f} s")
    print(settings_of(out))
    assert code == 0
    check_same(plain, out, arguments.pages)
    print("the same bytes as a plain run, every page once")


def node(pdf: Path, out: Path, arguments: argparse.Namespace) -> None:
    """Two nodes besides the head's, a reader on each; one is taken away in the middle, with all that runs there."""
    from ray.cluster_utils import Cluster

    plain = out.with_name("plain")
    assert start(pdf, plain, "-q").wait() == 0
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 300 * 2**20})
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=300 * 2**20) for _ in range(2)]
    cluster.wait_for_nodes()
    run = start(pdf, out, "--cluster", "auto", "--readers", str(arguments.readers), "-v", RAY_ADDRESS=cluster.address)
    while run.poll() is None and pages_done(out) < arguments.pages // 3:
        time.sleep(0.2)
    print(f"a node is taken away at {pages_done(out)} pages", flush=True)
    cluster.remove_node(nodes[0], allow_graceful=False)
    code = run.wait()
    print(f"exit code {code}; {settings_of(out)}")
    cluster.shutdown()
    assert code == 0
    check_same(plain, out, arguments.pages)
    print("the same bytes as a plain run, every page once")


def calls(pdf: Path, out: Path, arguments: argparse.Namespace) -> None:
    """Ray fails calls to readers, or loses their answers."""
    plain = out.with_name("plain")
    assert start(pdf, plain, "-q").wait() == 0
    fails = {"num_failures": 6, "req_failure_prob": 15, "resp_failure_prob": 15}
    lossy = json.dumps({"CoreWorkerService.grpc_client.PushTask": fails})
    code = start(pdf, out, "-q", "--cluster", "local", RAY_testing_rpc_failure=lossy).wait(timeout=600)
    print(f"exit code {code}; {settings_of(out)}")
    check_same(plain, out, arguments.pages)
    print("the same bytes as a plain run, every page once")


class Peak:
    """How much resident memory this process has above what it had, at most, in MB."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = self.most = self._process.memory_info().rss
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.most = max(self.most, self._process.memory_info().rss)
            time.sleep(0.02)

    def megabytes(self) -> float:
        return round((self.most - self._before) / 1e6)


class Receiver:
    """A reader that only asks for documents, and says what they cost it."""

    def __init__(self) -> None:
        self._copies = Copies(lambda _: None)

    def place(self, chunk: Chunk) -> str | None:
        plan = self._copies.placed(chunk)
        return None if plan is None else hashlib.sha256(plan.document.path.read_bytes()).hexdigest()

    def receive(self, folder: PurePosixPath, pieces: list[Any]) -> float:
        import ray

        peak = Peak()
        self._copies.receive(folder, (ray.get(piece) for piece in pieces))
        return peak.megabytes()

    def drop(self, folder: PurePosixPath) -> None:
        self._copies.drop(folder)


def ship(pdf: Path, out: Path, arguments: argparse.Namespace) -> None:
    """A document that is larger than the object store goes to two readers that do not see it."""
    with open(pdf, "wb") as file:
        for _ in range(arguments.size):
            file.write(os.urandom(2**20))
    folder = PurePosixPath("large")
    with connected("local") as ray:
        shipper = Shipper(ray.put)
        chunk = shipper.addressed(Chunk(DocumentPlan(Document(pdf, "large", folder), (1,))))
        chunk = replace(chunk, stamp=FileStamp(1, 1))  # readers of this machine would see it
        readers = [ray.remote(Receiver).options(num_cpus=0).remote() for _ in range(2)]
        assert ray.get([reader.place.remote(chunk) for reader in readers]) == [None, None]
        peak, pieces = Peak(), shipper.pieces(folder, 0)
        own = peak.megabytes()
        theirs = ray.get([reader.receive.remote(folder, pieces) for reader in readers])
        digests = set(ray.get([reader.place.remote(chunk) for reader in readers]))
        ray.get([reader.drop.remote(folder) for reader in readers])
    assert digests == {hashlib.sha256(pdf.read_bytes()).hexdigest()}
    print(f"memory above what was there, MB: driver {own}, readers {theirs}", file=sys.stderr)


def memory(pdf: Path, out: Path, arguments: argparse.Namespace) -> None:
    """Resident memory of driver and readers in MB, sampled each second."""
    run = start(pdf, out, "-q", "--cluster", "local", "--readers", str(arguments.readers))
    driver, next_line = psutil.Process(run.pid), 0
    while run.poll() is None:
        done = pages_done(out)
        try:
            row = [driver.memory_info().rss, *sorted(reader.memory_info().rss for reader in readers_of(driver))]
        except psutil.Error:
            continue
        if done >= next_line:
            print(f"{done} pages: " + ", ".join(f"{rss / 1e6:.0f}" for rss in row), flush=True)
            next_line = (done // 100 + 1) * 100
        time.sleep(1)
    print(f"exit code {run.returncode}; {settings_of(out)}")


if __name__ == "__main__":
    main()

"""Step workers: `rtprune ocr` with the bundled model, worker processes beside a CUDA context; and the CPU's text."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pymupdf
from rapidfuzz.distance import Levenshtein

from probe.common import GPU, keep, say

SAMPLES = Path(__file__).parents[3] / "samples"
COPIES = 20 if GPU else 2  # of a sample's pages in a document
LIMIT = 50  # seconds of a run
REFERENCE = "cpu"
# name, device, dtype, workers
RUNS = [
    ("workers", "cuda", "auto", 8),
    ("float32", "cuda", "float32", 4),
    ("float32 without", "cuda", "float32", 0),
    (REFERENCE, "cpu", "float32", 4),
]
TRIED = [("workers", "cpu", "auto", 1), (REFERENCE, "cpu", "float32", 0)]


def run() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _make_documents(folder)
        texts = {run[0]: _read(folder, *run) for run in (RUNS if GPU else TRIED)}
    apart = {name: Levenshtein.normalized_distance(text, texts[REFERENCE]) for name, text in texts.items()}
    for name, distance in apart.items():
        say(f"text of {name} differs from the CPU's by {distance:.4f}")
    keep("workers_text", **apart)


def _make_documents(folder: Path) -> None:
    for name in ("leaflet", "notice"):
        with pymupdf.open(SAMPLES / f"{name}.pdf") as source, pymupdf.open() as long:
            for _ in range(COPIES):
                long.insert_pdf(source)
            long.save(folder / f"{name}.pdf")


def _read(folder: Path, name: str, device: str, dtype: str, count: int) -> str:
    out = folder / name
    command = [sys.executable, "-m", "rtprune_cli", "ocr", *map(str, sorted(folder.glob("*.pdf"))), "-o", str(out)]
    command += ["--model", "tiny", "--device", device, "--dtype", dtype, "--workers", str(count), "-v"]
    began = time.perf_counter()
    found = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    took = time.perf_counter() - began
    text = "".join(page.read_text() for page in sorted(out.rglob("*.md")))
    print(found.stdout[-1500:], found.stderr[-3000:], flush=True)
    say(
        f"ocr --device {device} --dtype {dtype} --workers {count}: rc {found.returncode}, {took:.1f} s, "
        f"{len(text)} characters"
    )
    keep("workers", **{name: [found.returncode, took, len(text)]})
    return text

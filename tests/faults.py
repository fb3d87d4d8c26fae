"""Kills, interrupts, fills and corrupts real runs of ``rtprune ocr``, and counts what was lost: nothing, or it fails.

    python -m tests.faults --write docs/reliability.md

runs everything and writes the table; tests/test_faults.py runs the same functions with smaller counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pymupdf
from PIL import Image, ImageDraw

TIMES = ("_ms", "_speedup")  # fields of a report that no two runs share
FLAGS = ("--model", "tiny", "--max-new-tokens", "8", "--raw")
PAGES = 21  # of make_inputs()
CORPUS = "## Files of others"  # the section that tests/corpus.py writes


@dataclass(frozen=True)
class Outcome:
    """One row of the table: what was done, how often, what came of it."""

    what: str
    count: str
    result: str


# --- Inputs ------------------------------------------------------------------------------------------------------


def make_pdf(path: Path, texts: list[str], **save: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pymupdf.open() as pdf:
        for text in texts:
            pdf.new_page(width=400, height=400).insert_text((30, 80), text, fontsize=32)
        pdf.save(path, **save)
    return path


def make_frame(text: str) -> Image.Image:
    image = Image.new("L", (400, 400), 255)
    ImageDraw.Draw(image).text((30, 50), text, fill=0, font_size=32)
    return image


def make_inputs(folder: Path) -> Path:
    """21 pages in 6 documents of several kinds, two with the same stem."""
    make_pdf(folder / "a.pdf", [f"page {i}" for i in range(5)])
    make_pdf(folder / "b [draft].pdf", ["bracket", "two"])
    make_pdf(folder / "deep" / "a.pdf", ["other a", "and more", "third"])
    frames = [make_frame(f"frame {i}") for i in range(6)]
    frames[0].save(folder / "frames.tif", save_all=True, append_images=frames[1:])
    make_frame("single").save(folder / "single é.png")
    make_pdf(folder / "z.pdf", ["last", "of", "all", "."])
    return folder


# --- Running -----------------------------------------------------------------------------------------------------


def command(inputs: Path, out: Path, *flags: str) -> list[str]:
    run = [sys.executable, "-m", "rtprune_cli", "ocr", str(inputs), "-r", "-o", str(out), "--log-format", "json"]
    return [*run, *FLAGS, *flags]


def environment() -> dict[str, str]:
    """Without settings of the person who runs the tests, and one thread so that runs can share a machine."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("RTPRUNE_")}
    return {**own, "OMP_NUM_THREADS": "1", "RTPRUNE_CONFIG": os.devnull}


def run(inputs: Path, out: Path, *flags: str, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    line = [*before, *command(inputs, out, *flags)]
    return subprocess.run(line, capture_output=True, text=True, env=environment(), check=False)


@contextmanager
def started(inputs: Path, out: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command(inputs, out, *flags),
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        # A shell starts what runs in the background with SIGINT ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def events(stderr: str) -> list[dict[str, Any]]:
    """The lines of ``--log-format json``; one that is no JSON fails."""
    return [json.loads(line) for line in stderr.splitlines()]


def summary(stderr: str) -> dict[str, Any]:
    return next(event for event in events(stderr) if event.get("event") == "summary")


def done_pages(out: Path) -> int:
    """Pages that the journals hold, torn lines not counted."""
    count = 0
    for path in (out / ".rtprune" / "journal").rglob("*.jsonl"):
        count += sum(
            line.endswith(b"\n") and b'"record"' in line for line in path.read_bytes().splitlines(keepends=True)
        )
    return count


def wait_for_pages(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    while done_pages(out) < count and process.poll() is None:
        time.sleep(0.01)


def contents(out: Path) -> dict[str, Any]:
    """What a run left, without the tool's own state and without times."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.is_file() and not name.startswith(".rtprune/"):
            found[name] = path.read_bytes()
            if name.endswith(".json"):
                found[name] = _timeless(json.loads(found[name]))
            elif name.endswith(".jsonl"):
                found[name] = [_timeless(json.loads(line)) for line in found[name].splitlines()]
    return found


# Of a run and not of its pages; the last digit of a confidence may depend on which pages were decoded together.
OF_THE_RUN = ("milliseconds", "seconds", "started", "batch_size", "confidence")


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _timeless(item) for key, item in value.items() if not key.endswith(TIMES) and key not in OF_THE_RUN
        }
    return [_timeless(item) for item in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Reference:
    """Inputs, what an uninterrupted run makes of them, and the seconds that it took."""

    inputs: Path
    expected: dict[str, Any]
    seconds: float

    def finish(self, out: Path, *flags: str) -> None:
        """Run to the end, and see that no page was read that was kept, and that every byte is as it should be."""
        kept = done_pages(out)
        result = run(self.inputs, out, *flags)
        assert result.returncode == 0, result.stderr
        assert summary(result.stderr)["pages"] == PAGES - kept
        assert contents(out) == self.expected


def make_reference(folder: Path) -> Reference:
    inputs = make_inputs(folder / "in")
    start = time.monotonic()
    result = run(inputs, folder / "reference")
    assert result.returncode == 0, result.stderr
    assert summary(result.stderr)["pages"] == PAGES
    return Reference(inputs, contents(folder / "reference"), time.monotonic() - start)


# --- Faults ------------------------------------------------------------------------------------------------------


def kill_at_random_moments(folder: Path, reference: Reference, count: int) -> Outcome:
    """SIGKILL anywhere between start and end, then one rerun."""
    moments = random.Random(0)
    kept, cut = [], 0
    for number in range(count):
        out = folder / f"kill-{number}"
        flags = ("--batch-size", "4") if number % 4 == 3 else ()
        with started(reference.inputs, out, *flags) as process:
            time.sleep(moments.uniform(0.4, 1.0) * reference.seconds)
            cut += process.poll() is None
        kept.append(done_pages(out))
        reference.finish(out, *flags)
        shutil.rmtree(out)
    result = f"{sum(kept)} of {count * PAGES} pages kept, the others read by the rerun, none twice; every byte equal"
    return Outcome("SIGKILL at a random moment, then a rerun", f"{count} ({cut} before the end)", result)


def kill_again_and_again(folder: Path, reference: Reference, step: int) -> Outcome:
    """One output folder, every run killed after it has done some pages."""
    out, kills = folder / "chain", 0
    while True:
        before = done_pages(out)
        if before + step > PAGES:
            break
        with started(reference.inputs, out) as process:
            wait_for_pages(out, before + step, process)
        kills += 1
        assert done_pages(out) >= before + step
    reference.finish(out)
    return Outcome("Runs on one folder, each killed as it went on", str(kills), "every byte equal to one run's")


INTERRUPTS = (([signal.SIGINT], (130,)), ([signal.SIGTERM], (143,)), ([signal.SIGINT] * 2, (130, -2)))


def interrupt(folder: Path, reference: Reference, count: int, kinds: Sequence[Any] = INTERRUPTS) -> Outcome:
    """Ctrl-C, SIGTERM, and a second Ctrl-C, each in the middle of a run: what is sent, and the exit codes for it."""
    for number in range(count):
        for sent, codes in kinds:
            out = folder / f"interrupt-{number}-{len(sent)}-{sent[0]}"
            with started(reference.inputs, out) as process:
                wait_for_pages(out, 2 + 3 * number, process)
                for each in sent:
                    process.send_signal(each)
                _, stderr = process.communicate(timeout=60)
            assert process.returncode in codes, (process.returncode, stderr)
            assert "Traceback" not in stderr
            reference.finish(out)
    what = "Ctrl-C (exit 130), SIGTERM (143), Ctrl-C twice (130), then a rerun"
    return Outcome(what, f"{count} each", "every byte equal")


# --- Pages without an end ------------------------------------------------------------------------------------------


def make_endless(path: Path, depth: int = 12) -> Path:
    """A page of forms that draw forms, 2 KB that take for ever to draw; 5 deep it takes seconds. It ends in a warning
    of MuPDF's, from whose callback an exception would be lost."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = b"q /F0 Do Q " * 12
    forms = [
        b"<</Type/XObject/Subtype/Form/BBox[0 0 400 400]/Resources<</XObject<</F0 %d 0 R>>>>/Length %d>>"
        b"stream\n%s\nendstream" % (5 + number, len(body), body)
        for number in range(1, depth)
    ]
    last = b"0 0 4 4 re f"
    forms.append(b"<</Type/XObject/Subtype/Form/BBox[0 0 400 400]/Length %d>>stream\n%s\nendstream" % (len(last), last))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 400]/Resources<</XObject<</F0 5 0 R>>>>/Contents 4 0 R>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(body) + 8, body + b"/Nope Do"),
        *forms,
    ]
    return raw_pdf(path, objects)


def raw_pdf(path: Path, objects: Sequence[bytes], trailer: bytes = b"") -> Path:
    """A PDF of these objects, numbered from 1, of which the first is its catalog."""
    blob, places = b"%PDF-1.7\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(blob))
        blob += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    start, count = len(blob), len(objects) + 1
    blob += b"xref\n0 %d\n0000000000 65535 f \n" % count + b"".join(b"%010d 00000 n \n" % place for place in places)
    path.write_bytes(blob + b"trailer<</Size %d/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF" % (count, trailer, start))
    return path


def signals_while_drawing(folder: Path, count: int, slow: bool = False) -> Outcome:
    """Ctrl-C and SIGTERM at random moments while MuPDF is inside a page that it never ends, or ends after seconds."""
    inputs = folder / "in"
    make_pdf(inputs / "a.pdf", ["first"])
    for name in ("b.pdf", "c.pdf"):
        make_endless(inputs / name, 5 if slow else 12)
    dice, longest = random.Random(0), 0.0
    for number in range(count):
        for sent, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
            out = folder / f"out-{number}-{sent}"
            with started(inputs, out, "--page-timeout", "0", "--workers", str(number % 3)) as process:
                while not (out / ".rtprune" / "journal").exists():  # the page before is decoded with the one that hangs
                    time.sleep(0.01)
                time.sleep(dice.uniform(0.2, 3))
                process.send_signal(sent)
                began = time.monotonic()
                _, stderr = process.communicate(timeout=60)
                took = time.monotonic() - began
            longest = max(longest, took)
            assert process.returncode == code, (process.returncode, stderr)
            assert took < 5, took
            assert "Traceback" not in stderr
    pages = "pages that take seconds and end in a warning" if slow else "a page that MuPDF never ends"
    what = f"SIGTERM (143) and Ctrl-C (130) at a random moment of {pages}"
    return Outcome(what, f"{count} each", f"ended each time, after {longest:.1f} s at most")


def page_time_outs(folder: Path, seconds: int = 2) -> Outcome:
    """A page without an end among others, drawn one by one and by workers; and one whose memory is bounded."""
    inputs = folder / "in"
    make_pdf(inputs / "a.pdf", [f"page {number}" for number in range(20)])
    make_endless(inputs / "b.pdf")
    make_pdf(inputs / "c.pdf", ["last"])
    for workers in (0, 2):
        result = run(inputs, folder / f"out-{workers}", "--page-timeout", str(seconds), "--workers", str(workers))
        assert result.returncode == 4, result.stderr
        told = summary(result.stderr)
        assert (told["pages"], told["failed"]) == (21, 1), told
        codes = [event["code"] for event in events(result.stderr) if event.get("event") == "failure"]
        assert codes == ["timeout"], codes
    what = f"A page without an end among 21 others, `--page-timeout {seconds}`, `--workers` 0 and 2"
    return Outcome(what, "2", "it alone failed, as `timeout`; exit 4")


REFUSING = """
import builtins, errno, fcntl, os, pathlib
def refuses(place):
    name = os.path.basename(str(place)).encode()
    if len(name) > 143 and "out" in str(place):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(place))
    if b"?" in name and "out" in str(place):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(place))
mkdir, real_open = pathlib.Path.mkdir, builtins.open
pathlib.Path.mkdir = lambda self, *a, **k: (refuses(self), mkdir(self, *a, **k))[1]
def checked(place, *a, **k):
    if isinstance(place, (str, os.PathLike)):
        refuses(place)
    return real_open(place, *a, **k)
builtins.open = checked
def no_lock(*_): raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
def no_sync(*_): raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
fcntl.flock, os.fsync = no_lock, no_sync
from rtprune_cli.__main__ import main
main()
"""


def poor_shares(folder: Path) -> Outcome:
    """A share that takes names of 143 bytes and no question marks, and has neither locks nor fsync."""
    inputs = folder / "in"
    names = ["a.pdf", f"{'long' * 40}.pdf", "why?.pdf", "z.pdf"]
    for name in names:
        make_pdf(inputs / name, ["text"])
    line = [sys.executable, "-c", REFUSING, *command(inputs, folder / "out")[3:], *FLAGS]
    result = subprocess.run(line, capture_output=True, text=True, env=environment(), check=False)
    assert result.returncode == 4, result.stderr
    told = summary(result.stderr)
    assert (told["pages"], told["failed"]) == (2, 2), told
    warned = [event["message"] for event in events(result.stderr) if event["level"] == "warning"]
    assert any("no locks" in each for each in warned) and any("power cut" in each for each in warned), warned
    assert {path.name for path in (folder / "out").glob("*/*.md")} == {"a.md", "z.md"}
    what = "A share that refuses names of more than 143 bytes and with `?`, without locks and fsync"
    return Outcome(what, "4 documents", "2 written, 2 failed as `output_name`, two warnings; exit 4")


def fill_the_disk(folder: Path, reference: Reference, sizes: tuple[int, ...] = (72, 96, 128)) -> Outcome:
    """A tmpfs of so many KiB, which has room for some of the documents."""
    small = folder / "small"
    small.mkdir()
    for size in sizes:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", small], check=True)
        try:
            result = run(reference.inputs, small / "out")
            assert result.returncode == 1, result.stderr
            errors = [event for event in events(result.stderr) if event["level"] == "error"]
            assert len(errors) == 1 and "Free some space" in errors[0]["message"], errors
            left = contents(small / "out")
            left.pop("report.jsonl", None)
            assert all(reference.expected[name] == data for name, data in left.items())
            assert not any(".tmp" in name for name in left)
            subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
            reference.finish(small / "out")
        finally:
            subprocess.run(["umount", small], check=True)
    return Outcome(
        f"Disk full (a tmpfs of {sizes[0]} to {sizes[-1]} KiB), then a rerun with room",
        str(len(sizes)),
        "exit 1, said once, no half-written file; every byte equal after the rerun",
    )


def second_run(folder: Path, reference: Reference, count: int) -> Outcome:
    """Another run on the same folder while the first one writes."""
    out = folder / "shared"
    with started(reference.inputs, out) as process:
        wait_for_pages(out, 1, process)
        for _ in range(count):
            result = run(reference.inputs, out)
            if process.poll() is None:
                assert result.returncode == 1
                assert "--wait" in result.stderr
                assert f"process {process.pid} " in result.stderr
        process.communicate()
    assert process.returncode == 0
    assert contents(out) == reference.expected
    what = "A second run on the folder of one under way"
    return Outcome(what, str(count), "refused with exit 1; the first undisturbed")


# --- Corrupt inputs ----------------------------------------------------------------------------------------------


def make_zoo(folder: Path) -> dict[str, str]:
    """Files as archives have them, good and bad: the error code of each, '' for those that are read whole, 'page' where
    one page fails and the others are read."""
    good = make_pdf(folder.parent / "good.pdf", [f"page {i}" for i in range(3)], deflate=False)
    data = good.read_bytes()
    folder.mkdir()
    zoo: dict[str, str] = {}

    def put(name: str, content: bytes, code: str) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        zoo[name] = code

    for name in ("with space.pdf", "two\nlines.pdf", "emoji 😀.pdf", "[brackets].pdf", "*?.pdf", "-dash.pdf"):
        put(name, data, "")
    put("same/stem.pdf", data, "")
    put("other/stem.pdf", data, "")
    put("same.pdf", data, "")
    put("pdf inside.png", data, "")
    make_frame("png").save(folder.parent / "good.png")
    put("png inside.pdf", (folder.parent / "good.png").read_bytes(), "")
    put("zero.pdf", b"", "empty")
    put("zero.png", b"", "empty")
    put("garbage.pdf", b"%PDF-1.7\n" + random.Random(0).randbytes(20_000), "unreadable")
    put("garbage.png", random.Random(1).randbytes(20_000), "unreadable")
    put("word.tif", b"PK\x03\x04 a document", "unreadable")
    put("truncated.png", (folder.parent / "good.png").read_bytes()[:900], "page")
    put("bomb.png", _bomb(), "page")
    make_pdf(folder / "locked.pdf", ["secret"], encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="u", owner_pw="o")
    zoo["locked.pdf"] = "encrypted"
    put("one bad page.pdf", _break_second_page(good), "page")
    (folder / "loop").mkdir()
    (folder / "loop" / "again").symlink_to(folder, target_is_directory=True)
    (folder / "dangling.pdf").symlink_to(folder / "nowhere.pdf")
    if os.geteuid() != 0 or shutil.which("setpriv"):
        put("forbidden.pdf", data, "unreadable")
        (folder / "forbidden.pdf").chmod(0)
    return zoo


def bound_by_permissions() -> list[str]:
    """What to put before a command so that permissions bind root too."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        return []
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


def _bomb() -> bytes:
    """A PNG of 40,000 x 40,000 pixels in some kilobytes: the header says so, and that is read first."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _break_second_page(good: Path) -> bytes:
    with pymupdf.open(good) as pdf:
        pdf.update_object(pdf[1].get_contents()[0], "<< >>")  # no stream
        return bytes(pdf.tobytes())


def read_a_zoo(folder: Path) -> Outcome:
    """Every file has a row and a place; those that are good are read; the exit code says that some are not."""
    zoo = make_zoo(folder / "zoo")
    out = folder / "out"
    result = run(folder / "zoo", out, before=bound_by_permissions())
    assert result.returncode == 4, result.stderr
    records = [json.loads(line) for line in (out / "report.jsonl").read_text().splitlines()]
    for name, code in zoo.items():
        own = [record for record in records if record["document"] == _shown(folder / "zoo" / name)]
        assert own, f"{name!r} has no row"
        failures = [record for record in own if record["status"] == "failed"]
        text = (out / own[0]["folder"] / f"{Path(own[0]['folder']).name}.md").read_text()
        assert text.count(" failed: ") == len(failures), name
        if code == "":
            assert not failures, (name, failures)
        elif code == "page":
            assert len(failures) == 1 and failures[0]["page"], (name, failures)
        else:
            assert [record["error"]["code"] for record in own] == [code], (name, own)
    assert len({record["folder"] for record in records}) == len(zoo)
    again = run(folder / "zoo", out, before=bound_by_permissions())
    assert again.returncode == 4
    assert summary(again.stderr)["pages"] == 0  # what failed is tried again, nothing else
    bad = sum(code != "" for code in zoo.values())
    return Outcome(
        "Truncated, garbage, encrypted, bomb, 0-byte, unreadable, wrong extension, one broken page, odd names, "
        "same stems, loops of links",
        f"{len(zoo)} files",
        f"{len(zoo) - bad} read, {bad} with a failed row and a comment in the markdown; exit 4",
    )


def _shown(path: Path) -> str:
    return str(path).replace("\n", "\\n")


# --- Memory ------------------------------------------------------------------------------------------------------


def long_document(folder: Path, pages: int) -> Outcome:
    """Resident memory of a whole run early and late in one long PDF whose pages all hold a picture of their own."""
    path = folder / "long.pdf"
    noise = random.Random(0)
    with pymupdf.open() as pdf:
        for number in range(pages):
            page = pdf.new_page(width=400, height=400)
            page.insert_text((30, 80), f"page {number}", fontsize=32)
            picture = pymupdf.Pixmap(pymupdf.csRGB, 100, 100, noise.randbytes(30_000), False)
            page.insert_image((100, 200, 300, 400), pixmap=picture)
        pdf.save(path)
    out, early = folder / "long", pages // 10
    resident: dict[int, float] = {}
    with started(path, out, "--max-new-tokens", "1", "-q") as process:  # nobody reads what it says
        for count in (early, pages):
            wait_for_pages(out, count - 2, process)  # the last page's line is there just before the process ends
            resident[count] = _resident_mib(process.pid)
        process.communicate()
    assert process.returncode == 0
    growth = resident[pages] / resident[early] - 1
    assert growth < 0.1, resident
    what = f"Memory over a PDF of {pages} pages, each with a picture"
    figures = f"{resident[early]:.0f} MiB at page {early}, {resident[pages]:.0f} MiB at page {pages} ({growth:+.1%})"
    return Outcome(what, "1", figures)


def _resident_mib(process: int) -> float:
    line = next(line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


# --- Fuzzing -----------------------------------------------------------------------------------------------------


def fuzz(examples: int) -> Outcome:
    """Any text through the box and markdown parser, and through ``--pages``: the suite's own tests, more examples."""
    tests = (
        "test_markdown.py::test_any_text_is_converted",
        "test_inputs.py::test_page_ranges_give_pages_or_a_page_range_error",
    )
    here = Path(__file__).parent
    flags = ["--hypothesis-profile", "long", "--hypothesis-show-statistics", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *(str(here / test) for test in tests), *flags],
        capture_output=True,
        text=True,
        env={**os.environ, "FUZZ_EXAMPLES": str(examples)},
        check=False,
    )
    assert result.returncode == 0, result.stdout
    counts = [int(number) for number in re.findall(r"- (\d+) passing", result.stdout)]
    assert len(counts) == len(tests), result.stdout
    return Outcome(
        "Fuzzing (hypothesis): model text through the box and markdown parser; `--pages`",
        " and ".join(map(str, counts)),
        "no exception but the documented one; boxes inside the page, ranges inside the document",
    )


# --- The table ---------------------------------------------------------------------------------------------------

TITLE = "# Reliability: what was tried, and what was lost"


def page(outcomes: list[Outcome], seconds: float, corpus: str) -> str:
    """The page; ``corpus`` is its last section, which tests/corpus.py writes."""
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, no GPU"
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "pymupdf", "pillow"))
    rows = [f"| {o.what} | {o.count} | {o.result} |" for o in outcomes]
    return "\n".join(
        [
            TITLE,
            "",
            "`python -m tests.faults --write docs/reliability.md` wrote this page. It starts real processes of",
            "`rtprune ocr` with the bundled model, does to them what the first column says, and fails when anything is",
            "lost, read twice, or other than an uninterrupted run has it. Only times are left out of the comparison.",
            "",
            f"{machine}, Python {platform.python_version()}, {versions}; {seconds / 60:.0f} minutes in all.",
            "",
            "| fault | times | outcome |",
            "|---|---|---|",
            *rows,
            "",
            "The same functions run with smaller counts in `tests/test_faults.py` with every change. Repetition loops,",
            "texts without an end and a device that runs out of memory are driven by a stub model in",
            "`tests/test_reading.py`. On an H200 with the memory of a 12 GB and of a 24 GB card, and with memory taken",
            "away after the plan, 36 of 36 pages came out each time, in the last case all as failed by name",
            "([figures](benchmarks.md#on-a-gpu)).",
            "",
            corpus,
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="markdown file to write")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pages", type=int, default=3000, help="of the long document")
    parser.add_argument("--examples", type=int, default=10_000, help="of each fuzz run")
    options = parser.parse_args()
    start = time.monotonic()
    outcomes = []
    with tempfile.TemporaryDirectory() as place:
        reference = make_reference(Path(place))
        for fault in (
            lambda folder: kill_at_random_moments(folder, reference, options.kills),
            lambda folder: kill_again_and_again(folder, reference, 3),
            lambda folder: interrupt(folder, reference, 3),
            lambda folder: fill_the_disk(folder, reference),
            lambda folder: second_run(folder, reference, 3),
            lambda folder: signals_while_drawing(folder, options.kills),
            lambda folder: signals_while_drawing(folder, options.kills, slow=True),
            page_time_outs,
            poor_shares,
            read_a_zoo,
            lambda folder: long_document(folder, options.pages),
            lambda _: fuzz(options.examples),
        ):
            with tempfile.TemporaryDirectory() as folder:
                outcomes.append(fault(Path(folder)))
            print(outcomes[-1], flush=True)
    if options.write:
        before = options.write.read_text(encoding="utf-8") if options.write.exists() else ""
        corpus = CORPUS + before.partition(CORPUS)[2] if CORPUS in before else ""
        options.write.write_text(page(outcomes, time.monotonic() - start, corpus), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Pages prepared in worker processes: as in this one, in order, whatever happens to a worker."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pymupdf
import pytest
from conftest import spec_of
from PIL import Image

from rtprune_cli.options import InputOptions
from rtprune_cli.prepare import Job, Preparer, guard, worker_count
from rtprune_cli.prepare.guarded import Guard
from rtprune_cli.prepare.pool import Pool
from rtprune_cli.records import Document, PackedImage, PageFault, PreparedPage

PAGES = 20  # more than are prepared before workers start
OPTIONS = InputOptions(dpi=40, workers=2)
REMOVE = "__import__('os').remove"
KILL = "__import__('os').kill(__import__('os').getpid(), 9)"


@pytest.fixture(scope="module")
def pdf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pdf") / "doc.pdf"
    with pymupdf.open() as made:
        for number in range(1, PAGES + 1):
            made.new_page(width=200, height=300).insert_text((20, 100), f"{number}", fontsize=60)
        made.save(path)
    return path


@pytest.fixture(scope="module")
def tiff(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiff") / "scan.tif"
    first, *others = [Image.linear_gradient("L").resize((90 + number, 120)) for number in range(PAGES)]
    first.save(path, save_all=True, append_images=others, dpi=(72, 72))
    return path


def document(path: Path, data: bytes | None = None) -> Document:
    return Document(None if data else path, path.name, PurePosixPath(path.stem), data)


def job(path: Path, pages: Any = range(1, PAGES + 1), data: bytes | None = None) -> Job:
    return Job(document(path, data), list(pages))


def prepare(items: list[Any], mode: str = "tiny", options: InputOptions = OPTIONS) -> list[Any]:
    with Preparer(options, spec_of(mode), workers=options.workers or 0, batch_size=2) as preparer:
        return list(preparer.prepare(items))


def facts(item: Any) -> Any:
    """All that a page is made of, less the times."""
    if not isinstance(item, PreparedPage):
        return item
    page, views = item.page, item.views
    tiles = None if views.tiles is None else views.tiles.tobytes()
    seen = views.mode, views.grid, views.global_view.shape, views.global_view.tobytes(), tiles
    return (
        page.document,
        page.page,
        page.image.mode,
        page.image.size,
        page.image.tobytes(),
        page.image.info,
        page.dpi,
        seen,
    )


def numbers(items: list[Any]) -> list[Any]:
    return [item.page.page if isinstance(item, PreparedPage) else item for item in items]


def does(expression: str, page: int) -> int:
    """A page number that does something when it reaches the worker, such as killing it."""

    class Page(int):
        def __reduce__(self) -> Any:
            return eval, (f"({expression}, {page})[-1]",)

    return Page(page)


def kills(page: int) -> int:
    return does(KILL, page)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["base", "gundam"])
def test_workers_make_what_this_process_makes(pdf: Path, tiff: Path, tmp_path: Path, mode: str) -> None:
    picture = tmp_path / "wide.png"
    alpha = Image.linear_gradient("L").resize((1300, 700))
    Image.merge("RGBA", [*Image.new("RGB", alpha.size, (200, 30, 30)).split(), alpha]).save(
        picture, dpi=(300, 300), icc_profile=b"profile"
    )
    items = [job(tiff), "between", job(pdf, [3, 1, 2]), job(picture, [1]), "end"]
    here, there = prepare(items, mode, InputOptions(dpi=40, workers=0)), prepare(items, mode)
    assert [facts(item) for item in there] == [facts(item) for item in here]


@pytest.mark.slow
@pytest.mark.parametrize("without", ["room that is kept", "shared memory"])
def test_pages_come_back_through_little_memory_or_none(
    pdf: Path, without: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if without == "shared memory":
        monkeypatch.delattr(os, "pwritev")
    monkeypatch.setattr("rtprune_cli.prepare.worker.KEPT_MEMORY", 1000)
    here = prepare([job(pdf)], options=InputOptions(dpi=40, workers=0))
    assert [facts(page) for page in prepare([job(pdf)])] == [facts(page) for page in here]


@pytest.mark.slow
def test_bytes_from_standard_input_keep_their_place(pdf: Path, tiff: Path) -> None:
    made = prepare([job(tiff), job(pdf, [2, 1], pdf.read_bytes()), job(tiff, [4])])
    assert numbers(made) == [*range(1, PAGES + 1), 2, 1, 4]


@pytest.mark.slow
def test_looking_ahead_is_bounded(tiff: Path) -> None:
    taken = 0

    def items() -> Iterator[Job | str]:
        nonlocal taken
        for taken in range(1, 2000):
            yield job(tiff, [taken % PAGES + 1]) if taken < 50 else "a document that is done"

    with Preparer(OPTIONS, spec_of("tiny"), workers=OPTIONS.workers or 0, batch_size=2) as preparer:
        made = preparer.prepare(items())
        for count in range(1, 70):
            next(made)
            assert taken < count + 2 * preparer.ahead
            assert taken >= count + preparer.ahead - 1 or not 17 <= count < 50


def test_a_short_run_starts_no_worker_but_the_guard(pdf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pool, "_start", lambda self, workers, start=Pool._start: start(self, min(workers, 1)))
    assert numbers(prepare([job(pdf, range(1, 17))])) == [*range(1, 17)]
    assert len(workers_of(os.getpid())) <= 1


@pytest.mark.slow
def test_a_page_that_kills_its_worker_costs_itself_only(pdf: Path, tiff: Path) -> None:
    made = prepare([job(pdf, [1, 2, kills(3), *range(4, PAGES + 1)]), "end", job(tiff, [1, kills(2), 3])])
    faults = [item for item in made if isinstance(item, PageFault)]
    assert [(fault.document.name, fault.page) for fault in faults] == [("doc.pdf", 3), ("scan.tif", 2)]
    assert str(faults[0].error).startswith(
        "page 3 of doc.pdf cannot be read: it crashed the process that prepared it. "
    )
    others = [item for item in made if item not in faults]
    assert numbers(others) == [1, 2, *range(4, PAGES + 1), "end", 1, 3]


@pytest.mark.slow
def test_a_death_that_does_not_come_again_costs_nothing(pdf: Path, tmp_path: Path) -> None:
    once = tmp_path / "once"
    once.touch()
    dies = f"{KILL} if __import__('pathlib').Path({str(once)!r}).exists() and not {REMOVE}({str(once)!r}) else 0"
    assert numbers(prepare([job(pdf, [1, 2, 3, 4, does(dies, 5), *range(6, PAGES + 1)])])) == [*range(1, PAGES + 1)]


@pytest.mark.slow
def test_where_workers_do_not_start_this_process_does_it(
    pdf: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    guard().stop()
    monkeypatch.setattr("rtprune_cli.prepare.worker.begin", os._exit)  # refuses its arguments
    monkeypatch.setattr("rtprune_cli.prepare.guarded._guard", Guard())
    assert numbers(prepare([job(pdf)])) == [*range(1, PAGES + 1)]
    assert "no worker process can be started" in caplog.text


@pytest.mark.slow
def test_pages_and_documents_fail_as_in_this_process(pdf: Path, tmp_path: Path) -> None:
    wide = tmp_path / "wide.tif"
    frames = [Image.new("L", (50, 50))] * PAGES
    frames[0].save(wide, save_all=True, append_images=[Image.new("L", (400, 400)), *frames])
    items = [job(wide), "a", job(tmp_path / "gone.pdf"), "b", job(pdf, [2])]
    options = InputOptions(dpi=40, workers=2, max_pixels=100_000)
    made = prepare(items, options=options)
    assert (made[PAGES + 1].page, *numbers(made[PAGES + 2 :])) == (None, "b", 2)
    here = prepare(items, options=InputOptions(dpi=40, workers=0, max_pixels=100_000))
    both = [[str(item.error) for item in side if isinstance(item, PageFault)] for side in (made, here)]
    assert both[0] == both[1] and len(both[0]) == 2


@pytest.mark.slow
def test_what_is_wrong_with_a_document_stands_with_its_first_page(pdf: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.pdf"
    damaged.write_bytes(pdf.read_bytes().replace(b"startxref", b"startxxxx"))
    made = prepare([job(damaged)])
    assert [[each.code for each in page.page.warnings] for page in made] == [["repaired"], *[[]] * (PAGES - 1)]


@pytest.mark.slow
def test_workers_write_to_the_log_of_this_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = tmp_path / "cut.tif"
    Image.effect_noise((300, 300), 50).save(
        broken, save_all=True, append_images=[Image.effect_noise((300, 300), 50)] * 20
    )
    broken.write_bytes(broken.read_bytes()[:-50_000])
    caplog.set_level(logging.DEBUG, "rtprune")
    made = prepare([job(broken, range(1, 22))])
    said = [record for record in caplog.records if record.process != os.getpid()]
    assert isinstance(made[-1], PageFault) and "Traceback" in str(said[-1].exc_info)


@pytest.mark.slow
def test_an_exception_of_the_caller_ends_the_workers(pdf: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Preparer(OPTIONS, spec_of("tiny"), workers=OPTIONS.workers or 0) as preparer:
        next(iter(preparer.prepare([job(pdf)])))
        assert workers_of(os.getpid())
        raise KeyboardInterrupt
    assert len(workers_of(os.getpid())) <= 1  # the guard


def workers_of(parent: int) -> list[int]:
    """Processes that loky started for a process, by /proc."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ppid = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if ppid == parent and b"popen_loky" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # it has just ended
    return found


PROGRAM = """
import sys, time
from pathlib import Path, PurePosixPath
from rtprune_cli.options import InputOptions
from rtprune_cli.prepare import Job, Preparer
from rtprune_cli.records import Document, ViewLayout, ViewSpec

class Sub(Document): pass  # of a script without a main guard

found = Sub(Path(sys.argv[1]), "doc.pdf", PurePosixPath("doc"))
options, spec = InputOptions(dpi=40, password="open sesame"), ViewSpec("tiny", ViewLayout(640, 9))
with Preparer(options, spec, workers=2) as preparer:
    for page in preparer.prepare([Job(found, [*range(1, 21)] * 500)]):
        print(page.page.page, flush=True)
        time.sleep(0.01)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_a_run_that_is_ended(pdf: Path, tmp_path: Path, number: int) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    with subprocess.Popen(
        [sys.executable, script, pdf], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert run.stdout is not None and run.stderr is not None and run.stdout.readline() == "1\n"
        workers = workers_of(run.pid)
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in workers]
        if number == signal.SIGINT:  # as a terminal sends Ctrl-C: to all of them
            os.killpg(run.pid, number)
        else:
            run.send_signal(number)
        run.stdout.read()
        said = run.stderr.read()  # both end when the last one that can write to them has ended
        run.wait()
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(workers) == 2 and not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert not any(b"sesame" in command for command in commands)
    assert said.count("Traceback") == (number == signal.SIGINT), said


def test_a_worker_does_not_import_torch(pdf: Path, tmp_path: Path) -> None:
    there = tmp_path / "modules"
    last = does(f"__import__('pathlib').Path({str(there)!r}).write_text(' '.join(__import__('sys').modules))", PAGES)
    prepare([job(pdf, [*range(1, PAGES), last])], options=InputOptions(dpi=40, workers=1))
    modules = there.read_text().split()
    assert "pymupdf" in modules and "torch" not in modules


@pytest.mark.parametrize(
    ("setting", "cores", "on_gpu", "small", "count"),
    [
        (None, 4, True, False, 3),
        (None, 64, True, True, 8),
        (None, 1, True, False, 0),
        (None, 16, False, False, 0),
        (None, 16, False, True, 1),
        (None, 1, False, True, 0),
        (5, 1, False, False, 5),
        (0, 8, True, False, 0),
    ],
)
def test_how_many_workers(setting: int | None, cores: int, on_gpu: bool, small: bool, count: int) -> None:
    assert worker_count(setting, cores, on_gpu=on_gpu, small_model=small) == count


def test_large_pages_wait_in_packed_form_with_their_profile(tmp_path: Path) -> None:
    image = Image.linear_gradient("L").resize((3000, 2000)).convert("RGB")
    image.save(tmp_path / "a.png", icc_profile=b"profile")
    (page,) = prepare([job(tmp_path / "a.png", [1])])
    assert isinstance(page.page.pixels, PackedImage) and len(page.page.pixels.packed) < 1_000_000
    assert page.page.image.tobytes() == image.tobytes()
    assert page.page.image.info == {"icc_profile": b"profile"}


def test_a_guard_that_is_lost_between_calls_costs_nothing(pdf: Path) -> None:
    assert guard().select(document(pdf), OPTIONS) == [*range(1, PAGES + 1)]
    for pid in workers_of(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    assert numbers(prepare([job(pdf, [1, 2])], options=InputOptions(dpi=40, workers=0))) == [1, 2]
    assert guard().select(document(pdf), OPTIONS) == [*range(1, PAGES + 1)]


@pytest.mark.slow
def test_a_document_from_memory_is_a_file_only_while_it_is_read(
    tiff: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    data, count = tiff.read_bytes(), []
    with Preparer(OPTIONS, spec_of("tiny"), workers=2, batch_size=2) as preparer:
        for _ in preparer.prepare(job(tiff, [1], data) for _ in range(60)):
            count.append(len(list(tmp_path.glob("rtprune-*"))))
        assert 0 < max(count) <= preparer.ahead
        assert not list(tmp_path.glob("rtprune-*"))

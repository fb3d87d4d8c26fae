"""The Python API: the names the README shows."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image, ImageDraw, ImageFont

import rtprune_cli
from rtprune_cli import (
    DecodeOptions,
    InputOptions,
    ModelOptions,
    OcrOptions,
    OutputOptions,
    PruneOptions,
    Reader,
    find_documents,
    load,
    ocr,
    open_output,
    read,
    run,
)
from rtprune_cli.api.keywords import options_from
from rtprune_cli.api.sources import encoded
from rtprune_cli.errors import InputError, UsageError
from rtprune_cli.inputs.pages import open_document
from rtprune_cli.model import OcrModel, checkpoint
from rtprune_cli.records import Document, PageImage

ROOT = Path(__file__).parents[1]


def test_every_public_name_is_there() -> None:
    assert all(getattr(rtprune_cli, name) for name in rtprune_cli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rtprune_cli.nothing  # noqa: B018


def test_importing_the_package_loads_nothing_else() -> None:
    code = "import sys, rtprune_cli; print([m for m in sys.modules if m.startswith('rtprune_cli.')])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_pages_are_read_from_python(make_pdf: Callable[..., Path]) -> None:
    options = OcrOptions(ModelOptions("tiny"), decode=DecodeOptions(max_new_tokens=3), input=InputOptions(dpi=92))
    documents = find_documents([str(make_pdf("seven", "eleven"))], recursive=False)
    pages = list(run(documents, load(options.model), options))
    assert [page.record.output_tokens for page in pages] == [3, 3]


# --- read: sources


LITTLE: dict[str, Any] = {"max_new_tokens": 12, "workers": 0}


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of large type, as a PNG."""
    path = tmp_path_factory.mktemp("api") / "page.png"
    image = Image.new("RGB", (512, 512), "white")
    ImageDraw.Draw(image).text((30, 60), "Seven", fill="black", font=ImageFont.load_default(60))
    image.save(path)
    return path


@pytest.fixture(scope="module")
def expected(picture: Path, tiny: OcrModel) -> str:
    """What the model reads on it."""
    (page,) = read(picture, model=tiny, **LITTLE)
    assert page.text
    return page.text


def array(path: Path, mode: str) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(path).convert(mode))


SOURCES: dict[str, Callable[[Path], Any]] = {
    "text": str,
    "folder": lambda path: path.parent,
    "image": Image.open,
    "grey array": lambda path: array(path, "L"),
    "RGB array": lambda path: array(path, "RGB"),
    "RGBA array": lambda path: array(path, "RGBA"),
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "file": lambda path: io.BytesIO(path.read_bytes()),
    "list": lambda path: [path],
    "generator": lambda path: (each for each in [Image.open(path)]),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_of_source_gives_what_the_file_does(kind: str, picture: Path, expected: str, tiny: OcrModel) -> None:
    assert [page.text for page in read(SOURCES[kind](picture), model=tiny, **LITTLE)] == [expected]


def test_what_is_in_memory_gets_a_name(picture: Path, tiny: OcrModel) -> None:
    image = Image.open(picture)
    sources = [image, image.copy(), array(picture, "L"), picture.read_bytes(), io.BytesIO(picture.read_bytes())]
    names = [page.document for page in read(sources, model=tiny, **LITTLE)]
    assert names == [str(picture), "image-1", "image-2", "bytes-1", "file-1"]


NOISE = np.random.default_rng(0).integers(0, 2**16, (50, 70)).astype(np.uint16)
GREY = Image.fromarray((NOISE >> 8).astype(np.uint8))
UPRIGHT = Image.Exif()
UPRIGHT[0x0112] = 6
FILES: dict[str, tuple[Image.Image, dict[str, Any]]] = {
    "fax.tif": (GREY.convert("1"), {"dpi": (204, 98)}),
    "grey.png": (GREY, {"dpi": (300, 300)}),
    "clear.png": (Image.merge("RGBA", [GREY] * 4), {}),
    "palette.gif": (GREY.convert("P"), {"transparency": 3}),
    "key.png": (GREY, {"transparency": 7}),
    "16.png": (Image.fromarray(NOISE), {}),
    "12.tif": (Image.fromarray(NOISE >> 4), {}),
    "big.tif": (Image.fromarray(NOISE.astype(">u2")), {}),
    "32.tif": (Image.fromarray(NOISE.astype(np.int32) * 9), {}),
    "float.tif": (Image.fromarray(NOISE.astype(np.float32) / 2**16), {}),
    "ink.tif": (Image.merge("CMYK", [GREY] * 4), {"icc_profile": b"of ink"}),
    "profile.png": (GREY.convert("RGB"), {"icc_profile": b"of light"}),
    "phone.jpg": (GREY.convert("RGB"), {"exif": UPRIGHT, "dpi": (200, 100)}),
}


@pytest.mark.parametrize("name", FILES)
def test_an_image_in_memory_is_the_page_that_its_file_is(name: str, tmp_path: Path) -> None:
    image, how = FILES[name]
    image.save(tmp_path / name, **how)
    of_file = Document(tmp_path / name, name, PurePosixPath("a"))
    in_memory = Document(None, name, PurePosixPath("a"), encoded(Image.open(tmp_path / name)))
    pages = []
    for document in (of_file, in_memory):
        with open_document(document, InputOptions(skip_blank=False)) as opened:
            page = opened.read(1)
            assert isinstance(page, PageImage)
            pages.append((page.size, page.image.tobytes(), page.image.info.get("icc_profile")))
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        (3, TypeError, "int is nothing that can be read"),
        ([3], TypeError, "int is nothing that can be read"),
        (io.StringIO("text"), TypeError, "open it in binary"),
        (np.zeros((9, 9), np.float32), TypeError, "give uint8"),
        (np.zeros((3, 9, 9), np.uint8), ValueError, "is no picture"),
        ("absent.pdf", UsageError, "does not exist"),
    ],
)
def test_what_cannot_be_read_at_all_is_refused(source: Any, error: type, words: str, tiny: OcrModel) -> None:
    with pytest.raises(error, match=words):
        list(read(source, model=tiny))


# --- read: pages


def test_a_page_that_fails_is_yielded(picture: Path, expected: str, tiny: OcrModel) -> None:
    pages = list(read([b"%PDF-1.4 nothing", "absent.pdf", picture], model=tiny, **LITTLE))
    assert [page.ok for page in pages] == [False, False, True]
    assert [page.text for page in pages] == ["", "", expected]
    assert (pages[0].page, pages[0].document) == (None, "bytes-1")
    assert isinstance(pages[0].error, InputError) and "does not exist" in str(pages[1].error)
    assert pages[2].record.page == 1 and pages[2].blocks and pages[2].raw


@pytest.mark.parametrize("pages", ["2", 2, [2], range(2, 3)])
def test_pages_are_chosen(pages: Any, make_pdf: Callable[..., Path], tiny: OcrModel) -> None:
    path = make_pdf("one", "two", "three")
    assert [page.page for page in read(path, model=tiny, pages=pages, **LITTLE)] == [2]


@pytest.mark.slow
def test_crops_are_those_that_the_folder_gets(tiny: OcrModel, tmp_path: Path) -> None:
    pages = list(read(ROOT / "samples" / "leaflet.pdf", model=tiny, prompt="markdown"))
    options = OcrOptions(ModelOptions("tiny"), output=OutputOptions(str(tmp_path)), prompt="markdown")
    with open_output(options.output) as output:
        ocr(find_documents([str(ROOT / "samples" / "leaflet.pdf")], recursive=False), tiny, options, output)
    files = {path.name: Image.open(path) for path in (tmp_path / "leaflet" / "images").iterdir()}
    crops = {name: crop for page in pages for name, crop in page.crops.items()}
    assert crops and {name: crop.tobytes() for name, crop in crops.items()} == {
        name: image.tobytes() for name, image in files.items()
    }


# --- read: settings


def test_an_unknown_setting_suggests_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"no setting 'max_tokens'. Did you mean 'max_new_tokens'\?"):
        read("x.pdf", model="tiny", max_tokens=3)


@pytest.mark.parametrize("name", ["output", "force", "quiet", "join_pages"])
def test_a_setting_of_what_is_written_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="of what is written"):
        Reader("tiny", **{name: True})


def test_settings_reach_their_options() -> None:
    given = {"ratio": np.float32(0.5), "dpi": np.int64(150), "tables": "markdown", "rotate": 90, "batch_size": "auto"}
    found = options_from(given)
    assert (found.prune.ratio, found.input.dpi, found.output.tables) == (0.5, 150, "markdown")
    assert (found.input.rotate, found.decode.batch_size) == ("90", None)
    assert options_from({"dpi": None, "ratio": "auto"}) == OcrOptions()


@pytest.mark.parametrize(
    ("name", "value"), [("dpi", "150"), ("dpi", 9), ("ratio", "0.5"), ("mode", "huge"), ("dpi", True)]
)
def test_a_wrong_value_is_refused_before_anything_is_loaded(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name} "):
        read("x.pdf", **{name: value})


def test_the_words_of_the_flags_are_values_of_the_options() -> None:
    assert PruneOptions(ratio="auto") == PruneOptions()
    assert DecodeOptions(batch_size="auto") == DecodeOptions()
    assert InputOptions(workers="auto") == InputOptions()


def test_a_number_in_quotes_is_no_ratio() -> None:
    with pytest.raises(UsageError, match=r"Give 'auto', 'dynamic' or a number from 0.05 to 1 without quotes"):
        PruneOptions(ratio="0.5")  # type: ignore[arg-type]


def test_settings_of_others_are_not_read(picture: Path, tiny: OcrModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTPRUNE_RATIO", "0.25")
    (page,) = read(picture, model=tiny, ratio=1, **LITTLE)
    assert page.record.ratio == 1


def test_a_loaded_model_has_its_device_already(tiny: OcrModel) -> None:
    with pytest.raises(TypeError, match="device is for a model that is named"):
        read("x.pdf", model=tiny, device="cpu")


@pytest.mark.slow
def test_nothing_is_loaded_before_the_first_page(picture: Path) -> None:
    code = f"import sys, rtprune_cli; rtprune_cli.read({str(picture)!r}, model='absent'); print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


# --- Reader


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the models whose weights were loaded."""
    found: list[str] = []
    real = checkpoint.load_network

    def load_network(which: Any) -> Any:
        found.append(which.name)
        return real(which)

    monkeypatch.setattr(checkpoint, "load_network", load_network)
    return found


@pytest.mark.slow
def test_a_reader_loads_its_model_once(picture: Path, expected: str, loads: list[str]) -> None:
    with Reader("tiny", device="cpu", **LITTLE) as reader:
        assert loads == []
        assert [page.text for _ in range(2) for page in reader.read(picture)] == [expected] * 2
        next(reader.read([picture] * 3))  # left half way: its workers go, the model stays
        assert [page.text for page in reader.read(picture)] == [expected]
    assert loads == ["tiny"]


def test_a_closed_reader_says_so(picture: Path, tiny: OcrModel) -> None:
    with Reader(tiny, **LITTLE) as reader:
        pages = reader.read([picture] * 2)
        next(pages)
    for ask in (lambda: next(pages), lambda: reader.read(picture)):
        with pytest.raises(UsageError, match="this Reader is closed"):
            ask()
    reader.close()


def test_of_two_reads_of_one_reader_the_later_goes_on(picture: Path, expected: str, tiny: OcrModel) -> None:
    with Reader(tiny, **LITTLE) as reader:
        first, second = reader.read([picture] * 2), reader.read([picture] * 2)
        assert [next(first).text, next(second).text] == [expected] * 2
        with pytest.raises(UsageError, match="another read of this Reader took the place"):
            next(first)
        assert [page.text for page in second] == [expected]


# --- Workers, interrupts, progress


def workers() -> int:
    return len(psutil.Process().children())


BLANK = np.full((64, 64), 255, np.uint8)  # the model is not asked about it


@pytest.mark.slow
def test_an_iterator_that_is_dropped_ends_its_workers(tiny: OcrModel) -> None:
    next(read(BLANK, model=tiny))  # the one of this process is there
    before = workers()
    pages = read((BLANK for _ in range(100)), model=tiny, workers=2)
    for _ in range(30):
        next(pages)
    assert workers() == before + 2
    del pages
    assert workers() == before


@pytest.mark.slow
def test_a_reader_keeps_its_workers(tiny: OcrModel) -> None:
    with Reader(tiny, workers=2) as reader:
        at_work = []
        for _ in range(2):
            assert len(list(reader.read([BLANK] * 20))) == 20
            at_work.append({child.pid for child in psutil.Process().children()})
        assert at_work[0] == at_work[1]


def test_an_interrupt_comes_through(picture: Path, tiny: OcrModel) -> None:
    def sources() -> Iterator[Path]:
        yield picture
        raise KeyboardInterrupt

    with Reader(tiny, **LITTLE) as reader:
        with pytest.raises(KeyboardInterrupt):
            list(reader.read(sources()))
        assert [page.ok for page in reader.read(picture)] == [True]


@pytest.mark.parametrize(("several", "total"), [(True, "2/2"), (False, "2page")])
def test_progress_goes_to_standard_error_alone(
    several: bool, total: str, picture: Path, tiny: OcrModel, capfd: pytest.CaptureFixture[str]
) -> None:
    sources = [picture] * 2
    list(read(sources if several else iter(sources), model=tiny, progress=True, **LITTLE))
    out, err = capfd.readouterr()
    assert out == "" and total in err


# --- The docs


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/api.md"])
def test_the_code_of_the_docs_runs(page: str, rtprune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    assert rtprune("ocr", "samples/notice.pdf", "-o", "out", "--model", "tiny").exit_code == 0  # README's first command
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), {})

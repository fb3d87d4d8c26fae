"""Fixtures: the golden numbers, small real models, and pages to read."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import itertools
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

# Each process of `pytest -n` has a core: more threads of torch's, here or in what tests start, would only wait.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pymupdf
import pytest
import torch
from checkpoints import make_checkpoint
from hypothesis import settings
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from rtprune_cli import views as seeing
from rtprune_cli.decoding import Scheduler
from rtprune_cli.device.graphs import Graphs
from rtprune_cli.model import OcrModel, load
from rtprune_cli.model.adapters import deepseek_ocr
from rtprune_cli.options import DecodeOptions, ModelOptions
from rtprune_cli.prepare import available_cores
from rtprune_cli.records import Decoded, DecoderInput, Views, ViewSpec, VisualTokens

# A shell starts what runs in the background with SIGINT ignored, which is inherited, and stays so.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Without a GPU kernels run in Triton's interpreter. Triton reads this when it is imported, whoever does so first.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Processes of `pytest -n auto`: each holds torch and models, some 1.5 GB."""
    return min(available_cores(), 4)


DOCS = Path(__file__).parents[1] / "docs"
# For `--hypothesis-profile long`: see tests/faults.py
settings.register_profile("long", max_examples=int(os.environ.get("FUZZ_EXAMPLES", "10000")), database=None)

GOLDEN = Path(__file__).parent / "golden"
SHARED_GOLDEN = Path(__file__).parents[2] / "shared" / "golden"
# The same for two more models, a folder each: golden_cases(GOLDEN2 / OCR2)
GOLDEN2 = Path(__file__).parent / "golden2"
SHARED_GOLDEN2 = Path(__file__).parents[2] / "shared" / "golden2"
OCR2, UNLIMITED = "deepseek_ocr2", "unlimited_ocr"


def for_every(name: str, values: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A test that runs for all values of a parameter and fails once, at the first of them; a note says which.

    Where the values are seeds, one cause would otherwise be printed once for each.
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            for value in values:
                try:
                    test(*args, **kwargs, **{name: value})
                except BaseException as error:
                    error.add_note(f"with {name}={value!r}")
                    raise

        signature = inspect.signature(test)
        kept = [parameter for parameter in signature.parameters.values() if parameter.name != name]
        run.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
        return run

    return decorate


def spec_of(mode: str) -> ViewSpec:
    """A mode as DeepSeek-OCR has it."""
    return ViewSpec(mode, deepseek_ocr.ADAPTER.layout)


def make_views(image: Image.Image, mode: str) -> Views:
    """The views of DeepSeek-OCR."""
    return seeing.make_views(image, spec_of(mode))


@dataclass(frozen=True)
class Case:
    """One golden page in one mode; in mode multi, several pages in one context."""

    name: str
    folder: Path
    values: dict[str, Any]

    @property
    def mode(self) -> str:
        return self.name.split("/")[1]

    @property
    def images(self) -> list[Image.Image]:
        """Its pages in order."""
        names = self.name.split("/")[0].split("+")
        return [Image.open(golden_page(self.folder, name)).convert("RGB") for name in names]

    @property
    def image(self) -> Image.Image:
        (image,) = self.images
        return image

    def tensor(self, key: str) -> torch.Tensor:
        return golden_tensors(self.folder)[f"{self.name}/{key}"]


def golden_page(folder: Path, name: str) -> Path:
    """The picture of a page: models share them, and what the tests have of it lies in one folder only."""
    places = [place / "pages" / f"{name}.png" for place in (folder, folder.parent, GOLDEN)]
    return next((path for path in places if path.is_file()), places[0])


@cache
def golden_tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "expected.safetensors")


def golden_cases(folder: Path) -> dict[str, Case]:
    if not folder.is_dir():
        return {}
    cases = json.loads((folder / "expected.json").read_text())["cases"]
    return {name: Case(name, folder, values) for name, values in cases.items()}


def case_params(own: Path, shared: Path) -> list[Any]:
    """A test's parameters: the cases that travel with the tests, and those beside the maintainers' checkout."""
    ours = golden_cases(own)
    others = {name: case for name, case in golden_cases(shared).items() if name not in ours}
    absent = pytest.mark.skip(reason=f"{shared} is absent")
    return [pytest.param(case, id=name) for name, case in ours.items()] + (
        [pytest.param(case, id=name, marks=pytest.mark.shared) for name, case in others.items()]
        or [pytest.param(None, id="shared", marks=absent)]
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that use one of their module's SLOW_FIXTURES are slow."""
    for item in items:
        slow = getattr(getattr(item, "module", None), "SLOW_FIXTURES", set())
        if slow.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _no_settings_of_the_person_who_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RTPRUNE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RTPRUNE_CONFIG", os.devnull)
    monkeypatch.setenv("XDG_STATE_HOME", os.devnull)  # what the last run was is neither read nor written


@pytest.fixture(scope="session")
def golden_model() -> OcrModel:
    """The official layout at reduced sizes, with random weights."""
    return load(ModelOptions(model=str(GOLDEN / "checkpoint"), device="cpu"))


@pytest.fixture(scope="session")
def deepseek_ocr_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small DeepSeek-OCR with a tokenizer: what ``--model`` takes."""
    return make_checkpoint(GOLDEN / "checkpoint", tmp_path_factory.mktemp("models") / "deepseek_ocr")


@pytest.fixture(scope="session")
def ocr2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small DeepSeek-OCR-2 with a tokenizer."""
    return make_checkpoint(GOLDEN2 / OCR2 / "checkpoint", tmp_path_factory.mktemp("models") / OCR2)


@pytest.fixture(scope="session")
def unlimited_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small Unlimited-OCR with a tokenizer."""
    return make_checkpoint(GOLDEN2 / UNLIMITED / "checkpoint", tmp_path_factory.mktemp("models") / UNLIMITED)


@dataclass(frozen=True)
class Encoded:
    """A golden page as the model sees it: the global view (1, 3, S, S), and its visual tokens in a list of one."""

    pixels: torch.Tensor
    tokens: list[VisualTokens]


@pytest.fixture(scope="session")
def encode_case(golden_model: OcrModel) -> Callable[[Case], Encoded]:
    """A function that encodes a golden page, once a session."""

    @cache
    def encode(name: str, folder: Path) -> Encoded:
        case = golden_cases(folder)[name]
        views = make_views(case.image, case.mode)
        pixels = golden_model.pixels([views])
        return Encoded(pixels, golden_model.encode([views], pixels))

    return lambda case: encode(case.name, case.folder)


@pytest.fixture(scope="session")
def tiny() -> OcrModel:
    """The bundled model."""
    return load(ModelOptions(model="tiny", device="cpu"))


def decode_rows(
    model: OcrModel, prompts: list[DecoderInput], options: DecodeOptions, *, eos_token_id: int = -1, rows: int = 4
) -> tuple[list[list[int]], Graphs]:
    """The tokens of each page, ``rows`` pages at a time, and where the steps were recorded."""
    scheduler = Scheduler(model.network, options, eos_token_id=eos_token_id, rows=rows)
    for key, prompt in enumerate(prompts):
        scheduler.add(key, prompt)
    found: dict[Any, list[int]] = {}
    while scheduler.busy:
        for key, result in scheduler.step():
            assert isinstance(result, Decoded)
            found[key] = result.token_ids
    return [found[key] for key in range(len(prompts))], scheduler.graphs


@pytest.fixture
def make_pdf(tmp_path: Path) -> Any:
    """A function that writes a PDF of square pages with the given lines of large type."""

    def make(*pages: str, name: str = "doc.pdf", **save: Any) -> Path:
        with pymupdf.open() as document:
            for text in pages:
                page = document.new_page(width=400, height=400)
                for i, line in enumerate(text.split("\n")):
                    page.insert_text((30, 80 + 60 * i), line, fontsize=32)
            path = tmp_path / name
            document.save(path, **save)
        return path

    return make


def load_script(name: str) -> ModuleType:
    """A script of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make_benchmarks() -> ModuleType:
    """docs/make_benchmarks.py."""
    return load_script("make_benchmarks")


@contextmanager
def command_line() -> Iterator[Any]:
    """A function that runs the command line in this process and returns its result."""
    from rtprune_cli.commands.app import app

    log = logging.getLogger("rtprune")
    before = log.handlers, log.propagate, log.level

    def run(*arguments: Any, **kwargs: Any) -> Result:
        return CliRunner().invoke(app, [str(a) for a in arguments], prog_name="rtprune", **kwargs)

    yield run
    log.handlers, log.propagate, _ = before
    log.setLevel(before[2])


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """A function that makes an empty bucket, ``s3://NAME``, on an S3 server of this machine, for which the environment
    is set."""
    server = pytest.importorskip("moto.server", reason="moto is not installed", exc_type=ImportError)
    pytest.importorskip("flask", reason="flask is not installed")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    with pytest.MonkeyPatch.context() as patch:
        nothing = str(tmp_path_factory.mktemp("aws") / "none")
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(name, nothing)  # not the person's own
        for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("DEFAULT_REGION", "us-east-1")):
            patch.setenv(f"AWS_{name}", value)
        patch.setenv("NO_PROXY", "127.0.0.1")
        moto = server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        moto.start()
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*moto.get_host_and_port()))
        names = (f"bucket-{number}" for number in itertools.count(1))

        s3fs.S3FileSystem.clear_instance_cache()

        def make() -> str:
            name = next(names)
            s3fs.S3FileSystem().mkdir(name)
            return f"s3://{name}"

        yield make
        s3fs.S3FileSystem.clear_instance_cache()
        moto.stop()


@pytest.fixture
def pages_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are prepared in this process, where a test can make something fail."""
    from rtprune_cli.prepare.guarded import Guard
    from rtprune_cli.prepare.loader import PageLoader

    guard = Guard()
    guard._here = PageLoader()
    monkeypatch.setattr("rtprune_cli.prepare.guarded._guard", guard)


@pytest.fixture
def rtprune() -> Iterator[Any]:
    """:func:`command_line`, for one test."""
    with command_line() as run:
        yield run

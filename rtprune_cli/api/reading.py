"""Reading from Python: a model that is kept for one source after another, or for one alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rtprune_cli.api.keywords import Pages, options_from, page_list
from rtprune_cli.api.page import ReadPage
from rtprune_cli.api.sources import Found, Readable, Sources
from rtprune_cli.errors import RtpruneError, UsageError
from rtprune_cli.failures import free_memory
from rtprune_cli.options import Dynamic, InputOptions, Mode
from rtprune_cli.prepare import select_pages
from rtprune_cli.settings import all_settings

if TYPE_CHECKING:
    from rtprune_cli.model import Checkpoint
    from rtprune_cli.pipeline import ReadingSession
    from rtprune_cli.records import DocumentPlan, PageResult


def read(
    source: Readable,
    *,
    model: str | os.PathLike[str] | Checkpoint | None = None,
    ratio: float | Dynamic | None = None,
    pages: Pages | None = None,
    mode: Mode | None = None,
    prompt: str | None = None,
    progress: bool = False,
    **settings: Any,
) -> Iterator[ReadPage]:
    """Read documents page by page, in order; each page is there as soon as it is read.

    Nothing is loaded before the first page is asked for, and all is let go with the last one, or when the iterator is
    dropped. To read one source after another with one model, use :class:`Reader`. A page that fails is yielded with its
    :attr:`~ReadPage.error`, and the next one follows; what is said of pages goes to the log ``rtprune``. Neither
    rtprune.toml nor the ``RTPRUNE_*`` variables are read: a call gives the same on every machine.

    Args:
        source: a path of a PDF, an image or a folder; the bytes of such a file, or the file opened in binary; a PIL
            image, of which the frame at hand is read; a numpy array of uint8, (H, W), (H, W, 3) RGB or (H, W, 4) RGBA;
            or several of these. An iterator is gone through as pages are read.
        model: a name as for ``--model`` (a hub id, a folder, ``tiny``), or what :func:`rtprune_cli.load` returned.
            None: deepseek-ai/DeepSeek-OCR.
        ratio: share of visual tokens to keep, 0.05 to 1 (no pruning), or ``"dynamic"``. None: the model's best, which
            is 1 for DeepSeek-OCR-2 and else ``"dynamic"``.
        pages: of each document, from 1: ``"1,3,5-10,20-end"``, ``3``, ``[1, 3]``. None: all.
        mode: ``tiny``, ``small``, ``base``, ``large``, ``gundam`` or ``side-N``. None: the model's best.
        prompt: ``markdown``, ``free``, ``ocr``, ``figure``, ``describe``, ``locate WORDS``, or a text of your own.
            None: the model's best.
        progress: show a bar, in notebooks as they have it, else on standard error.
        settings: any other setting that says how pages are read, by its flag's name: ``dpi=150``,
            ``tables="markdown"``, ``recursive=True`` (``rtprune docs cli``). What is None keeps its default.

    Raises:
        TypeError: no setting has that name, or the source is of a kind that cannot be read.
        ValueError: an array's shape is no picture's.
        UsageError: a value is wrong, or a path does not exist.
        ModelError: from the iterator: the weights are missing or cannot be loaded.
        EnvironmentFault: from the iterator: the device is not there, or failed.
    """
    reader = Reader(model, ratio, mode=mode, prompt=prompt, **settings)
    return _alone(reader, reader.read(source, pages=pages, progress=progress))


def _alone(reader: Reader, pages: Iterator[ReadPage]) -> Iterator[ReadPage]:
    with reader:
        yield from pages


class Reader:
    """Reads one source after another with one set of settings. The model is loaded at the first page and kept, as are
    the processes that prepare pages, until :meth:`close` or the end of its ``with`` block.

    A Reader reads one source at a time: the pages of a read that was left before its end cannot be had any more once
    another one begins.

    Args:
        model, ratio, mode, prompt, settings: as in :func:`read`.

    Raises:
        TypeError: no setting has that name.
        UsageError: a value is wrong.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Checkpoint | None = None,
        ratio: float | Dynamic | None = None,
        *,
        mode: Mode | None = None,
        prompt: str | None = None,
        **settings: Any,
    ) -> None:
        settings |= {"ratio": ratio, "mode": mode, "prompt": prompt}
        if model is None or isinstance(model, (str, os.PathLike)):
            self._checkpoint: Checkpoint | None = None
            settings["model"] = None if model is None else os.fspath(model)
        else:
            self._checkpoint = _checked(model, settings)
        self._options = options_from(settings)
        self._session: ReadingSession | None = None
        self._results: Iterator[PageResult] | None = None
        self._turn: object = None  # of the read that is under way
        self._is_closed = False

    def read(self, source: Readable, *, pages: Pages | None = None, progress: bool = False) -> Iterator[ReadPage]:
        """Read documents page by page, as :func:`read` does; with its errors.

        Raises:
            UsageError: the Reader is closed; from the iterator, another read took its place.
        """
        self._check_open()
        given = self._options.input if pages is None else replace(self._options.input, pages=page_list(pages))
        return self._pages(Sources(source, given), given, progress)

    def close(self) -> None:
        """End the processes and let go of the model. What is called again does nothing."""
        self._leave()
        self._checkpoint, self._is_closed = None, True
        self._end_session()

    def __enter__(self) -> Reader:
        self._check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise UsageError("this Reader is closed", "Make another one, or read inside its with block")

    def _pages(self, sources: Sources, given: InputOptions, progress: bool) -> Iterator[ReadPage]:
        self._check_open()
        self._leave()
        turn = self._turn = object()
        try:
            with _bar(progress, sources, self._loading) as tell:
                self._results = self._ready_session().read(_plan(found, given) for found in sources)
                for result in self._results:
                    page = ReadPage.of(result)
                    del result  # its pixels are not needed while the next page is made
                    tell()
                    yield page
                    del page
                    if self._turn is not turn:
                        self._check_open()
                        raise UsageError(
                            "another read of this Reader took the place of this one",
                            "Read one source to its end before the next, or make a Reader for each",
                        )
        finally:
            if self._turn is turn:
                self._leave()

    def _leave(self) -> None:
        """End the read that is under way, if there is one; what it leaves behind in the workers goes with them."""
        results, self._results, self._turn = self._results, None, None
        if results is not None:
            results.close()  # type: ignore[attr-defined]
        if self._session is not None:
            self._checkpoint = self._session.model or self._checkpoint
            if self._session.spoilt:
                self._end_session()

    def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()
            on_gpu = session.on_gpu
            del session
            if on_gpu:  # where the next cache, or another program, wants the room of this one
                free_memory()

    def _loading(self) -> str:
        """What there is to load; empty when it is loaded."""
        if self._checkpoint is None:
            return self._options.model.model
        from rtprune_cli.model import OcrModel

        return "" if isinstance(self._checkpoint, OcrModel) else self._checkpoint.name

    def _ready_session(self) -> ReadingSession:
        from rtprune_cli.model import locate
        from rtprune_cli.pipeline import ReadingSession

        if self._session is None:
            self._checkpoint = self._checkpoint or locate(self._options.model)
            self._session = ReadingSession(self._checkpoint, self._options)
        return self._session


def _checked(model: Any, settings: dict[str, Any]) -> Checkpoint:
    """A checkpoint that was found or loaded already.

    Raises:
        TypeError: it is none, or a setting would say where another one is.
    """
    from rtprune_cli.model import Checkpoint

    if not isinstance(model, Checkpoint):
        raise TypeError(f"a model is a name, or what rtprune_cli.load returns, and no {type(model).__name__}")
    of_names = [name for name in settings if name in all_settings() and all_settings()[name].group == "model"]
    if of_names:
        raise TypeError(f"{of_names[0]} is for a model that is named; give it to rtprune_cli.load in ModelOptions")
    return model


def _plan(found: Found, options: InputOptions) -> DocumentPlan:
    from rtprune_cli.records import DocumentPlan

    document, error = found
    if error is None:
        try:
            return DocumentPlan(document, pages=tuple(select_pages(document, options)))
        except RtpruneError as problem:
            error = problem
    return DocumentPlan(document, error=error)


@contextmanager
def _bar(shown: bool, sources: Sources, loading: Callable[[], str]) -> Iterator[Callable[[], object]]:
    """A bar of pages; gives what tells it of another one."""
    if not shown:
        yield lambda: None
        return
    from tqdm.auto import tqdm

    name = loading()
    with tqdm(total=sources.count(), unit="page", desc=f"loading {name}" if name else None) as bar:

        def tell() -> None:
            bar.set_description("", refresh=False)
            bar.update()

        yield tell

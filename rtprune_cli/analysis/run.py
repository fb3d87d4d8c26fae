"""Owns the reading of pages for an analysis: documents in, a folder of results out. A page that fails is left out."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from rtprune_cli.analysis.attention import token_groups, watch
from rtprune_cli.analysis.depth import measure_depth
from rtprune_cli.analysis.report import SCHEMA_VERSION, Analysed, analysed_record, summarise, unread_record
from rtprune_cli.analysis.trajectory import draws, measure
from rtprune_cli.analysis.webpage import analysis_page
from rtprune_cli.bench.accuracy.datasets import choose_samples
from rtprune_cli.bench.accuracy.progress import Tell, showing
from rtprune_cli.commandline import command_line
from rtprune_cli.engine.steps import encode_and_prune
from rtprune_cli.errors import EnvironmentFault, PageFailedError, RtpruneError
from rtprune_cli.failures import at_page, page_name, tell
from rtprune_cli.inputs.formats import printable
from rtprune_cli.model import Checkpoint, OcrModel
from rtprune_cli.options import InputOptions, LogOptions, PruneOptions, ResolvedOptions
from rtprune_cli.prepare import read_pages, select_pages
from rtprune_cli.pruning import Pruner, untouched
from rtprune_cli.records import Document, PageFault, PageImage
from rtprune_cli.report.facts import TIMED, model_facts, now, versions
from rtprune_cli.storage import atomic_write, to_json
from rtprune_cli.views import make_views

log = logging.getLogger("rtprune")

RESULT, PAGES, PAGE = "analysis.json", "pages.jsonl", "analysis.html"


@dataclass(frozen=True)
class AnalysisPlan:
    """What `rtprune analyze` is asked for. ``high`` is the share of tokens that are of high norm, None: RTPrune's
    dynamic ratio; ``limit`` the most pages, the first ones, ``sample`` as many by chance."""

    high: float | None = 0.5
    max_tokens: int = 512
    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    group_by: str | None = None


class Analysis:
    """Pages that were read and pages that were not, so far."""

    def __init__(self, folder: Path, plan: AnalysisPlan, options: ResolvedOptions, groups: Sequence[str]) -> None:
        self.folder, self.plan, self.options = folder, plan, options
        self.pages: list[Analysed] = []
        self._groups = groups
        self._lines: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []
        self._started = now()

    def read(self, documents: Sequence[Document], checkpoint: Checkpoint, log_options: LogOptions) -> None:
        """Read pages one by one.

        Raises:
            RtpruneError: nothing more can be read: the model cannot be loaded, or the GPU is gone.
        """
        chosen = self._choose(documents)
        count = sum(map(len, chosen.values()))
        if not count:
            return
        with showing(count, log_options) as tell:
            tell(f"loading {checkpoint.name}", 0)
            model = checkpoint.load()
            tell("reading", 0)
            for number, pages in chosen.items():
                self._read_document(documents[number], self._groups[number], pages, model, tell)

    def _choose(self, documents: Sequence[Document]) -> dict[int, set[int]]:
        """The pages to read of each document, by its number."""
        found: list[tuple[int, int]] = []
        for number, document in enumerate(documents):
            with self._failing(document, None, self._groups[number]):
                found += [(number, page) for page in select_pages(document, self.options.input)]
        chosen: dict[int, set[int]] = {}
        for number, page in choose_samples(found, self.plan.limit, self.plan.sample, self.plan.seed):
            chosen.setdefault(number, set()).add(page)
        return chosen

    def _read_document(self, document: Document, group: str, pages: set[int], model: OcrModel, tell: Tell) -> None:
        with self._failing(document, None, group):
            spec = ",".join(map(str, sorted(pages)))
            options: InputOptions = replace(self.options.input, pages=spec)
            for page in read_pages(document, options):
                with self._failing(document, page.page, group):
                    if isinstance(page, PageFault):
                        raise page.error
                    self._add(analyse(page, group, model, self.plan, self.options))
                tell("reading", 1)

    def _add(self, page: Analysed) -> None:
        self.pages.append(page)
        self._lines.append(analysed_record(page))

    @contextmanager
    def _failing(self, document: Document, page: int | None, group: str) -> Iterator[None]:
        """Inside, what is wrong with a page or document is said and noted, and the others go on."""
        try:
            yield
        except EnvironmentFault:
            raise
        except RtpruneError as error:
            tell(document, page, error)
            record = unread_record(document.name, page, group, error)
            self._lines.append(record)
            self.failures.append(record)

    def write(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Write what there is; what stands in analysis.json.

        Raises:
            OutputError: it cannot be written.
        """
        options, model = self.options, model_facts(checkpoint)
        result: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "command": command_line(),
            "started": self._started,
            "settings": {
                **asdict(self.plan),
                "high": "dynamic" if self.plan.high is None else self.plan.high,
                "mode": options.mode,
                "prompt": options.prompt,
                "dpi": options.input.dpi,
                "no_repeat_ngram": options.decode.no_repeat_ngram,
                "no_repeat_window": options.decode.no_repeat_window,
                "loop_window": options.decode.loop_window,
            },
            "model": {name: model[name] for name in ("name", "revision", "device", "dtype")},
            "versions": versions(TIMED),
            "pages": len(self.pages),
            "failed": len(self.failures),
            **summarise(self.pages, self.plan.seed),
        }
        atomic_write(self.folder / PAGE, analysis_page(result).encode())
        atomic_write(self.folder / PAGES, b"".join(map(to_json, self._lines)))
        atomic_write(self.folder / RESULT, to_json(result, indent=1))
        return result


def analyse(page: PageImage, group: str, model: OcrModel, plan: AnalysisPlan, options: ResolvedOptions) -> Analysed:
    """Read one page and measure where the decoder looked.

    Raises:
        PageFailedError: it could not be read, or has no tokens of low norm.
        EnvironmentFault: the GPU failed.
    """
    with at_page(page.document, page.page):
        return _analyse(page, group, model, plan, options)


def _analyse(page: PageImage, group: str, model: OcrModel, plan: AnalysisPlan, options: ResolvedOptions) -> Analysed:
    views = make_views(page.image, model.view_spec(options.mode))
    batch = encode_and_prune(model, [views], Pruner(PruneOptions(ratio=plan.high)))
    (tokens,), (pruned,) = batch.tokens, batch.pruning.result()
    # A page's own draws, the same wherever its file lies: chance on one page is none of another's.
    draw = draws(plan.seed, zlib.crc32(views.global_view.tobytes()))
    try:
        groups = token_groups(tokens, pruned.keep, draw)
    except ValueError:
        raise PageFailedError(
            f"{page_name(page.document, page.page)} has no tokens of low norm",
            "The dynamic ratio keeps all of them; give --high 0.5",
        ) from None
    seen = watch(
        model.network,
        model.make_prompt(untouched(tokens), options.prompt),
        len(model.prompt_embeds(options.prompt)[0]),
        groups,
        options.decode,
        eos_token_id=model.eos_token_id,
        ngram_exempt=model.ngram_exempt,
        token_kinds=model.token_kinds,
    )
    norms = tokens.tokens.float().norm(dim=-1).cpu().numpy().astype("float64")[groups.prunable]
    numbers, depth = measure(seen, groups, norms), measure_depth(seen, groups, norms, draw)
    return Analysed(page.document.name, page.page, group, seen.finish_reason, numbers, depth)


def group_names(documents: Sequence[Document], group_by: str | None) -> list[str]:
    """The group of each document.

    ``folder``: the name of the folder that it lies in, or the folder's path where several have that name; None: so if
    there are several folders, else one group; ``document``: its own name; ``none``: one group.
    """
    if group_by == "document":
        return [document.name for document in documents]
    folders = [_folder(document) for document in documents]
    if group_by == "none" or (group_by is None and len(set(folders)) < 2):
        return ["pages"] * len(documents)
    by_label: dict[str, set[PurePath | None]] = {}
    for folder in folders:
        by_label.setdefault(_label(folder), set()).add(folder)
    return [_label(folder) if len(by_label[_label(folder)]) == 1 else printable(str(folder)) for folder in folders]


def _folder(document: Document) -> PurePath | None:
    if document.remote is not None:
        return document.remote.path.parent
    return None if document.path is None else document.path.absolute().parent


def _label(folder: PurePath | None) -> str:
    return "stdin" if folder is None else printable(folder.name or str(folder))

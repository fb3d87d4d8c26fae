"""Owns the reading of a dataset: every sample under every configuration, but for those that were read before."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import PurePosixPath

from rtprune_cli.bench.accuracy.datasets.base import Sample
from rtprune_cli.bench.accuracy.plan import Configuration
from rtprune_cli.bench.accuracy.progress import Tell
from rtprune_cli.bench.accuracy.readings import Readings, StoredReading
from rtprune_cli.errors import RtpruneError
from rtprune_cli.inputs import content_hash
from rtprune_cli.markdown import as_written
from rtprune_cli.model import Checkpoint, OcrModel
from rtprune_cli.options import InputOptions, OcrOptions
from rtprune_cli.pipeline import fingerprint, read
from rtprune_cli.prepare import read_pages
from rtprune_cli.records import Document, DocumentPlan, PageImage, PageRecord

log = logging.getLogger("rtprune")

SAID_BEFORE = ("untrained_mode",)  # by the command, for all modes at once


@dataclass(frozen=True)
class SampleOutcome:
    """What became of a sample under a configuration: a reading, or the record of a page that failed."""

    configuration: Configuration
    sample: Sample
    reading: StoredReading | None
    failure: PageRecord | None = None


class SampleReader:
    """Reads samples; finds first what was read before. The model is loaded when there is a page to read."""

    def __init__(
        self,
        samples: Sequence[Sample],
        configurations: Sequence[Configuration],
        checkpoint: Checkpoint,
        options: OcrOptions,
        readings: Readings,
    ) -> None:
        self._checkpoint = checkpoint
        self._options = replace(options, measure_baseline=False)  # times are taken apart: timing.py
        self._readings = readings
        self._model: OcrModel | None = None
        self._configurations = configurations
        # In file order, so that a document with many samples is opened once.
        sources = {path: number for number, path in enumerate(dict.fromkeys(sample.source for sample in samples))}
        self._samples = sorted(samples, key=lambda sample: sources[sample.source])
        self._documents = {
            path: Document(path, path.name, PurePosixPath(str(number))) for path, number in sources.items()
        }
        self._content = {path: _content(document) for path, document in self._documents.items()}
        self._before = {
            (configuration.name, sample.id): found
            for configuration in ([] if options.run.force else configurations)
            for sample in samples
            if (found := readings.find(self._key(configuration, sample), configuration, sample.id)) is not None
        }

    @property
    def pages(self) -> int:
        """How many have to be read, over all configurations."""
        return len(self._samples) * len(self._configurations) - len(self._before)

    def read(self, tell: Tell) -> Iterator[SampleOutcome]:
        """Every sample under every configuration, configuration by configuration.

        Raises:
            OutputError: a prediction cannot be written; what was read before stays.
            EnvironmentFault: the model cannot be loaded, or the GPU failed.
        """
        for configuration in self._configurations:
            todo: list[Sample] = []
            for sample in self._samples:
                before = self._before.get((configuration.name, sample.id))
                if before is None:
                    todo.append(sample)
                else:
                    yield SampleOutcome(configuration, sample, before)
            if todo:
                model = self.load(tell)
                tell(configuration.name, 0)
                yield from self._read(configuration, todo, model, tell)

    def load(self, tell: Tell) -> OcrModel:
        """The model, loaded when it is first asked for: a GPU has no room for two.

        Raises:
            EnvironmentFault: it cannot be loaded.
        """
        if self._model is None:
            tell(f"loading {self._checkpoint.name}", 0)
            self._model = self._checkpoint.load()
        return self._model

    def _read(
        self, configuration: Configuration, samples: Sequence[Sample], model: OcrModel, tell: Tell
    ) -> Iterator[SampleOutcome]:
        waiting: dict[tuple[PurePosixPath, int], list[Sample]] = {}
        for sample in samples:
            waiting.setdefault((self._documents[sample.source].folder, sample.page), []).append(sample)
        for result in read(self._plans(samples), model, self.options(configuration), said=SAID_BEFORE):
            folder, page = result.document.folder, result.record.page
            # A document that cannot be opened is one result, for all of its pages.
            keys = [key for key in waiting if key[0] == folder and page in (None, key[1])]
            for sample in [sample for key in keys for sample in waiting.pop(key)]:
                if result.error is None:
                    key, text = self._key(configuration, sample), as_written(result.raw)
                    reading = self._readings.add(key, configuration, sample.id, text, result.record)
                    yield SampleOutcome(configuration, sample, reading)
                else:
                    yield SampleOutcome(configuration, sample, None, result.record)
                tell(configuration.name, 1)

    def _plans(self, samples: Iterable[Sample]) -> Iterator[DocumentPlan]:
        for source, group in groupby(samples, key=lambda sample: sample.source):
            yield DocumentPlan(self._documents[source], pages=tuple(dict.fromkeys(sample.page for sample in group)))

    def options(self, configuration: Configuration) -> OcrOptions:
        """What pages are read with under a configuration."""
        return configured(self._options, configuration)

    def _key(self, configuration: Configuration, sample: Sample) -> str:
        content, options = self._content[sample.source], self._checkpoint.resolve(self.options(configuration))
        return f"{fingerprint(content, self._checkpoint, options)}-{sample.page}"


def configured(options: OcrOptions, configuration: Configuration) -> OcrOptions:
    """The options of a run as a configuration has them."""
    assert configuration.prune is not None
    return replace(options, prune=configuration.prune, mode=configuration.mode or options.mode)


def page_image(sample: Sample, options: InputOptions) -> PageImage | None:
    """A sample's page as the model is given it; None where it cannot be read."""
    document = Document(sample.source, sample.source.name, PurePosixPath("page"))
    try:
        page = next(iter(read_pages(document, replace(options, pages=str(sample.page)))))
    except (RtpruneError, StopIteration):
        return None
    return page if isinstance(page, PageImage) else None


def _content(document: Document) -> str:
    """Its hash; what cannot be read gets none, and fails in its turn with the reason."""
    try:
        return content_hash(document)
    except RtpruneError:
        return ""

"""Owns a run of the glyph probe from its plan to its files: glyphs.json, and pages.jsonl with every glyph."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from rtprune_cli.bench.accuracy.progress import showing
from rtprune_cli.bench.glyphs.figures import figures, spread
from rtprune_cli.bench.glyphs.plan import GlyphPlan
from rtprune_cli.bench.glyphs.probe import GlyphProbe, PageProbe, UnreadPage
from rtprune_cli.commandline import command_line
from rtprune_cli.failures import tell as tell_failure
from rtprune_cli.model import Checkpoint
from rtprune_cli.options import LogOptions, ResolvedOptions
from rtprune_cli.report.facts import TIMED, machine_facts, model_facts, now, versions
from rtprune_cli.storage import atomic_write, to_json

log = logging.getLogger("rtprune")

RESULT, PAGES_FILE, PAGES = "glyphs.json", "pages.jsonl", "pages"
SCHEMA_VERSION = 1


class GlyphRun:
    """The pages that were read so far, and the folder of results."""

    def __init__(self, folder: Path, plan: GlyphPlan, options: ResolvedOptions, checkpoint: Checkpoint) -> None:
        self._folder, self._plan, self._options, self._checkpoint = folder, plan, options, checkpoint
        self.pages: list[PageProbe] = []
        self.failed = 0
        self._facts = {"command": command_line(), "started": now(), "machine": machine_facts(checkpoint.device)}

    def read(self, log_options: LogOptions) -> None:
        """Read all pages of the plan.

        Raises:
            OutputError: the pages cannot be written.
            EnvironmentFault: the model cannot be loaded, or the GPU failed.
        """
        with showing(self._plan.limit * len(self._plan.words), log_options) as tell:
            tell(f"loading {self._checkpoint.name}", 0)
            model = self._checkpoint.load()
            tell("reading", 0)
            for found in GlyphProbe(model, self._options, self._plan, self._folder / PAGES).read():
                if isinstance(found, UnreadPage):
                    tell_failure(found.document, 1, found.error)
                    self.failed += 1
                else:
                    self.pages.append(found)
                tell("reading", 1)

    def write(self) -> dict[str, Any]:
        """Write both files; what stands in glyphs.json.

        Raises:
            OutputError: they cannot be written.
        """
        order = {words: place for place, words in enumerate(self._plan.words)}
        self.pages.sort(key=lambda page: (order[page.words], page.number))
        options = self._options
        merging = self._plan.pruning(self._plan.ratios[0])["merged"]
        result = {
            "schema_version": SCHEMA_VERSION,
            **self._facts,
            "settings": {
                **asdict(self._plan),
                "mode": options.mode,
                "prompt": options.prompt,
                "alpha": merging.alpha,
                "merge": merging.merge,
                "max_new_tokens": options.decode.max_new_tokens,
                "no_repeat_ngram": options.decode.no_repeat_ngram,
                "no_repeat_window": options.decode.no_repeat_window,
            },
            "model": model_facts(self._checkpoint),
            "versions": versions(TIMED),
            "pages": len(self.pages),
            "failed": self.failed,
            "glyphs": sum(len(page.boxes) for page in self.pages),
            **(figures(self.pages, self._plan) if self.pages else {"rates": [], "contrasts": [], "movement": []}),
        }
        atomic_write(self._folder / PAGES_FILE, b"".join(to_json(page_record(page)) for page in self.pages))
        atomic_write(self._folder / RESULT, to_json(result, indent=1))
        return result


def page_record(page: PageProbe) -> dict[str, Any]:
    """A line of pages.jsonl: every glyph with its box, and by ratio whether its cells stay and whether it came out.

    ``kept`` and ``right`` have a letter for each glyph: 1 yes, 0 no; in ``kept`` by the centre of its ink, 2 where one
    view keeps it and the other does not.
    """
    return {
        "words": page.words,
        "page": page.name,
        "groups": page.groups,
        "truth": page.truth,
        "boxes": [[round(float(edge), 1) for edge in box] for box in page.boxes],
        "readings": {
            f"{reading} {ratio}".strip(): {"right": _letters(right), "text": page.texts[reading, ratio]}
            for (reading, ratio), right in page.right.items()
        },
        "kept": {
            ratio: _letters(np.where(found["in one view"], 2, found["kept"])) for ratio, found in page.places.items()
        },
        "movement": {
            ratio: {"change": spread(each.change), "cosine": spread(each.cosine)}
            for ratio, each in page.movement.items()
        },
    }


def _letters(numbers: Any) -> str:
    return "".join(map(str, np.asarray(numbers).astype(int)))

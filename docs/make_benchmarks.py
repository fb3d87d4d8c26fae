"""Write the tables and pictures of docs/benchmarks.md from the results in docs/benchmarks/.

*.json are of `rtprune bench speed`, gpu/CARD/*.json of the GPU kit (gpu_results.py), cluster/*.json of
cluster_speed.py, simulate_cluster.py and cluster_speedup.py (cluster_results.py), accuracy/*.json are the
summary.json of runs of `rtprune bench`, and glyphs/*.json the glyphs.json of `rtprune bench glyphs`. What contexts of
many pages cost by formula is worked out here (context_costs.py).

python docs/make_benchmarks.py
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))  # for a test, which loads this file from elsewhere

import cluster_results
import context_costs
import gpu_results
from gpu_results import NOT_MEASURED, Card, Result, Row, duration, rows

PAGE = Path(__file__).with_name("benchmarks.md")
RESULTS = Path(__file__).with_name("benchmarks")
IMAGES = Path(__file__).with_name("images")
MARKERS = "<!-- made by docs/make_benchmarks.py: {} -->", "<!-- end -->"
# Colours that color-blind people tell apart (Okabe and Ito), and hatches for prints without colour.
LOOKS = {
    "preprocess": ("#E69F00", "//"),
    "encode": ("#56B4E9", ""),
    "prune": ("#D55E00", "xx"),
    "prefill": ("#009E73", "\\\\"),
    "decode": ("#CC79A7", ".."),
}
BAR_INCHES = 0.34


def read_results(folder: Path) -> dict[str, Result]:
    """Results by file name without .json, in its alphabetical order."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"), key=lambda path: path.stem)
    }


def write(page: Path = PAGE, results: Path = RESULTS, images: Path = IMAGES) -> None:
    """Renew what stands between the markers of the page, and a picture for each result that has all stages."""
    found, cards = read_results(results), gpu_results.read_cards(results / "gpu")
    on_cards = {name: result for card in cards for name, result in card.timed.items()}
    pictures = {name: breakdown(result) for name, result in (found | on_cards).items()}
    for name, bars in pictures.items():
        if bars:
            svg = picture((found | on_cards)[name], bars)
            (images / f"stages-{name}.svg").write_text(svg, encoding="utf-8", newline="\n")
    text = page.read_text(encoding="utf-8")
    text = fill(text, "targets", targets(list(found.values()), cards))
    sections = [section(name, result, pictures[name]) for name, result in on_cards.items()]
    text = fill(text, "gpu", "\n".join([by_card(cards), "", *sections]))
    text = fill(text, "results", "\n".join(section(name, found[name], pictures[name]) for name in found))
    text = fill(text, "contexts", table(context_costs.HEAD, context_costs.lines()))
    for name, (head, lines), where in cluster_results.parts(results / "cluster"):
        text = fill(text, name, "\n\n".join(part for part in (where, table(head, lines)) if part))
    compared = read_results(results / "accuracy")
    for name, summary in compared.items():
        if not has_ablations(summary):
            (images / f"accuracy-{name}.svg").write_text(accuracy_picture(summary), encoding="utf-8", newline="\n")
    text = fill(text, "accuracy", "\n".join(comparison(name, compared[name]) for name in compared))
    probed = read_results(results / "glyphs")
    text = fill(text, "glyphs", "\n".join(glyphs(name, probed[name]) for name in probed))
    page.write_text(text, encoding="utf-8", newline="\n")


def fill(text: str, what: str, content: str) -> str:
    """The text with ``content`` between the markers of ``what``."""
    start, end = MARKERS[0].format(what), MARKERS[1]
    before, _, rest = text.partition(start)
    if not rest or end not in rest:
        raise SystemExit(f"{PAGE.name} has no place for {what}: a line {start}, and a line {end} after it")
    return f"{before}{start}\n\n{content.strip()}\n\n{end}{rest.partition(end)[2]}"


# --- Targets -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """What the project set out to reach.

    ``values`` finds it in the result of the full size or of the bundled model, ``kit`` in what the GPU kit measured.
    """

    what: str
    target: str
    shown: str
    values: Callable[[Result], list[float]]
    bundled: bool = False
    kit: Callable[[Result], list[float]] = lambda _: []


def _most(result: Result, field: str) -> list[float]:
    """The largest over ratios and rows of what the whole reaches, in mode base where that was timed."""
    found = [row for row in rows(result, "whole", "rtprune") if row[field] is not None]
    base = [row for row in found if row["mode"] == "base"]
    return [max(row[field] for row in base or found)] if found else []


def _prefill_gain(batch_sizes: range) -> Callable[[Result], list[float]]:
    return lambda result: [
        row["times_unpruned"]["median"]
        for row in rows(result, "prefill")
        if row["mode"] == "large" and row["ratio"] == "0.84" and row["batch_size"] in batch_sizes
    ]


TARGETS = [
    Target("mode base, pages/s over `generate`", "20x", "{:.1f}x", lambda r: _most(r, "times_generate")),
    Target("mode base, output tokens/s", "10,000", "{:,.0f}", lambda r: _most(r, "output_tokens_per_second")),
    Target(
        "decode step at batch 64 over its floor",
        "at most 3x",
        "{:.1f}x",
        lambda r: [row["times_floor"] for row in rows(r, "step") if row["batch_size"] == 64],
        kit=lambda kit: gpu_results.steps_over_floor(kit, 64),
    ),
    Target("mode large, ratio 0.84: prefill, batch 8 and more", "1.15x", "{:.2f}x", _prefill_gain(range(8, 10**6))),
    Target("the same at batch 4", "", "{:.2f}x", _prefill_gain(range(4, 5))),
    Target("the same at batch 1", "", "{:.2f}x", _prefill_gain(range(1, 2))),
    Target(
        "prune step over the pages' prefill",
        "at most 2 %",
        "{:.1f} %",
        lambda r: [100 * row["prune_share_of_prefill"] for row in rows(r, "prefill") if "times_unpruned" in row],
    ),
    Target(
        "authors' prune step over ours, dynamic ratio",
        "20x",
        "{:.1f}x",
        lambda r: [x["times_rtprune"]["median"] for x in rows(r, "prune", "authors") if x["ratio"] == "dynamic"],
    ),
    Target(
        "bundled model, pages/s over `generate`",
        "3x on a CPU",
        "{:.1f}x",
        lambda r: _most(r, "times_generate"),
        bundled=True,
    ),
]


def targets(results: Sequence[Result], cards: Sequence[Card]) -> str:
    """The targets and what is measured of them, on GPUs and on CPUs: of several values the smallest and the largest."""
    on_cpus = [result for result in results if not result["machine"]["gpu"]]
    return table(
        ["", "target", "on a GPU", "on a CPU"],
        [[t.what, t.target, on_gpus(t, results, cards), reached(t, on_cpus) or NOT_MEASURED] for t in TARGETS],
    )


def on_gpus(target: Target, results: Sequence[Result], cards: Sequence[Card]) -> str:
    """One cell of that table: what each card reached, and which one it is."""
    pools = {card.title: [r for r in (card.speed, card.prefill, *card.further.values()) if r] for card in cards}
    for result in results:
        if gpu := result["machine"]["gpu"]:
            pools.setdefault(gpu_results.title_of(gpu["name"]), []).append(result)
    kits = {card.title: card.result for card in cards}
    found = {title: reached(target, pool, kits.get(title, {})) for title, pool in pools.items()}
    return "; ".join(f"{text} ({title})" for title, text in found.items() if text) or NOT_MEASURED


def reached(target: Target, results: Sequence[Result], kit: Result | None = None) -> str:
    """What was measured of a target, or nothing."""
    if target.bundled:
        results = [result for result in results if result["settings"]["model"] == "tiny"]
    else:
        results = [result for result in results if result["settings"]["arch"]]
    values = [*(value for result in results for value in target.values(result)), *target.kit(kit or {})]
    texts = [target.shown.format(value) for value in (min(values), max(values))] if values else []
    return " to ".join(dict.fromkeys(texts))


def by_card(cards: Sequence[Card]) -> str:
    """What the GPU kit asks, and the answers of each card."""
    return table(["", *(card.title for card in cards)], gpu_results.lines(cards))


# --- One result --------------------------------------------------------------------------------------------------


def section(name: str, result: Result, bars: Sequence[tuple[str, dict[str, float], float]]) -> str:
    """A result: where and how it was measured, its picture, its tables."""
    model = result["model"]
    name_of_model = f"{model['name']} ({model['revision']}, {model['parameters'] / 1e6:,.1f} M parameters)"
    parts = [
        f"### {name}\n",
        f"{name_of_model} in {model['dtype']} on {hardware(result)}. {measured(result)}\n",
        f"```bash\n{result['command']}\n```\n",
    ]
    if bars:
        parts.append(f"![Milliseconds a page by stage: {describe(bars)}](images/stages-{name}.svg)\n")
    tables = [make(result) for make in (whole, prefill, pruning, steps, context_prefill, context_steps, early)]
    return "\n".join([*parts, *(f"{text}\n" for text in tables if text)])


def hardware(result: Result) -> str:
    """The machine in a few words."""
    machine = result["machine"]
    cpu = f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores, {machine['memory_gib']} GiB"
    if gpu := machine["gpu"]:
        return f"{gpu['name']}, {gpu['memory_gib']} GiB, driver {gpu['driver']}, CUDA {gpu['cuda']} ({cpu})"
    return cpu


def measured(result: Result) -> str:
    """When, with which versions and at which rates."""
    rates, machine = result["rates"], result["machine"]
    bandwidth, matmul = rates["bandwidth_bytes_per_second"] / 1e9, rates["matmul_flops_per_second"] / 1e12
    load = f"load {machine['load_before']:.1f} before and {machine.get('load_after', 0):.1f} after"
    state = "" if result["complete"] else " **The run did not end.**"
    return (
        f"{result['started'][:10]}; {versions(result)}; {load}. "
        f"Floors at {bandwidth:,.0f} GB/s and {matmul:,.2f} TFLOP/s.{state}"
    )


def versions(result: Result) -> str:
    return ", ".join(f"{name} {number}" for name, number in result["versions"].items())


def whole(result: Result) -> str:
    """Pages/s, with generate first."""
    return table(
        ["whole", "mode", "ratio", "rows", "pages/s", "output tokens/s", "over generate", "spread", "peak"],
        [
            ["generate" if row["engine"] == "generate" else "rtprune", row["mode"], row["ratio"], row["batch_size"],
             f"{row['pages_per_second']:.3g}", f"{row['output_tokens_per_second']:,.0f}",
             times(row["times_generate"]), percent(row), gib(row)]
            for row in rows(result, "whole")
        ],
    )  # fmt: skip


def prefill(result: Result) -> str:
    """With pruning against without, in turns."""
    return table(
        ["prefill, mode", "ratio", "batch", "tokens a page", "left", "unpruned", "pruned, with the prune step",
         "unpruned / pruned", "quartiles", "prune step / prefill", "over floor"],
        [
            [row["mode"], row["ratio"], row["batch_size"], f"{row['prompt_tokens']:.0f}",
             f"{100 * row['retention']:.1f} %", duration(row["unpruned"]["median"] / row["pages"]), page_time(row),
             f"**{row['times_unpruned']['median']:.3f}**",
             f"{row['times_unpruned']['quartile_1']:.3f} to {row['times_unpruned']['quartile_3']:.3f}",
             f"{100 * row['prune_share_of_prefill']:.1f} %", times(row["times_floor"])]
            for row in rows(result, "prefill") if "times_unpruned" in row
        ],
    )  # fmt: skip


def pruning(result: Result) -> str:
    """Ours against the authors' formulation, in turns."""
    other = {(r["mode"], r["ratio"], r["batch_size"]): r for r in rows(result, "prune", "authors")}
    pairs = [(r, other[r["mode"], r["ratio"], r["batch_size"]]) for r in rows(result, "prune", "rtprune")]
    return table(
        ["prune step, mode", "ratio", "batch", "ours", "authors' formulation", "authors' / ours", "over floor"],
        [
            [one["mode"], one["ratio"], one["batch_size"], page_time(one), page_time(two),
             f"{two['times_rtprune']['median']:.1f}", times(one["times_floor"])]
            for one, two in pairs
        ],
    )  # fmt: skip


def steps(result: Result) -> str:
    """A decode step: one token more of every page."""
    return table(
        ["decode step, mode", "ratio", "batch", "context", "a step", "tokens/s", "over floor", "experts hit (if even)",
         "spread", "peak"],
        [
            [row["mode"], row["ratio"], row["batch_size"], f"{row['context']:.0f}", duration(row["median"]),
             f"{row['tokens_per_second']:,.0f}", times(row["times_floor"]),
             f"{row['experts_hit']:.1f} ({row['experts_hit_if_even']:.1f})" if row["experts_hit"] else "",
             percent(row), gib(row)]
            for row in rows(result, "step")
        ],
    )  # fmt: skip


def context_prefill(result: Result) -> str:
    """Contexts of many pages, each page pruned by itself, against the same unpruned, in turns."""
    return table(
        ["prefill, pages a context", "ratio", "contexts", "prompt tokens", "left", "a context", "unpruned / pruned",
         "prune step / prefill", "over floor"],
        [
            [row["pages_per_context"], row["ratio"], row["batch_size"], f"{row['prompt_tokens']:,.0f}", left(row),
             duration(row["median"] / row["batch_size"]), gained(row),
             f"{100 * row['prune_share_of_prefill']:.1f} %" if "times_unpruned" in row else "",
             times(row["times_floor"])]
            for row in rows(result, "context prefill")
        ],
    )  # fmt: skip


def context_steps(result: Result) -> str:
    """A decode step of contexts, and the bytes that it must read by formula."""
    return table(
        ["decode step, pages a context", "ratio", "contexts", "prompt tokens", "left", "a step", "unpruned / pruned",
         "bytes a step", "bytes, unpruned / pruned", "over floor"],
        [
            [row["pages_per_context"], row["ratio"], row["batch_size"], f"{row['prompt_tokens']:,.0f}", left(row),
             duration(row["median"]), gained(row), f"{row['step_bytes'] / 1e9:.3f} GB",
             f"{row['times_unpruned_bytes']:.3f}" if "times_unpruned_bytes" in row else "", times(row["times_floor"])]
            for row in rows(result, "context step")
        ],
    )  # fmt: skip


def left(row: Row) -> str:
    """The share of tokens that pruning left."""
    return f"{100 * row['retention']:.1f} %" if "retention" in row else ""


def gained(row: Row) -> str:
    """How many times as fast as unpruned."""
    return f"**{row['times_unpruned']['median']:.3f}**" if "times_unpruned" in row else ""


def early(result: Result) -> str:
    """What comes before pruning."""
    found = [row for stage in ("preprocess", "encode") for row in rows(result, stage)]
    return table(
        ["before", "mode", "batch", "a page", "over floor", "spread", "peak"],
        [
            [row["stage"], row["mode"], row["batch_size"], page_time(row), times(row["times_floor"]), percent(row),
             gib(row)]
            for row in found
        ],
    )  # fmt: skip


def table(head: Sequence[str], body: Sequence[Sequence[Any]]) -> str:
    """Markdown, or nothing where there are no rows."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) if body else ""


def short(number: float) -> str:
    """Three digits, or all of those before the point."""
    return f"{number:,.0f}" if number >= 1000 else f"{number:.3g}"


def page_time(row: Row) -> str:
    return duration(row["median"] / row["pages"])


def times(factor: float | None) -> str:
    return "" if factor is None else f"{factor:.1f}x"


def percent(row: Row) -> str:
    """The quartiles' distance over the median."""
    return f"{100 * (row['quartile_3'] - row['quartile_1']) / row['median']:.0f} %"


def gib(row: Row) -> str:
    return f"{row['peak_memory_bytes'] / 2**30:.2f} GiB"


# --- Accuracy ----------------------------------------------------------------------------------------------------


def comparison(name: str, summary: Result) -> str:
    """A run of `rtprune bench`: where and how, its picture, every configuration, and their error by layout."""
    model, data, bootstrap = summary["model"], summary["dataset"], summary["bootstrap"]
    main = next(metric for metric in summary["metrics"] if metric["headline"])
    parts = [
        f"### {name}\n",
        f"{data['samples']} pages of {data['name']} ({data['version']}), {model['name']} ({model['revision']}) in "
        f"{model['dtype']} on {hardware(summary)}. {summary['started'][:10]}; {versions(summary)}. In brackets: 95 % "
        f"intervals, paired by page, {bootstrap['resamples']:,} resamples.\n",
        f"```bash\n{summary['command']}\n```\n",
        by_mode(summary, main) if several_modes(summary) else by_ratio(summary, main),
        "",
    ]  # fmt: skip
    parts += [f"- {sentence}" for sentence in summary.get("conclusions", [])] + [""] * several_modes(summary)
    if not has_ablations(summary):
        picture = f"![{accuracy_words(summary)}](images/accuracy-{name}.svg)\n"
        parts += [*([] if several_modes(summary) else [by_group(summary, main, "layout"), ""]), picture]
    return "\n".join(parts)


def several_modes(summary: Result) -> bool:
    """Then the modes are what is compared, over tokens."""
    from rtprune_cli.bench.accuracy.plots import modes_of

    return len(modes_of(summary["configurations"])) > 1


def by_ratio(summary: Result, main: Row) -> str:
    """A row a configuration of one mode: what it keeps, its error and its work."""
    rows = summary["configurations"]
    # Runs that do not say what the prune step takes have left it out of their speed-up, which is not shown then.
    told = all(each.get("prune_flops") is not None for each in rows)
    return table(
        ["configuration", "visual tokens kept", main["title"], "points over none", "relative accuracy, %",
         *["prefill FLOPs ×"] * told],
        [[each["name"], f"{100 * each['retention']:.1f} %", *error_cells(each, main["name"]),
          *[f"{each['flops_speedup']:.2f}"] * told]
         for each in rows],
    )  # fmt: skip


def by_mode(summary: Result, main: Row) -> str:
    """A row a configuration of several modes: its tokens and work, its error, and where it is beside the line."""
    return table(
        ["configuration", "visual tokens", "MFLOPs of prefill alone", main["title"], "accuracy, %",
         "points over the line of unpruned modes"],
        [[each["name"], f"{each['visual_tokens']:.1f}".removesuffix(".0"), f"{each['prefill_flops'] / 1e6:.0f}",
          f"{100 * each['metrics'][main['name']]['value']:.2f} %", bracketed(each["accuracy"]), line_cell(each["line"])]
         for each in summary["configurations"]],
    )  # fmt: skip


def line_cell(line: Row | None) -> str:
    """The difference to the line, where there is one."""
    if line is None:
        return ""
    return bracketed(line["difference"], sign="+") if line["difference"] else "outside of it: not measured"


def has_ablations(summary: Result) -> bool:
    """Then there are too many configurations, too much alike, for a picture and a table by group."""
    return any("=" in each["name"] for each in summary["configurations"])


def error_cells(figures: Row, metric: str) -> list[str]:
    """The metric, its difference to unpruned pages and the relative accuracy, with intervals."""
    found = figures["metrics"][metric]
    difference, relative = bracketed(found["difference"], sign="+"), bracketed(figures["relative_accuracy"])
    return [f"{100 * found['value']:.2f} %", difference, relative]


def bracketed(estimate: dict[str, float] | None, sign: str = "") -> str:
    """In per cent, and its interval."""
    if estimate is None:
        return ""
    value, low, high = (f"{100 * estimate[key] + 0.0:{sign}.2f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def by_group(summary: Result, metric: Row, group: str) -> str:
    """A column for each value of a group."""
    groups = [name for name in summary["configurations"][0]["groups"] if name.startswith(f"{group}: ")]
    return table(
        [f"{metric['title']} by {group}", *(name.partition(": ")[2] for name in groups)],
        [
            [each["name"], *(f"{100 * each['groups'][g]['metrics'][metric['name']]['value']:.1f} %" for g in groups)]
            for each in summary["configurations"]
        ],
    )


def accuracy_words(summary: Result) -> str:
    """The picture in words."""
    several = several_modes(summary)
    costs = [
        f"{each['visual_tokens']:.0f} tokens" if several else f"{100 * each['retention']:.0f} %"
        for each in summary["configurations"]
    ]
    rows = [
        f"{each['name']}: accuracy {100 * each['accuracy']['value']:.1f} % at {cost}"
        for each, cost in zip(summary["configurations"], costs, strict=True)
    ]
    return f"Accuracy over visual tokens{'' if several else ' kept'}. {'; '.join(rows)}"


def accuracy_picture(summary: Result) -> str:
    """The report's own picture of accuracy over retention."""
    from rtprune_cli.bench.accuracy.plots import pictures

    svg = pictures(summary)[0].svg
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


# --- Glyphs ------------------------------------------------------------------------------------------------------


def glyphs(name: str, result: Result) -> str:
    """A run of `rtprune bench glyphs`: errors by place, how the rises compare, how far merging moves tokens."""
    model, settings = result["model"], result["settings"]
    pages = f"{settings['limit']} pages for each kind of words (sheet {settings['sheet']}, seed {settings['seed']})"
    return "\n".join([
        f"### {name}\n",
        f"{pages}, {result['glyphs']:,} glyphs, {model['name']} ({model['revision']}) in {model['dtype']}, mode "
        f"{settings['mode']}, on {hardware(result)}. {result['started'][:10]}; {versions(result)}. In brackets: 95 % "
        f"intervals, paired by page, {settings['resamples']:,} resamples.\n",
        f"```bash\n{result['command']}\n```\n",
        table(
            ["words, ratio", "cells", "glyphs", "wrong unpruned", "dropped", "merged", "merged: points over unpruned",
             "points that merging adds to dropping"],
            [[f"{row['words']}, {row['ratio']}", row["place"], f"{row['glyphs']:,} ({100 * row['share']:.1f} %)",
              *(f"{100 * row[reading]['value']:.2f} %" for reading in ("unpruned", "dropped", "merged")),
              bracketed(row["merged_rise"], sign="+"), bracketed(row["merging"], sign="+")]
             for row in shown_rates(result)],
        ),
        "",
        table(
            ["how much more the error rises", "ratio", "dropped, points", "merged, points", "pages"],
            [[what, ratio, *(bracketed(of[reading]["difference"], sign="+") for reading in ("dropped", "merged")),
              of["merged"]["pages"]]
             for (what, ratio), of in contrasts(result).items()],
        ),
        "",
        table(
            ["words, ratio", "visual tokens kept", "change of a kept token: median", "95th percentile", "most",
             "median of a page, %", "least cosine"],
            [[f"{row['words']}, {row['ratio']}", f"{100 * row['retention']:.1f} %",
              *(f"{100 * row['change'][part]:.2f} %" for part in ("median", "p95", "max")),
              bracketed(row["page_median_change"]), f"{row['cosine']['min']:.5f}"]
             for row in result["movement"]],
        ),
        "",
    ])  # fmt: skip


def shown_rates(result: Result) -> list[Row]:
    """All places of the first kind of words; of the others all glyphs and those on pruned cells."""
    first = result["settings"]["words"][0]
    return [row for row in result["rates"] if row["words"] == first or row["place"] in ("all", "pruned")]


def contrasts(result: Result) -> dict[tuple[str, str], dict[str, Row]]:
    """What is compared, and the ratio -> reading -> the record."""
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in result["contrasts"]:
        what = f"on {row['of']} cells than on {row['over']}, {row['words']} words"
        if row["words"] is None:
            what = f"on {row['of']} words than on {row['over']} ones, all cells"
        found.setdefault((what, row["ratio"]), {})[row["reading"]] = row
    return found


# --- The picture -------------------------------------------------------------------------------------------------


def breakdown(result: Result) -> list[tuple[str, dict[str, float], float]]:
    """Configuration, seconds a page of each stage, and the sum of their floors, where every stage was timed."""
    length = result["settings"]["output_tokens"]
    bars = []
    for step in rows(result, "step"):
        mode, ratio, batch = step["mode"], step["ratio"], step["batch_size"]

        def find(stage: str, ratio: str | None, batch: int, mode: str = mode) -> Iterator[Row]:
            wanted = {"mode": mode, "ratio": ratio, "batch_size": batch}
            return (row for row in rows(result, stage, "rtprune") if wanted.items() <= row.items())

        pages, encode = next(find("preprocess", None, 1), None), next(find("encode", None, batch), None)
        prefill = next(find("prefill", ratio, batch), None)
        if pages is None or encode is None or prefill is None:
            continue
        prune = prefill["prune"]["median"] if "prune" in prefill else 0.0
        seconds = {
            "preprocess": pages["median"],
            "encode": encode["median"] / batch,
            "prune": prune / batch,
            "prefill": (prefill["median"] - prune) / batch,
            "decode": step["median"] * length / batch,
        }
        floor = (encode["floor"]["seconds"] + prefill["floor"]["seconds"] + step["floor"]["seconds"] * length) / batch
        pruning = "unpruned" if ratio == "1" else f"ratio {ratio}"
        bars.append((f"{mode}, {pruning}, batch {batch}", seconds, floor))
    return bars


def describe(bars: Sequence[tuple[str, dict[str, float], float]]) -> str:
    """The picture in words."""
    parts = []
    for name, seconds, floor in bars:
        stages = ", ".join(f"{stage} {short(1000 * value)}" for stage, value in seconds.items())
        parts.append(f"{name}: {stages}; floor {short(1000 * floor)}")
    return ". ".join(parts)


def picture(result: Result, bars: Sequence[tuple[str, dict[str, float], float]]) -> str:
    """An SVG on a ground of its own, so that it can be read on light and dark pages."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    settings = {"svg.fonttype": "none", "svg.hashsalt": "rtprune", "font.family": "sans-serif", "hatch.linewidth": 0.5}
    with pyplot.rc_context(settings):
        figure, axes = pyplot.subplots(figsize=(9, 1.6 + BAR_INCHES * len(bars)), facecolor="white")
        left = [0.0] * len(bars)
        for stage, (colour, hatch) in LOOKS.items():
            width = [1000 * seconds[stage] for _, seconds, _ in bars]
            axes.barh(range(len(bars)), width, left=left, color=colour, hatch=hatch, edgecolor="white", label=stage)
            left = [a + b for a, b in zip(left, width, strict=True)]
        floors = [1000 * floor for _, _, floor in bars]
        axes.plot(floors, range(len(bars)), "|", color="black", markersize=14, markeredgewidth=2.5, label="floor")
        for place, total in enumerate(left):
            axes.text(total, place, f" {short(total)}", va="center", fontsize=9)
        axes.set_yticks(range(len(bars)), [name for name, _, _ in bars])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.1 * max(left))
        axes.set_xlabel(f"milliseconds a page of {result['settings']['output_tokens']} output tokens")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper center", ncols=len(LOOKS) + 1, frameon=False)
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.4 / figure.get_figheight()))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        pyplot.close(figure)
    title = f"Stages of {result['model']['name']} on {hardware(result)}"
    words = f"<title>{escape(title)}</title><desc>{escape(describe(bars))}</desc>"
    svg = re.sub(r"(<svg [^>]*)>", rf'\1 role="img">\n{words}', buffer.getvalue(), count=1)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


if __name__ == "__main__":
    write()

"""Read what the GPU kit (tests/gpu/) measured on each card, for docs/make_benchmarks.py.

docs/benchmarks/gpu/CARD/ has result.json (of the kit's own measurements and drills), and speed.json, prefill.json and
small.json (of `rtprune bench speed`; the last on a share of the card), and any further results of `bench speed` under
names of their own. A run that was cut short lacks files, sections or values: each is "not measured".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

NOT_MEASURED = "not measured"
KNOWN = ("h100", "h200")  # cards that have a column in any case
PROMPT = 283  # tokens of a page in mode base
STEP_ROWS = (1, 8, 64, 128, 256)
AMPERE_ROWS = (1, 8, 64, 256)
DRILLS = ("12 GB card", "24 GB card", "24 GB card, all but 0.6 GB taken after the plan")
ATTENTION = re.compile("attention|flash|fmha|sdpa", re.IGNORECASE)
MOST_KERNELS = 3
WITH_CUDNN = "; with cuDNN's attention, which a run does not use"

Row = dict[str, Any]
Result = dict[str, Any]


@dataclass(frozen=True)
class Card:
    """The results of one card by file, empty where there is no file; ``name`` is that of its folder."""

    name: str
    result: Result = field(default_factory=dict)
    speed: Result = field(default_factory=dict)
    prefill: Result = field(default_factory=dict)
    small: Result = field(default_factory=dict)
    further: dict[str, Result] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return self.name.upper()

    @property
    def timed(self) -> dict[str, Result]:
        """The results of `rtprune bench speed`, by a name of their own."""
        found = {"speed": self.speed, "prefill": self.prefill, "small": self.small, **self.further}
        return {f"{self.name}-{file}": result for file, result in found.items() if result}


def read_cards(folder: Path) -> list[Card]:
    """The known cards, then those of other folders."""
    others = [path.name for path in sorted(folder.glob("*")) if path.is_dir() and path.name not in KNOWN]
    return [_read_card(folder / name) for name in (*KNOWN, *others)]


def _read_card(folder: Path) -> Card:
    """Raises SystemExit where the files are not of one GPU: a number under the wrong card is worse than none."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    of_the_kit = {name: found.pop(name) for name in ("result", "speed", "prefill", "small") if name in found}
    card = Card(folder.name, **of_the_kit, further=found)
    gpus = {(timed["machine"]["gpu"] or {}).get("name", "a CPU") for timed in card.timed.values()}
    if smoke := card.result.get("smoke"):
        gpus.add(smoke.get("gpu", "a CPU"))
    if len(gpus) > 1 or "a CPU" in gpus:
        raise SystemExit(f"{folder} should have the results of one GPU, and has those of {' and '.join(sorted(gpus))}")
    return card


def title_of(gpu: str) -> str:
    """The short name of a card, from the full one that a result has."""
    return next((name.upper() for name in KNOWN if name in gpu.lower()), gpu)


# --- The table ---------------------------------------------------------------------------------------------------

Reader = Callable[[Card], str]  # raises LookupError where a card has no answer


def lines(cards: Sequence[Card]) -> list[list[str]]:
    """A line for each question: what was asked, and the answer of each card."""
    return [[what, *(answer(read, card) for card in cards)] for what, read in questions(cards)]


def answer(read: Reader, card: Card) -> str:
    try:
        return read(card) or NOT_MEASURED
    except LookupError:
        return NOT_MEASURED


def questions(cards: Sequence[Card]) -> Iterator[tuple[str, Reader]]:
    """What is asked of every card; decode steps and drills are the usual ones and any others that a card has."""
    yield "card", full_name
    yield "versions", versions
    yield "bandwidth, matrix products in bfloat16", rates
    yield "attention kernel of a step, as torch chooses", chosen_kernels
    yield "attention kernel of a step, in a run", run_kernels
    for dtype in ("bfloat16", "float16", "float32"):
        yield f"`grouped_mm` can be recorded in {dtype}", grouped(dtype)
    yield "golden results in float32, TF32 off", golden("golden_tf32_False")
    yield "the same of DeepSeek-OCR-2; recorded, plain, alone", golden("golden_deepseek_ocr2")
    yield "the same of Unlimited-OCR", golden("golden_unlimited_ocr")
    yield "bfloat16: recorded steps write what plain ones do", equal(0)
    yield "bfloat16: pages together write what each does alone", equal(1)
    for batch, prompt in step_sizes(cards):
        yield f"decode step, recorded, {plural(batch, 'row')}, prompts of {prompt} tokens", step(batch, prompt)
    for batch in AMPERE_ROWS:
        yield f"decode step in bfloat16, experts as on an Ampere card, {plural(batch, 'row')}", ampere(batch)
    yield "whole: pages/s (over `generate`)", whole_pages
    yield "whole: output tokens/s", whole_tokens
    for mode, count in (("base", 8), ("gundam", 1)):
        yield f"encode {mode}, {plural(count, 'page')}", encode(mode, count)
    yield f"prefill, 16 prompts of {PROMPT} tokens", prefill
    yield "prune step of 8 pages", prune
    yield "mode large: prefill, unpruned / pruned", large_gain
    for name in drills(cards):
        yield f"out-of-memory drill: {name}", drill(name)
    yield "`rtprune ocr --workers`, bundled model", workers
    yield "peak of a whole on a share of the card", small_peak


def plural(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


# --- The machine -------------------------------------------------------------------------------------------------


def full_name(card: Card) -> str:
    smoke = card.result.get("smoke", {})
    if "gpu" in smoke:
        return f"{smoke['gpu']}, {smoke['total'] / 2**30:.1f} GiB" if "total" in smoke else smoke["gpu"]
    gpu = next(iter(card.timed.values()), {})["machine"]["gpu"]
    return f"{gpu['name']}, {gpu['memory_gib']} GiB"


def versions(card: Card) -> str:
    smoke, speed = card.result.get("smoke", {}), next(iter(card.timed.values()), {})
    found = {
        "torch": smoke.get("versions", speed.get("versions", {})).get("torch"),
        "CUDA": smoke.get("cuda") or (speed["machine"]["gpu"]["cuda"] if speed else None),
        "cuDNN": cudnn_version(smoke["cudnn"]) if smoke.get("cudnn") else None,
    }
    return ", ".join(f"{name} {number}" for name, number in found.items() if number)


def cudnn_version(number: int) -> str:
    """91900 is 9.19.0."""
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def rates(card: Card) -> str:
    bandwidth, matmul = card.result["arch"]["rates"]
    return f"{bandwidth / 1e9:,.0f} GB/s, {matmul / 1e12:,.0f} TFLOP/s"


def chosen_kernels(card: Card) -> str:
    return kernels(card.result["smoke"]["step_attention"])


def run_kernels(card: Card) -> str:
    """Those of attention in a step of 64 pages, with cuDNN's attention off as in a run."""
    top = card.result["arch"]["profile_step_64_cudnn_False"]["top"]
    return kernels([name for name, *_ in top if ATTENTION.search(name)])


def kernels(names: Sequence[str]) -> str:
    """The first few of them, without types and arguments."""
    bare = [re.split("[<(]", name.replace("(anonymous namespace)::", ""))[0].removeprefix("void ") for name in names]
    return ", ".join(f"`{name}`" for name in list(dict.fromkeys(bare))[:MOST_KERNELS])


# --- Results that must be right ----------------------------------------------------------------------------------


def golden(key: str) -> Reader:
    def read(card: Card) -> str:
        worst, wrong_keep, wrong_tokens, *_ = card.result["correct"][key]
        return (
            f"features within {worst:.1e}; {differing('kept tokens', wrong_keep)}; {differing('texts', wrong_tokens)}"
        )

    return read


def differing(what: str, wrong: Sequence[str]) -> str:
    return f"{what}: {len(wrong)} differ" if wrong else f"{what} equal"


def grouped(dtype: str) -> Reader:
    return lambda card: "yes" if card.result["smoke"]["grouped_mm"][dtype] else "no"


def equal(place: int) -> Reader:
    def read(card: Card) -> str:
        values = card.result["correct"]["decode_bfloat16"]
        return f"{values[place]} of {values[2]} pages"

    return read


# --- Times -------------------------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def as_run(timings: dict[str, list[float]]) -> dict[str, tuple[list[float], str]]:
    """What was timed of each case as a run does it: recorded, and without cuDNN's attention.

    Where only that with cuDNN's attention is there, it has a remark, which is "" otherwise.
    """
    found: dict[str, tuple[list[float], str]] = {}
    for key, values in timings.items():
        parts = key.split("/")
        case = "/".join(part for part in parts if "=" not in part)
        if "graphs=False" not in parts and not ("cudnn=True" in parts and case in found):
            found[case] = values, WITH_CUDNN if "cudnn=True" in parts else ""
    return found


def over_floor(milliseconds: float, floor: float) -> str:
    return f"{duration(milliseconds / 1000)}, {milliseconds / floor:.1f}x floor"


def step_sizes(cards: Sequence[Card]) -> list[tuple[int, int]]:
    """Rows and tokens of a prompt, in order of the latter: the usual ones, and those that were timed."""
    cases = [case.split("/") for card in cards for case in as_run(card.result.get("arch", {}).get("step", {}))]
    timed = {(int(batch), int(prompt)) for batch, prompt in cases}
    return sorted(timed | {(batch, PROMPT) for batch in STEP_ROWS}, key=lambda size: size[::-1])


def step(batch: int, prompt: int) -> Reader:
    def read(card: Card) -> str:
        (took, floor, *_), remark = as_run(card.result["arch"]["step"])[f"{batch}/{prompt}"]
        return f"{over_floor(took, floor)}, {1000 * batch / took:,.0f} tokens/s{remark}"

    return read


def ampere(batch: int) -> Reader:
    def read(card: Card) -> str:
        took, floor, recorded, *_ = card.result["arch"]["ampere"][f"bfloat16/{batch}"]
        return over_floor(took, floor) + ("" if recorded else "; not recorded")

    return read


def steps_over_floor(result: Result, batch: int) -> list[float]:
    """Of prompts of every length, as a run does it."""
    cases = as_run(result.get("arch", {}).get("step", {}))
    return [
        took / floor
        for case, ((took, floor, *_), remark) in cases.items()
        if case.startswith(f"{batch}/") and not remark
    ]


def encode(mode: str, count: int) -> Reader:
    def read(card: Card) -> str:
        (took, floor, _, peak, planned, *_), remark = as_run(card.result["arch"]["encode"])[f"{mode}/{count}"]
        return f"{over_floor(took, floor)}; peak {peak / 1e9:.2f} of {planned / 1e9:.2f} GB planned{remark}"

    return read


def prefill(card: Card) -> str:
    (took, floor, _, peak, *_), remark = as_run(card.result["arch"]["prefill"])[f"16x{PROMPT}"]
    return f"{over_floor(took, floor)}; peak {peak / 1e9:.2f} GB{remark}"


def prune(card: Card) -> str:
    """The first is plain, the second is recorded, the others are replayed."""
    runs = card.result["arch"]["prune"]
    return f"{duration(median([runs[2], *runs[3:]]) / 1000)} (first {duration(runs[0] / 1000)})"


# --- Runs --------------------------------------------------------------------------------------------------------


def rows(result: Result, stage: str, engine: str | None = None) -> list[Row]:
    """The rows of a stage that were measured."""
    return [row for row in tried(result, stage, engine) if not row["error"]]


def tried(result: Result, stage: str, engine: str | None = None) -> list[Row]:
    """Those that failed too."""
    return [row for row in result["rows"] if row["stage"] == stage and engine in (None, row["engine"])]


def each_whole(result: Result, say: Callable[[Row], str]) -> str:
    """Something of every configuration of the whole; of one that failed, why."""
    return "; ".join(
        f"{row['error'] or say(row)} ({row['mode']}, ratio {row['ratio']}, {row['batch_size']} rows)"
        for row in tried(result, "whole", "rtprune")
    )


def whole_pages(card: Card) -> str:
    def say(row: Row) -> str:
        gain = row["times_generate"]
        return f"{row['pages_per_second']:.3g}" + (f", {gain:.1f}x" if gain else "")

    return each_whole(card.speed, say)


def whole_tokens(card: Card) -> str:
    return each_whole(card.speed, lambda row: f"{row['output_tokens_per_second']:,.0f}")


def large_gain(card: Card) -> str:
    return "; ".join(
        f"{row['times_unpruned']['median']:.2f}x (ratio {row['ratio']}, batch {row['batch_size']})"
        for row in rows(card.prefill, "prefill")
        if row["mode"] == "large" and "times_unpruned" in row
    )


def small_peak(card: Card) -> str:
    share, memory = card.small["settings"]["memory_fraction"], card.small["machine"]["gpu"]["memory_gib"]
    return each_whole(card.small, lambda row: f"{row['peak_memory_bytes'] / 2**30:.1f} of {share * memory:.1f} GiB")


def drills(cards: Sequence[Card]) -> list[str]:
    return list(dict.fromkeys([*DRILLS, *(name for card in cards for name in card.result.get("oom", {}))]))


def drill(name: str) -> Reader:
    def read(card: Card) -> str:
        done, count, failed, before, after, peak, *_ = card.result["oom"][name]
        failures = ", ".join(f"{number} {kind}" for kind, number in failed.items()) or "none"
        return (
            f"{done} of {count} pages out, failed: {failures}; rows {before} to {after}; "
            f"peak {peak[0]} GB allocated, {peak[1]} GB reserved"
        )

    return read


def workers(card: Card) -> str:
    return "; ".join(
        f"{name}: {duration(took)}, return code {code}" for name, (code, took, *_) in card.result["workers"].items()
    )

"""Owns what the figures of a group say about the claim, in sentences: for it, against it, or neither."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from rtprune_cli.analysis.depth import LEAST_LAYERS, MAIN_SIZE, ROWS
from rtprune_cli.analysis.trajectory import ALPHA
from rtprune_cli.storage import Json

NOTHING = "–"
WHO = {"prefill": "the prompt's last token", "decoding": "all steps"}  # whose attention
MOVED = "the same pattern moved over the page"


class Finding(NamedTuple):
    """``short`` follows "for the claim:" or "against it:"; ``text`` has the figures. ``beside``: neither."""

    verdict: Literal["for", "against", "beside"]
    short: str
    text: str


def findings(group: Json) -> list[Finding]:
    """In the order in which the claim goes."""
    return list(_findings(group))


def summary(found: Sequence[Finding]) -> str:
    """All of them in two sentences."""
    sides = [[each.short for each in found if each.verdict == verdict] or ["nothing"] for verdict in ("for", "against")]
    return f"For the claim: {'; '.join(sides[0])}. Against it: {'; '.join(sides[1])}."


def _findings(group: Json) -> Iterator[Finding]:
    depth = group["depth"]
    for row in ROWS:
        found = depth[row][MAIN_SIZE]
        yield _preference(found, WHO[row])
        yield _fall(found, WHO[row], depth["layers"])
        yield _cumulated(found, WHO[row], depth["layers"])
    yield _norms(depth["norms"])
    yield _drop(group["statistics"]["drop"])


def _preference(found: Json, who: str) -> Finding:
    mean, overlap = found["statistics"]["mean"], found["overlap"]
    null, peak = mean["null"]["shifted"], found["curve"]["peak_layer"]["value"]
    return Finding(
        "beside" if _holds(null["p"]) else "against",
        f"tokens of high norm get no more attention than others from {who}",
        f"Attention of {who}: of the {MAIN_SIZE} of the tokens with the highest norms, {figure(mean)} are among the "
        f"{MAIN_SIZE} with the most attention, mean over layers; most in layer {peak}, "
        f"{percent(overlap['value'][peak - 1])}. Chance gives {percent(overlap['chance']['value'][0])}; {MOVED} gives "
        f"{span(null)} ({p_text(null['p'])}; {_excess(null)}). The claim needs more than chance here, which says "
        "nothing of an order.",
    )


def _fall(found: Json, who: str, layers: int) -> Finding:
    fall, over, layer = found["curve"]["fall"], found["overlap"]["value"], found["curve"]["change_layer"]
    if fall["value"] is None:
        text = f"Attention of {who}: {layers} layers are too few for a course over depth ({LEAST_LAYERS} are needed)."
        return Finding("beside", "", text)
    p, at = p_text(fall["null"]["shifted"]["p"]), layer["value"]
    ends = f"from {percent(over[0])} in layer 1 to {percent(over[-1])} in layer {layers}"
    course = f"Attention of {who}: the overlap goes {ends}"
    turned = (
        f"{found['turned']['pages']} of {found['statistics']['fall']['pages']} pages have such a fall of their own."
    )
    evidence = f"{p}; size {points(fall['value'])}{interval(fall, sign=True)}"
    if not (_holds(fall["null"]["shifted"]["p"]) and _is_above_zero(fall)):
        text = f"{course}, with no fall that is sharper than chance and surely above 0 ({evidence}). {turned}"
        return Finding("against", f"the overlap with high norms does not fall with depth (attention of {who})", text)
    where = f"after layer {at}" + ("" if layer["low"] is None else f" [{layer['low']}, {layer['high']}]")
    before, after = percent(sum(over[:at]) / at), percent(sum(over[at:]) / (layers - at))
    return Finding(
        "for",
        f"the overlap with high norms falls after layer {at} (attention of {who})",
        f"{course}, with a fall {where}, on average from {before} to {after}. {MOVED.capitalize()} falls as sharply "
        f"seldom ({evidence}). {turned}",
    )


def _cumulated(found: Json, who: str, layers: int) -> Finding:
    statistic, chance = found["statistics"]["cumulated"], found["cumulated"]["chance"]["value"][-1]
    null = statistic["null"]["shifted"]
    return Finding(
        "beside",
        "",
        f"Attention of {who}, cumulated over {layers} layers: {figure(statistic)} of the tokens of highest norm are "
        "among those with the most attention in some layer. That alone says little: if each layer took its tokens by "
        f"chance, {percent(found['independent']['value'][-1])} of any tokens would be. Here the layers' choices cover "
        f"{percent(chance)} of the page, and {MOVED} gives {span(null)} ({p_text(null['p'])}; {_excess(null)}): it is "
        f"{'more' if _holds(null['p']) else 'no more'} than chance.",
    )


def _norms(norms: Json) -> Finding:
    correlation, ratio = norms["rank_correlation"]["after_last"], norms["norm_ratio"]["value"]
    p, value = correlation["null"]["shifted"]["p"], correlation["value"]
    said = "High norm persists through the layers"
    if not _holds(p):
        said = "High norm does not persist" + (", its order is turned round" if (value or 0) < 0 else "")
    return Finding(
        "beside",
        "",
        f"{said}. After the last layer the norms of the hidden states have a rank correlation of {number(value)}"
        f"{interval(correlation, scale=1, digits=2)} with those before the first ({p_text(p)} for as high a one), "
        f"and tokens of high norm have {number(ratio[-1])} times the norm of the others, at the start "
        f"{number(ratio[0])} times.",
    )


def _drop(drop: Json) -> Finding:
    null = drop["null"]["shifted"]
    holds, moved = _holds(null["p"]) and _is_above_zero(drop), span(null, sign=True, unit="")
    return Finding(
        "for" if holds else "against",
        f"over time the share of high norm {'falls' if holds else 'does not fall'}",
        f"Over the time of writing: the share of high norm in the first half less that in the second is "
        f"{points(drop['value'])}{interval(drop, sign=True)} points. {MOVED.capitalize()} gives {moved} "
        f"({p_text(null['p'])}).",
    )


def _excess(null: Json) -> str:
    return f"{points(null['excess']['value'])}{interval(null['excess'], sign=True)} points"


def _holds(p: float | None) -> bool:
    return p is not None and p <= ALPHA


def _is_above_zero(found: Json) -> bool:
    """So far as there is an interval: tokens taken by chance do not tell how pages differ."""
    return found["low"] is None or bool(found["low"] > 0)


# --- Figures in a few letters


def percent(share: float | None, digits: int = 1) -> str:
    return NOTHING if share is None else f"{100 * share:.{digits}f} %"


def points(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:+.1f}"


def number(value: float | None, digits: int = 2) -> str:
    return NOTHING if value is None else f"{value:,.{digits}f}"


def figure(estimate: Json) -> str:
    """In per cent, with the interval where there is one: 64.4 % [60.1, 68.0]."""
    return percent(estimate["value"]) + interval(estimate)


def interval(estimate: Json, *, scale: float = 100, digits: int = 1, sign: bool = False) -> str:
    """With a space before it; nothing where there is none."""
    if estimate["low"] is None:
        return ""
    low, high = (f"{scale * estimate[end]:{'+' if sign else ''},.{digits}f}" for end in ("low", "high"))
    return f" [{low}, {high}]"


def span(null: Json, *, sign: bool = False, unit: str = " %") -> str:
    """The range of a null: 35.2 to 40.1 %."""
    if null["low"] is None:
        return NOTHING
    low, high = (f"{100 * null[end]:{'+' if sign else ''}.1f}" for end in ("low", "high"))
    return f"{low} to {high}{unit}"


def p_text(p: float | None) -> str:
    return "p unknown" if p is None else f"p = {p:.3f}"

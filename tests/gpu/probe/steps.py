"""Of step arch: decoding. A step against its floor, recorded and plain, its kernels, and what its recordings hold."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch

from probe import OUT, kernels
from probe.bench import Bench, outside_bytes
from probe.clock import seconds, syncs, timed
from probe.common import DEVICE, GPU, give_back, keep, say
from probe.material import cudnn_attention, make_scheduler, prompts, told, with_kernels
from rtprune_cli.bench.speed import floors
from rtprune_cli.decoding import Scheduler
from rtprune_cli.decoding.fused import FusedStep, sizes_of
from rtprune_cli.decoding.kernels import chosen
from rtprune_cli.engine.memory import GRAPH_BYTES
from rtprune_cli.model import OcrModel

ROWS = (1, 8, 64, 128, 256) if GPU else (1, 2)
PROMPT = 283 if GPU else 40  # tokens of a page in mode base
LONG = 1290  # of one in the middle of its text
BLOCKS = 5 if GPU else 2  # of steps that are timed
WARM_BLOCKS = 3  # in which steps run plainly and are recorded, one as later ones, and one more


class Case(NamedTuple):
    """Steps that were timed, in milliseconds: the first block and the second, and a step of later ones."""

    scheduler: Scheduler
    first: float
    second: float
    step: float


def decode_case(
    model: OcrModel,
    rows: int,
    length: int,
    *,
    graphs: bool = True,
    blocks: int = BLOCKS,
    fused: FusedStep | None = None,
) -> Case:
    """Decode ``rows`` pages with prompts of ``length`` tokens; they go on after it."""
    new = 8 * (blocks + WARM_BLOCKS + 5)
    scheduler = make_scheduler(model, rows, length, new, cuda_graphs=graphs, fused=fused)
    for key, page in enumerate(prompts(model, rows, length)):
        scheduler.add(key, page)
    first, second = (seconds(scheduler.step) * 1e3 for _ in range(2))
    scheduler.step()
    took = seconds(lambda: [scheduler.step() for _ in range(blocks)]) * 1e3
    if len(scheduler.keys) < rows:  # a step that fails is tried again in halves
        raise RuntimeError(f"only {len(scheduler.keys)} of {rows} rows are left")
    return Case(scheduler, first, second, took / (blocks * scheduler._steps))


def step_floor(bench: Bench, model: OcrModel, rows: int, length: int) -> float:
    context = length + 8 * (WARM_BLOCKS + BLOCKS / 2)
    return bench.floor_ms(floors.step_cost(bench.text, rows, context, model.dtype.itemsize))


def sizes(bench: Bench) -> list[int]:
    """Rows of a step: the usual ones that fit, and as many as the plan allows where those are fewer."""
    most = bench.rows() if GPU else max(ROWS)
    return sorted({min(rows, most) for rows in ROWS})


def _decode_cases(bench: Bench) -> Iterator[tuple[int, int, bool, bool]]:
    """Rows, tokens of a prompt, cuDNN's attention, recorded; as a run does it first."""
    yield from ((rows, PROMPT, False, True) for rows in sizes(bench))
    if not GPU:
        yield 2, PROMPT, False, False
        return
    yield from ((rows, LONG, False, True) for rows in (64, 128))
    yield from ((rows, PROMPT, False, False) for rows in (1, 64))
    yield from ((rows, PROMPT, True, True) for rows in (1, 64, 128))
    yield 64, LONG, True, True


def decode(bench: Bench) -> None:
    """Steps against their floor, recorded and plain, with and without cuDNN's attention; what recordings take."""
    out, held = {}, {}
    for rows, length, cudnn, graphs in _decode_cases(bench):
        give_back()
        before = outside_bytes() if GPU else 0
        with cudnn_attention(cudnn):
            case = decode_case(bench.model, rows, length, graphs=graphs)
        floor = step_floor(bench, bench.model, rows, length)
        say(
            f"step rows {rows:3} prompt {length:4} cudnn {cudnn!s:5} graphs {graphs!s:5}: {case.step:7.2f} ms = "
            f"{rows / case.step * 1e3:6.0f} tok/s, floor {floor:.2f} ms ({case.step / floor:.1f}x); "
            f"first block {case.first:.0f} ms, second {case.second:.0f} ms; {told(case.scheduler.graphs)}"
        )
        key = f"{rows}/{length}/cudnn={cudnn}/graphs={graphs}"
        out[key] = [case.step, floor, case.first, case.second]
        keep("arch", step=out)
        if GPU:
            held[key] = _held(case, before)
            keep("arch", step_memory=held)
        del case


def with_and_without_kernels(bench: Bench) -> None:
    """Steps with rtprune's kernels, and in turn without; what those are that are used, and each one's own time."""
    fused = with_kernels(bench.model)
    say(f"kernels: {', '.join(fused.kernels) if fused else 'none'}")
    out: dict[str, list[float]] = {}
    for length, rows in ((length, rows) for length in (PROMPT, LONG) for rows in sizes(bench)):
        give_back()
        took = [decode_case(bench.model, rows, length, fused=each).step for each in (None, fused, None, fused)]
        without, with_them = min(took[::2]), min(took[1::2])
        floor = step_floor(bench, bench.model, rows, length)
        say(
            f"step rows {rows:3} prompt {length:4}: {without:.2f} ms, with kernels {with_them:.2f} ms = "
            f"{rows / with_them * 1e3:.0f} tok/s ({with_them / floor:.1f}x its floor): {without / with_them:.2f}x"
        )
        out[f"{rows}/{length}"] = [without, with_them, floor]
        keep("arch", kernels_step=out)
        if not GPU:
            break
    if fused:
        keep("arch", kernels=list(fused.kernels), kernel_ms=_each_kernel(bench))


def _each_kernel(bench: Bench) -> dict[str, list[float]]:
    """Milliseconds of each kernel and of its twin, on the trial of chosen.py."""
    sizes_there = sizes_of(bench.model.network)
    assert sizes_there is not None
    plain, own = chosen.twins(), chosen.kernels() if GPU else chosen.twins()
    found = {}
    for name, arguments in chosen._trials(sizes_there, DEVICE, bench.model.dtype):
        found[name] = [timed(partial(getattr(each, name), *arguments)).usual for each in (own, plain)]
        say(f"kernel {name}: {found[name][0]:.3f} ms, its twin {found[name][1]:.3f}")
    return found


def _held(case: Case, before: int) -> dict[str, int]:
    """Bytes that a scheduler's recordings hold, in torch's pool and outside of it, and what is planned for one."""
    torch.cuda.empty_cache()
    return {
        "pool": int(torch.cuda.memory_reserved() - torch.cuda.memory_allocated()),
        "outside": outside_bytes() - before,
        "recorded": case.scheduler.graphs.recorded,
        "planned_outside": GRAPH_BYTES,
    }


def profile_steps(bench: Bench) -> None:
    """Kernels of a step and the gaps between them; where the host waits."""
    for rows, cudnn in ((64, False), (1, False), (64, True)) if GPU else ((1, False),):
        with cudnn_attention(cudnn):
            scheduler = decode_case(bench.model, rows, PROMPT, blocks=1).scheduler
            trace = OUT / "trace.json.gz" if GPU and rows == 64 and not cudnn else None
            found = kernels.profile(scheduler.step, trace)
            waits = syncs(scheduler.step)
        kernels.tell(f"a step of {rows} rows, cudnn {cudnn}", found, scheduler._steps)
        say(f"waits in a block of steps: {waits}")
        keep("arch", **{f"profile_step_{rows}_cudnn_{cudnn}": found, f"waits_step_{rows}_cudnn_{cudnn}": waits})
        del scheduler

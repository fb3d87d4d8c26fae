"""Owns a run of `rtprune bench speed`: which stages in which order, and the result as one JSON document."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import product
from typing import Any

import torch

from rtprune_cli.bench.speed import arch, machine
from rtprune_cli.bench.speed.arch import architecture_of
from rtprune_cli.bench.speed.material import UNPRUNED, Material
from rtprune_cli.bench.speed.pages import make_page
from rtprune_cli.bench.speed.plan import SpeedPlan
from rtprune_cli.bench.speed.stages import SpeedRow, Stages
from rtprune_cli.bench.speed.table import line
from rtprune_cli.commandline import command_line
from rtprune_cli.device.hardware import pick_device, pick_dtype
from rtprune_cli.errors import EnvironmentFault, UsageError
from rtprune_cli.failures import free_memory, is_out_of_memory
from rtprune_cli.logs import NOTICE
from rtprune_cli.model import Checkpoint, OcrModel, locate
from rtprune_cli.options import Mode, ModelOptions
from rtprune_cli.report import facts
from rtprune_cli.views.grid import page_tokens

log = logging.getLogger("rtprune")

SCHEMA_VERSION = 1


def run(plan: SpeedPlan, on_row: Callable[[dict[str, Any]], None] = lambda _: None) -> dict[str, Any]:
    """Time what the plan asks for. ``on_row`` gets the result as far as it is there, whenever a row was added.

    A part that does not fit into memory has a row with ``error``, and the others go on.

    Raises:
        UsageError: the model cannot see a mode, or reads no contexts of many pages; the pages that are asked for do
            not fit into its positions.
        ModelError: the checkpoint cannot be loaded.
        EnvironmentFault: the device is not there.
    """
    device = pick_device(plan.device)
    if plan.memory_fraction is not None:
        if device.type != "cuda":
            raise EnvironmentFault("--memory-fraction needs a GPU", "Leave it out, or choose one with --device")
        torch.cuda.set_per_process_memory_fraction(plan.memory_fraction, device)
    found = _checkpoint(plan, device)
    modes = _modes(plan, found)
    model = arch.build(found, plan.seed) if plan.arch is not None else found.load()
    rates = machine.measure_rates(device, model.dtype)
    settings = asdict(plan) | {"modes": modes, "batch_sizes": plan.batches, "stages": plan.timed}
    settings.pop("prune")
    result: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kind": "speed",
        "complete": False,
        "started": facts.now(),
        "command": command_line(),
        "machine": facts.machine_facts(device),
        "versions": facts.versions(facts.TIMED),
        "model": _model_facts(model),
        "settings": settings,
        "rates": {"bandwidth_bytes_per_second": rates.bandwidth, "matmul_flops_per_second": rates.matmul},
        "rows": [],
    }
    images = [make_page(plan.seed + number) for number in range(plan.page_count)]
    for mode in modes:
        stages = Stages(Material(model, plan, mode, images), plan, rates)
        if not plan.pages_per_context:
            _check_length(stages, plan)
        for row in (_context_rows if plan.pages_per_context else _rows)(stages, plan):
            log.log(NOTICE, "%s", line(row))
            result["rows"].append(row)
            on_row(result)
    result["machine"]["load_after"] = facts.load()  # others that used the same cores would show here
    result["complete"] = True
    on_row(result)
    return result


def _checkpoint(plan: SpeedPlan, device: torch.device) -> Checkpoint:
    """What is timed, without its weights: what it cannot do is said before minutes were spent on them."""
    if plan.arch is not None:
        return arch.describe(plan.arch, device, pick_dtype(plan.dtype, device))
    return locate(ModelOptions(model=str(plan.model), device=str(device), dtype=plan.dtype))


def _modes(plan: SpeedPlan, found: Checkpoint) -> tuple[Mode, ...]:
    """The modes that are timed, all of which it can see."""
    if not plan.pages_per_context:
        modes = tuple(dict.fromkeys((*(plan.modes or architecture_of(found).modes), *plan.view_sides)))
        for mode in modes:
            found.view_spec(mode)
        return modes
    rules = found.context_rules
    page = page_tokens(found.view_spec(rules.mode))
    text = 1 + architecture_of(found).context_text_after + plan.output_tokens
    most = (found.positions - text) // page
    if max(plan.pages_per_context) > most:
        raise UsageError(
            f"{found.name} has room for {most} pages a context and {plan.output_tokens} output tokens",
            "Give fewer --pages-per-context, or fewer --output-tokens",
        )
    return (rules.mode,)


def _context_rows(stages: Stages, plan: SpeedPlan) -> Iterator[SpeedRow]:
    for stage, together in product(plan.timed, plan.pages_per_context or ()):
        for ratio, batch_size in product(plan.ratios, plan.batches):
            work = partial(getattr(stages, stage), ratio, batch_size, together)
            yield from _guarded(stages, f"context {stage}", ratio, batch_size, work, together)


def _rows(stages: Stages, plan: SpeedPlan) -> Iterator[SpeedRow]:
    if "preprocess" in plan.timed:
        yield from stages.preprocess()
    if "encode" in plan.timed:
        for batch_size in plan.batches:
            yield from _guarded(stages, "encode", None, batch_size, partial(stages.encode, batch_size))
    for stage in ("prune", "prefill", "step"):
        if stage in plan.timed:
            for ratio, batch_size in product(plan.pruning if stage == "prune" else plan.ratios, plan.batches):
                work = partial(getattr(stages, stage), ratio, batch_size)
                yield from _guarded(stages, stage, ratio, batch_size, work)
    if "whole" in plan.timed:
        baseline: float | None = None
        for row in _guarded(stages, "whole", UNPRUNED, 1, stages.generate):
            baseline = row.get("pages_per_second")
            yield row
        for ratio, batch_size in product(plan.ratios, plan.batches):
            work = partial(stages.whole, ratio, batch_size, baseline)
            yield from _guarded(stages, "whole", ratio, batch_size, work)


def _guarded(
    stages: Stages,
    stage: str,
    ratio: str | None,
    batch_size: int,
    work: Callable[[], Iterator[SpeedRow]],
    together: int | None = None,
) -> Iterator[SpeedRow]:
    """The rows of one part; where memory is short, one that says so."""
    try:
        yield from list(work())
        return
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        log.debug("out of memory", exc_info=True)
    free_memory()
    yield {
        "stage": stage,
        "engine": "rtprune",
        "mode": stages.mode,
        "ratio": ratio,
        "batch_size": batch_size,
        "pages": batch_size * (together or 1),
        **({} if together is None else {"pages_per_context": together}),
        "seconds": [],
        "error": "out_of_memory",
    }


def _model_facts(model: OcrModel) -> dict[str, Any]:
    parameters = list(model.network.parameters())
    sizes = {
        "parameters": sum(p.numel() for p in parameters),
        "weight_bytes": sum(p.numel() * p.element_size() for p in parameters),
    }
    own = facts.model_facts(model)
    return {
        **{name: own[name] for name in ("name", "revision")},
        **sizes,
        **{name: own[name] for name in ("device", "dtype", "attention", "experts")},
        "prompt_text_tokens": 1 + architecture_of(model).text_after,
    }


def _check_length(stages: Stages, plan: SpeedPlan) -> None:
    """Raises UsageError where a page would end before its time, so that its tokens were not those asked for."""
    room = stages.model.text_config.max_position_embeddings - stages.material.prompts(UNPRUNED, 1)[0].next_position
    if stages.output_length > room:
        raise UsageError(
            f"mode {stages.mode} leaves room for {room} output tokens", f"Give --output-tokens {room} or less"
        )

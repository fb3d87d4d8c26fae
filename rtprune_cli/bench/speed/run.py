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
from rtprune_cli.bench.speed.arch import TEXT_TOKENS
from rtprune_cli.bench.speed.material import UNPRUNED, Material
from rtprune_cli.bench.speed.pages import make_page
from rtprune_cli.bench.speed.plan import SpeedPlan
from rtprune_cli.bench.speed.stages import SpeedRow, Stages
from rtprune_cli.bench.speed.table import line
from rtprune_cli.device.hardware import pick_device, pick_dtype
from rtprune_cli.errors import EnvironmentFault, UsageError
from rtprune_cli.failures import free_memory, is_out_of_memory
from rtprune_cli.logs import NOTICE
from rtprune_cli.model import OcrModel, load
from rtprune_cli.options import ModelOptions
from rtprune_cli.report import facts

log = logging.getLogger("rtprune")

SCHEMA_VERSION = 1


def run(plan: SpeedPlan, on_row: Callable[[dict[str, Any]], None] = lambda _: None) -> dict[str, Any]:
    """Time what the plan asks for. ``on_row`` gets the result as far as it is there, whenever a row was added.

    A part that does not fit into memory has a row with ``error``, and the others go on.

    Raises:
        UsageError: the pages that are asked for do not fit into the model's positions.
        ModelError: the checkpoint cannot be loaded.
        EnvironmentFault: the device is not there.
    """
    device = pick_device(plan.device)
    if plan.memory_fraction is not None:
        if device.type != "cuda":
            raise EnvironmentFault("--memory-fraction needs a GPU", "Leave it out, or choose one with --device")
        torch.cuda.set_per_process_memory_fraction(plan.memory_fraction, device)
    model = _model(plan, device)
    rates = machine.measure_rates(device, model.dtype)
    settings = asdict(plan)
    settings.pop("prune")
    result: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kind": "speed",
        "complete": False,
        "started": facts.now(),
        "command": facts.command_line(),
        "machine": facts.machine_facts(device),
        "versions": facts.versions(facts.TIMED),
        "model": _model_facts(model),
        "settings": settings,
        "rates": {"bandwidth_bytes_per_second": rates.bandwidth, "matmul_flops_per_second": rates.matmul},
        "rows": [],
    }
    images = [make_page(plan.seed + number) for number in range(plan.page_count)]
    for mode in plan.modes:
        stages = Stages(Material(model, plan, mode, images), plan, rates)
        _check_length(stages, plan)
        for row in _rows(stages, plan):
            log.log(NOTICE, "%s", line(row))
            result["rows"].append(row)
            on_row(result)
    result["machine"]["load_after"] = facts.load()  # others that used the same cores would show here
    result["complete"] = True
    on_row(result)
    return result


def _rows(stages: Stages, plan: SpeedPlan) -> Iterator[SpeedRow]:
    if "preprocess" in plan.stages:
        yield from stages.preprocess()
    if "encode" in plan.stages:
        for batch_size in plan.batch_sizes:
            yield from _guarded(stages, "encode", None, batch_size, partial(stages.encode, batch_size))
    for stage in ("prune", "prefill", "step"):
        if stage in plan.stages:
            for ratio, batch_size in product(plan.pruning if stage == "prune" else plan.ratios, plan.batch_sizes):
                work = partial(getattr(stages, stage), ratio, batch_size)
                yield from _guarded(stages, stage, ratio, batch_size, work)
    if "whole" in plan.stages:
        baseline: float | None = None
        for row in _guarded(stages, "whole", UNPRUNED, 1, stages.generate):
            baseline = row.get("pages_per_second")
            yield row
        for ratio, batch_size in product(plan.ratios, plan.batch_sizes):
            work = partial(stages.whole, ratio, batch_size, baseline)
            yield from _guarded(stages, "whole", ratio, batch_size, work)


def _guarded(
    stages: Stages, stage: str, ratio: str | None, batch_size: int, work: Callable[[], Iterator[SpeedRow]]
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
        "pages": batch_size,
        "seconds": [],
        "error": "out_of_memory",
    }


def _model(plan: SpeedPlan, device: torch.device) -> OcrModel:
    if plan.arch is not None:
        return arch.build(plan.arch, device, pick_dtype(plan.dtype, device), plan.seed)
    return load(ModelOptions(model=str(plan.model), device=str(device), dtype=plan.dtype))


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
        "prompt_text_tokens": TEXT_TOKENS,
    }


def _check_length(stages: Stages, plan: SpeedPlan) -> None:
    """Raises UsageError where a page would end before its time, so that its tokens were not those asked for."""
    room = stages.model.text_config.max_position_embeddings - stages.material.prompts(UNPRUNED, 1)[0].next_position
    if stages.output_length > room:
        raise UsageError(
            f"mode {stages.mode} leaves room for {room} output tokens", f"Give --output-tokens {room} or less"
        )

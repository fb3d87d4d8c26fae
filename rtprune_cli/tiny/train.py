"""Train the bundled model from scratch: ``python -m rtprune_cli.tiny.train --config train.json --output DIR``.

The schedule runs by wall clock: the rate warms up, stays, and falls linearly to zero over the last part of
``--minutes``. State is saved every few minutes; ``--resume`` goes on with it. ``--init`` starts from the weights of a
checkpoint in place of random ones; the dense losses' heads are always new.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from rtprune_cli.device.hardware import pick_device, pick_dtype
from rtprune_cli.model import load
from rtprune_cli.options import ModelOptions
from rtprune_cli.tiny.labels import Batches, Recipe, TrainingBatch
from rtprune_cli.tiny.losses import Heads, Objective, total_loss
from rtprune_cli.tiny.network import build, raw_config, save
from rtprune_cli.tiny.optim import Muon
from rtprune_cli.tiny.pages import Mix

LOG_EVERY = 25  # steps


def split_parameters(network: nn.Module, heads: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Hidden matrices for Muon; embeddings, read-outs, vectors and the router for AdamW."""
    matrices: list[Tensor] = []
    rest: list[Tensor] = list(heads.parameters())
    for name, weight in network.named_parameters():
        hidden = weight.dim() >= 2 and not any(
            part in name for part in ("embed", "rel_pos", "lm_head", "gate.weight", "newline", "separator")
        )
        (matrices if hidden else rest).append(weight)
    return matrices, rest


def rate(elapsed: float, total: float, step: int, settings: dict[str, Any]) -> float:
    """Factor of the learning rates at ``elapsed`` of ``total`` seconds."""
    left = (1 - elapsed / total) / settings["decay_share"]
    return min(1.0, (step + 1) / settings["warmup_steps"], max(left, 0.0))


def keep_freed_memory() -> None:
    """Let the C library keep what is freed; nothing where it is not glibc.

    A step frees and asks for gigabytes in large tensors. By default each is mapped anew, and the system clears its
    pages: on a CPU that takes up to half of the step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        m_trim_threshold, m_top_pad, m_mmap_max, m_arena_max = -1, -2, -4, -8
        for option, value in ((m_trim_threshold, 2**31 - 1), (m_top_pad, 2**28), (m_mmap_max, 0), (m_arena_max, 1)):
            mallopt(option, value)


def batches(
    settings: dict[str, Any], data: dict[str, Any], phase: int, step: int, workers: int
) -> Iterator[TrainingBatch]:
    """A phase's batches from ``step`` on; page seeds depend on the step alone, so resuming repeats nothing."""
    shares = data["phases"][phase]
    mixes = {mode: _mix(values) for mode, values in shares["mixes"].items()}
    recipe = Recipe(data["seed"], mixes, tuple(data["zooms"]), shares["modes"], shares["prompts"])
    # Groups are counted from the step on: a phase that begins inside a group begins with the next one.
    source = Batches(recipe, settings["batch"])
    rest = torch.utils.data.Subset(source, range(-(-step // Batches.GROUP), len(source)))
    loader = DataLoader(rest, None, num_workers=workers, prefetch_factor=3 if workers else None)
    for group in loader:
        yield from group


def _mix(values: dict[str, Any]) -> Mix:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return Mix(**fields)


def cut_log(path: Path, step: int) -> None:
    """Leave out the rows of steps that were done after the state was saved, and are lost."""
    if path.exists():
        head, *rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text(head + "".join(row for row in rows if int(row.split(",")[0]) <= step), encoding="utf-8")


def log_row(path: Path, row: dict[str, Any]) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(" ".join(f"{k}={v}" for k, v in row.items()), flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("train.json"))
    parser.add_argument("--output", type=Path, required=True, help="folder for state.pt, log.csv and checkpoint/")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--init", type=Path, help="checkpoint folder to start from")
    parser.add_argument("--minutes", type=float, help="training time in all, resumed time included")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=1, help="rendering processes")
    options = parser.parse_args(arguments)
    if os.name == "posix":
        keep_freed_memory()
    config = json.loads(options.config.read_text(encoding="utf-8"))
    settings, raw = config["training"], raw_config(config["model"])
    seconds = 60 * (settings["minutes"] if options.minutes is None else options.minutes)
    device = pick_device(options.device)
    dtype = pick_dtype("auto", device)
    options.output.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(settings["seed"])
    network = build(raw)
    if options.init:
        network.load_state_dict(load(ModelOptions(str(options.init), device="cpu")).network.state_dict())
    network = network.to(device).train()
    text, sam = config["model"]["text"], config["model"]["sam"]
    heads = Heads(sam["output_channels"], text["hidden_size"]).to(device)
    matrices, rest = split_parameters(network, heads)
    optimizers = [
        Muon(matrices, lr=settings["muon_lr"], weight_decay=settings["weight_decay"], dtype=dtype),
        torch.optim.AdamW(rest, lr=settings["adam_lr"], betas=(0.9, 0.98), weight_decay=0.0),
    ]
    peak = [settings["muon_lr"], settings["adam_lr"]]
    step, before = 0, 0.0
    state_path = options.output / "state.pt"
    if options.resume and state_path.exists():
        state = torch.load(state_path, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        heads.load_state_dict(state["heads"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        step, before = state["step"], state["elapsed"]
        cut_log(options.output / "log.csv", step)
    objective = Objective(
        weights=settings["weights"],
        guided={int(layer): which for layer, which in settings["guided"].items()},
        corruption=settings["corruption"],
        generator=torch.Generator().manual_seed(settings["seed"] + step),
    )

    def store(elapsed: float) -> None:
        state = {
            "network": network.state_dict(),
            "heads": heads.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "step": step,
            "elapsed": elapsed,
        }
        torch.save(state, state_path.with_suffix(".new"))
        state_path.with_suffix(".new").replace(state_path)
        save(network, raw, options.output / "checkpoint")

    start = saved_at = time.monotonic()
    sums: dict[str, float] = defaultdict(float)
    summed = 0  # steps; fewer than LOG_EVERY after resuming between two rows
    phases, phase, source = config["data"]["phases"], -1, None
    while (elapsed := before + time.monotonic() - start) < seconds:
        due = sum(elapsed / seconds >= p["until"] for p in phases[:-1])
        if source is None or due != phase:
            phase, source = due, batches(settings, config["data"], due, step, options.workers)
        batch = next(source)
        factor = rate(elapsed, seconds, step, settings)
        for optimizer, lr in zip(optimizers, peak, strict=True):
            optimizer.param_groups[0]["lr"] = lr * factor
        objective.prune_share = settings["prune_share"] if elapsed / seconds >= settings["prune_from"] else 0.0
        batch = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16):
            loss, parts = total_loss(network, heads, batch, objective)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_([*matrices, *rest], settings["clip_norm"])
        for optimizer in optimizers:
            optimizer.step()
        step, summed = step + 1, summed + 1
        for name, value in {**parts, "total": loss, "grad": norm}.items():
            sums[name] += float(value.detach())
        if step % LOG_EVERY == 0:
            elapsed = before + time.monotonic() - start
            row = {"step": step, "minutes": round(elapsed / 60, 2), "rate": round(factor, 3)}
            log_row(options.output / "log.csv", row | {k: round(v / summed, 4) for k, v in sums.items()})
            sums.clear()
            summed = 0
        if time.monotonic() - saved_at > 60 * settings["save_every_minutes"]:
            saved_at = time.monotonic()
            store(before + saved_at - start)
    store(before + time.monotonic() - start)


if __name__ == "__main__":
    main()

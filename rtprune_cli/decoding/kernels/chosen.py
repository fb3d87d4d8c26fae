"""Which kernels a device runs: those that say there what their twins say, on the model's own shapes."""

from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from rtprune_cli.device.hardware import capability

log = logging.getLogger("rtprune")

OLDEST = (8, 0)  # compute capability, of Ampere: before, Triton's products have no bfloat16
ROWS, TOKENS = 5, 200  # of the trial
# How far a kernel may be from its twin in float32, as a share of the twin's norm: some roundings
FAR = {torch.bfloat16: 2e-2, torch.float16: 4e-3, torch.float32: 1e-4}

Function = Callable[..., Any]


@dataclass(frozen=True)
class Kernels:
    """The functions of a step, as in norm.py, attention.py, experts.py and choosing.py; of ``experts`` and ``pick``
    None: what there is without kernels."""

    add_norm: Function
    attend: Function
    route: Function
    experts: Function | None
    pick: Function | None
    names: tuple[str, ...] = ()  # of those that are kernels


@dataclass(frozen=True)
class Sizes:
    """Of a decoder: as the letters in attention.py and experts.py."""

    hidden: int
    heads: int
    groups: int
    head: int
    experts: int
    inner: int
    top_k: int
    shared: int
    vocabulary: int
    eps: float
    scale: float


def twins() -> Kernels:
    """What defines the kernels, for any device; nothing for everyday."""
    from rtprune_cli.decoding.kernels import attention, choosing, experts, norm

    return Kernels(
        norm.add_norm_twin, attention.attend_twin, experts.route_twin, experts.experts_twin, choosing.pick_twin
    )


def kernels() -> Kernels:
    """All of them."""
    from rtprune_cli.decoding.kernels import attention, choosing, experts, norm

    names = tuple(field.name for field in fields(Kernels) if field.name != "names")
    return Kernels(norm.add_norm, attention.attend, experts.route, experts.experts, choosing.pick, names)


@functools.cache
def choose(sizes: Sizes, device: torch.device, dtype: torch.dtype) -> Kernels | None:
    """The kernels for a decoder of these sizes, on a device that :func:`may_have` them; None: steps run without."""
    return sound(kernels(), sizes, device, dtype)


def may_have(device: torch.device) -> bool:
    """Whether there are kernels for a device."""
    if device.type != "cuda" or (capability(device) or (0, 0)) < OLDEST:
        return False
    there = importlib.util.find_spec("triton") is not None
    if not there:
        log.debug("Triton is not installed: steps run without its kernels")
    return there


def sound(found: Kernels, sizes: Sizes, device: torch.device, dtype: torch.dtype) -> Kernels | None:
    """Those of ``found`` that agree with their twins; a warning names each other one.

    In the place of a norm or of the routing stands its twin, in that of the others what there is without kernels:
    without attention that is everything.
    """
    plain = twins()
    for name, arguments in _trials(sizes, device, dtype):
        reason = _fault(getattr(found, name), getattr(plain, name), arguments, FAR[dtype])
        if reason is None:
            continue
        log.warning("the kernel %s is left out: %s", name, reason)
        if name == "attend":
            return None
        names = tuple(each for each in found.names if each != name)
        change: dict[str, Any] = {"names": names, name: None if name in ("experts", "pick") else getattr(plain, name)}
        found = replace(found, **change)
    return found


def _fault(kernel: Function, twin: Function, arguments: Sequence[Any], far: float) -> str | None:
    """What is wrong with a kernel, in a few words."""
    try:
        said = _tensors(kernel(*map(_copy, arguments)))
    except Exception as error:
        log.debug("a kernel", exc_info=True)
        return f"it fails ({type(error).__name__})"
    right = _tensors(twin(*(_copy(each, wide=True) for each in arguments)))
    for own, other in zip(said, right, strict=True):
        distance = (own.double() - other.double()).norm() / other.double().norm().clamp_min(1e-12)
        if not distance <= far:  # NaN is far
            return f"it is {float(distance):.1g} from what it should say"
    return None


def _tensors(said: Any) -> tuple[Tensor, ...]:
    return said if isinstance(said, tuple) else (said,)


def _copy(value: Any, *, wide: bool = False) -> Any:
    """A kernel may write to what it is given."""
    if not isinstance(value, Tensor):
        return value
    return value.float() if wide and value.is_floating_point() else value.clone()


def _trials(sizes: Sizes, device: torch.device, dtype: torch.dtype) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Each kernel's name and what it is tried on: rows of several lengths, of the decoder's sizes."""
    random = torch.Generator().manual_seed(0)

    def some(*shape: int, spread: float = 1.0) -> Tensor:
        return (torch.randn(*shape, generator=random) * spread).to(device, dtype)

    s = sizes
    hidden = some(ROWS, s.hidden)
    yield "add_norm", (hidden, some(ROWS, 2, s.hidden), some(s.hidden), s.eps)
    angles = torch.rand(ROWS, s.head // 2, generator=random).repeat(1, 2)
    last = torch.linspace(0, TOKENS - 1, ROWS).long().to(device)
    places = torch.tensor([int(each) // 2 for each in last]).to(device)
    cache = [some(ROWS, s.groups, TOKENS, s.head) for _ in range(2)]
    turned = [each.to(device, dtype) for each in (angles.cos(), angles.sin())]
    yield "attend", (some(ROWS, (s.heads + 2 * s.groups) * s.head), *turned, *cache, places, last, s.heads)
    gate = some(s.experts, s.hidden, spread=s.hidden**-0.5)
    yield "route", (hidden, gate, s.top_k, s.scale, s.shared)
    count = min(s.experts, 2 * s.top_k)  # as many as a trial needs: to draw all would take seconds
    chosen = torch.stack([torch.randperm(count + s.shared, generator=random) for _ in range(ROWS)])
    chosen = chosen[:, : s.top_k + s.shared].int().to(device)
    weights = torch.rand(chosen.shape, generator=random).to(device)
    gate_up = some(count, 2 * s.inner, s.hidden, spread=s.hidden**-0.5)
    down = some(count, s.hidden, s.inner, spread=s.inner**-0.5)
    shared = [some(s.shared * s.inner, s.hidden, spread=s.hidden**-0.5) for _ in range(2)]
    shared.append(some(s.hidden, s.shared * s.inner, spread=s.inner**-0.5))
    yield "experts", (hidden, chosen, weights, gate_up, down, *shared)
    logits, tops = some(ROWS, s.vocabulary), torch.randint(s.vocabulary, (2, ROWS), generator=random).to(device)
    at = torch.arange(ROWS, device=device)
    logits[at, tops[1]], logits[at, tops[0]] = 20.0, 24.0  # no other comes near them
    seen = torch.cat([tops[:1, :3], torch.full((1, ROWS - 3), -1, device=device)], dim=1)[0]  # banned in three rows
    runs = torch.full((ROWS, 4), 5, dtype=torch.int32, device=device)
    follows, bannable = (torch.ones(size, dtype=torch.bool, device=device) for size in (4, s.vocabulary))
    yield "pick", (logits, seen[:, None].repeat(1, 4), runs, follows, bannable, 5)

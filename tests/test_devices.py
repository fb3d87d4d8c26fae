"""What a device is and can do."""

from __future__ import annotations

import pytest
import torch

from rtprune_cli.device import hardware
from rtprune_cli.device.hardware import Capability, pick_device, pick_dtype
from rtprune_cli.errors import EnvironmentFault

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "meta"])
def test_devices_that_are_not_there_are_refused(name: str) -> None:
    with pytest.raises(EnvironmentFault):
        pick_device(name)


@pytest.mark.parametrize(
    ("computes", "small", "dtype"),
    [(True, False, torch.bfloat16), (True, True, torch.float32), (False, False, torch.float32)],
)
def test_dtype_on_a_cpu_follows_what_it_computes_in_and_the_models_size(
    computes: bool, small: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "_cpu_has_bfloat16", lambda: computes)
    assert pick_dtype("auto", CPU, small=small) is dtype


@pytest.mark.parametrize(
    ("found", "dtype"),
    [
        ((12, 0), torch.bfloat16),  # RTX 50
        ((9, 0), torch.bfloat16),  # H100, H200
        ((8, 9), torch.bfloat16),  # L4, RTX 40
        ((8, 0), torch.bfloat16),  # A100
        ((7, 5), torch.float16),  # T4
        ((7, 0), torch.float16),  # V100
        ((6, 1), torch.float32),  # GTX 10, P40
        (None, torch.bfloat16),  # not NVIDIA's
    ],
)
def test_dtype_on_a_gpu_follows_its_units(
    found: Capability | None, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "capability", lambda _: found)
    assert pick_dtype("auto", CUDA) is dtype


def test_a_dtype_that_was_given_is_kept() -> None:
    assert pick_dtype("float16", CPU) is torch.float16


def test_a_cpu_has_no_capability() -> None:
    assert hardware.capability(CPU) is None


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What :func:`hardware.set_up` sets in torch, which is left alone."""
    seen: dict[str, object] = {}

    class Backend:
        def __init__(self, name: str) -> None:
            object.__setattr__(self, "name", name)

        def __setattr__(self, name: str, value: object) -> None:
            seen[f"{self.name}.{name}"] = value

    monkeypatch.setattr(torch.cuda, "set_device", lambda device: seen.update(device=device))
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", lambda on: seen.update(cudnn_attention=on))
    monkeypatch.setattr(torch.backends, "cudnn", Backend("cudnn"))
    monkeypatch.setattr(torch.backends.cuda, "matmul", Backend("matmul"))
    return seen


def test_a_gpu_is_set_up_without_cudnns_attention(settings: dict[str, object]) -> None:
    hardware.set_up(CUDA, torch.bfloat16)
    assert settings == {"device": CUDA, "cudnn_attention": False}


def test_float32_on_a_gpu_is_exact(settings: dict[str, object]) -> None:
    hardware.set_up(CUDA, torch.float32)
    assert settings["cudnn.allow_tf32"] is settings["matmul.allow_tf32"] is False


def test_on_a_cpu_nothing_is_set(settings: dict[str, object]) -> None:
    hardware.set_up(CPU, torch.float32)
    assert not settings

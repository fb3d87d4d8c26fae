"""What an exception means for the pages at work."""

from __future__ import annotations

import pytest
import torch

from rtprune_cli.failures import Failure, failure_of, free_memory, is_out_of_memory

# As torch words them: the caching allocator, the driver, cuBLAS, cuDNN, and the host's memory.
SHORT = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", SHORT, ids=lambda error: f"{type(error).__name__} {error}"[:50])
def test_short_memory_is_known_in_all_its_guises(error: Exception) -> None:
    assert failure_of(error) == Failure(type(error).__name__, out_of_memory=True)


def test_short_memory_is_known_behind_the_error_of_cleaning_up() -> None:
    with pytest.raises(torch.AcceleratorError) as raised:
        try:
            raise torch.OutOfMemoryError
        finally:
            raise torch.AcceleratorError("CUDA error: operation failed due to a previous error during capture")
    assert is_out_of_memory(raised.value)


def test_a_broken_gpu_is_no_failure_of_a_page() -> None:
    with pytest.raises(torch.AcceleratorError):
        failure_of(torch.AcceleratorError("CUDA error: an illegal memory access was encountered"))


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("memory of an elephant")])
def test_other_errors_are_not_short_memory(error: Exception) -> None:
    assert failure_of(error) == Failure(type(error).__name__)


def test_freeing_memory_never_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", fail)
    free_memory()

"""What an exception means for the pages at work."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import PurePosixPath
from typing import Any

import pytest
import torch

from rtprune_cli.errors import EnvironmentFault, OutOfMemoryError, PageFailedError, UsageError
from rtprune_cli.failures import Failure, PageFailure, at_page, failure_of, free_memory, is_out_of_memory
from rtprune_cli.model import OcrModel
from rtprune_cli.records import Document

DOCUMENT = Document(None, "scan.pdf", PurePosixPath("scan"))
GONE = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

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
        failure_of(GONE)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("memory of an elephant")])
def test_other_errors_are_not_short_memory(error: Exception) -> None:
    assert failure_of(error) == Failure(type(error).__name__)


def test_freeing_memory_never_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", fail)
    free_memory()


# --- At a page


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ValueError("secret"), PageFailedError, "page 3 of scan.pdf could not be read (ValueError)"),
        (MemoryError(), OutOfMemoryError, "page 3 of scan.pdf does not fit into memory on its own"),
        (PageFailure(Failure("odd")), PageFailedError, "page 3 of scan.pdf could not be read (odd)"),
        (GONE, EnvironmentFault, "the GPU failed at page 3 of scan.pdf"),
        (UsageError("as it is"), UsageError, "as it is"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_goes_wrong_at_a_page_becomes_its_error(error: Exception, kind: type, message: str) -> None:
    with pytest.raises(kind) as raised, at_page(DOCUMENT, 3):
        raise error
    assert raised.value.message == message


def test_a_page_that_failed_keeps_no_memory() -> None:
    kept: list[weakref.ref[torch.Tensor]] = []

    def work() -> None:
        tensor = torch.zeros(4)
        kept.append(weakref.ref(tensor))
        raise ValueError

    with pytest.raises(PageFailedError) as raised, at_page(DOCUMENT, 1):
        work()
    gc.collect()
    assert raised.value.__context__ is not None and kept[0]() is None


def test_workers_know_failures_without_torch() -> None:
    code = "import sys, rtprune_cli.prepare.worker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.parametrize("command", ["ocr", "inspect", "analyze", "bench speed"])
def test_a_gpu_that_is_gone_ends_every_command_with_exit_code_3(
    command: str, rtprune: Any, make_pdf: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise GONE

    monkeypatch.setattr(OcrModel, "encode", fail)
    inputs = [] if command == "bench speed" else [make_pdf("one"), "-o", tmp_path / "out"]
    result = rtprune(*command.split(), *inputs, "--model", "tiny")
    assert result.exit_code == 3
    assert "the GPU failed" in result.stderr and "unexpected" not in result.stderr

"""Exit codes and the exceptions that carry the next step to the user."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process returns; scripts may rely on these numbers."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    ENVIRONMENT = 3
    PARTIAL = 4
    ENCRYPTED = 8
    INTERRUPTED = 130
    TERMINATED = 143


class RtpruneError(Exception):
    """Something the user can act on: one line that says what is wrong, one that says what to do next.

    ``code`` is the short machine-readable name that stands in the report's ``error`` field.
    """

    exit_code = ExitCode.FAILURE
    code = "failure"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class UsageError(RtpruneError):
    """A flag, value or combination that cannot work."""

    exit_code = ExitCode.USAGE
    code = "usage"


class PageRangeError(UsageError):
    """``--pages`` is malformed or names pages that the document does not have."""

    code = "page_range"


class EnvironmentFault(RtpruneError):
    """The machine lacks something: weights, a device, a package, the network."""

    exit_code = ExitCode.ENVIRONMENT
    code = "environment"


class ModelError(EnvironmentFault):
    """A checkpoint is missing, incomplete, or in a form that is not loaded."""

    code = "model"


class HubError(EnvironmentFault):
    """A repository of the Hugging Face hub that cannot be had."""

    code = "hub"


class UnreachableError(HubError):
    """The hub does not answer."""


class InputError(RtpruneError):
    """A document that cannot be opened or a page that cannot be rasterised."""

    exit_code = ExitCode.PARTIAL
    code = "unreadable"


class UnsupportedFileError(InputError):
    """A file whose type is not one that rtprune reads."""

    code = "unsupported"


class EmptyFileError(InputError):
    """A file of zero bytes."""

    code = "empty"


class EncryptedError(InputError):
    """A PDF that needs a password which was not given or is wrong."""

    exit_code = ExitCode.ENCRYPTED
    code = "encrypted"


class OutputNameError(InputError):
    """The place of the output does not take a document's name."""

    code = "output_name"


class UploadError(InputError):
    """A document that was read, and does not get to its bucket. It stays on this machine for the next run."""

    code = "upload"


class PageTimeoutError(InputError):
    """A page takes longer to draw than it may."""

    code = "timeout"


class DocumentTimeoutError(PageTimeoutError):
    """A document takes longer to open than it may."""


class PageFailedError(InputError):
    """A stage failed on one page; the others go on."""

    code = "page_failed"


class OutOfMemoryError(PageFailedError):
    """A page alone needs more memory than the device has."""

    code = "out_of_memory"


class ReaderLostError(PageFailedError):
    """A page that its reader on a cluster does not survive."""

    code = "reader_lost"


class LoopError(PageFailedError):
    """The text of a page repeats itself, and the run was told to count that as a failure."""

    code = "loop"


class OutputError(RtpruneError):
    """The output folder or file cannot be written."""

    exit_code = ExitCode.FAILURE
    code = "output"

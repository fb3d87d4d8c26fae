"""Every setting of a run: name, default and check, once. A flag's name is the field's name in kebab-case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from rtprune_cli.errors import UsageError

Mode = Literal["tiny", "small", "base", "large", "gundam"]
Prompt = Literal["markdown", "free"]
Tables = Literal["html", "markdown"]
Solver = Literal["sinkhorn", "pot"]

MODES: tuple[str, ...] = get_args(Mode)
DTYPES = ("auto", "float32", "bfloat16", "float16")
MIN_RATIO = 0.05
DEFAULT_MODEL = "deepseek-ai/DeepSeek-OCR"
BUNDLED_MODEL = "tiny"
# config.json's first architecture of every family that model.py has an adapter for
DEEPSEEK_OCR = "DeepseekOCRForCausalLM"
ARCHITECTURES = (DEEPSEEK_OCR,)


@dataclass(frozen=True)
class ModelOptions:
    """Which checkpoint, and where it runs.

    ``model`` is a hub id, a local folder in the official layout, or ``tiny`` for the bundled model.
    ``device`` is ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; ``dtype`` ``auto`` means bfloat16 on CUDA and
    float32 on CPU.
    """

    model: str = DEFAULT_MODEL
    revision: str | None = None
    offline: bool = False
    device: str = "auto"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UsageError(f"unknown dtype {self.dtype!r}", f"Use one of {', '.join(DTYPES)}")


@dataclass(frozen=True)
class PruneOptions:
    """RTPrune's settings; the defaults are the paper's (arXiv 2605.00392, section 4).

    ``ratio`` is the share of prunable visual tokens to keep, or ``None`` for the dynamic ratio.
    """

    ratio: float | None = None
    alpha: float = 0.1
    dustbin_score: float = 0.2
    sobel_threshold: float = 0.2
    iterations: int = 5
    solver: Solver = "sinkhorn"

    def __post_init__(self) -> None:
        if self.ratio is not None and not MIN_RATIO <= self.ratio <= 1.0:
            raise UsageError(
                f"ratio {self.ratio:g} is out of range", f"Give --ratio dynamic or a number from {MIN_RATIO} to 1"
            )
        if self.iterations < 1:
            raise UsageError("the transport solver needs at least one iteration", "Give --iterations 1 or more")
        if self.solver not in get_args(Solver):
            raise UsageError(f"unknown transport solver {self.solver!r}", f"Use {' or '.join(get_args(Solver))}")


@dataclass(frozen=True)
class DecodeOptions:
    """Greedy decoding. ``no_repeat_window`` 0 bans an n-gram's repetition in the whole text (the official
    evaluation used that with n 35); 30 within 90 is the official vLLM recipe."""

    max_new_tokens: int = 8192
    no_repeat_ngram: int = 30
    no_repeat_window: int = 90
    batch_size: int = 1

    def __post_init__(self) -> None:
        for name, least in (("max_new_tokens", 1), ("no_repeat_ngram", 0), ("no_repeat_window", 0), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise UsageError(
                    f"{name.replace('_', '-')} is {getattr(self, name)}", f"Give a whole number of at least {least}"
                )


@dataclass(frozen=True)
class InputOptions:
    """What is read. ``pages`` is 1-based, like ``1,3,5-10,20-end``; ``dpi`` applies to PDF pages;
    ``max_pixels`` guards against decompression bombs (pixels of one rasterised page)."""

    pages: str | None = None
    dpi: int = 200
    password: str | None = None
    recursive: bool = False
    max_pixels: int = 200_000_000

    def __post_init__(self) -> None:
        if not 20 <= self.dpi <= 1200:
            raise UsageError(f"dpi {self.dpi} is out of range", "Give --dpi from 20 to 1200; 200 suits most scans")
        if self.max_pixels < 1:
            raise UsageError("max-pixels must be positive", "Leave it out for the default")


@dataclass(frozen=True)
class OutputOptions:
    """What is written. ``output`` is a folder, or ``-`` for markdown on standard output and nothing else."""

    output: str = "out"
    tables: Tables = "html"
    raw: bool = False

    def __post_init__(self) -> None:
        if self.tables not in get_args(Tables):
            raise UsageError(f"unknown table format {self.tables!r}", "Use --tables html or --tables markdown")


@dataclass(frozen=True)
class OcrOptions:
    """One run of ``rtprune ocr``. ``mode`` and ``prompt`` of None mean what the model is best at."""

    model: ModelOptions = ModelOptions()
    prune: PruneOptions = PruneOptions()
    decode: DecodeOptions = DecodeOptions()
    input: InputOptions = InputOptions()
    output: OutputOptions = OutputOptions()
    mode: Mode | None = None
    prompt: Prompt | None = None
    measure_baseline: bool = False
    compare: bool = False

    def __post_init__(self) -> None:
        if self.mode is not None and self.mode not in MODES:
            raise UsageError(f"unknown mode {self.mode!r}", f"Use one of {', '.join(MODES)}")
        if self.prompt is not None and self.prompt not in get_args(Prompt):
            raise UsageError(f"unknown prompt {self.prompt!r}", f"Use {' or '.join(get_args(Prompt))}")


def parse_ratio(text: str) -> float | None:
    """``dynamic`` -> None, a number -> float.

    Raises:
        UsageError: neither; the range itself is checked by :class:`PruneOptions`.
    """
    if text == "dynamic":
        return None
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"--ratio {text!r} is neither 'dynamic' nor a number", f"Give dynamic or a number from {MIN_RATIO} to 1"
        ) from None

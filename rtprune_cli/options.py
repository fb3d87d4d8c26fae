"""Every setting of a run: name, default, help and check, once.

A flag's name is the field's name in kebab-case, its variable RTPRUNE_ and the name in capitals, its key in
rtprune.toml the flag's name: settings.py and commands/flags.py make all three from the fields below.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, get_args

from rtprune_cli.errors import UsageError

Mode = str  # one of MODES, or side-N: what check_mode lets through
Tables = Literal["html", "markdown"]
Math = Literal["dollars", "latex"]
Solver = Literal["sinkhorn", "pot"]
Method = Literal[
    "rtprune", "norm-only", "random", "visionzip", "divprune", "cdpruner", "scope", "otprune", "vispruner", "dart"
]
Variant = Literal["ours", "authors"]
Importance = Literal["norm", "variance", "entropy"]
Merge = Literal["ot", "mean", "nearest", "gtp", "sparsevlm", "nuwa", "visionzip", "none"]
RatioTerms = Literal["both", "similarity", "density"]
OnLoop = Literal["retry", "mark", "fail"]
PdfReader = Literal["auto", "pymupdf", "pdfium"]
TextLayer = Literal["ignore", "prefer"]
Rotate = Literal["auto", "0", "90", "180", "270"]
LogFormat = Literal["text", "json"]
KernelChoice = Literal["auto", "off"]
Dynamic = Literal["dynamic"]
Auto = Literal["auto"]

# Pixels of the global view, each way. A free view of one of these sides is the mode itself.
SIDES: dict[Mode, int] = {"tiny": 512, "small": 640, "base": 1024, "large": 1280, "gundam": 1024}
MODES: tuple[Mode, ...] = tuple(SIDES)
CELL = 64  # pixels of a view behind one visual token, each way
MAX_SIDE = 2048  # 1,024 prunable tokens, about as many as mode gundam has
MODE_FORM = rf"^({'|'.join(MODES)}|side-[1-9][0-9]*)$"
# The tasks that models were trained on, by name; what each is asked with is in model/adapters/.
TASKS = ("markdown", "ocr", "free", "figure", "describe", "locate")
LOCATE = "locate "  # and then what to look for
DTYPES = ("auto", "float32", "bfloat16", "float16")
MIN_RATIO = 0.05
MIN_OT_REG = 0.05  # below, the transport may need thousands of iterations
AUTO: Auto = "auto"
DYNAMIC: Dynamic = "dynamic"
CHOSEN_BY_MODEL = ("max_new_tokens", "no_repeat_ngram", "no_repeat_window")  # settings of the decoder
DEFAULT_MODEL = "deepseek-ai/DeepSeek-OCR"
BUNDLED_MODEL = "tiny"
# Methods that look at more of a page than its projected tokens and its pixels: at the encoder's attention, at the
# prompt's text; and those that RTPrune's authors ran in another form than ours.
WITH_ATTENTION: tuple[Method, ...] = ("visionzip", "scope", "vispruner")
WITH_INSTRUCTION: tuple[Method, ...] = ("cdpruner", "dart")
WITH_VARIANTS: tuple[Method, ...] = ("visionzip", "divprune", "cdpruner")

T = TypeVar("T")


def parse_ratio(text: str) -> float | Dynamic:
    """``dynamic`` as it is, a number -> float.

    Raises:
        UsageError: neither; the range itself is checked by :class:`PruneOptions`.
    """
    if text == DYNAMIC:
        return DYNAMIC
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"ratio {text!r} is neither 'dynamic' nor a number", f"Give dynamic or a number from {MIN_RATIO} to 1"
        ) from None


@dataclass(frozen=True)
class Recommended:
    """What a model's authors recommend, for what was not chosen; the defaults are DeepSeek-OCR's.

    Names are those of the settings. Greedy decoding: 30 within 90 is the official vLLM recipe.
    """

    mode: Mode = "gundam"
    prompt: str = "markdown"
    ratio: float | Dynamic = DYNAMIC
    dpi: int = 200
    max_new_tokens: int = 8192
    no_repeat_ngram: int = 30
    no_repeat_window: int = 90


def check_mode(mode: Mode) -> Mode:
    """The mode by its one name: one of MODES, or ``side-N``, a single square view of N pixels each way.

    ``side-512`` is ``tiny``, and so on: what gives the same views has the same name.

    Raises:
        UsageError: it is neither.
    """
    if mode in SIDES:
        return mode
    name, _, digits = mode.partition("-")
    if name != "side" or not re.fullmatch("[0-9]{1,9}", digits):
        raise UsageError(f"unknown mode {mode!r}", f"Use one of {', '.join(MODES)}, or side-N for N x N pixels")
    side = int(digits)
    if side % CELL or not CELL <= side <= MAX_SIDE:
        raise UsageError(
            f"a view of {side} pixels cannot be cut into tokens", f"Give a multiple of {CELL}, at most {MAX_SIDE}"
        )
    return next((known for known, pixels in SIDES.items() if pixels == side), f"side-{side}")


def view_side(mode: Mode) -> int:
    """Pixels of a mode's global view, each way."""
    return SIDES[mode] if mode in SIDES else int(mode.removeprefix("side-"))


def parse_auto(text: str) -> int | None:
    """``auto`` -> None, a whole number -> int; else a ValueError, to which settings.py gives the setting's name."""
    return None if text == AUTO else int(text)


def _parse_ratio_or_auto(text: str) -> float | Dynamic | None:
    return None if text == AUTO else parse_ratio(text)


def parse_shard(text: str) -> tuple[int, int]:
    """``3/16`` -> (3, 16): which part of the inputs, from 1, and of how many.

    Raises:
        UsageError: it is no part.
    """
    found = re.fullmatch(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*", text)
    if found is None:
        raise UsageError(f"shard {text!r} is not of the form K/N", "Write --shard K/N, like 3/16")
    number, count = int(found[1]), int(found[2])
    if not 1 <= number <= count:
        hint = f"Give K/N with K from 1 to {count or 'N'}; add 1 to a number that a scheduler counts from 0"
        raise UsageError(f"shard {text!r} is out of range", hint)
    return number, count


def setting(default: T, help: str, *, same_text: bool = False, **metadata: Any) -> T:
    """A field with what its flag needs.

    ``same_text`` says that the setting cannot change what is written for a page, so that a rerun which differs only
    there goes on where the last one ended. ``metadata``: ``short``, a one-letter flag; ``off``, the flag that
    switches a boolean off again, --no-NAME unless told ("" for none); ``choices``, the words it takes, for completion
    (the check is the class's own), ``also``, forms beside them that only help shows, and ``offers``, what completion
    offers in their place; ``metavar``, what stands for a value in help where that is neither the choices nor N;
    ``rare``, for a flag that few need, which help shows last; ``parse`` and ``shown``, for a value whose text is not
    its Python form, and ``words``, others that it may be; ``count``, for a flag that is repeated; ``secret``, for what
    is never shown.
    """
    return field(default=default, metadata={"help": help, "same_text": same_text, **metadata})  # type: ignore[no-any-return]


def _take_auto(options: Any, name: str, wanted: str, link: str = " or") -> None:
    """Replace ``auto`` by None, which stands for it from then on.

    Raises:
        UsageError: it is another text.
    """
    value = getattr(options, name)
    if isinstance(value, str):
        if value != AUTO:
            message = f"{name.replace('_', '-')} is the text {value!r}, where a number is wanted"
            raise UsageError(message, f"Give {AUTO!r}{link} {wanted} without quotes")
        object.__setattr__(options, name, None)


def _choose(what: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise UsageError(f"unknown {what} {value!r}", f"Use one of {', '.join(choices)}")


def _check_prompt(prompt: str) -> None:
    """A single word of ASCII letters is the name of a task, or a slip; anything else is a text of one's own.

    Raises:
        UsageError: it is no task, or lacks what it needs.
    """
    if not prompt.strip():
        raise UsageError("the prompt is empty", f"Use {', '.join(TASKS)}, or a text of your own")
    if prompt.strip() == LOCATE.strip():
        raise UsageError("the prompt 'locate' lacks what to look for", "Give it in the same text: 'locate the title'")
    if prompt in TASKS or not re.fullmatch(r"[A-Za-z_-]+", prompt):
        return
    close = get_close_matches(prompt.lower(), TASKS, n=1, cutoff=0.5)
    meant = f"Did you mean {close[0]}? " if close else ""
    raise UsageError(
        f"unknown prompt {prompt!r}", f"{meant}Use {', '.join(TASKS)}, or a text of your own of more than a word"
    )


@dataclass(frozen=True)
class ModelOptions:
    """Which checkpoint, and where it runs.

    ``model`` is a hub id, a local folder in the official layout, or ``tiny`` for the bundled model.
    ``device`` is ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; ``dtype`` ``auto`` is what the device
    computes fast in (device/hardware.py).
    """

    # What counts for a rerun is the checkpoint and the dtype that these lead to, not how they were named.
    model: str = setting(
        DEFAULT_MODEL,
        f"Hub id, local folder, or '{BUNDLED_MODEL}' for the bundled model.",
        same_text=True,
        metavar="MODEL",
    )
    revision: str | None = setting(
        None, "Branch, tag or commit of the hub model.", same_text=True, metavar="NAME", rare=True
    )
    offline: bool = setting(
        False, "Never use the network; cached models and datasets only.", same_text=True, off="--online", rare=True
    )
    device: str = setting(
        "auto", "Where the model runs.", same_text=True, choices=("auto", "cpu", "cuda"), also=("cuda:N",)
    )
    dtype: str = setting(
        "auto",
        "Precision; auto: bfloat16 where the device computes in it, float16 on T4 and V100.",
        same_text=True,
        choices=DTYPES,
        metavar="DTYPE",
        rare=True,
    )

    def __post_init__(self) -> None:
        _choose("dtype", self.dtype, DTYPES)


@dataclass(frozen=True)
class PruneOptions:
    """RTPrune's settings; the defaults are the paper's (arXiv 2605.00392, section 4).

    ``ratio`` is the share of prunable visual tokens to keep, or ``"dynamic"`` for the dynamic ratio; None, or
    ``"auto"``, is what the model is run with best, and the dynamic ratio where no model was asked.

    What follows ``solver`` has no flag: it is for comparisons. ``method`` chooses and merges the tokens; every method
    keeps as many as RTPrune. Of RTPrune alone: ``importance`` is what the tokens that stay have most of, ``merge`` what
    becomes of the pruned ones, ``ot_reg`` the regularisation of the transport (below 1 it runs until it has converged,
    whatever ``iterations`` says). ``ratio_terms`` are the measures that make the dynamic ratio. ``seed`` is of the
    method random. ``variant`` is the form of the methods in ``WITH_VARIANTS``: ours, or that of RTPrune's authors.
    """

    ratio: float | Dynamic | Auto | None = setting(
        None,
        "Share of visual tokens to keep; 1: no pruning; auto: dynamic, 1 for DeepSeek-OCR-2.",
        parse=_parse_ratio_or_auto,
        shown=AUTO,
        words=(DYNAMIC,),
        metavar=f"{AUTO}|{DYNAMIC}|{MIN_RATIO}-1",
        offers=(AUTO, DYNAMIC, "0.5", "0.75", "0.84", "1"),
    )
    alpha: float = 0.1
    dustbin_score: float = 0.2
    sobel_threshold: float = 0.2
    iterations: int = 5
    solver: Solver = setting(
        "sinkhorn", "Optimal transport by sinkhorn (fast) or pot (reference).", choices=get_args(Solver), rare=True
    )
    method: Method = "rtprune"
    variant: Variant = "ours"
    importance: Importance = "norm"
    merge: Merge = "ot"
    ratio_terms: RatioTerms = "both"
    ot_reg: float = 1.0
    seed: int = 0

    @property
    def fixed_ratio(self) -> float | None:
        """``ratio`` as a number; None for the dynamic ratio."""
        return None if isinstance(self.ratio, str) else self.ratio

    @property
    def reads_attention(self) -> bool:
        """Whether the method looks at the encoder's attention."""
        return self.method in WITH_ATTENTION

    @property
    def reads_features(self) -> bool:
        """Whether the method looks at CLIP's features, before the projector."""
        return self.method == "cdpruner" and self.variant == "authors"

    @property
    def reads_instruction(self) -> bool:
        """Whether the method looks at the prompt's text."""
        return self.method in WITH_INSTRUCTION

    def __post_init__(self) -> None:
        if self.ratio != DYNAMIC:
            _take_auto(self, "ratio", f"{DYNAMIC!r} or a number from {MIN_RATIO} to 1", ",")
        ratio = self.fixed_ratio
        if ratio is not None and not MIN_RATIO <= ratio <= 1.0:
            raise UsageError(
                f"ratio {ratio:g} is out of range", f"Give --ratio dynamic or a number from {MIN_RATIO} to 1"
            )
        if self.iterations < 1:
            raise UsageError("the transport solver needs at least one iteration", "Give --iterations 1 or more")
        _choose("transport solver", self.solver, get_args(Solver))
        _choose("pruning method", self.method, get_args(Method))
        _choose("baseline variant", self.variant, get_args(Variant))
        _choose("importance", self.importance, get_args(Importance))
        _choose("merge", self.merge, get_args(Merge))
        _choose("ratio terms", self.ratio_terms, get_args(RatioTerms))
        if not self.ot_reg >= MIN_OT_REG:
            raise UsageError(f"ot-reg {self.ot_reg:g} is out of range", f"Give a number of at least {MIN_OT_REG:g}")
        if self.seed < 0:
            raise UsageError(f"seed is {self.seed}", "Give a whole number of at least 0")


@dataclass(frozen=True)
class DecodeOptions:
    """Greedy decoding. ``no_repeat_window`` 0 bans an n-gram's repetition in the whole text (the official
    evaluation of DeepSeek-OCR used that with n 35). ``loop_window`` is how many repeated tokens at the end of a text
    are a loop; 0 never stops early. ``"auto"`` is None from then on: what the model's authors recommend, which
    :meth:`resolved` fills in, and for ``batch_size`` what memory allows."""

    max_new_tokens: int | Auto | None = setting(
        None,
        "Longest text of a page, in tokens; auto: as the model's authors recommend.",
        parse=parse_auto,
        shown=AUTO,
        rare=True,
    )
    no_repeat_ngram: int | Auto | None = setting(
        None, "Never write an n-gram of this length twice; 0 turns it off.", parse=parse_auto, shown=AUTO, rare=True
    )
    no_repeat_window: int | Auto | None = setting(
        None, "...within this many tokens; 0 for the whole text.", parse=parse_auto, shown=AUTO, rare=True
    )
    batch_size: int | Auto | None = setting(
        None,
        "Pages decoded together, at most; auto: as memory allows.",
        parse=parse_auto,
        shown=AUTO,
        same_text=True,
        rare=True,
    )
    memory_fraction: float = setting(
        0.9,
        "Share of the device's memory that may be used, for --batch-size auto.",
        same_text=True,
        metavar="SHARE",
        rare=True,
    )
    cuda_graphs: bool = setting(
        True, "Record work that comes again on the GPU and replay it.", same_text=True, rare=True
    )
    kernels: KernelChoice = setting(
        "auto",
        "Decode with rtprune's own kernels on NVIDIA GPUs; off: without.",
        same_text=True,
        choices=get_args(KernelChoice),
        rare=True,
    )
    loop_window: int = setting(512, "Stop a page after this many tokens of repetition; 0 never stops early.", rare=True)

    @property
    def rows(self) -> int | None:
        """``batch_size`` as a number; None: as memory allows."""
        return None if isinstance(self.batch_size, str) else self.batch_size

    def resolved(self, best: Recommended | None = None) -> ResolvedDecodeOptions:
        """The options with what is best where nothing was chosen (None: for DeepSeek-OCR)."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        chosen = {name: getattr(best or Recommended(), name) for name, value in given.items()
                  if value is None and name in CHOSEN_BY_MODEL}  # fmt: skip
        return ResolvedDecodeOptions(**{**given, **chosen})

    def __post_init__(self) -> None:
        _choose("kernels", self.kernels, get_args(KernelChoice))
        least = {"max_new_tokens": 1, "no_repeat_ngram": 0, "no_repeat_window": 0, "batch_size": 1, "loop_window": 0}
        for name, smallest in least.items():
            _take_auto(self, name, f"a whole number of at least {smallest}")
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise UsageError(f"{name.replace('_', '-')} is {value}", f"Give a whole number of at least {smallest}")
        if not 0 < self.memory_fraction <= 1:
            raise UsageError(
                f"memory-fraction {self.memory_fraction:g} is out of range", "Give a share above 0, up to 1"
            )


@dataclass(frozen=True, kw_only=True)
class ResolvedDecodeOptions(DecodeOptions):
    """Options of which none is left to the model; :meth:`DecodeOptions.resolved` makes them."""

    max_new_tokens: int
    no_repeat_ngram: int
    no_repeat_window: int


@dataclass(frozen=True)
class InputOptions:
    """What is read. ``pages`` is 1-based, like ``1,3,5-10,20-end``, and ``max_pages`` the first of these; ``dpi``
    applies to PDF pages, and ``"auto"`` is None from then on; ``max_pixels`` guards against decompression bombs (pixels
    of one image).

    ``page_timeout`` (seconds) and ``page_memory`` (GiB) bound what opening a document and drawing one of its pages may
    take, in a process of its own; 0 does not. ``pdf_reader`` auto: MuPDF, and PDFium for the pages that MuPDF cannot
    draw, draws with errors or leaves without ink. ``text_layer`` prefer: a PDF page with a sound text layer is written
    from it. ``rotate`` turns pages clockwise, beyond what their file says with auto. ``workers`` ``"auto"`` is None
    from then on.
    """

    pages: str | None = setting(
        None, "Pages of each document, from 1: 1,3,5-10,20-end.", metavar="RANGES", offers=("1", "1-", "1-10", "20-end")
    )
    max_pages: int | None = setting(None, "Read the first so many pages of each document, at most.", rare=True)
    dpi: int | Auto | None = setting(
        None,
        "Resolution at which PDF pages are rasterised; auto: 200, 300 for Unlimited-OCR.",
        parse=parse_auto,
        shown=AUTO,
        rare=True,
    )
    password: str | None = setting(None, "Password of encrypted PDFs.", same_text=True, secret=True, metavar="PASSWORD")
    recursive: bool = setting(False, "Take folders with their subfolders.", same_text=True, short="-r")
    exclude: str = setting(
        "@eaDir,#recycle,__MACOSX,$RECYCLE.BIN",
        "Names in folders to leave out, as patterns with * and ?, separated by commas.",
        same_text=True,
        metavar="PATTERNS",
        rare=True,
    )
    attachments: bool = setting(
        False, "Read the PDFs and images inside PDFs as documents too.", same_text=True, rare=True
    )
    pdf_reader: PdfReader = setting(
        "auto", "What draws PDF pages; auto: MuPDF, PDFium where that fails.", choices=get_args(PdfReader), rare=True
    )
    text_layer: TextLayer = setting(
        "ignore",
        "Text that a PDF has already; prefer: pages with a sound text layer are written from it, without the model.",
        choices=get_args(TextLayer),
        rare=True,
    )
    rotate: Rotate = setting(
        "auto", "Turn pages clockwise; auto: as their file says.", choices=get_args(Rotate), rare=True
    )
    skip_blank: bool = setting(True, "Do not ask the model about pages without ink.", rare=True)
    page_timeout: float = setting(
        120.0,
        "To open a document or draw a page before it is given up; 0: no limit.",
        same_text=True,
        metavar="SECONDS",
        rare=True,
    )
    page_memory: float = setting(
        4.0,
        "Memory that drawing a page may take before it is given up; 0: no limit.",
        same_text=True,
        metavar="GIB",
        rare=True,
    )
    max_pixels: int = setting(200_000_000, "Refuse images larger than this (decompression bombs).", rare=True)
    workers: int | Auto | None = setting(
        None,
        "Processes that prepare pages ahead; 0: one, page by page.",
        parse=parse_auto,
        shown=AUTO,
        same_text=True,
        rare=True,
    )

    @property
    def resolution(self) -> int:
        """``dpi`` as a number; where no model said what is best, DeepSeek-OCR's."""
        return self.dpi if isinstance(self.dpi, int) else Recommended.dpi

    @property
    def processes(self) -> int | None:
        """``workers`` as a number; None: as suits the machine."""
        return None if isinstance(self.workers, str) else self.workers

    @property
    def excluded(self) -> tuple[str, ...]:
        """The patterns of ``exclude``."""
        return tuple(filter(None, (pattern.strip() for pattern in self.exclude.split(","))))

    def __post_init__(self) -> None:
        _take_auto(self, "dpi", "a whole number from 20 to 1200")
        if not 20 <= self.resolution <= 1200:
            raise UsageError(f"dpi {self.dpi} is out of range", "Give --dpi from 20 to 1200; 200 suits most scans")
        if self.max_pixels < 1:
            raise UsageError("max-pixels must be positive", "Leave it out for the default")
        if self.max_pages is not None and self.max_pages < 1:
            raise UsageError(f"max-pages is {self.max_pages}", "Give a whole number of at least 1")
        if self.pdf_reader == "pdfium" and (self.text_layer == "prefer" or self.attachments):
            raise UsageError("PDFium gives neither text layers nor attachments", "Give --pdf-reader auto or pymupdf")
        for name in ("page_timeout", "page_memory"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name.replace('_', '-')} is {getattr(self, name):g}", "Give a number of at least 0")
        _choose("PDF reader", self.pdf_reader, get_args(PdfReader))
        _choose("text layer", self.text_layer, get_args(TextLayer))
        _choose("rotation", self.rotate, get_args(Rotate))
        _take_auto(self, "workers", "a whole number of at least 0")
        if self.processes is not None and self.processes < 0:
            raise UsageError(f"workers is {self.workers}", f"Give {AUTO} or a whole number of at least 0")


@dataclass(frozen=True)
class OutputOptions:
    """What is written. ``output`` is a folder, the URL of one in a bucket, or ``-`` for markdown on standard output and
    nothing else. ``spool`` is where documents wait that go to a bucket; None: in the user's cache.
    ``md_only`` writes one NAME.md a document, without a folder, crops, blocks and reports. ``html`` writes report.html
    over all documents of the folder, with the images of their pages beside the markdown."""

    output: str = setting(
        "out",
        "Output folder, s3://BUCKET/FOLDER or the like, or '-' for markdown on standard output.",
        same_text=True,
        short="-o",
        metavar="FOLDER",
    )
    spool: str | None = setting(
        None,
        "Folder where documents wait that go to a bucket; without it, in the user's cache.",
        same_text=True,
        metavar="FOLDER",
        rare=True,
    )
    tables: Tables = setting(
        "html", "How tables are written; html: as the model writes them.", choices=get_args(Tables)
    )
    math: Math = setting(
        "dollars",
        "Formulas between dollars, as GitHub, VS Code and Obsidian render them, or latex: as the model writes them.",
        choices=get_args(Math),
        rare=True,
    )
    repair_hyphens: bool = setting(
        False, "Take out the spaces that the model leaves after hyphens inside words.", rare=True
    )
    repair_lists: bool = setting(False, "Put list items that the model ran together on lines of their own.", rare=True)
    join_pages: bool = setting(
        False, "Join paragraphs and tables that go on over a page break; page markers stay as comments.", rare=True
    )
    json: bool = setting(True, "Write NAME.json: the blocks of every page with their boxes.", same_text=True, rare=True)
    raw: bool = setting(False, "Keep the raw model text beside the markdown.", rare=True)
    md_only: bool = setting(
        False, "Write NAME.md only: no folders, crops or reports; .rtprune/ stays, for the next run."
    )
    html: bool = setting(
        False, "Write report.html: pages, visual tokens and text, to look at in a browser.", same_text=True
    )

    def __post_init__(self) -> None:
        _choose("table format", self.tables, get_args(Tables))
        _choose("math format", self.math, get_args(Math))
        if self.raw and self.md_only:
            raise UsageError("--raw and --md-only exclude each other", "Give --no-raw or --no-md-only")
        if self.html and self.md_only:
            raise UsageError("--html and --md-only exclude each other", "Give --no-html or --no-md-only")
        if self.join_pages and self.output == "-":
            raise UsageError("--join-pages needs an output folder", "Give --no-join-pages, or a folder with -o")
        if self.html and self.output == "-":
            raise UsageError("--html needs an output folder", "Give --no-html, or a folder with -o")


@dataclass(frozen=True)
class RunOptions:
    """How a run of many documents goes on, waits and gives up.

    ``max_page_error_rate`` is the share of failed pages, 0 to 1, above which a run stops; None never stops. ``shard``
    is the part of the inputs that the run reads, as ``3/16``; None reads all.
    """

    force: bool = setting(False, "Read documents again that are done.", same_text=True)
    wait: bool = setting(False, "Wait while another run writes to the output folder.", same_text=True, rare=True)
    abort_on_error: bool = setting(False, "Stop at the first page or document that fails.", same_text=True, rare=True)
    fail_on_warning: bool = setting(False, "Exit with 4 when a page has a warning too.", same_text=True, rare=True)
    cluster: str | None = setting(
        None,
        "Read on many GPUs or machines with Ray: local (all GPUs of this machine), auto (the cluster that the "
        "environment names), or ray://HOST:PORT.",
        same_text=True,
        choices=("local", "auto"),
        also=("ray://HOST:PORT",),
        metavar="CLUSTER",
        rare=True,
    )
    readers: int | Auto | None = setting(
        None,
        "Readers on the cluster; auto: one a GPU, without GPUs one.",
        parse=parse_auto,
        shown=AUTO,
        same_text=True,
        rare=True,
    )
    gpus_per_reader: float = setting(
        1.0, "GPUs of a reader, for --cluster; 0.5: two share one.", same_text=True, metavar="GPUS", rare=True
    )
    max_page_error_rate: float | None = setting(
        None,
        "Stop when more than this share of pages failed, 0 to 1; looked at from the 20th page on.",
        same_text=True,
        metavar="SHARE",
        rare=True,
    )
    shard: str | None = setting(
        None,
        "Read part K of N of the inputs, like 3/16; each part into a folder of its own, for rtprune merge.",
        same_text=True,
        metavar="K/N",
        rare=True,
    )

    @property
    def part(self) -> tuple[int, int] | None:
        """``shard`` as numbers, (3, 16); None: all inputs."""
        return None if self.shard is None else parse_shard(self.shard)

    def __post_init__(self) -> None:
        if self.shard is not None:
            parse_shard(self.shard)
        rate = self.max_page_error_rate
        if rate is not None and not 0 <= rate <= 1:
            raise UsageError(f"max-page-error-rate {rate:g} is out of range", "Give a share from 0 to 1")
        _take_auto(self, "readers", "a whole number of at least 1")
        if isinstance(self.readers, int) and self.readers < 1:
            raise UsageError(f"readers is {self.readers}", "Give a whole number of at least 1")
        if not self.gpus_per_reader >= 0:
            raise UsageError(f"gpus-per-reader is {self.gpus_per_reader:g}", "Give a number of at least 0")
        if self.cluster is not None and self.cluster not in ("local", "auto") and "://" not in self.cluster:
            raise UsageError(f"cluster {self.cluster!r} is not an address", "Give local, auto, or ray://HOST:PORT")


@dataclass(frozen=True)
class OcrOptions:
    """One run of ``rtprune ocr``. ``mode`` and ``prompt`` of None mean what the model is best at.

    ``pages_per_context`` is how many pages of a document are read as one text, where the model can; ``"auto"``, which
    is None from then on: as many as it has room for.

    ``on_loop`` says what becomes of a page whose text runs into a loop: read it again unpruned, then in another mode
    (``retry``); keep it without the repeated tail (``mark``); or count it as failed (``fail``).
    """

    model: ModelOptions = ModelOptions()
    prune: PruneOptions = PruneOptions()
    decode: DecodeOptions = DecodeOptions()
    input: InputOptions = InputOptions()
    output: OutputOptions = OutputOptions()
    run: RunOptions = RunOptions()
    mode: Mode | None = setting(
        None,
        "How finely a page is looked at; side-N: one view of N x N pixels. Default: the model's best.",
        choices=MODES,
        also=("side-N",),
        metavar="MODE",
    )
    prompt: str | None = setting(
        None,
        "What the model is asked for: markdown (with layout), ocr (lines with boxes), free (text only), "
        "'locate WORDS', or a text of your own. Default: the model's best.",
        choices=TASKS,
        also=("TEXT",),
        metavar="PROMPT",
    )
    on_loop: OnLoop = setting(
        "retry",
        "A page that repeats itself: retry it unpruned and in another mode, mark it, or fail it.",
        choices=get_args(OnLoop),
        rare=True,
    )
    pages_per_context: int | Auto | None = setting(
        1,
        "Pages of a document that are read together, for Unlimited-OCR; auto: as many as it has room for.",
        parse=parse_auto,
        shown=AUTO,
        rare=True,
    )
    measure_baseline: bool = setting(
        False,
        "Prefill pages unpruned too, and report how many times as long it takes without pruning: the measured prefill, "
        "prune step included, and the whole page.",
        rare=True,
    )
    compare: bool = setting(False, "Read each page unpruned too and report the edit distance.", rare=True)

    def __post_init__(self) -> None:
        if self.mode is not None:
            object.__setattr__(self, "mode", check_mode(self.mode))
        if self.prompt is not None:
            _check_prompt(self.prompt)
        _choose("on-loop", self.on_loop, get_args(OnLoop))
        if self.run.cluster is not None and self.output.output == "-":
            raise UsageError("--cluster needs an output folder", "Give -o a folder: pages come in any order")
        _take_auto(self, "pages_per_context", "a whole number of at least 1")
        if isinstance(self.pages_per_context, int) and self.pages_per_context < 1:
            raise UsageError(f"pages-per-context is {self.pages_per_context}", "Give a whole number of at least 1")

    def resolved(self, best: Recommended, most_pages: int) -> ResolvedOptions:
        """The options with what is best where nothing was chosen; ``most_pages``: what a context has room for."""
        given = {each.name: getattr(self, each.name) for each in fields(OcrOptions)}
        ratio = best.ratio if self.prune.ratio is None else self.prune.ratio
        dpi = best.dpi if self.input.dpi is None else self.input.dpi
        chosen = {
            "mode": self.mode or best.mode,
            "prompt": self.prompt or best.prompt,
            "prune": replace(self.prune, ratio=ratio),
            "decode": self.decode.resolved(best),
            "input": replace(self.input, dpi=dpi),
            "pages_per_context": most_pages if self.pages_per_context is None else self.pages_per_context,
        }
        return ResolvedOptions(**{**given, **chosen})


@dataclass(frozen=True, kw_only=True)
class ResolvedOptions(OcrOptions):
    """Options of which none is left to the model; ``Checkpoint.resolve`` makes them."""

    decode: ResolvedDecodeOptions
    mode: Mode
    prompt: str
    pages_per_context: int


def affecting(options: Any) -> dict[str, Any]:
    """The settings, by name, that can change what is written for a page (see :func:`setting`)."""
    found: dict[str, Any] = {}
    for each in fields(options):
        value = getattr(options, each.name)
        if is_dataclass(value):
            found |= affecting(value)
        elif not each.metadata.get("same_text", False):
            found[each.name] = value
    return found


@dataclass(frozen=True)
class LogOptions:
    """What is said on standard error."""

    quiet: bool = setting(False, "Errors only on standard error.", short="-q", off="")
    verbose: int = setting(0, "More detail; -vv adds tracebacks.", short="-v", count=True)
    log_format: LogFormat = setting(
        "text", "How messages are written; json: one object a line.", choices=get_args(LogFormat), rare=True
    )

    def __post_init__(self) -> None:
        if self.verbose < 0:
            raise UsageError(f"verbose is {self.verbose}", "Give 0, 1 or 2")
        _choose("log format", self.log_format, get_args(LogFormat))

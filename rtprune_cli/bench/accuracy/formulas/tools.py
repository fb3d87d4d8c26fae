"""Owns the programs that draw formulas, as they are found on this machine."""

from __future__ import annotations

import logging
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache

log = logging.getLogger("rtprune")

SECONDS = 30  # that a question to a program may take
# Each with the Debian package that brings it.
PROGRAMS = {"xelatex": "texlive-xetex", "kpsewhich": "texlive-xetex", "gs": "ghostscript"}
STYLES = {"fontspec.sty": "texlive-latex-recommended", "upgreek.sty": "texlive-latex-extra"}
CHINESE_STYLES = {"xeCJK.sty": "texlive-lang-cjk", "ctexhook.sty": "texlive-lang-chinese"}
# Officially the first; the second has the same glyphs under another name.
CHINESE_FONTS = ("Source Han Sans SC", "Noto Sans CJK SC")
FONT_PACKAGE = "fonts-noto-cjk"


@dataclass(frozen=True)
class TexTools:
    """Programs by their paths. ``version`` names those that decide what a picture looks like."""

    xelatex: str
    ghostscript: str
    version: str


@cache
def tex_tools() -> TexTools | None:
    """The programs, or None, with a warning that says what to install, where one is missing."""
    found = {name: shutil.which(name) for name in PROGRAMS}
    missing = {PROGRAMS[name] for name, path in found.items() if path is None} | _missing_styles(STYLES)
    xelatex, ghostscript = found["xelatex"], found["gs"]
    if missing or xelatex is None or ghostscript is None:
        log.warning(
            "CDM and OmniDocBench's Overall are not computed: formulas cannot be drawn without %s. Debian: apt-get "
            "install --no-install-recommends %s",
            " and ".join(sorted({name for name, path in found.items() if not path}) or ["its LaTeX packages"]),
            " ".join(sorted(missing)),
        )
        return None
    version = (
        f"{_answer([xelatex, '--version']).partition(chr(10))[0]}, Ghostscript {_answer([ghostscript, '--version'])}"
    )
    return TexTools(xelatex, ghostscript, version)


@cache
def chinese_font() -> str | None:
    """The font for characters beyond ASCII, or None, with a warning, where it or what TeX needs for it is missing.

    It is never left out in silence: TeX would draw nothing for such a character, on both sides, and a wrong one would
    not count.
    """
    missing = _missing_styles(CHINESE_STYLES)
    lister = shutil.which("fc-list")
    families = _answer([lister, ":", "family"]) if lister else ""
    known = {name.strip() for line in families.splitlines() for name in line.split(",")}
    font = next((name for name in CHINESE_FONTS if name in known), None)
    if font is None:
        missing |= {FONT_PACKAGE, "fontconfig"} if lister is None else {FONT_PACKAGE}
    if missing:
        log.warning(
            "pages with formulas beyond ASCII have no CDM: the font for them is missing. Debian: apt-get install "
            "--no-install-recommends %s",
            " ".join(sorted(missing)),
        )
        return None
    return font


def _missing_styles(packages: dict[str, str]) -> set[str]:
    """Debian packages of the LaTeX files that are not there."""
    lister = shutil.which("kpsewhich")
    found = _answer([lister, *packages]).splitlines() if lister else []
    return {package for name, package in packages.items() if not any(line.endswith(f"/{name}") for line in found)}


def _answer(command: list[str]) -> str:
    """What a program prints, or nothing where it fails."""
    try:
        answer = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.decode("utf-8", "replace").strip()

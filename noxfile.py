"""The checks of a change, one command each: `nox -l` lists them, plain `nox` runs what a commit needs.

They run in the environment that nox itself is in, which has the development extras (see CONTRIBUTING.md): torch is too
large to install for each.
"""

from __future__ import annotations

import sys

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "pages", "fast"]
nox.options.stop_on_first_error = True

ALL_CORES = ["-n", "auto"]  # of a few tests, starting more processes would take longer


def _python(session: nox.Session, *arguments: str) -> None:
    session.run(sys.executable, *arguments, external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    _python(session, "-m", "ruff", "check", ".")
    _python(session, "-m", "ruff", "format", "--check", ".")


@nox.session
def fix(session: nox.Session) -> None:
    """Let ruff mend what it can."""
    _python(session, "-m", "ruff", "check", "--fix", ".")
    _python(session, "-m", "ruff", "format", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict."""
    _python(session, "-m", "mypy")


@nox.session
def pages(session: nox.Session) -> None:
    """Renew the parts of docs/ that are made from the program; a test holds them fresh."""
    for script in ("make_cli", "make_report_format", "make_benchmarks"):
        _python(session, f"docs/{script}.py")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, in site/; warnings are errors."""
    _python(session, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", "site")


@nox.session
def fast(session: nox.Session) -> None:
    """The tests of the fast lane; arguments after -- go to pytest."""
    _python(session, "-m", "pytest", "-m", "not slow", *(session.posargs or ALL_CORES))


@nox.session
def tests(session: nox.Session) -> None:
    """All tests; arguments after -- go to pytest."""
    _python(session, "-m", "pytest", *(session.posargs or ALL_CORES))


@nox.session
def build(session: nox.Session) -> None:
    """The wheel and the source distribution, in dist/."""
    _python(session, "-m", "build")

"""``python -m rtprune_cli`` and the ``rtprune`` entry point."""

import os

from rtprune_cli.cli import app


def main() -> None:
    """Run the command line; exits with a code from :class:`rtprune_cli.errors.ExitCode`."""
    # Threads of torch wait for one another by spinning, 300,000 turns as a rule. On a machine that does anything else
    # that makes every step several times slower; so many turns are as fast on an idle one. libgomp reads it when torch
    # is loaded, which is later.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    app(prog_name="rtprune")


if __name__ == "__main__":
    main()

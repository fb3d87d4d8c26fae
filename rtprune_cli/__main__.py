"""``python -m rtprune_cli`` and the ``rtprune`` entry point."""

import os

from rtprune_cli.commands.app import app
from rtprune_cli.libraries import own_process


def main() -> None:
    """Run the command line; exits with a code from :class:`rtprune_cli.errors.ExitCode`."""
    # Threads of torch wait for one another by spinning, 300,000 turns as a rule. Two runs that share two cores then
    # take over 100 s for 48 pages; with so few turns 12 s, and one run alone is as fast (docs/how-it-works.md). libgomp
    # reads it when torch is loaded, which is later.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    own_process()
    app(prog_name="rtprune")


if __name__ == "__main__":
    main()

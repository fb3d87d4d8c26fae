"""``python -m rtprune_cli`` and the ``rtprune`` entry point."""

from rtprune_cli.cli import app


def main() -> None:
    """Run the command line; exits with a code from :class:`rtprune_cli.errors.ExitCode`."""
    app(prog_name="rtprune")


if __name__ == "__main__":
    main()

"""`contactsync` and `python -m contactsync`."""

from __future__ import annotations

from contactsync import cli_change, cli_dead, cli_decide, cli_erase, cli_history, cli_plans, cli_query, cli_run
from contactsync.cli import cli

WORDS = (cli_change, cli_dead, cli_decide, cli_erase, cli_history, cli_plans, cli_query, cli_run)
"""Importing them registers their commands."""


def main() -> None:
    cli(prog_name="contactsync")


if __name__ == "__main__":
    main()

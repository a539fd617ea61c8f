"""Fold lines, know which signs can be shown, and show progress, on the terminal that a command writes to."""

from __future__ import annotations

import sys
import textwrap
from shutil import get_terminal_size

import click

from gatepost.manage.cli.tables import printable

_NARROWEST = 60


def progress(text: str) -> None:
    """A line on a terminal that the next one replaces, "" takes it away; nothing in a pipe."""
    if sys.stderr.isatty():
        line = printable(text)[: get_terminal_size().columns - 1]
        click.echo(f"\r\x1b[K{line}", err=True, nl=False)


def writes(sign: str) -> bool:
    """Whether standard output can show the sign."""
    try:
        sign.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def wrapped(text: str, indent: str) -> str:
    """Lines as wide as the terminal; one line in a pipe. indent: before each line but the first."""
    if not sys.stdout.isatty():
        return text
    width = max(_NARROWEST, get_terminal_size().columns)
    return textwrap.fill(text, width, subsequent_indent=indent, break_on_hyphens=False)

"""A new password, as commands get it: asked for twice on the terminal, or a line of standard input."""

from __future__ import annotations

import sys

import click

from gatepost.manage.cli.options import BAD_INPUT, fail

_MOST = 4096  # characters read; no password is that long


def prompt_password(option: str, *, from_stdin: bool, what: str = "New password") -> str:
    """The password. option: with which the command reads it from standard input, for who has no terminal.

    what: the prompt.
    """
    if from_stdin:
        return sys.stdin.readline(_MOST).rstrip("\r\n")
    if not sys.stdin.isatty():
        fail(
            BAD_INPUT,
            "there is no terminal to ask for the password; pass it on standard input with %(option)s",
            option=option,
        )
    text: str = click.prompt(what, hide_input=True, confirmation_prompt=True, err=True)
    return text

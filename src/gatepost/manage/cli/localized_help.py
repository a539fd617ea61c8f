"""Commands with their help in the language of the terminal, as copies: what is declared stays in English.

A help text is looked up paragraph by paragraph, as many share some of theirs. `paragraphs` is how
`scripts/catalogues.py` finds the same ones. Called by `manage.cli.lazy` for each command that is used.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Final

import click

from gatepost.manage.cli.output import _

_VERBATIM: Final = "\b"  # click's mark of a paragraph whose lines stay as they are


def localized[C: click.Command](command: C) -> C:
    """A copy of the command, with those of its group, that shows its help in the language."""
    own = copy.copy(command)
    own.help = _in_paragraphs(command.help)
    own.epilog = _in_paragraphs(command.epilog)
    own.short_help = command.short_help and _(command.short_help)
    own.params = [_localized_parameter(parameter) for parameter in command.params]
    own._help_option = None  # noqa: SLF001 - click keeps there what it has made in another language
    if isinstance(own, click.Group):
        own.commands = {name: localized(inner) for name, inner in own.commands.items()}
    return own


def _localized_parameter(parameter: click.Parameter) -> click.Parameter:
    help_ = getattr(parameter, "help", None)
    if not help_:
        return parameter
    own = copy.copy(parameter)
    own.__dict__["help"] = _(help_)  # arguments and options have it, their base class has not
    return own


def _in_paragraphs(text: str | None) -> str | None:
    return text and "\n\n".join(text if is_verbatim(text) else _(text) for text in paragraphs(text))


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a help text, each in one line unless its lines matter."""
    for paragraph in text.partition("\f")[0].split("\n\n"):
        yield paragraph if is_verbatim(paragraph) else " ".join(paragraph.split())


def is_verbatim(paragraph: str) -> bool:
    """Whether it is shown as it is, because its lines are commands."""
    return paragraph.lstrip().startswith(_VERBATIM)

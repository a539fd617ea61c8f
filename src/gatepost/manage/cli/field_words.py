"""The argument `KEY=VALUE...` of commands that add or change a resource, and how a shell completes it.

Declared once for all of them. Fields and values are those of the resource's model, so that a new field is completed as
it is there; nothing is asked of a gateway but which kind of connector a name is of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic import BaseModel

type Models = Callable[[click.Context], Sequence[type[BaseModel]]]
"""The resources that a command is about, as far as its other arguments tell."""


def field_words[F: Callable[..., Any]](models: Models, *, required: bool) -> Callable[[F], F]:
    """`words`: KEY=VALUE in any number. required: at least one."""

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from gatepost.manage.use_cases.assignments import completions  # noqa: PLC0415 - a command that runs does without

        return [CompletionItem(text) for text in completions(models(context), incomplete)]

    metavar = "KEY=VALUE..." if required else "[KEY=VALUE]..."
    return click.argument("words", nargs=-1, required=required, metavar=metavar, shell_complete=complete)

"""The commands `list`, `show`, `add`, `set` and `remove`, alike for domains, mailboxes, rules, OAuth issuers and hooks.

Called once by the module of each group. Connectors have their own, as two kinds share their names.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from gatepost.manage.cli.edit import ChangeArguments, change_options, edit, part_added, part_removed, part_set
from gatepost.manage.cli.options import client, gateway_options
from gatepost.manage.cli.output import print_records
from gatepost.manage.cli.part_view import SHOW_CODES, show_part, view_options
from gatepost.manage.cli.stored_names import stored_names
from gatepost.manage.use_cases.name_lookup import Part, PartKind, choose_part, chosen_organizations, status_of
from gatepost.manage.use_cases.resources import PartName

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic import BaseModel

    from gatepost.manage.use_cases.client import Client
    from gatepost.policy.connectors.records import Organization


CODES = (
    "Exit codes: 0 done (or nothing to do), 1 gave up after repeated conflicts with other changes, 2 invalid input "
    "(every error is named by field), 3 the data cannot be read or written."
)
LIST_CODES = "Exit codes: 0 done (also if there are none), 2 no such organization, 3 the data cannot be read."
WORDS_HELP = (
    "docs/resources.md lists the keys (`show --fields` explains them). KEY= restores the default. Write lists with "
    "commas or repeat the key; KEY+=VALUE adds to a list, KEY-=VALUE removes from it. Nothing changes if there is an "
    "error. A running gateway applies a change within two seconds."
)

type Models = Callable[[click.Context], Sequence[type[BaseModel]]]
"""The resources that a command is about, as far as its other arguments tell."""
type _Command = Callable[..., Any]

organization_option = click.option(
    "--organization",
    default="",
    shell_complete=stored_names("organization"),
    help="Organization that it belongs to. Needed if several organizations match.",
)
"""Goes with `part_argument`."""


def field_words[F: Callable[..., Any]](models: Models, *, required: bool) -> Callable[[F], F]:
    """The argument `words`: KEY=VALUE in any number, completed by the models' fields. required: at least one."""

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from gatepost.manage.use_cases.assignments import completions  # noqa: PLC0415 - a command that runs does without

        return [CompletionItem(text) for text in completions(models(context), incomplete)]

    metavar = "KEY=VALUE..." if required else "[KEY=VALUE]..."
    return click.argument("words", nargs=-1, required=required, metavar=metavar, shell_complete=complete)


def add_commands(
    group: click.Group,
    kind: PartKind,
    *,
    example: str = "",
    removed: str = "",
    then: Callable[[Client, Part], None] | None = None,
) -> None:
    """Put the four commands into a group.

    example: words for `add`, "" where the group has its own. removed: what happens, or does not, on removal. then: done
    after a part was shown.
    """
    _add_show(group, kind, then)
    if example:
        _add_add(group, kind, example)
    _add_set(group, kind)
    _add_remove(group, kind, removed)


def part_argument(kind: PartKind, name: str = "name") -> Callable[[_Command], _Command]:
    """The name of a part, which the command gets as `part`."""

    def decorated(command: _Command) -> _Command:
        @click.argument(name, shell_complete=stored_names(kind.key))
        @wraps(command)
        def with_part(organization: str, **given: Any) -> None:
            part = choose_part(client().directory().resources, kind, given.pop(name), organization)
            command(part=part, **given)

        return with_part

    return decorated


def add_list(
    group: click.Group,
    kind: PartKind,
    summary: str,
    columns: Sequence[str],
    order: Callable[[Any], Any] = lambda _part: 0,
    **cells: Callable[[Any], object],
) -> None:
    """Put the command `list` into a group. columns: fields of a part, "status" and "organization" among them.

    order: of the parts of an organization; as they are stored without it. cells: of a column that is not a field, or is
    shown in another way.
    """
    cells = {"status": status_of, **cells}

    def cell(owner: Organization, part: Any, column: str) -> object:
        if column == "organization":
            return owner.name
        return cells[column](part) if column in cells else getattr(part, column)

    @group.command("list", help=f"{summary}\n\n{LIST_CODES}")
    @click.option("--organization", default="", help="Only those of this organization.")
    @gateway_options
    def list_(organization: str) -> None:
        owners = chosen_organizations(client().directory().resources, organization)
        parts = ((owner, part) for owner in owners for part in sorted(kind.of(owner), key=order))
        print_records(columns, ([cell(owner, part, column) for column in columns] for owner, part in parts))


def _a(kind: PartKind) -> str:
    return f"an {kind.label}" if kind.label[0] in "aeioO" else f"a {kind.label}"


def _name_argument(kind: PartKind) -> Callable[[_Command], _Command]:
    metavar = "ADDRESS" if kind.identity == "address" else "NAME"
    return click.argument("name", metavar=metavar, shell_complete=stored_names(kind.key))


def _add_show(group: click.Group, kind: PartKind, then: Callable[[Client, Part], None] | None) -> None:
    @group.command("show", help=f"Show every field of {_a(kind)}, with its value or default.\n\n{SHOW_CODES}")
    @_name_argument(kind)
    @organization_option
    @view_options
    @gateway_options
    def show(name: str, organization: str, **form: Any) -> None:
        through = client()
        part = choose_part(through.directory().resources, kind, name, organization)
        show_part(part, **form)
        if then is not None:
            then(through, part)


def _add_add(group: click.Group, kind: PartKind, example: str) -> None:
    line = f"gatepost {kind.command} add {example}"

    @group.command("add", help=f"Add {_a(kind)}.\n\nFor example:\n\n\b\n{line}\n\n{WORDS_HELP}\n\n{CODES}")
    @_name_argument(kind)
    @field_words(lambda _context: [kind.model], required=False)
    @organization_option
    @change_options
    def add(name: str, words: tuple[str, ...], organization: str, arguments: ChangeArguments) -> None:
        edit(arguments, part_added(arguments, PartName(kind, organization, name), words))


def _add_set(group: click.Group, kind: PartKind) -> None:
    @group.command("set", help=f"Change fields of {_a(kind)}.\n\n{WORDS_HELP}\n\n{CODES}")
    @_name_argument(kind)
    @field_words(lambda _context: [kind.model], required=True)
    @organization_option
    @change_options
    def set_(name: str, words: tuple[str, ...], organization: str, arguments: ChangeArguments) -> None:
        edit(arguments, part_set(arguments, PartName(kind, organization, name), words))


def _add_remove(group: click.Group, kind: PartKind, removed: str) -> None:
    @group.command("remove", help=f"Remove {_a(kind)}, unless something needs it.\n\n{removed}\n\n{CODES}")
    @_name_argument(kind)
    @organization_option
    @change_options
    def remove(name: str, organization: str, arguments: ChangeArguments) -> None:
        edit(arguments, part_removed(arguments, PartName(kind, organization, name)))

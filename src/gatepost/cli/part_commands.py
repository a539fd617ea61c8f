"""The commands `show`, `add`, `set` and `remove`, alike for domains, mailboxes, mail flow rules and OAuth issuers.

Called once by the module of each group. Connectors have their own, as two kinds share their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.chosen import choose_organization, stored_directory
from gatepost.cli.edit import Edit, Wish, change, change_options, part_added, part_removed, part_set
from gatepost.cli.options import BAD_INPUT, config_option, fail, json_option, settings_of
from gatepost.cli.part import choose_part
from gatepost.cli.part_view import show_part, view_options
from gatepost.connectors.names import covers

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.cli.part import Kind
    from gatepost.connectors.model import Organization, Resources

__all__ = ["CODES", "SHOW_CODES", "WORDS_HELP", "add_commands", "owner_of"]

CODES = "Exit codes: 0 done (or nothing to do), 2 wrong input, with every error by field, 3 not readable or writable."
SHOW_CODES = "Exit codes: 0 found, 2 there is none of that name, 3 not readable."
WORDS_HELP = (
    "Keys are those of docs/resources.md (`show --fields` explains them). KEY= goes back to the default; lists are "
    "written with commas or by repeating the key, KEY+=VALUE adds to one, KEY-=VALUE takes away. Nothing is changed "
    "unless everything is right; a running gateway takes a change up within two seconds."
)

type _Command = Callable[..., Any]

_ORGANIZATION = click.option("--organization", default="", help="Needed where there are several it could be.")


def add_commands(group: click.Group, kind: Kind, *, example: str = "", removed: str = "") -> None:
    """Put the four commands into a group.

    example: words for `add`, "" where the group has its own. removed: what happens, or does not, on removal.
    """
    _add_show(group, kind)
    if example:
        _add_add(group, kind, example)
    _add_set(group, kind)
    _add_remove(group, kind, removed)


def _a(kind: Kind) -> str:
    return f"an {kind.label}" if kind.label[0] in "aeioO" else f"a {kind.label}"


def _name_argument(kind: Kind) -> Callable[[_Command], _Command]:
    return click.argument("name", metavar="ADDRESS" if kind.identity == "address" else "NAME")


def _add_show(group: click.Group, kind: Kind) -> None:
    @group.command("show", help=f"Every field of {_a(kind)}, written or default.\n\n{SHOW_CODES}")
    @_name_argument(kind)
    @_ORGANIZATION
    @view_options
    @config_option
    @json_option
    def show(name: str, organization: str, config: str | None, **form: Any) -> None:
        resources = stored_directory(settings_of(config)).resources
        show_part(choose_part(resources, kind, name, organization), **form)


def _add_add(group: click.Group, kind: Kind, example: str) -> None:
    line = f"gatepost {kind.command} add {example}"

    @group.command("add", help=f"Add {_a(kind)}.\n\nFor example:\n\n\b\n{line}\n\n{WORDS_HELP}\n\n{CODES}")
    @_name_argument(kind)
    @click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
    @_ORGANIZATION
    @change_options
    @config_option
    @json_option
    def add(name: str, words: tuple[str, ...], organization: str, **wish: Any) -> None:
        def step(resources: Resources, draft: dict[str, Any]) -> Edit:
            owner = owner_of(resources, organization, _domain_of(kind, name))
            return part_added(kind, owner.name, name, words, draft)

        change(step, Wish(**wish))


def _add_set(group: click.Group, kind: Kind) -> None:
    @group.command("set", help=f"Change fields of {_a(kind)}.\n\n{WORDS_HELP}\n\n{CODES}")
    @_name_argument(kind)
    @click.argument("words", nargs=-1, required=True, metavar="KEY=VALUE...")
    @_ORGANIZATION
    @change_options
    @config_option
    @json_option
    def set_(name: str, words: tuple[str, ...], organization: str, **wish: Any) -> None:
        def step(resources: Resources, draft: dict[str, Any]) -> Edit:
            return part_set(choose_part(resources, kind, name, organization), words, draft)

        change(step, Wish(**wish))


def _add_remove(group: click.Group, kind: Kind, removed: str) -> None:
    @group.command("remove", help=f"Remove {_a(kind)}, unless something needs it.\n\n{removed}\n\n{CODES}")
    @_name_argument(kind)
    @_ORGANIZATION
    @change_options
    @config_option
    @json_option
    def remove(name: str, organization: str, **wish: Any) -> None:
        def step(resources: Resources, draft: dict[str, Any]) -> Edit:
            return part_removed(choose_part(resources, kind, name, organization), draft)

        change(step, Wish(**wish))


def owner_of(resources: Resources, organization: str, domain: str = "") -> Organization:
    """Whose a new part is: as the option says, or the one whose domain it is, or the only one there is."""
    if organization:
        return choose_organization(resources, organization)
    known = resources.organizations
    if domain:
        owners = [one for one in known if any(covers(each.name, domain) for each in one.accepted_domains)]
        if owners:
            return owners[0]
        fail(BAD_INPUT, f"no organization accepts {domain}; add it first: gatepost domain add {domain}")
    if not known:
        fail(BAD_INPUT, "there is no organization yet; make one first: gatepost organization add NAME")
    if len(known) > 1:
        fail(BAD_INPUT, f"say whose it is: --organization, one of {', '.join(one.name for one in known)}")
    return known[0]


def _domain_of(kind: Kind, name: str) -> str:
    """The domain by which a new mailbox finds its organization; "" if it has none, and for other parts."""
    return kind.one_form(name).rpartition("@")[2] if kind.identity == "address" and "@" in name else ""

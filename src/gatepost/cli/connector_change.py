"""`gatepost connector add|set|remove`: changes of single connectors. Listing and showing is in `cli.connector_list`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.chosen import choose_connector, connector_options
from gatepost.cli.edit import Edit, Wish, change, change_options, part_added, part_removed, part_set
from gatepost.cli.options import BAD_INPUT, config_option, fail, json_option
from gatepost.cli.part import INBOUND, OUTBOUND, Part
from gatepost.cli.part_commands import CODES, WORDS_HELP, owner_of
from gatepost.connectors.match import Directory

if TYPE_CHECKING:
    from gatepost.connectors.model import Resources

__all__ = ["add", "chosen_part", "remove", "set_"]

_KINDS = {"inbound": INBOUND, "outbound": OUTBOUND}


def chosen_part(directory: Directory, name: str, organization: str, direction: str | None) -> Part:
    """The connector that is meant; ends the command if there is none, or several."""
    chosen = choose_connector(directory, name, organization, direction)
    return Part(_KINDS[chosen.direction], chosen.organization, chosen.connector)


@click.command(
    help="Add a connector.\n\nFor example:\n\n\b\n"
    "gatepost connector add outbound bank-out --organization contoso mode=rehearse \\\n"
    "  recipient_domains=bank.example,'*.bank.example' tls_settings=domain-validation tls_domain='*.bank.example'\n"
    "gatepost connector add inbound bank-in --organization contoso sender_domains=bank.example \\\n"
    "  restrict_domains_to_certificate=true tls_sender_certificate_name='*.bank.example'\n\n"
    f"{WORDS_HELP}\n\n{CODES}"
)
@click.argument("direction", type=click.Choice(list(_KINDS)))
@click.argument("name")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--organization", default="", help="Whose it is; needed where there are several.")
@change_options
@config_option
@json_option
def add(direction: str, name: str, words: tuple[str, ...], organization: str, **wish: Any) -> None:
    """A new connector."""

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        return part_added(_KINDS[direction], owner_of(resources, organization).name, name, words, draft)

    change(step, Wish(**wish))


@click.command(
    "set",
    help="Change fields of a connector, such as mode=enforce, enabled=false or smart_hosts+=mx2.bank.example.\n\n"
    f"With name=NEW the mail flow rules that name it follow.\n\n{WORDS_HELP}\n\n{CODES}",
)
@connector_options
@click.argument("words", nargs=-1, required=True, metavar="KEY=VALUE...")
@change_options
@config_option
@json_option
def set_(name: str, words: tuple[str, ...], organization: str, direction: str | None, **wish: Any) -> None:
    """Other fields."""

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        part = chosen_part(Directory(resources), name, organization, direction)
        edit = part_set(part, words, draft)
        table = draft[edit.organization]
        new_name = table[part.kind.key][part.place].get("name")
        for rule in _naming(part, table):
            if new_name:
                rule["route_via_connector"] = new_name
        return edit

    change(step, Wish(**wish))


@click.command(
    "remove",
    help="Remove a connector, unless a mail flow rule names it.\n\nMail in the queue is sent without it from its next "
    f"attempt on. `connector set NAME enabled=false` keeps it for later.\n\n{CODES}",
)
@connector_options
@change_options
@config_option
@json_option
def remove(name: str, organization: str, direction: str | None, **wish: Any) -> None:
    """No more connector."""

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        part = chosen_part(Directory(resources), name, organization, direction)
        owner = part.organization.name
        if naming := [rule["name"] for rule in _naming(part, draft[owner])]:
            rules = "\n".join(f"  mail flow rule {rule!r} of {owner}: route_via_connector" for rule in naming)
            fail(
                BAD_INPUT,
                f"{part.label} cannot be removed, it is needed by:\n{rules}\n"
                "Change or remove what needs it first; nothing was changed",
            )
        return part_removed(part, draft)

    change(step, Wish(**wish))


def _naming(part: Part, table: dict[str, Any]) -> list[dict[str, Any]]:
    """The mail flow rules of the draft that send messages by this connector."""
    if part.kind is not OUTBOUND:
        return []
    name = part.name.lower()
    return [rule for rule in table.get("mail_flow_rule", ()) if str(rule.get("route_via_connector")).lower() == name]

"""Arguments and options that name what is stored, and complete such names in a shell.

A shell asks while somebody types: whatever is wrong then, there is no completion, and no message.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from gatepost.manage.cli.options import current_remote_options, local_gateway, use_settings_file

_MOST: Final = 1000
_ORGANIZATION: Final = "organization"
PARTNER_DOMAIN: Final = "partner_domain"
"""For `stored_names`: domains that outbound connectors are for."""

type Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def connector_options[F: Callable[..., Any]](command: F) -> F:
    """`NAME`, and the options that tell connectors of one name apart."""
    command = click.option(
        "--direction",
        type=click.Choice(["inbound", "outbound"]),
        help="Direction of the connector. Needed if there is an inbound and an outbound connector NAME.",
    )(command)
    command = connector_organization(command)
    return click.argument("name", shell_complete=CONNECTORS)(command)


def stored_names(*keys: str) -> Complete:
    """Complete the names of what is stored below these keys of an organization, or of "organization" themselves.

    PARTNER_DOMAIN among them: domains that outbound connectors are for.
    """

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        matching = {name for name in names_of(context, keys) if name.lower().startswith(incomplete.lower())}
        return [CompletionItem(name) for name in sorted(matching)[:_MOST]]

    return complete


def names_of(context: click.Context, keys: tuple[str, ...]) -> list[str]:
    """The stored names below these keys, as of `stored_names`; none where they cannot be read, or not at once."""
    if context.find_root().params.get("server"):
        return []  # nobody waits for another machine at each key
    with contextlib.redirect_stderr(io.StringIO()), context.find_root() as root:
        try:
            if not current_remote_options().config and root.params.get("config"):
                use_settings_file(root.params["config"])
            return list(_stored(keys))
        except (Exception, SystemExit):  # noqa: BLE001 - no data, or not for this person: nothing is completed
            return []


def _stored(keys: tuple[str, ...]) -> Iterator[str]:
    from gatepost.manage.use_cases.name_lookup import KINDS  # noqa: PLC0415 - a command that runs does without

    gateway = local_gateway()
    for organization in gateway.directory().resources.organizations:
        if _ORGANIZATION in keys:
            yield organization.name
        if PARTNER_DOMAIN in keys:
            for connector in organization.outbound_connectors:
                yield from (domain for domain in connector.recipient_domains if "*" not in domain)
        for key in keys:
            if (kind := KINDS.get(key)) is not None:
                yield from (kind.name(part) for part in kind.of(organization))


CONNECTORS: Final = stored_names("inbound_connector", "outbound_connector")
connector_organization = click.option(
    "--organization",
    default="",
    shell_complete=stored_names("organization"),
    help="Organization of the connector. Needed if several have a connector NAME.",
)
"""Completes the names of connectors."""

BY_FIELD: Final = {
    "organization": stored_names(_ORGANIZATION),
    "connector": CONNECTORS,
    "domain": stored_names("accepted_domain", PARTNER_DOMAIN),
}
"""Completions of fields of requests, by their names."""

"""What a command is about: the resources as they are stored, and the one connector of them that a name means."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gatepost.cli.options import BAD_INPUT, UNKNOWN, fail
from gatepost.connectors.match import Directory
from gatepost.connectors.model import InboundConnector, OutboundConnector, ResourceErrors, parse
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gatepost.connectors.model import Organization, Resources
    from gatepost.settings.model import Settings

__all__ = [
    "Chosen",
    "choose_connector",
    "choose_organization",
    "chosen_organizations",
    "connector_options",
    "instead",
    "one_of",
    "stored_directory",
]

_NAMED = 20


class Chosen(NamedTuple):
    """A connector and whose it is."""

    organization: Organization
    connector: InboundConnector | OutboundConnector

    @property
    def direction(self) -> str:
        """Either "inbound" or "outbound"."""
        return "inbound" if isinstance(self.connector, InboundConnector) else "outbound"

    @property
    def label(self) -> str:
        """As sentences name it: "outbound connector 'hq' of contoso"."""
        return f"{self.direction} connector {self.connector.name!r} of {self.organization.name}"


def stored_directory(settings: Settings) -> Directory:
    """The resources as they are stored, which a running gateway has in force; ends the command if there are none."""
    try:
        store = ConfigStore(Path(settings.server.data_dir) / "config.db")
        try:
            version, document = store.load()
        finally:
            store.close()
        return Directory(parse(document, prefixes=settings.limits.prefixes()), version)
    except StoreFailure as failure:
        fail(UNKNOWN, f"{settings.server.data_dir}: {failure}")
    except ResourceErrors as errors:
        fail(UNKNOWN, f"{settings.server.data_dir}: the stored resources cannot be used by this version: {errors}")


def connector_options[F: Callable[..., Any]](command: F) -> F:
    """`NAME`, and the options that tell connectors of one name apart."""
    command = click.option(
        "--direction", type=click.Choice(["inbound", "outbound"]), help="Needed where both have a connector NAME."
    )(command)
    command = click.option("--organization", default="", help="Needed where several have a connector NAME.")(command)
    return click.argument("name")(command)


def choose_connector(directory: Directory, name: str, organization: str = "", direction: str | None = None) -> Chosen:
    """The connector that is meant, whatever the case of its name; ends the command if there is none, or several."""
    resources = directory.resources
    owners = chosen_organizations(resources, organization)
    known = [
        chosen
        for one in owners
        for connector in _connectors(one)
        if direction in {None, (chosen := Chosen(one, connector)).direction}
    ]
    found = [one for one in known if one.connector.name.lower() == name.lower()]
    if not found:
        names = [one.connector.name for one in known]
        fail(BAD_INPUT, f"there is no {_kind(direction)} {name!r}; {instead(name, names)}")
    if len(found) > 1:
        labels = [one.label for one in found]
        fail(BAD_INPUT, f"{one_of(name, labels)}. Say --organization or --direction")
    return found[0]


def choose_organization(resources: Resources, name: str) -> Organization:
    """The organization of that name; ends the command if there is none."""
    found = resources.organization(name)
    if found is None:
        names = [one.name for one in resources.organizations]
        fail(BAD_INPUT, f"there is no organization {name!r}; {instead(name, names)}")
    return found


def chosen_organizations(resources: Resources, name: str) -> Sequence[Organization]:
    """The organization of that name, or all where none is named; ends the command if there is none of it."""
    return [choose_organization(resources, name)] if name else resources.organizations


def instead(name: str, names: Iterable[str]) -> str:
    """What there is in place of a name that is not there: all of it, or the nearest where there is much."""
    known = list(dict.fromkeys(names))
    if len(known) > _NAMED:
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
        return f"the nearest of {len(known)}: {', '.join(map(repr, near)) or 'none'}"
    return f"there are: {', '.join(map(repr, known)) or 'none'}"


def one_of(name: str, labels: list[str]) -> str:
    """What a name could mean, as far as a person reads it."""
    more = len(labels) - _NAMED
    return f"{name!r} could be each of: {'; '.join(labels[:_NAMED])}" + (f" and {more} more" if more > 0 else "")


def _kind(direction: str | None) -> str:
    return f"{direction} connector" if direction else "connector"


def _connectors(organization: Organization) -> list[InboundConnector | OutboundConnector]:
    return [*organization.inbound_connectors, *organization.outbound_connectors]

"""What a command is about: the resources as they are stored, and the one connector of them that a name means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gatepost.cli.options import BAD_INPUT, UNKNOWN, fail
from gatepost.connectors.match import Directory
from gatepost.connectors.model import InboundConnector, OutboundConnector, ResourceErrors, parse
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.connectors.model import Organization
    from gatepost.settings.model import Settings

__all__ = ["Chosen", "choose_connector", "connector_options", "stored_directory"]


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
    known = directory.resources.organizations
    if organization and organization not in {one.name for one in known}:
        names = ", ".join(one.name for one in known) or "none"
        fail(BAD_INPUT, f"there is no organization {organization!r}; there are: {names}")
    found = [
        chosen
        for one in known
        if organization in {"", one.name}
        for connector in _connectors(one)
        if connector.name.lower() == name.lower() and direction in {None, (chosen := Chosen(one, connector)).direction}
    ]
    if not found:
        names = ", ".join(repr(connector.name) for one in known for connector in _connectors(one))
        fail(BAD_INPUT, f"there is no connector {name!r}; there are: {names or 'none'}")
    if len(found) > 1:
        labels = "; ".join(one.label for one in found)
        fail(BAD_INPUT, f"{name!r} could be each of: {labels}. Say --organization or --direction")
    return found[0]


def _connectors(organization: Organization) -> list[InboundConnector | OutboundConnector]:
    return [*organization.inbound_connectors, *organization.outbound_connectors]

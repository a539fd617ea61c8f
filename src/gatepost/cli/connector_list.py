"""`gatepost connector list|show`: the connectors of all organizations, in Exchange's words, and one in full."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.administration.choice import choose_connector, chosen_organizations
from gatepost.administration.parts import INBOUND, OUTBOUND, Part
from gatepost.checks.records import VALIDATIONS, last, record_path
from gatepost.cli.chosen import connector_options, stored_directory
from gatepost.cli.options import config_option, json_option, settings_of
from gatepost.cli.part_commands import SHOW_CODES
from gatepost.cli.part_view import show_part, view_options
from gatepost.cli.tables import moment, print_json, print_table
from gatepost.connectors.values import ConnectorType, ContentProtection, Mode, TlsSettings

if TYPE_CHECKING:
    from gatepost.connectors.model import InboundConnector, OutboundConnector

__all__ = ["list_", "show"]

_COLUMNS = ("status", "direction", "name", "organization", "from", "to", "domains", "demands", "validated")
_HERE = "This gateway"
# exchange.md section 11.1
_PEERS = {ConnectorType.PARTNER: "Partner organization", ConnectorType.ON_PREMISES: "Your organization's email server"}


@click.command("list")
@click.option("--organization", default="", help="Only of this one.")
@click.option("--direction", type=click.Choice(["inbound", "outbound"]), help="Only these.")
@config_option
@json_option
def list_(organization: str, direction: str | None, config: str | None, as_json: bool) -> None:
    """Connectors: whom they stand between, what they demand, and how the last `connector validate` ended.

    Exit codes: 0 done (also if there are none), 2 no such organization, 3 not readable.
    """
    settings = settings_of(config)
    resources = stored_directory(settings).resources
    owners = chosen_organizations(resources, organization)
    rows = [
        _row(Part(kind, owner, one), Path(settings.server.data_dir))
        for owner in owners
        for kind in (INBOUND, OUTBOUND)
        if direction in {None, _direction(kind.key)}
        for one in kind.of(owner)
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(
            _COLUMNS, [[_validated(row) if key == "validated" else row[key] for key in _COLUMNS] for row in rows]
        )


@click.command(help=f"Every field of a connector, written or default.\n\n{SHOW_CODES}")
@connector_options
@view_options
@config_option
@json_option
def show(name: str, organization: str, direction: str | None, config: str | None, **form: Any) -> None:
    """One connector."""
    show_part(choose_connector(stored_directory(settings_of(config)), name, organization, direction).part, **form)


def _direction(key: str) -> str:
    return key.partition("_")[0]


def _row(part: Part, data_dir: Path) -> dict[str, Any]:
    connector: InboundConnector | OutboundConnector = part.record
    inbound = part.kind is INBOUND
    peer = _PEERS[connector.connector_type]
    direction, owner = _direction(part.kind.key), part.organization.name
    validated = last(record_path(data_dir, VALIDATIONS, owner, direction, part.name))
    return {
        "status": _status(connector),
        "direction": direction,
        "name": part.name,
        "organization": owner,
        "from": peer if inbound else _HERE,
        "to": _HERE if inbound else peer,
        "domains": ", ".join(_inbound_scope(part.record) if inbound else _outbound_scope(part.record)),
        "demands": ", ".join(_inbound_demands(part.record) if inbound else _outbound_demands(part.record)),
        "validated": validated and {key: validated.get(key) for key in ("at", "outcome", "configuration")},
    }


def _validated(row: dict[str, Any]) -> str:
    found = row["validated"]
    return f"{found['outcome']} {moment(found['at'] or 0)}" if found else "never"


def _status(connector: InboundConnector | OutboundConnector) -> str:
    if not connector.enabled:
        return "disabled"
    return "rehearsal" if connector.mode is Mode.REHEARSE else "enabled"


def _inbound_scope(connector: InboundConnector) -> list[str]:
    """Whose mail it holds for: a partner's domains, or the organization's own servers."""
    if connector.connector_type is ConnectorType.PARTNER:
        return list(connector.sender_domains)
    return [connector.tls_sender_certificate_name or "", *connector.sender_ip_addresses][
        not connector.tls_sender_certificate_name :
    ]


def _outbound_scope(connector: OutboundConnector) -> list[str]:
    found = [
        connector.is_transport_rule_scoped and "mail flow rules",
        connector.route_all_messages_via_on_premises and "all mail",
        connector.all_accepted_domains and "accepted domains",
    ]
    return [text for text in found if text] + list(connector.recipient_domains)


def _inbound_demands(connector: InboundConnector) -> list[str]:
    version = f"{connector.min_tls_version} or newer" if connector.min_tls_version else "TLS"
    found = [
        connector.require_tls and version,
        connector.restrict_domains_to_certificate and f"certificate {connector.tls_sender_certificate_name}",
        connector.restrict_domains_to_ip_addresses and f"address in {', '.join(connector.sender_ip_addresses)}",
    ]
    return [text for text in found if text] or ["nothing"]


def _outbound_demands(connector: OutboundConnector) -> list[str]:
    found = [
        str(connector.tls_settings),
        connector.tls_settings is TlsSettings.DOMAIN_VALIDATION and (connector.tls_domain or "the next hop's name"),
        connector.min_tls_version and f"{connector.min_tls_version} or newer",
        connector.encrypt is ContentProtection.SMIME and "encrypted (S/MIME)",
        connector.sign is ContentProtection.SMIME and "signed (S/MIME)",
    ]
    return [text for text in found if text]

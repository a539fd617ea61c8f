"""The connectors of all organizations in Exchange's words: whom they stand between, what they demand, how they did.

Used by lists and pages. One page of many thousand connectors costs what its rows cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from gatepost.analysis.checks.records import VALIDATIONS, CheckRecords
from gatepost.analysis.rehearsal.verdicts import ConnectorKey
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.connector_verdicts import recent_verdicts
from gatepost.manage.use_cases.declaration import Cli, Items, Visibility, use_case
from gatepost.manage.use_cases.name_lookup import INBOUND, OUTBOUND, Chosen, chosen_organizations, status_of, visible
from gatepost.manage.use_cases.paging import ListPage, ListSelection, Paging, page_of
from gatepost.policy.connectors.records import InboundConnector, Organization, OutboundConnector
from gatepost.policy.connectors.tls_rules import limits_of
from gatepost.policy.connectors.values import ConnectorType, ContentProtection, TlsSettings
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.store.storage import Storage


type Connector = InboundConnector | OutboundConnector
type _Found = tuple[Organization, str, Connector]

_HERE = N_("This gateway")
# exchange.md section 11.1
_PEERS = {
    ConnectorType.PARTNER: N_("Partner organization"),
    ConnectorType.ON_PREMISES: N_("Your organization's email server"),
}
_KINDS = {"inbound": INBOUND, "outbound": OUTBOUND}


class ConnectorSelection(ListSelection, frozen=True):
    """The same of connectors; q looks in their domains, too.

    direction: "inbound" or "outbound", "" for both. status: as in a row, "" for any. sort: one of SORTS, with - before
    it from the last to the first; "" is the order of organizations.
    """

    direction: str = ""
    status: str = ""
    sort: str = ""


class ListConnectors(Paging, kw_only=True):
    """Filters of connectors; empty fields match all."""

    organization: Annotated[str, Meta(max_length=1000, description="Only connectors of this organization.")] = ""
    direction: Annotated[
        Literal["", "inbound", "outbound"],
        Meta(description="Only connectors of this direction; empty: both."),
        Cli(help="Only connectors of this direction."),
    ] = ""
    status: Annotated[
        Literal["", "enabled", "rehearsal", "disabled"], Meta(description="Only connectors in this state.")
    ] = ""
    q: Annotated[
        str,
        Meta(
            max_length=1000,
            description="Only connectors with this text in their name or in a domain, in upper or lower case.",
        ),
    ] = ""


class LastValidation(msgspec.Struct):
    """Result of the last validation. at: seconds since 1970. configuration: the version that was tried."""

    at: float | None
    outcome: str | None
    configuration: int | None


class ConnectorEntry(msgspec.Struct):
    """A connector: whom it stands between, whose mail it holds for, what it requires, how it was validated last.

    status: enabled, rehearsal or disabled. mode: enforce or rehearse. validated: null if it never was.
    """

    status: str
    direction: str
    name: str
    organization: str
    mode: str
    sender: str = msgspec.field(name="from")
    receiver: str = msgspec.field(name="to")
    domains: list[str]
    requires: list[str]
    validated: LastValidation | None


@use_case(
    "GET /connectors", scope=Scope.READ, visibility=Visibility.SEEN, tag="connectors", versioned=True, may_404=True
)
def list_connectors(context: Context, request: ListConnectors) -> Items[ConnectorEntry]:
    """Connectors of all organizations: what they demand, how they were validated."""
    selection = ConnectorSelection(request.organization, request.q, direction=request.direction, status=request.status)
    list_page = connectors(context.gateway, context.principal, selection)

    def identity(entry: ConnectorEntry) -> str:
        return f"{entry.direction} {entry.organization} {entry.name}"

    return page_of(list_page.rows, identity, request, lambda entry: entry, list_page.version)


def connectors(
    gateway: Gateway, principal: Principal, selection: ConnectorSelection | None = None
) -> ListPage[ConnectorEntry]:
    """Connectors in the order that is wanted, else of their organizations, inbound ones first.

    Raises Refusal (MISSING) if there is no such organization. By verdicts it waits for the trace to be counted.
    """
    selection = selection or ConnectorSelection()
    directory = gateway.directory()
    owners = chosen_organizations(visible(directory.resources, principal), selection.organization)
    page = selection.page(directory.version, _sorted(gateway, list(_selected(owners, selection)), selection.sort))
    rows = [_row(gateway.storage, *row) for row in page.rows]
    return page.holding(rows)


def connector_row(gateway: Gateway, chosen: Chosen) -> ConnectorEntry:
    """The row of one connector, as lists have it."""
    return _row(gateway.storage, chosen.organization, chosen.direction, chosen.connector)


def connector_record(row: ConnectorEntry) -> dict[str, Any]:
    """For a table or a file: lists as texts, and no mode, which the status says."""
    record: dict[str, Any] = msgspec.to_builtins(row)
    del record["mode"]
    return {name: ", ".join(value) if isinstance(value, list) else value for name, value in record.items()}


def _selected(owners: Sequence[Organization], selection: ConnectorSelection) -> Iterator[_Found]:
    directions = [selection.direction] if selection.direction else list(_KINDS)
    wanted = selection.q.lower()
    for owner in owners:
        for direction in directions:
            for connector in _KINDS[direction].of(owner):
                if selection.status and status_of(connector) != selection.status:
                    continue
                if (
                    not wanted
                    or selection.names(connector.name)
                    or any(wanted in scope.lower() for scope in _scope(connector))
                ):
                    yield owner, direction, connector


def _sorted(gateway: Gateway, found: list[_Found], sort: str) -> list[_Found]:
    key = sort.removeprefix("-")
    if key not in SORTS:
        return found
    return sorted(found, key=_order(gateway, found, key), reverse=sort.startswith("-"))


def _order(gateway: Gateway, found: Sequence[_Found], sort: str) -> Callable[[_Found], Any]:
    """By what connectors are put in order. What many files say is read once for all."""
    if sort == "validated":
        owners = dict.fromkeys(owner.name for owner, _, _ in found)
        kept = {name: CheckRecords(gateway.storage, VALIDATIONS, name).times() for name in owners}
        return lambda row: kept[row[0].name](row[1], row[2].name)
    if sort == "verdicts":
        counted = recent_verdicts(gateway, map(_key, found))

        def weight(row: _Found) -> tuple[int, int]:
            verdicts = counted[_key(row)].in_mode(row[2].mode)
            return verdicts.failed, verdicts.passed

        return weight
    return _BY[sort]


def _key(found: _Found) -> ConnectorKey:
    return ConnectorKey(found[0].name, found[1], found[2].name)


def _ends(found: _Found) -> tuple[str, str]:
    """From whom and to whom."""
    peer = _PEERS[found[2].connector_type]
    return (peer, _HERE) if found[1] == "inbound" else (_HERE, peer)


def _demands(connector: Connector) -> list[str]:
    if isinstance(connector, InboundConnector):
        return _inbound_demands(connector)
    return _outbound_demands(connector)


_BY: Final[dict[str, Callable[[_Found], Any]]] = {
    "name": lambda row: row[2].name.casefold(),
    "status": lambda row: status_of(row[2]),
    "from": lambda row: _ends(row)[0],
    "to": lambda row: _ends(row)[1],
    "domains": lambda row: _scope(row[2]),
    "requires": lambda row: _demands(row[2]),
    "mode": lambda row: str(row[2].mode),
}
SORTS: Final = (*_BY, "validated", "verdicts")
"""By what connectors can be put in order: columns of a row, the time of the last validation, failed and passed mail."""


def _row(storage: Storage, owner: Organization, direction: str, connector: Connector) -> ConnectorEntry:
    sender, receiver = _ends((owner, direction, connector))
    validated = CheckRecords(storage, VALIDATIONS, owner.name).last(direction, connector.name)
    return ConnectorEntry(
        status=status_of(connector),
        direction=direction,
        name=connector.name,
        organization=owner.name,
        mode=str(connector.mode),
        sender=sender,
        receiver=receiver,
        domains=_scope(connector),
        requires=_demands(connector),
        validated=_validated(validated) if validated else None,
    )


def _validated(record: Mapping[str, Any]) -> LastValidation:
    return LastValidation(record.get("at"), record.get("outcome"), record.get("configuration"))


def _scope(connector: Connector) -> list[str]:
    """Mail that it applies to."""
    return _inbound_scope(connector) if isinstance(connector, InboundConnector) else _outbound_scope(connector)


def _inbound_scope(connector: InboundConnector) -> list[str]:
    """Mail that it applies to: a partner's domains, or the organization's own servers."""
    if connector.connector_type is ConnectorType.PARTNER:
        return list(connector.sender_domains)
    return [connector.tls_sender_certificate_name or "", *connector.sender_ip_addresses][
        not connector.tls_sender_certificate_name :
    ]


def _outbound_scope(connector: OutboundConnector) -> list[str]:
    texts = [
        connector.is_transport_rule_scoped and "mail flow rules",
        connector.route_all_messages_via_on_premises and "all mail",
        connector.all_accepted_domains and "accepted domains",
    ]
    return [text for text in texts if text] + list(connector.recipient_domains)


def _inbound_demands(connector: InboundConnector) -> list[str]:
    version = f"{connector.min_tls_version} or newer" if connector.min_tls_version else "TLS"
    texts = [
        connector.require_tls and version,
        *limits_of(connector).texts,
        connector.restrict_domains_to_certificate and f"certificate {connector.tls_sender_certificate_name}",
        connector.restrict_domains_to_ip_addresses and f"address in {', '.join(connector.sender_ip_addresses)}",
    ]
    return [text for text in texts if text] or ["nothing"]


def _outbound_demands(connector: OutboundConnector) -> list[str]:
    texts = [
        str(connector.tls_settings),
        connector.tls_settings is TlsSettings.DOMAIN_VALIDATION and (connector.tls_domain or "the next hop's name"),
        connector.min_tls_version and f"{connector.min_tls_version} or newer",
        *limits_of(connector).texts,
        connector.encrypt is ContentProtection.SMIME and "encrypted (S/MIME)",
        connector.sign is ContentProtection.SMIME and "signed (S/MIME)",
    ]
    return [text for text in texts if text]

"""Connectors as pages look at them, and drafts of the wizard: what one would change, and what came of trying it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from gatepost.analysis.rehearsal.verdicts import ConnectorKey, Verdicts  # noqa: TC001 - the declaration reads it
from gatepost.mail.model.message import Recipient
from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.change import ChangeOptions, ChangeResult
from gatepost.manage.use_cases.connector_verdicts import recent_verdicts
from gatepost.manage.use_cases.connectors import ConnectorEntry, ConnectorSelection, connector_row, connectors
from gatepost.manage.use_cases.declaration import Visibility, use_cases
from gatepost.manage.use_cases.name_lookup import KINDS, Chosen, choose_connector
from gatepost.manage.use_cases.paging import ListPage  # noqa: TC001 - the declaration reads it
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.use_cases.resources import PartName, add_part, seen
from gatepost.manage.use_cases.times import moment
from gatepost.manage.use_cases.validation import keep_validation, last_validation
from gatepost.manage.use_cases.validation_runs import (
    Candidate,
    ValidateConnector,
    ValidationState,
    options_of_request,
    start_candidate,
    state_of,
)
from gatepost.newest import Newest
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.decisions.route import RoutePlanner
from gatepost.policy.decisions.routes import MxRoute, SmartHosts

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context
    from gatepost.settings.model import Settings


use_case = use_cases(visibility=Visibility.SEEN, tag="connectors")
_REMEMBERED: Final = 100


@use_case(scope=Scope.READ)
def find_connectors(context: Context, request: ConnectorSelection) -> ListPage[ConnectorEntry]:
    """Connectors of all organizations, in the order that is asked for."""
    return connectors(context.gateway, context.principal, request)


class CountVerdicts(msgspec.Struct, kw_only=True):
    """Of which connectors."""

    connectors: list[ConnectorKey]


@use_case(scope=Scope.READ)
def count_verdicts(context: Context, request: CountVerdicts) -> dict[ConnectorKey, Verdicts]:
    """Count the results of connectors in the last seven days; connectors that the caller may not see are left out."""
    seen_of = [connector for connector in request.connectors if context.principal.sees(connector.organization)]
    return recent_verdicts(context.gateway, seen_of)


class ViewConnector(msgspec.Struct, kw_only=True):
    """direction: "inbound" or "outbound"."""

    organization: str
    direction: str
    name: str


class ConnectorView(NamedTuple):
    """validation: the record of the last one, None if there was none. version: of the resources."""

    chosen: Chosen
    row: ConnectorEntry
    validation: dict[str, Any] | None
    version: int


@use_case(scope=Scope.READ)
def view_connector(context: Context, request: ViewConnector) -> ConnectorView:
    """One connector, and how its validation ended."""
    gateway = context.gateway
    resources = seen(gateway, context.principal)
    chosen = choose_connector(resources, request.name, request.organization, request.direction)
    version = gateway.directory().version
    return ConnectorView(chosen, connector_row(gateway, chosen), last_validation(gateway, chosen), version)


class RouteConnector(msgspec.Struct, kw_only=True):
    """organization: of the delivery. sender: the message's reverse-path."""

    organization: str
    recipient: str
    sender: str = ""


class ConnectorOfRoute(NamedTuple):
    """chosen: None where mail goes by no connector, by one that the caller does not see, or where a rule decides."""

    chosen: Chosen | None


@use_case(scope=Scope.READ)
def route_connector(context: Context, request: RouteConnector) -> ConnectorOfRoute:
    """The outbound connector by which mail for a recipient goes now, by its domain.

    A mail flow rule may send it another way for a header field, which is not looked at here: then there is no answer.
    """
    directory = context.gateway.directory()
    to = [Recipient(request.recipient)]
    ((route, _),) = RoutePlanner(directory).routes(request.organization, to, reverse_path=request.sender)
    if not isinstance(route, MxRoute | SmartHosts) or route.connector is None:
        return ConnectorOfRoute(None)
    name = route.connector.name
    organizations = [directory.organization(owner) for owner in (request.organization, route.connector_owner)]
    rules = [rule for organization in organizations if organization for rule in organization.mail_flow_rules]
    if any(rule.route_via_connector.lower() not in {"", name.lower()} for rule in rules if rule.header_name):
        return ConnectorOfRoute(None)
    try:
        chosen = choose_connector(context.seen(), name, route.connector_owner, "outbound")
    except Refusal:  # of another organization
        return ConnectorOfRoute(None)
    return ConnectorOfRoute(chosen)


# ------------------------------------------------------------------------------------------------ drafts


class DraftConnector(msgspec.Struct, kw_only=True):
    """A connector that is not stored. kind: its key. table: its fields but the name.

    since: from when on mail is decided again, an age or date; "" for none.
    """

    organization: str
    kind: str
    name: str
    table: dict[str, Any]
    since: str = ""


class DraftedConnector(NamedTuple):
    """outcome: of adding it. chosen: what it would be."""

    outcome: ChangeResult
    chosen: Chosen


@use_case(scope=Scope.CONNECTORS)
def draft_connector(context: Context, request: DraftConnector) -> DraftedConnector:
    """Preview what a new connector would change. Changes nothing."""
    return _drafted(context, request)


class ValidateDraft(msgspec.Struct, kw_only=True):
    """trial: what is tried; its connector is that of the draft."""

    draft: DraftConnector
    trial: ValidateConnector


@use_case(scope=Scope.CONNECTORS, action="connector-validate", self_audited=True)
def validate_draft(context: Context, request: ValidateDraft) -> ValidationState:
    """Try a connector that is not stored; it is on record, and kept until it is saved."""
    context.audit.describe(organization=request.draft.organization, subject=request.draft.name, draft=True)
    outcome, chosen = _drafted(context, request.draft)
    tried, key = context.kept(TriedDrafts), _key(context, request.draft)

    def keep(record: dict[str, Any]) -> str:
        tried.keep(key, record)
        return ""

    directory = Directory(outcome.after, outcome.version)
    return state_of(
        start_candidate(context, Candidate(directory, chosen, options_of_request(request.trial), keep, draft=True))
    )


class DraftValidation(NamedTuple):
    """record: what came of trying the draft, None if it was not tried."""

    record: dict[str, Any] | None


@use_case(scope=Scope.CONNECTORS)
def view_draft_validation(context: Context, request: DraftConnector) -> DraftValidation:
    """Show the validation of a draft."""
    return DraftValidation(context.kept(TriedDrafts).get(_key(context, request)))


@use_case(scope=Scope.CONNECTORS)
def keep_draft_validation(context: Context, request: DraftConnector) -> DraftValidation:
    """Keep what a draft was tried with for the connector that it became."""
    record = context.kept(TriedDrafts).get(_key(context, request))
    if record is not None:
        gateway, owner = context.gateway, request.organization
        resources = seen(gateway, context.principal)
        chosen = choose_connector(resources, request.name, owner, _direction(request))
        keep_validation(gateway, chosen, record | {"configuration": gateway.directory().version})
    return DraftValidation(record)


class TriedDrafts(Newest[str, dict[str, Any]]):
    """Validations of drafts, by their key, kept until a draft is saved, so that lists then know them."""

    def __init__(self, _: Settings | None = None) -> None:
        super().__init__(_REMEMBERED)


def _key(context: Context, draft: DraftConnector) -> str:
    """The key of a validated draft: everything that decides its result."""
    identity = [
        context.principal.name,
        draft.organization,
        draft.kind,
        draft.name.lower(),
        draft.table | {"comment": ""},
    ]
    return json.dumps(identity, sort_keys=True)


def _direction(draft: DraftConnector) -> str:
    return draft.kind.partition("_")[0]


def _drafted(context: Context, draft: DraftConnector) -> DraftedConnector:
    since = moment(draft.since) if draft.since else None
    named = PartName(KINDS[draft.kind], draft.organization, draft.name)
    wish = ChangeOptions(context.principal.name, dry_run=True, since=since)
    outcome = add_part(context.gateway, context.principal, named, draft.table, wish)
    chosen = choose_connector(outcome.after, draft.name, draft.organization, _direction(draft))
    return DraftedConnector(outcome, chosen)

"""The overview: what needs an administrator, the queue, protection of mail in the last day, certificates, nodes.

The page of all alarms is here, too: the same as `gatepost alarms`. Administrators of some organizations see no
certificates, nodes and workers. The chart is loaded after the page. The page Doctor says what is wrong with the gateway
or its machine, and what to do next (`gatepost doctor`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.routing import Route

from gatepost.analysis.alarms.alarm import Severity
from gatepost.language import _, pgettext
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.certificate_view import life
from gatepost.manage.pages.exports import exported
from gatepost.manage.pages.guard import own_organizations, perform, principal_of
from gatepost.manage.pages.rendering import render
from gatepost.manage.use_cases import certificate_views
from gatepost.manage.use_cases.alarms import ListAlarms, list_alarms
from gatepost.manage.use_cases.doctor import ExamineGateway, examine_gateway
from gatepost.manage.use_cases.queue import ListWaitingDestinations, WaitingDestination, list_waiting_destinations
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.use_cases.reports import CountFlows, count_flows
from gatepost.manage.use_cases.status import GetStatus, get_running
from gatepost.manage.use_cases.work_list import ListWork, list_work
from gatepost.pki.certificates.entry import Entry, State
from gatepost.store.nodes import NodeState
from gatepost.texts import NP_

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.use_cases.presentation_places import PresentationPlaces
    from gatepost.policy.connectors.records import Organization


LEVELS: Final = {Severity.CRITICAL: "fail", Severity.ERROR: "fail", Severity.WARNING: "warn"}
"""How severities look."""
_ALARM_COLUMNS: Final = ("severity", "kind", "about", "certificate", "title", "detail", "fix", "since")
_ALARMS_SHOWN: Final = 200


def _alarms(request: Request) -> Response:
    current = perform(request, list_alarms, ListAlarms())
    if file := exported(request, "alarms", _ALARM_COLUMNS, lambda: current.alarms):
        return file
    return render(
        request,
        "overview/alarms.html",
        found=current.alarms[:_ALARMS_SHOWN],
        total=len(current.alarms),
        looked=current.looked,
        unknown=current.unknown[:_ALARMS_SHOWN],
        levels=LEVELS,
    )


_NODE_LEVELS: Final = {
    NodeState.ACTIVE: ("pass", NP_("node", "Active")),
    NodeState.DRAINING: ("running", NP_("node", "Draining")),
    NodeState.DRAINED: ("hold", NP_("node", "Drained")),
    NodeState.STOPPED: ("waiting", NP_("node", "Stopped")),
    NodeState.DEAD: ("fail", NP_("node", "Dead")),
}
_PATIENCE: Final = 0.3  # seconds for what takes long to count
_DESTINATIONS: Final = 5
_CERTIFICATES: Final = 5


def _overview(request: Request) -> Response:
    principal, now = principal_of(request), time.time()
    organization = request.query_params.get("organization", "")
    waiting = perform(request, list_waiting_destinations, ListWaitingDestinations(organization=organization)).items
    alarms = perform(request, list_alarms, ListAlarms())
    work = perform(request, list_work, ListWork(organization=organization, wait=_PATIENCE))
    running = perform(request, get_running, GetStatus()) if principal.is_of_gateway else None
    return render(
        request,
        "overview/overview.html",
        block="now",
        first_steps=_first_steps(request),
        work=work.items,
        work_unknown=work.unknown,
        alarm_count=len(alarms.alarms),
        gravest=alarms.alarms[0].severity if alarms.alarms else "",
        levels=LEVELS,
        counts=_counts(waiting),
        fullest=waiting[:_DESTINATIONS],
        certificates=[(entry, life(entry, now), places.problems) for entry, places in _ending(request)],
        configuration=running.configuration if running else None,
        nodes=running.nodes if running else (),
        node_levels={state: (level, pgettext(*label)) for state, (level, label) in _NODE_LEVELS.items()},
        workers=running.workers if running else (),
    )


def _counts(waiting: Sequence[WaitingDestination]) -> Mapping[str, int]:
    return {name: sum(getattr(destination, name) for destination in waiting) for name in ("active", "deferred", "held")}


def _first_steps(request: Request) -> Sequence[FirstStep]:
    if not principal_of(request).may(Scope.CONNECTORS):
        return ()
    try:
        return first_steps(own_organizations(request))
    except Refusal:  # alarms and the pages of resources say so
        return ()


def _ending(request: Request) -> Sequence[tuple[Entry, PresentationPlaces]]:
    """The certificates in use that end first, with where they are presented."""
    if not principal_of(request).is_of_gateway:
        return ()
    entries = perform(request, certificate_views.view_certificates, certificate_views.ViewCertificates()).entries
    used = (entry for entry in entries if entry.state in {State.CURRENT, State.NEXT})
    first = sorted(used, key=lambda entry: entry.leaf.not_after)[:_CERTIFICATES]
    selection = certificate_views.LocateCertificates(certificates=[entry.id for entry in first])
    places = perform(request, certificate_views.locate_certificates, selection)
    return [(entry, places[entry.id]) for entry in first]


def _flows(request: Request) -> Response:
    """The last hours, by direction and protection."""
    organization = request.query_params.get("organization", "")
    flows = perform(request, count_flows, CountFlows(organization=organization))
    rows = {
        event: [
            (hour.begin, hour.authenticated, hour.encrypted, hour.none) for hour in flows.hours if hour.event == event
        ]
        for event in ("SEND", "RECEIVE")
    }
    return render(request, "overview/flows.html", block="flows", rows=rows, any=flows.counted, begin=flows.begin)


def _doctor(request: Request) -> Response:
    """The network is asked only on request, since that takes up to half a minute."""
    asks = request.query_params.get("network") == "1"
    examined = perform(request, examine_gateway, ExamineGateway(offline=not asks))
    return render(request, "overview/doctor.html", found=examined.gravest_first, asks=asks)


class FirstStep(NamedTuple):
    """A step that a new gateway needs before it carries mail."""

    text: str
    path: str
    why: str
    done: bool


def first_steps(owners: Sequence[Organization]) -> list[FirstStep]:
    """Those of a gateway that is not set up yet; none where mail can be carried. owners: its organizations."""
    domains = any(owner.accepted_domains for owner in owners)
    ways = any(owner.mailboxes or owner.inbound_connectors or owner.outbound_connectors for owner in owners)
    steps = [
        FirstStep(
            _("Add an organization"),
            "/organizations/new",
            _("The gateway handles mail for organizations."),
            bool(owners),
        ),
        FirstStep(
            _("Add its domain"),
            "/domains/new",
            _("The gateway accepts mail only for domains of its organizations."),
            domains,
        ),
        FirstStep(
            _("Add a connector"),
            "/connectors/new",
            _("Connect your own mail servers, or add mailboxes on this gateway instead."),
            ways,
        ),
    ]
    return [] if all(step.done for step in steps) else steps


ROUTES: Final = [
    Route("/", _overview),
    Route("/overview/flows", _flows),
    Route("/doctor", _doctor),
    Route("/alarms", _alarms),
]

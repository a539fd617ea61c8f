"""The head of the page of a message: who must do what, the connector, and what to do about its destination.

Used by `queue` and `trace`. It is about the delivery whose sentence it shows, whatever became of other recipients. The
connector is the one by which its last attempt went, as its row of the trace says; where no attempt was made, because
other mail had failed on the way, it is the one by which it would go now.

Its link to the form of that connector carries the destination, for which mail is tried again once the form is saved.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.language import _, ngettext
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.guard import perform, principal_of
from gatepost.manage.pages.rendering import link
from gatepost.manage.pages.resource_paths import connector_path, edit_path, trace_path, validate_path
from gatepost.manage.use_cases.connector_views import RouteConnector, ViewConnector, route_connector, view_connector
from gatepost.manage.use_cases.queue_actions import QueueAction, QueueActions, act_on_queue
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.protocols.message.next_step import MustAct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.manage.use_cases.name_lookup import Chosen
    from gatepost.manage.use_cases.queue import QueueDelivery


_IN_FORCE: Final = 2.0
"""Seconds within which a running gateway takes up a change."""


class RetryTarget(NamedTuple):
    """message: the queue id that it is about. organization, domain: the destination whose mail is tried again."""

    message: str
    organization: str
    domain: str

    @property
    def fields(self) -> dict[str, str]:
        """For addresses and forms."""
        return {
            "retry-message": self.message,
            "retry-organization": self.organization,
            "retry-domain": self.domain,
        }

    @property
    def path(self) -> str:
        """The trace of the message."""
        return trace_path(self.message)


def retry_target(given: Mapping[str, str]) -> RetryTarget | None:
    """Read it from an address or a form; None if it has none."""
    names = ("retry-message", "retry-organization", "retry-domain")
    values = [given.get(name, "").strip()[:255] for name in names]
    return RetryTarget(*values) if all(values) else None


def retry(request: Request, target: RetryTarget, *, changed: bool) -> str:
    """Try the mail of the destination again; a sentence that says how much, or why not.

    changed: wait until what was saved is in force, or the mail would be tried as before, and wait for longer then.
    """
    if changed:
        time.sleep(_IN_FORCE)
    actions = QueueActions(action=QueueAction.RETRY, organization=target.organization, domain=target.domain)
    try:
        done = perform(request, act_on_queue, actions)
    except Refusal as refusal:
        return _("The mail for %(domain)s was not retried: %(text)s", domain=target.domain, text=refusal.text)
    if not done.changed:
        return _("No mail waits for %(domain)s any more.", domain=target.domain)
    return ngettext(
        "Retrying %(num)s delivery to %(domain)s.",
        "Retrying %(num)s deliveries to %(domain)s.",
        done.changed,
        domain=target.domain,
    )


_ATTEMPTS: Final = {"SEND", "DEFER", "FAIL", "EXPIRE"}
_ORDER: Final = tuple(map(str, MustAct))
_LEVELS: Final = {"gateway": "fail", "remote": "warn", "sender": "warn", "nobody": "info"}


class MessageHead(NamedTuple):
    """level, text: of the sentence. connector: its name, "" for none that is seen; path, edit: its pages.

    validate: where a form starts its validation, "" for who may not.
    retry: mail for the destination that waits, None if none does or who looks may not act on it. check: the smart host
    that was tried, "host:port", or the partner's domain; "" for neither. is_host: it is a smart host.
    """

    level: str
    text: str
    connector: str = ""
    path: str = ""
    edit: str = ""
    retry: RetryTarget | None = None
    check: str = ""
    is_host: bool = False
    validate: str = ""

    @property
    def check_path(self) -> str:
        """The page that checks it."""
        return link("/check/host" if self.is_host else "/check", target=self.check)


def head_of(
    request: Request,
    events: Sequence[TraceEvent],
    waiting: Sequence[QueueDelivery],
    message: str,
    ended: tuple[str, str] = ("nobody", ""),
) -> MessageHead:
    """Head of a page. events: of the message, oldest first. waiting: its deliveries in the queue.

    ended: who must act, and the sentence, if none waits.
    """
    deliveries = sorted(waiting, key=lambda delivery: _ORDER.index(delivery.must_act))
    must_act, text = (deliveries[0].must_act, deliveries[0].next_step) if deliveries else ended
    head = MessageHead(_LEVELS.get(must_act, "info"), text)
    concerned = {recipient.address for recipient in deliveries[0].recipients} if deliveries else set()
    attempts = [event for event in events if event.event in _ATTEMPTS and event.recipient in concerned]
    events = [event for event in events if event.event not in _ATTEMPTS] + attempts if deliveries else events
    head = head._replace(retry=_retry(request, deliveries, message), check=partner_of(events))
    attempt = next((event for event in reversed(events) if event.event in _ATTEMPTS), None)
    if attempt is None:
        return head
    chosen = _connector(request, attempt)
    if chosen is None:
        return head
    may_change = principal_of(request).may(Scope.CONNECTORS, chosen.organization.name)
    edit = edit_path(chosen.part)
    if may_change and head.retry is not None:
        edit = link(edit, **head.retry.fields)
    hosts = "" if _sender_domain(events) else _smart_hosts(chosen, attempt.peer_host)
    return head._replace(
        connector=chosen.connector.name,
        path=connector_path(chosen.organization.name, chosen.direction, chosen.connector.name),
        edit=edit if may_change else "",
        check=hosts or head.check,
        is_host=bool(hosts),
        validate=validate_path(chosen.organization.name, chosen.direction, chosen.connector.name) if may_change else "",
    )


def partner_of(events: Sequence[TraceEvent]) -> str:
    """The domain at the other side of the gateway, "" where all stays here."""
    outgoing = next((event.recipient for event in reversed(events) if event.event in _ATTEMPTS), "")
    return _sender_domain(events) or outgoing.rpartition("@")[2]


def _sender_domain(events: Sequence[TraceEvent]) -> str:
    """The domain that a message came from, "" for one that leaves."""
    return events[0].sender.rpartition("@")[2] if events and events[0].direction == "incoming" else ""


def _connector(request: Request, attempt: TraceEvent) -> Chosen | None:
    """The connector of an attempt, or of one that was not made, if it is there and seen.

    The trace does not name it where the next hop was not known: then it is the one of the route today.
    """
    if attempt.detail.get("suspended") and not attempt.connector:
        wanted = RouteConnector(organization=attempt.organization, recipient=attempt.recipient, sender=attempt.sender)
        return perform(request, route_connector, wanted).chosen
    organization = str(attempt.detail.get("connector_organization") or attempt.organization)
    if not attempt.connector or not principal_of(request).sees(organization):
        return None
    named = ViewConnector(organization=organization, direction="outbound", name=attempt.connector)
    try:
        return perform(request, view_connector, named).chosen
    except Refusal:  # it was removed since
        return None


def _smart_hosts(chosen: Chosen, tried: str) -> str:
    """The smart host that was tried, as the connector has it; the first, if it is not known which; "" without any."""
    hosts = list(map(str, getattr(chosen.connector, "smart_hosts", ())))
    return next((host for host in hosts if tried and tried in host), hosts[0] if hosts else "")


def _retry(request: Request, waiting: Sequence[QueueDelivery], message: str) -> RetryTarget | None:
    """The destination of the first delivery that waits for another attempt."""
    delivery = next((delivery for delivery in waiting if delivery.state == "deferred"), None)
    if delivery is None or not principal_of(request).may(Scope.QUEUE, delivery.organization):
        return None
    return RetryTarget(message, delivery.organization, delivery.domain)

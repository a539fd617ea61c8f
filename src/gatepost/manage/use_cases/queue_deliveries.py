"""Deliveries of the queue, as every use case of it chooses and shows them.

A delivery belongs to the organization whose recipients it is for. A principal limited to some organizations finds
theirs; of a message that came with recipients of others, too, it learns nothing but what is its own.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gatepost.mail.model.queue_id import format_id
from gatepost.manage.use_cases.declaration import Cli
from gatepost.manage.use_cases.evidence_log import evidence_log
from gatepost.manage.use_cases.next_steps import delivery_step
from gatepost.manage.use_cases.search_words import Words, words_of
from gatepost.manage.use_cases.visibility import hidden_from
from gatepost.policy.decisions.withheld import inbound_without_others
from gatepost.store.interface import QueueFilter
from gatepost.store.text_pattern import WILDCARD
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.mail.model.message import Recipient
    from gatepost.manage.access.actions import Action
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.context import Context
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.store.queue_admin import QueueAdmin, QueueEntry


class QueueSelection(msgspec.Struct, kw_only=True):
    """Filters of deliveries; empty fields match all."""

    organization: Annotated[str, Meta(max_length=1000), Cli(help="Only of this organization.")] = ""
    domain: Annotated[str, Meta(max_length=1000, description="Domain of the recipients.")] = ""
    sender: Annotated[str, Meta(max_length=1000, description="Reverse-path, or @domain.")] = ""
    recipient: Annotated[str, Meta(max_length=1000, description="Forward-path, or @domain.")] = ""
    state: Annotated[Literal["", "active", "deferred", "held"], Meta(description="Only those in this state.")] = ""

    words: Words = ""

    @property
    def matches_all(self) -> bool:
        """Whether nothing is asked for."""
        return not (self.organization or self.domain or self.sender or self.recipient or self.state or self.words)

    def narrowed(self, **more: Any) -> QueueFilter:
        """As the store takes it."""
        return QueueFilter(
            organization=self.organization,
            domain=self.domain,
            sender=self.sender,
            recipient=self.recipient,
            state=self.state,
            parts=tuple(filter(None, WILDCARD.join(words_of(self.words)).split(WILDCARD))),
            **more,
        )


class QueueMessage(msgspec.Struct):
    """The envelope of a message, and what is known of its session. received: seconds since 1970; size: bytes."""

    id: str
    organization: str
    received: float
    reverse_path: str
    size: int
    body_type: str
    smtputf8: bool
    require_tls: bool
    ret: str
    envid: str
    message_id: str
    subject: str
    session: str
    direction: str
    hops: int
    inbound: dict[str, Any]
    tls_required_no: bool


class QueueRecipient(msgspec.Struct):
    """One forward-path of a message, with its RFC 3461 parameters as received.

    delayed: the sender was told of the delay. held: its destination protects less than it was seen to do. released: an
    administrator let it go all the same. forwarded_by: the mailbox that sends the message on to it, and return_path:
    the reverse-path it then goes with. in_doubt: it may arrive twice, since the gateway stopped before the reply.
    journal: the form of a journal copy, "" for other mail.
    """

    address: str
    notify: str
    orcpt: str
    delayed: bool
    held: bool
    released: bool
    forwarded_by: str
    return_path: str
    in_doubt: bool
    journal: str


class QueueDelivery(msgspec.Struct):
    """One message's recipients for one destination. Times: seconds since 1970; next_at 0 while it is being tried.

    state: active, deferred or held. held: by an administrator; if it is not, its destination protects less than it did.
    returned_by: who had it returned to its sender, "" if nobody did. must_act: "gateway", "remote", "sender" or
    "nobody". next_step: a sentence that says who must do what.
    """

    message: QueueMessage
    state: str
    held: bool
    destination: str
    recipients: list[QueueRecipient]
    attempts: int
    next_at: float
    expires_at: float
    last_error: str
    returned_by: str
    must_act: str = "nobody"
    next_step: str = ""

    @property
    def organization(self) -> str:
        """The organization of the recipients."""
        return self.destination.partition("/")[0]

    @property
    def domain(self) -> str:
        """Where it goes."""
        return self.destination.partition("/")[2]


def record_each(context: Context, action: Action, entries: Iterable[QueueEntry], subject: str, **given: str) -> None:
    """One audit event for each organization whose mail it was."""
    for organization, count in Counter(entry.delivery.organization for entry in entries).items():
        context.audit.add(action, organization=organization, subject=subject, **given, deliveries=count)


def delivery_shown(entry: QueueEntry, principal: Principal) -> QueueDelivery:
    """As it is shown; without what is another organization's."""
    delivery, message = entry.delivery, entry.delivery.message
    if not principal.sees(message.organization):
        message = msgspec.structs.replace(message, organization=delivery.organization, inbound={})
    step = delivery_step(entry)
    return copy_fields(
        QueueDelivery,
        delivery,
        message=copy_fields(QueueMessage, message, id=format_id(message.id)),
        state=entry.state,
        recipients=[_recipient_shown(recipient) for recipient in delivery.recipients],
        returned_by=delivery.returned.author if delivery.returned else "",
        must_act=step.must_act,
        next_step=step.text,
    )


def _recipient_shown(recipient: Recipient) -> QueueRecipient:
    journal = recipient.journal.form if recipient.journal is not None else ""
    return copy_fields(QueueRecipient, recipient, journal=journal)


def without_others(gateway: Gateway, principal: Principal, entries: list[QueueEntry]) -> list[QueueEntry]:
    """Without what another organization's connectors said of the session: see `policy.decisions.withheld`."""
    if principal.is_of_gateway or not entries:
        return entries
    hidden = hidden_from(gateway, principal)

    def cut(entry: QueueEntry) -> QueueEntry:
        message = entry.delivery.message
        inbound = inbound_without_others(message.inbound, message.organization, hidden)
        delivery = msgspec.structs.replace(entry.delivery, message=msgspec.structs.replace(message, inbound=inbound))
        return msgspec.structs.replace(entry, delivery=delivery)

    return [cut(entry) for entry in entries]


def seen_by(principal: Principal, queue_filter: QueueFilter) -> QueueFilter:
    """The filter, for the deliveries of the organizations that are seen alone.

    Theirs are asked for by the delivery's organization: that of the message may be one that is not seen.
    """
    if principal.organizations is None:
        return queue_filter
    among = principal.organizations
    if queue_filter.organization:
        among = frozenset(name for name in among if name.lower() == queue_filter.organization.lower())
    return msgspec.structs.replace(queue_filter, organization="", organizations=among)


def administration_of(gateway: Gateway) -> QueueAdmin:
    """The queue, for looking and acting. Raises StoreFailure."""
    return gateway.storage.queue_admin(evidence_log(gateway.settings))

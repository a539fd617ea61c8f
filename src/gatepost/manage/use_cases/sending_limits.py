"""List what users and own servers with a daily limit sent today, and lift such a limit for the rest of the day.

On a running gateway as on a stopped one. Whoever changes only an organization's resources lifts what the organization
set itself; the limit that the gateway's owner set for it is lifted by principals of the gateway alone.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import Annotated

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.context import Context  # noqa: TC001 - the declaration reads it
from gatepost.manage.use_cases.declaration import Cli, Items, Visibility, use_cases
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.policy.decisions.daily_limits import DailyLimit, Lifted, limits_of
from gatepost.store.sending_usage import SenderUsage
from gatepost.times import day_text
from gatepost.values import copy_fields

use_case = use_cases(visibility=Visibility.SEEN, tag="sending-limits")

type _Organization = Annotated[str, Meta(max_length=1000), Cli(help="Only senders of this organization.")]


class ListLimits(msgspec.Struct, kw_only=True):
    """Filters; empty fields match all."""

    organization: _Organization = ""


class LiftLimit(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The sender whose limit is lifted for the rest of the day (UTC)."""

    sender: Annotated[
        str,
        Meta(min_length=1, max_length=1000, description="Address of the mailbox, or name of the inbound connector."),
        Cli(argument=True),
    ]
    organization: _Organization = ""


class SenderToday(msgspec.Struct):
    """A sender that has a limit, and what it sent today (UTC).

    sender: "user ADDRESS" or "server CONNECTOR". messages_allowed, recipients_allowed: 0 for any number. lifted: "no",
    "own" (the limit of the mailbox or connector) or "all". reached: when it was first refused for its limit, seconds
    since 1970; 0 for not today.
    """

    organization: str
    sender: str
    messages: int
    messages_allowed: int
    recipients: int
    recipients_allowed: int
    lifted: str
    lifted_by: str
    reached: float


@use_case("GET /sending-limits", scope=Scope.READ)
def list_limits(context: Context, request: ListLimits) -> Items[SenderToday]:
    """List users and own servers that have a daily limit and sent something today, and what they may send."""
    with closing(context.storage.sending_usage()) as table:
        rows, _ = table.since(_today())
    used = {(row.organization, row.subject): row for row in rows}
    senders = [
        _sender(limit, row)
        for limit in _limits(context, request.organization)
        if (row := used.get((limit.organization, limit.subject))) is not None
    ]
    return Items(sorted(senders, key=lambda sender: (sender.organization, sender.sender)))


@use_case("POST /sending-limits/lift", scope=Scope.CONNECTORS, dry_run=True, action="limit-lift")
def lift_limit(context: Context, request: LiftLimit) -> SenderToday:
    """Let a user or an own server send more today, up to the organization's limit; the gateway's owner: any number.

    404 if it has no limit, 409 if several organizations have such a sender or only the owner can lift it.
    """
    context.audit.describe(organization=request.organization, subject=request.sender)
    limit = _meant(context, request)
    context.audit.describe(organization=limit.organization, subject=limit.subject)
    level = Lifted.ALL if context.principal.is_of_gateway else Lifted.OWN
    if limit.in_force(level) == limit.in_force(Lifted.NOTHING):
        text = f"the limit of {limit.subject} is that of the organization, which only the gateway's owner can lift"
        raise Refusal(RefusalKind.CONFLICT, text)
    added = SenderUsage(
        _today(), limit.organization, limit.subject, lifted=int(level), lifted_by=context.principal.name
    )
    with closing(context.storage.sending_usage()) as table:
        if not context.dry_run:
            table.add([added])
        rows, _ = table.since(added.day)
    row = next((row for row in rows if (row.organization, row.subject) == (limit.organization, limit.subject)), added)
    return _sender(limit, row)


def _today() -> str:
    return day_text(time.time())


def _meant(context: Context, request: LiftLimit) -> DailyLimit:
    """Raises Refusal."""
    name = request.sender.lower()
    limits = [
        limit
        for limit in _limits(context, request.organization)
        if name in {limit.subject.lower(), limit.subject.partition(" ")[2].lower()}
    ]
    if not limits:
        text = (
            f"{request.sender} is neither a mailbox nor an on-premises inbound connector with a daily limit; "
            "`gatepost limit list` lists those that sent something today"
        )
        raise Refusal(RefusalKind.MISSING, text)
    if len(limits) > 1:
        text = (
            f"several have that name: {', '.join(f'{limit.subject} of {limit.organization}' for limit in limits[:10])}"
        )
        raise Refusal(RefusalKind.CONFLICT, text, options=["organization"])
    return limits[0]


def _limits(context: Context, organization: str) -> list[DailyLimit]:
    return [
        limit
        for owner in context.directory().organizations
        if organization in {"", owner.name} and context.principal.sees(owner.name)
        for limit in limits_of(owner)
    ]


def _sender(limit: DailyLimit, row: SenderUsage) -> SenderToday:
    lifted = Lifted(row.lifted)
    allowed = limit.in_force(lifted)
    return copy_fields(
        SenderToday,
        row,
        sender=limit.subject,
        messages_allowed=allowed.messages,
        recipients_allowed=allowed.recipients,
        lifted={Lifted.NOTHING: "no", Lifted.OWN: "own", Lifted.ALL: "all"}[lifted],
        reached=row.breached,
    )

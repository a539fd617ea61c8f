"""Audit records of one call of a use case, collected while it runs. Pure; `execution` writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.manage.access.records import AuditOutcome
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, StoreUnreadable

if TYPE_CHECKING:
    from gatepost.manage.access.actions import Action


class AuditRecord(msgspec.Struct):
    """One audit event to be: beside who and when. organization: "" is the gateway itself.

    detail: for JSON; "before" and "after" are shown field by field. outcome: if no error says another.
    """

    action: Action
    organization: str = ""
    subject: str = ""
    detail: dict[str, Any] = msgspec.field(default_factory=dict)
    outcome: AuditOutcome = AuditOutcome.DONE


class AuditTrail:
    """The records of one call: one that is known from the beginning, or those that were added in its place.

    who: as whom it is recorded, "" for the principal; at a log-in that is learned during the call.
    """

    def __init__(self) -> None:
        self.who = ""
        self._call = AuditRecord("request")
        self._added: list[AuditRecord] = []

    @property
    def records(self) -> list[AuditRecord]:
        """Records to write when the call has ended, whatever its result."""
        return self._added or [self._call]

    def describe(
        self,
        action: Action | None = None,
        *,
        organization: str | None = None,
        subject: str | None = None,
        who: str = "",
        **detail: Any,
    ) -> None:
        """Say what the call is about, before it can be refused; what is not given stays."""
        self.who = who or self.who
        self._call.action = action or self._call.action
        self._call.organization = self._call.organization if organization is None else organization
        self._call.subject = self._call.subject if subject is None else subject
        self._call.detail |= detail

    def add(self, action: Action, *, organization: str = "", subject: str = "", **detail: Any) -> None:
        """Record this instead of the call: for each organization that it touched, say."""
        self._added.append(AuditRecord(action, organization, subject, detail))


def outcome_of(error: BaseException, reference: str = "") -> tuple[AuditOutcome, str]:
    """The outcome of a call that raised `error`, and why. reference: under which the log knows the call."""
    if not isinstance(error, Refusal):
        return AuditOutcome.FAILED, f"The gateway's log says why, under {reference or 'its time'}."
    if isinstance(error, StoreUnreadable):
        return AuditOutcome.FAILED, error.public
    outcome = AuditOutcome.FAILED if error.kind is RefusalKind.UNREADABLE else AuditOutcome.REFUSED
    return outcome, "; ".join(map(str, error.errors)) or error.known or error.text

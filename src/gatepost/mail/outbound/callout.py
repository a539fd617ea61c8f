"""Ask the server behind the gateway whether a recipient exists: a RCPT without a message.

Called by `mail.inbound.recipient_lookups`. It goes the way that mail would, with the code that delivers, and under the
same requirement: where no connection meets it, nothing is asked. What a reply means is
`policy.decisions.recipient_validation`'s.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from gatepost.mail.model.message import Message, Recipient
from gatepost.mail.outbound.delivery_attempt import AttemptPart, DeliveryAttempt
from gatepost.mail.outbound.failure import ConnectionEnded, HopFailed, HopFailure
from gatepost.mail.outbound.hosts import Candidates, RoutePlan, plan_hosts
from gatepost.policy.decisions.recipient_validation import RecipientAnswer, RecipientQuestion, answer_of_callout
from gatepost.policy.decisions.route import RoutePlanner
from gatepost.policy.decisions.routes import LmtpRoute, MailboxRoute, Route
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.mail.outbound.delivery_services import DeliveryServices
    from gatepost.mail.outbound.hop import Hop
    from gatepost.policy.connectors.directory import Directory


CALLOUT_SECONDS: Final = 30.0
"""For all of one callout: the client waits for the reply to its RCPT meanwhile."""


class Callout:
    """services: as the deliverer has them; sessions are not counted for TLS reports. directory: the one in force."""

    def __init__(
        self, services: DeliveryServices, directory: Callable[[], Directory], seconds: float = CALLOUT_SECONDS
    ) -> None:
        self._services = replace(services, sessions=None)
        self._seconds = seconds
        self._directory = directory
        self._made_for = directory()
        self._planner = RoutePlanner(self._made_for, services.profile)

    async def __call__(self, question: RecipientQuestion) -> RecipientAnswer:
        """The answer of the first host that gives one. Faults of peers, networks and names are answers, too."""
        route = self._route(question)
        if isinstance(route, MailboxRoute | LmtpRoute):
            return RecipientAnswer(exists=True, source="it has a mailbox here by now")
        attempt = _attempt(question)
        try:
            async with asyncio.timeout(self._seconds):
                plan = await plan_hosts(self._services, route, attempt)
                answer = await self._ask(plan, attempt, question) if plan is not None else None
        except TimeoutError:
            late = f"callout without an answer within {self._seconds:g} s"
            return RecipientAnswer(exists=None, source=late, is_down=True)
        return answer or _unanswered(attempt)

    def _route(self, question: RecipientQuestion) -> Route:
        """The way that mail for the recipient goes: by this node, even if its organization lives on another."""
        if self._made_for is not (current := self._directory()):
            self._planner, self._made_for = RoutePlanner(current, self._services.profile), current
        ((route, _),) = self._planner.routes(question.organization, [Recipient(question.recipient.text)])
        return route

    async def _ask(
        self, plan: RoutePlan, attempt: DeliveryAttempt, question: RecipientQuestion
    ) -> RecipientAnswer | None:
        """The answer of the first host that gives one, None if there is none and the attempt has the reasons."""
        candidates = Candidates(self._services, plan, attempt, 0)
        while (candidate := await candidates.next()) is not None:
            hop, tls_error = candidate
            if tls_error:  # only mail that has waited may go unencrypted
                continue
            try:
                answer = await self._ask_host(hop, question, attempt)
            except HopFailed as failed:
                attempt.failed(failed, hop)
                continue
            if answer is not None:
                return answer
        return None

    async def _ask_host(
        self, hop: Hop, question: RecipientQuestion, attempt: DeliveryAttempt
    ) -> RecipientAnswer | None:
        """The answer of one host, None if it gives none now. Raises HopFailed."""
        opened = await self._services.opener.open(hop)
        connection = opened.connection
        try:
            said = await connection.ask_recipient(question.recipient.text)
        except ConnectionEnded as ended:
            raise HopFailed(ended.failure.at(hop.host, hop.endpoint)) from ended
        finally:
            connection.quit()
        answer = answer_of_callout(f"{hop.host} [{hop.endpoint}]", said.reply)
        if said.command != "MAIL" and answer.exists is not None:
            return answer
        attempt.failures.append(HopFailure(said.reply, "", None, hop.host, hop.endpoint, answered=True))
        return None


def _attempt(question: RecipientQuestion) -> DeliveryAttempt:
    """An attempt with the recipient alone, of a message that asks for nothing by itself. It is never sent."""
    message = Message(
        id=0,
        organization=question.organization,
        received=time.time(),
        reverse_path="",
        size=0,
        inbound={"notice_about": ""},
    )
    return DeliveryAttempt(message, [AttemptPart([Recipient(question.recipient.text)], {})])


def _unanswered(attempt: DeliveryAttempt) -> RecipientAnswer:
    """Why no host gave an answer."""
    if attempt.pending and attempt.failures:
        attempt.conclude()
    said = "; ".join(result.reply.text + _detail(result.detail) for result in attempt.results)
    source = f"callout without an answer: {said or 'there is no host to ask'}"
    return RecipientAnswer(exists=None, source=source, is_down=not any(each.answered for each in attempt.failures))


def _detail(detail: dict[str, object]) -> str:
    return f" ({detail['detail']})" if detail.get("detail") else ""

"""Decide what a logged-in user may send: the verdict on each MAIL of a submission session (RFC 6409).

Called by `policy.decisions.inbound`, which decides on the recipients for users as for servers.
Pure: a directory, the session's facts and the envelope in, a value out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.policy.connectors.match import Attribution
from gatepost.policy.decisions.decision import InboundVerdict
from gatepost.protocols.smtp.replies import SENDER_OK, Reply
from gatepost.values import replace

if TYPE_CHECKING:
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.facts import SessionFacts
    from gatepost.protocols.smtp.grammar import Path


CONNECTOR = "submission"
"""The text in place of a connector's name in the trace."""
LOGIN = "login"
"""The basis of identification, as in `Attribution.basis`."""

_REQUIREMENT = "encrypted"  # nobody logs in without TLS

# The words of Exchange, by which people search.
_NOT_OWNED = Reply(550, "5.7.60", ("SMTP; Client does not have permissions to send as this sender",))
_MAILBOX_GONE = Reply(530, "5.7.0", ("Authentication required: the mailbox you logged in to no longer exists",))


def decide_submission(directory: Directory, session: SessionFacts, reverse_path: Path) -> InboundVerdict:
    """Whether MAIL FROM is taken: only with an address that is the user's own, or the null reverse-path.

    The null one is what notices that were read are sent with (RFC 8098 section 3).
    """
    mailbox = directory.mailbox(session.user)
    owner = directory.organization_of(session.user.rpartition("@")[2].lower())
    if mailbox is None or owner is None:
        return _verdict(directory, _MAILBOX_GONE, "", (f"{session.user} is no longer a mailbox",))
    who = f"{mailbox.address} logged in by {session.mechanism}"
    if not reverse_path.text:
        return _verdict(directory, SENDER_OK, owner.name, (f"{who} and sends a notice with the null reverse-path",))
    if directory.mailbox(f"{reverse_path.local_part}@{reverse_path.domain}") is mailbox:
        return _verdict(directory, SENDER_OK, owner.name, (f"{who} and sends as itself",))
    why = f"{who}, and {reverse_path.text} is none of its addresses"
    return _verdict(directory, _NOT_OWNED, owner.name, (why,))


def as_submitted(verdict: InboundVerdict) -> InboundVerdict:
    """The verdict on a recipient of a user's message, as the trace names it.

    What is attributed to an organization by a log-in may go where its own servers may send.
    """
    if verdict.connector:
        return verdict
    return replace(verdict, connector=CONNECTOR, requirement=_REQUIREMENT)


def refused_login(directory: Directory, reply: Reply, reason: str) -> InboundVerdict:
    """A log-in that failed, as the trace keeps it."""
    return _verdict(directory, reply, "", (reason,))


def _verdict(directory: Directory, reply: Reply, organization: str, reasons: tuple[str, ...]) -> InboundVerdict:
    direction = "originating" if organization else "none"
    return InboundVerdict(
        reply.positive,
        reply,
        organization,
        direction,
        CONNECTOR,
        _REQUIREMENT,
        reasons,
        Attribution(direction, organization or None, None, LOGIN, reasons),
        basis=LOGIN,
        configuration=directory.version,
    )
